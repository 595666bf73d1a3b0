"""What the page can have done, without a browser: parameters, presets, models; and what it can't."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from rtserver.client import Bridge
from tests.dashboard.page import connected, with_page
from tests.dashboard.player import Player, sine
from tests.server.harness import ServerProcess, eventually

PRESET = {"format": "rtserver-preset-1", "name": "warm", "parameters": {"mix": 0.25, "gate_db": -40.0}}


def session_of(server: ServerProcess, number: int) -> dict[str, Any]:
    return next(session for session in server.status()["sessions"] if session["session"] == number)


def test_meters_pitch_and_queues_of_what_is_played(server: ServerProcess) -> None:
    with Player(server.port, sine(330.0), model="identity16k") as player:

        async def act(page):
            await page.ask("watch", session=player.session)
            for _ in range(200):
                told = (await page.next("meters")).get(str(player.session), {})
                if told.get("pitch_hz") and told["out"][0] > -30:
                    return told, await page.next("status")
            raise AssertionError("no pitch in ten seconds")

        told, status = with_page(server.port, act)
    assert told["pitch_hz"] == pytest.approx(330.0, rel=0.02)
    assert told["in"] == pytest.approx((-12.0, -15.1), abs=0.5) and told["out"][0] == pytest.approx(-12.0, abs=1.0)
    session = next(known for known in status["sessions"] if known["session"] == player.session)
    assert session["hop_us"] == 10000 and session["compute_us"]["encoder"] > 0
    assert session["queues_frames"].keys() == {"intake", "decoder", "ready"}
    assert (
        sum(part for name, part in session["latency_frames"].items() if name not in ("reported", "fade"))
        == (session["latency_frames"]["reported"])
    )


def test_meters_of_a_client_that_sends_its_audio_over_the_network(server: ServerProcess) -> None:
    with Player(server.port, sine(330.0), model="identity16k", transport="osc") as player:

        async def act(page):
            await page.ask("watch", session=player.session)
            async with asyncio.timeout(20):
                while True:
                    told = (await page.next("meters")).get(str(player.session), {})
                    if told.get("pitch_hz") and told["out"][0] > -30:
                        return told

        told = with_page(server.port, act)
    assert told["pitch_hz"] == pytest.approx(330.0, rel=0.02) and told["in"][0] == pytest.approx(-12.0, abs=0.5)


def test_a_page_sets_and_the_server_refuses_what_the_table_forbids(server: ServerProcess) -> None:
    with Bridge(server.port) as bridge:

        async def act(page):
            answer = await page.ask("set", session=bridge.session, name="mix", value=0.25)
            refusals = [
                await page.ask("set", session=bridge.session, name="mix", value=1.5),
                await page.ask("set", session=bridge.session, name="mix", value="loud"),
                await page.ask("set", session=bridge.session, name="mix", value=None),
                await page.ask("set", session=bridge.session, name="mix", value=[0.5]),
                await page.ask("set", session=bridge.session, name="seed", value=10**400),
                await page.ask("set", session=bridge.session, name="client_pid", value=1),
                await page.ask("set", session=bridge.session, name=["mix"], value=1),
                await page.ask("set", session=99999, name="mix", value=1),
                await page.ask("set", session=True, name="mix", value=1),
                await page.ask("set", session=bridge.session, name="decoder", value="none"),
            ]
            return answer, refusals

        answer, refusals = with_page(server.port, act)
        assert answer["parameters"]["mix"] == 0.25 == session_of(server, bridge.session)["parameters"]["mix"]
        assert all(refusal.get("error") for refusal in refusals)
        assert bridge.get("mix") == 0.25


def test_panic_reaches_one_session_or_all(server: ServerProcess) -> None:
    with Player(server.port, model="identity16k") as one, Player(server.port, model="identity16k") as two:

        def epochs() -> list[int]:
            return [player.bridge.stats()["epochs"] for player in (one, two)]

        before = epochs()
        with_page(server.port, lambda page: page.ask("panic", session=one.session))
        eventually(lambda: epochs() == [before[0] + 1, before[1]], "one session starts anew")
        with_page(server.port, lambda page: page.ask("panic"))
        eventually(lambda: epochs() == [before[0] + 2, before[1] + 1], "both start anew")


def test_presets_are_saved_recalled_and_shared(server: ServerProcess) -> None:
    name = "grüne Wiese"
    with Bridge(server.port, model="identity16k") as bridge, Bridge(server.port) as other:

        async def act(page):
            await page.ask("set", session=bridge.session, name="mix", value=0.5)
            await page.ask("set", session=bridge.session, name="input_gain_db", value=-6.0)
            assert name in (await page.ask("preset_save", session=bridge.session, name=f"  {name} "))["presets"]
            answer = await page.ask("preset_recall", session=other.session, name=name)
            shared = (await page.ask("preset_export", name=name))["document"]
            assert (await page.ask("preset_import", document=shared))["error"]  # it is there already
            assert name not in (await page.ask("preset_delete", name=name))["presets"]
            assert name in (await page.ask("preset_import", document=shared))["presets"]
            await page.ask("preset_delete", name=name)
            return answer

        answer = with_page(server.port, act)
        assert answer["parameters"]["mix"] == 0.5 and answer["parameters"]["input_gain_db"] == -6.0
        assert session_of(server, other.session)["parameters"]["input_gain_db"] == -6.0


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {**PRESET, "format": "other"},
        {**PRESET, "name": ""},
        {**PRESET, "name": "x" * 65},
        {**PRESET, "name": "a\nb"},
        {**PRESET, "name": 7},
        {**PRESET, "name": "\ud800"},
        {**PRESET, "run": "rm"},
        {**PRESET, "parameters": {}},
        {**PRESET, "parameters": {"mix": 7}},
        {**PRESET, "parameters": {"panic": 1}},
        {**PRESET, "parameters": {"mix": {}}},
        {**PRESET, "parameters": {"seed": 10**400}},
        {**PRESET, "parameters": {"decoder": "x" * 300}},
        {**PRESET, "model": ["piano"]},
    ],
)
def test_what_is_no_preset_is_refused(server: ServerProcess, data_folder: Path, document: Any) -> None:
    answer = with_page(server.port, lambda page: page.ask("preset_import", document=document))
    assert answer["error"] and not list((data_folder / "rtserver").rglob("presets/*.json"))


def test_a_presets_name_never_becomes_a_path(server: ServerProcess, data_folder: Path) -> None:
    async def act(page):
        await page.ask("preset_import", document={**PRESET, "name": "../../../tmp/x"})
        await page.ask("preset_import", document={**PRESET, "name": "CON"})
        await page.ask("preset_import", document={**PRESET, "name": "con", "model": "\ud800"})
        listed = (await page.ask("preset_delete", name="nothing"))["error"], page.hello
        for name in ("../../../tmp/x", "CON", "con"):
            assert (await page.ask("preset_export", name=name))["document"]["name"] == name
        written = [path.parent for path in data_folder.rglob("*.json")]
        for name in ("../../../tmp/x", "CON", "con"):
            await page.ask("preset_delete", name=name)
        return listed, written

    listed, written = with_page(server.port, act)
    assert "no preset" in listed[0]
    assert written == [data_folder / "rtserver" / "presets"] * 3


def test_files_of_the_presets_folder_that_are_none_do_no_harm(server: ServerProcess, data_folder: Path) -> None:
    folder = data_folder / "rtserver" / "presets"
    folder.mkdir(parents=True, exist_ok=True)
    junk = {
        "a.json": "[" * 10000,
        "b.json": "{}",
        "c.json": "x" * 20000,
        "d.json": json.dumps({**PRESET, "name": "ok"}),
    }
    for name, text in junk.items():
        (folder / name).write_text(text)

    async def act(page):
        return page.hello["presets"], await page.ask("preset_export", name="ok")

    names, shared = with_page(server.port, act)
    assert names == ["ok"] and shared["document"]["parameters"] == PRESET["parameters"]
    for name in junk:
        (folder / name).unlink()


def test_a_pack_is_loaded_while_others_play_and_a_path_is_not(
    server: ServerProcess, data_folder: Path, tmp_path: Path
) -> None:
    packs = data_folder / "rtserver" / "models"
    folder = str(packs)
    (packs / "broken.pt").write_bytes(b"nothing of the kind")
    for where in (packs, tmp_path):
        (where / "other.pt").write_bytes((packs / "tiny.pt").read_bytes())

    async def act():
        async with connected(server.port) as page:
            files = (await page.ask("files"))["files"]
            assert {"other.pt", "broken.pt"} <= {file["file"] for file in files if file["folder"] == folder}
            hostile = [
                await page.ask("load", folder=folder, file=f"../../../{tmp_path}/other.pt"),
                await page.ask("load", folder=str(tmp_path), file="other.pt"),
                await page.ask("load", folder=f"{folder}/../models", file="other.pt"),
                await page.ask("load", folder=folder, file="other"),
                await page.ask("load", folder=None, file=None),
                await page.ask("load", folder=["x"], file={}),
            ]
            assert all("no such pack" in answer["error"] for answer in hostile)
            broken = await page.ask("load", folder=folder, file="broken.pt")
            return (
                broken,
                await page.ask("load", folder=folder, file="other.pt"),
                await page.ask("default", model="other"),
            )

    with Player(server.port, model="identity16k") as player:
        broken, loaded, default = asyncio.run(act())
        assert "broken.pt" in broken["error"] and server.status()["state"] == "ready"
        assert loaded["model"]["decoders"] == ["piano", "strings"] and default["default"] == "other"
        with Bridge(server.port, decoder="strings") as bridge:
            assert session_of(server, bridge.session)["model"] == "other"
            assert session_of(server, bridge.session)["parameters"]["decoder"] == "strings"
        assert session_of(server, player.session)["state"] == "running"
        with_page(server.port, lambda page: page.ask("default", model="tiny"))
    for name in ("broken.pt", "other.pt"):
        (packs / name).unlink()
