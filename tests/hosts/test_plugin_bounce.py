"""Bounces: every block is waited for, every bit is that of `rtserver translate`, and what can't be had fails loudly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rtserver.demo.clip import melody
from tests.hosts.playing import NOBODY, Connection, Serve, Start, Variant, bounce, loaded
from tests.hosts.signals import Floats, sine
from tests.server.harness import ROOT, ServerProcess

RATE = 48000


def translated(x: Floats, pack: Path, folder: Path, *options: str) -> Floats:
    """By `rtserver translate`, mono [frames]."""
    soundfile.write(folder / "in.wav", x, RATE, subtype="FLOAT")
    command = [sys.executable, "-m", "rtserver", "translate", str(folder / "in.wav"), "--model", str(pack)]
    command += ["-o", str(folder / "out.wav"), "--quiet", *options]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    return np.asarray(soundfile.read(folder / "out.wav", dtype="float32")[0])


def stereo(x: Floats) -> Floats:
    return np.repeat(x[:, None], 2, axis=1)


def test_a_bounce_is_the_translation_to_the_bit_in_any_blocks_and_again(
    start_clap: Start, variant: Variant, serve: Serve, tiny_pack: Path, tmp_path: Path
) -> None:
    x = stereo(melody(RATE)[: 2 * RATE])
    host = loaded(start_clap, variant, serve(tiny_pack).port).create()
    host.set("Seed", 21)
    expected = translated(x, tiny_pack, tmp_path, "--seed", "21")
    assert np.std(expected) > 1e-3
    for block, sizes in ((256, ()), (256, ()), (1024, (1024, 1, 0, 333)), (32, ())):
        y = bounce(host, x, RATE, block, sizes)
        assert np.array_equal(y[:, 0], expected) and np.array_equal(y[:, 1], expected), block
    host.set("Seed", 22)
    assert not np.array_equal(bounce(host, x, RATE, 256)[:, 0], expected)
    assert host.quit() == 0


def test_the_parameter_bounce_stands_in_for_a_host_without_the_flag(
    start_clap: Start, variant: Variant, serve: Serve, tiny_pack: Path, tmp_path: Path
) -> None:
    x = stereo(melody(RATE)[:RATE])
    host = loaded(start_clap, variant, serve(tiny_pack).port).create()
    host.set("Bounce", 1)
    latency = host.activate(RATE, 512)
    padded = np.concatenate([x, np.zeros((latency, 2), np.float32)])
    y, report = host.play(padded, (512,))
    assert report["errors"] == 0
    assert np.array_equal(y[latency:, 0], translated(x, tiny_pack, tmp_path))
    assert host.quit() == 0


def test_a_server_that_dies_during_a_bounce_ends_in_silence_and_an_error(
    start_clap: Start, variant: Variant, tiny_pack: Path, tmp_path: Path
) -> None:
    server = ServerProcess(tmp_path / "log", "--model", str(tiny_pack)).wait_ready()
    try:
        host = loaded(start_clap, variant, server.port).create()
        host.ask("offline", 1)
        latency = host.activate(RATE, 256)
        x = sine(120 * RATE, RATE)
        host.start(x, (256,))
        while host.ask("position")["frames"] < RATE:
            pass
        os.kill(server.status()["worker"]["pid"], signal.SIGKILL)
        y, report = host.finish()
    finally:
        server.stop()
    assert report["errors"] > 0, "it was faster than the signal; make x longer"
    broken = report["first_error_frame"]
    assert report["errors"] == -(-(len(x) - broken) // 256), "and from then on every block is refused"
    assert not y[broken:].any(), "silence, never the dry signal"
    assert y[latency:broken].any()
    assert host.get("Connection") == Connection.BOUNCE_FAILED
    assert host.quit() == 0


@pytest.mark.hosts
def test_a_bounce_without_a_server_fails_from_its_first_block(start_clap: Start, variant: Variant) -> None:
    host = loaded(start_clap, variant, NOBODY).create()
    host.ask("offline", 1)
    host.activate(RATE, 256)
    y, report = host.play(sine(RATE, RATE), (256,))
    assert report["errors"] == report["blocks"] and not y.any()
    assert host.get("Connection") == Connection.BOUNCE_FAILED
    assert host.quit() == 0


@pytest.mark.hosts
def test_the_shipped_piano_bounces_the_demo_melody_as_translate_does(
    start_clap: Start, variant: Variant, serve: Serve, tmp_path: Path
) -> None:
    piano = ROOT / "models/weights/piano.pt"
    x = stereo(melody(RATE)[: 4 * RATE])
    host = loaded(start_clap, variant, serve(piano).port).create()
    y = bounce(host, x, RATE, 512)
    assert np.array_equal(y[:, 0], translated(x, piano, tmp_path)) and np.std(y) > 1e-3
    assert host.quit() == 0
