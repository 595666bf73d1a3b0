"""Saved sessions: everything comes back, in whatever pieces the host reads; what is damaged is refused without harm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.hosts.playing import Connection, Serve, Start, Variant, connected, loaded
from tests.hosts.signals import sine
from tests.server.harness import eventually

RATE = 48000
VALUES = {
    "Mix": 62.5,
    "Input gain": -7.25,
    "Output gain": 3.5,
    "Gate": -48.0,
    "Temperature": 0.75,
    "Seed": 4711.0,
    "Fallback": 1.0,
    "Margin": 2.0,
}


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
def test_everything_comes_back_whatever_the_pieces(
    start_clap: Start, variant: Variant, tmp_path: Path, piece: int
) -> None:
    host = loaded(start_clap, variant).create()
    for name, value in VALUES.items():
        host.set(name, value)
    saved = host.ask("save", tmp_path / "state", piece)
    assert saved["saved"] and saved["bytes"] > 0
    host.create()
    assert host.get("Mix") != VALUES["Mix"]
    assert host.ask("load", tmp_path / "state", piece)["loaded"]
    assert {name: host.get(name) for name in VALUES} == pytest.approx(VALUES)
    host.ask("save", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "state").read_bytes()
    assert host.quit() == 0


def test_damaged_state_is_refused_and_changes_nothing(start_clap: Start, variant: Variant, tmp_path: Path) -> None:
    host = loaded(start_clap, variant).create()
    host.set("Mix", 25)
    host.ask("save", tmp_path / "state")
    whole = (tmp_path / "state").read_bytes()
    host.set("Mix", 75)
    rng = np.random.default_rng(5)
    flipped = [bytearray(whole) for _ in range(40)]
    for copy in flipped:
        copy[rng.integers(len(whole))] ^= 1 << rng.integers(8)
    damaged = [b"", b"\0", b"\xff" * 100, rng.bytes(5000), b"{}", b"rtserver", whole + whole, b"A" * (1 << 20)]
    damaged += [whole[:n] for n in range(0, len(whole), 7)] + list(map(bytes, flipped))
    for bytes_ in damaged:
        (tmp_path / "damaged").write_bytes(bytes_)
        assert not host.ask("load", tmp_path / "damaged", 64)["loaded"], bytes_[:200]
        assert host.get("Mix") == 75
    for fail_at in range(0, len(whole), 11):
        assert not host.ask("load", tmp_path / "state", 5, fail_at)["loaded"], fail_at
    assert not host.ask("save", tmp_path / "full", 5, 20)["saved"], "the disk is full"
    assert host.ask("load", tmp_path / "state")["loaded"] and host.get("Mix") == 25
    host.activate(RATE, 128)
    assert host.play(sine(4800, RATE))[1]["errors"] == 0
    assert host.quit() == 0


def test_a_session_finds_its_instrument_by_content_and_names_it_when_it_is_missing(
    start_clap: Start, variant: Variant, serve: Serve, tiny_pack: Path, tmp_path: Path
) -> None:
    host = loaded(start_clap, variant, serve(tiny_pack, "loopback").port).create()
    host.activate(RATE, 128)
    connected(host)
    number = next(n for n in range(10) if "strings" in host.text("Instrument", n))
    host.set("Instrument", number)
    host.ask("save", tmp_path / "state")

    # Elsewhere the instrument is not served: it is named, and the audio passes dry.
    elsewhere = loaded(start_clap, variant, serve("loopback").port).create()
    assert elsewhere.ask("load", tmp_path / "state")["loaded"]
    latency = elsewhere.activate(RATE, 128)
    eventually(lambda: elsewhere.get("Connection") == Connection.INSTRUMENT_MISSING, "missing")
    assert elsewhere.get("Instrument") == number
    assert "tiny" in elsewhere.text("Instrument") and "strings" in elsewhere.text("Instrument")
    x = sine(RATE // 2, RATE)
    y, _ = elsewhere.play(x)
    assert np.array_equal(y[latency:], x[:-latency])

    # Under another name it is found again.
    renamed = tmp_path / "renamed.pt"
    renamed.write_bytes(tiny_pack.read_bytes())
    server = serve("loopback", renamed)
    third = loaded(start_clap, variant, server.port).create()
    assert third.ask("load", tmp_path / "state")["loaded"]
    third.activate(RATE, 128)
    connected(third)
    (session,) = server.status()["sessions"]
    assert session["model"] == "renamed" and session["parameters"]["decoder"] == "strings"
    assert [host.quit(), elsewhere.quit(), third.quit()] == [0, 0, 0]
