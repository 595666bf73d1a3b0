"""OSCQuery over HTTP and WebSocket, and presets over OSC, as other programs of this machine use them."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from typing import Any

import aiohttp
import pytest

from rtserver import osc
from rtserver.client import Bridge
from rtserver.connection import ControlConnection, ServerRefused
from rtserver.control.oscquery_server import MOST_ADDRESSES, is_under, obey
from tests.server.harness import ServerProcess, eventually


def get(port: int, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            body = answer.read()
            return answer.status, json.loads(body) if body else None
    except urllib.error.HTTPError as error:
        return error.code, None


def test_attributes_of_an_address_and_of_none(server: ServerProcess) -> None:
    with Bridge(server.port) as bridge:
        mix = f"/rt/{bridge.session}/mix"
        assert get(server.port, f"{mix}?VALUE") == (200, {"VALUE": [1.0]})
        assert get(server.port, f"{mix}?RANGE") == (200, {"RANGE": [{"MIN": 0, "MAX": 1}]})
        assert get(server.port, f"{mix}?UNIT") == (204, None)
        assert get(server.port, f"{mix}?NONSENSE")[0] == 400
        assert get(server.port, "/rt/99999/mix?VALUE")[0] == 404
    host = get(server.port, "/?HOST_INFO")[1]
    assert host["OSC_PORT"] == server.port and host["EXTENSIONS"]["LISTEN"] is True


def test_a_listener_hears_values_and_which_sessions_come_and_go(server: ServerProcess) -> None:
    async def act() -> None:
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(f"http://127.0.0.1:{server.port}/") as socket,
        ):

            async def heard(kind: aiohttp.WSMsgType) -> Any:
                async with asyncio.timeout(10):
                    while True:
                        message = await socket.receive()
                        if message.type is kind:
                            return message.data

            async def command() -> Any:
                return json.loads(await heard(aiohttp.WSMsgType.TEXT))

            await asyncio.sleep(0.2)
            with Bridge(server.port) as bridge:
                assert await command() == {"COMMAND": "PATH_ADDED", "DATA": f"/rt/{bridge.session}"}
                await socket.send_str("nonsense")
                await socket.send_json({"COMMAND": "LISTEN", "DATA": f"/rt/{bridge.session}/mix"})
                first = osc.decode(await heard(aiohttp.WSMsgType.BINARY), "client")
                assert first == [osc.SetParameter(bridge.session, "mix", 1.0)]
                bridge.set("mix", 0.25)
                second = osc.decode(await heard(aiohttp.WSMsgType.BINARY), "client")
                assert second == [osc.SetParameter(bridge.session, "mix", 0.25)]
                number = bridge.session
            assert await command() == {"COMMAND": "PATH_REMOVED", "DATA": f"/rt/{number}"}

    asyncio.run(act())


def test_what_is_listened_to_is_bounded_and_junk_is_passed_over() -> None:
    listened: set[str] = set()
    for text in ("", "[]", "7", "{}", '{"COMMAND":"LISTEN"}', '{"COMMAND":"LISTEN","DATA":7}', "[" * 3000):
        obey(text, listened)
    assert not listened
    for number in range(MOST_ADDRESSES + 10):
        obey(json.dumps({"COMMAND": "LISTEN", "DATA": f"/rt/{number}"}), listened)
    assert len(listened) == MOST_ADDRESSES
    assert is_under("/rt/7/mix", listened) and not is_under("/rt/9999/mix", listened)
    obey('{"COMMAND":"IGNORE","DATA":"/rt/7/"}', listened)
    assert not is_under("/rt/7/mix", listened)
    assert is_under("/rt/7/mix", {"/"}) and is_under("/rt/7/mix", {"/rt"})


def test_presets_over_osc(server: ServerProcess) -> None:
    with Bridge(server.port) as bridge, ControlConnection(port=server.port) as osc_client:

        def names() -> list[str]:
            found: list[str] = json.loads(osc_client.request(osc.PresetsRequest(), osc.PresetsReply).json)
            return found

        bridge.set("mix", 0.125)
        osc_client.send(osc.PresetSave(bridge.session, "by osc"))
        eventually(lambda: "by osc" in names(), "the preset is kept")
        bridge.set("mix", 1.0)
        osc_client.send(osc.PresetRecall(bridge.session, "by osc"))
        eventually(lambda: bridge.get("mix") == 0.125, "the preset's mix")
        osc_client.send(osc.PresetDelete("by osc"))
        eventually(lambda: "by osc" not in names(), "the preset is gone")
        with pytest.raises(ServerRefused, match="no preset"):
            osc_client.request(osc.PresetRecall(bridge.session, "by osc"), osc.PresetsReply)
