"""MIDI to actions: the mapping file, learning, programs, panic; messages by hand and through a socket."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from rtserver.errors import UserError
from rtserver.live.controls import Controls, Instrument
from rtserver.midi import mapping as maps
from rtserver.midi.player import Interpreter, MidiPlayer
from tests.server.harness import eventually

mido = pytest.importorskip("mido")
pytest.importorskip("mido.sockets")


class Audio:
    """Stands for the audio process and notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.state: dict[str, Any] = {"muted": False, "parameters": {"mix": 1.0}}
        self.settings: dict[str, Any] = {}

    def do(self, what: str, **how: Any) -> None:
        self.told.append((what, how))


INSTRUMENTS = [Instrument("pack", "piano"), Instrument("pack", "violin"), Instrument("other", None)]


@pytest.fixture
def audio() -> Audio:
    return Audio()


@pytest.fixture
def controls(audio: Audio) -> Controls:
    return Controls(audio, INSTRUMENTS, 0, "takes")  # type: ignore[arg-type]


def interpreter(controls: Controls, keep_in: Path, table: dict[str, Any] | None = None) -> Interpreter:
    return Interpreter(maps.DEFAULT if table is None else maps.parse(table, "test"), controls, keep_in)


def control(number: int, value: int, channel: int = 0) -> Any:
    return mido.Message("control_change", control=number, value=value, channel=channel)


def test_controllers_move_parameters_over_their_range(audio: Audio, controls: Controls, tmp_path: Path) -> None:
    table = {"control": {"20": "gate_db", "21": {"parameter": "mix", "low": 1.0, "high": 0.5}}}
    midi = interpreter(controls, tmp_path / "m.toml", table)
    for number, value in ((20, 0), (20, 127), (21, 127), (22, 5)):
        midi.receive(control(number, value))
    assert audio.told == [
        ("set", {"name": "gate_db", "value": -90.0}),
        ("set", {"name": "gate_db", "value": 0.0}),
        ("set", {"name": "mix", "value": 0.5}),
    ]


@pytest.mark.parametrize(
    "message",
    [control(120, 0), control(121, 0), control(123, 0), control(123, 0, 9), mido.Message("reset")],
)
def test_notes_off_and_reset_are_panic(audio: Audio, controls: Controls, tmp_path: Path, message: Any) -> None:
    interpreter(controls, tmp_path / "m.toml").receive(message)
    assert audio.told == [("panic", {})]


def test_programs_play_instruments(audio: Audio, controls: Controls, tmp_path: Path) -> None:
    by_place = interpreter(controls, tmp_path / "m.toml")
    by_place.receive(mido.Message("program_change", program=1))
    by_place.receive(mido.Message("program_change", program=77))
    named = interpreter(controls, tmp_path / "m.toml", {"program": {"5": "other", "6": 0, "7": "harp"}})
    for program in (5, 6, 7, 8):
        named.receive(mido.Message("program_change", program=program))
    assert [how for _, how in audio.told] == [
        {"model": "pack", "decoder": "violin"},
        {"model": "other", "decoder": None},
        {"model": "pack", "decoder": "piano"},
    ]
    assert "harp" in controls.said


def test_switches_act_on_the_way_up_and_a_pedal_as_it_stands(audio: Audio, controls: Controls, tmp_path: Path) -> None:
    table = {"control": {"64": "mute", "65": "next"}, "note": {"36": "panic", "37": "violin"}, "channel": 3}
    midi = interpreter(controls, tmp_path / "m.toml", table)
    midi.receive(control(64, 127))  # another channel
    for message in (
        control(64, 127, 2),
        control(64, 0, 2),
        control(65, 127, 2),
        control(65, 127, 2),
        control(65, 0, 2),
    ):
        midi.receive(message)
    midi.receive(mido.Message("note_on", note=36, velocity=90, channel=2))
    midi.receive(mido.Message("note_on", note=36, velocity=0, channel=2))
    assert audio.told == [
        ("mute", {"on": True}),
        ("mute", {"on": False}),
        ("play", {"model": "pack", "decoder": "violin"}),
        ("panic", {}),
    ]


def test_a_controller_is_taught_and_kept(audio: Audio, controls: Controls, tmp_path: Path) -> None:
    kept = tmp_path / "folder" / "midi.toml"
    midi = interpreter(controls, kept)
    assert "mix" in midi.learn()
    assert "output gain" in midi.learn()
    midi.receive(control(33, 3))
    assert not audio.told, "a controller that is being taught moves nothing yet"
    midi.receive(control(33, 127))
    midi.receive(control(7, 127))  # what moved it before does no more
    assert audio.told == [("set", {"name": "output_gain_db", "value": 24.0})]
    assert maps.load(kept) == midi.mapping
    for _ in maps.LEARNABLE:
        midi.learn()
    assert midi.learn() == "learning ended"


@pytest.mark.parametrize(
    "text, words",
    [
        ("control = 3", "control must be a table"),
        ("[control]\n200 = 'mix'", "control 200 must be 0 to 127"),
        ("[control]\n2 = 'loudness'", "'loudness' can't be controlled; there is mix"),
        ("[control]\n2 = { parameter = 'mix', high = 3 }", "mix goes from 0 to 1"),
        ("[program]\n0 = 1.5", "program 1.5 must be"),
        ("channel = 0", "must be 1 to 16"),
        ("[cc]\n1 = 'mix'", "cc is unknown"),
        ("[control", "is not TOML"),
    ],
)
def test_a_wrong_file_is_told_in_words(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "map.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        maps.load(path)


def test_through_a_socket(audio: Audio, controls: Controls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RTSERVER_CONFIG", str(tmp_path))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with MidiPlayer(f"listen:{port}", None, controls) as midi:
        assert midi.words == f"TCP port {port}"
        with mido.sockets.connect("127.0.0.1", port) as sender:
            sender.send(control(1, 127))
            sender.send(mido.Message("program_change", program=1))
            sender.send(control(123, 0))
            eventually(lambda: len(audio.told) == 3, "three messages")
        assert [what for what, _ in audio.told] == ["set", "play", "panic"]
        with mido.sockets.connect("127.0.0.1", port) as sender:  # one that comes after the first has left
            sender.send(mido.Message("reset"))
            eventually(lambda: len(audio.told) == 4, "the second sender")
    with pytest.raises(UserError, match="listen:9080"):
        MidiPlayer("no such port anywhere", None, controls)


def test_a_keyboard_alone_can_do_everything(audio: Audio, controls: Controls) -> None:
    for key in ("m", " ", "n", "left", "3", "-", "up", "]", ">", "t", "d", "r", "r", "l", "x", "q"):
        controls.key(key)
    assert [what for what, _ in audio.told] == [
        "mute", "panic", "play", "play", "play", "set", "set", "set", "set", "set", "set", "record", "record",
    ]  # fmt: skip
    assert controls.quitting


def test_parameters_stay_in_their_range(audio: Audio, controls: Controls) -> None:
    controls.change("mix", 0.5)
    controls.set("gate_db", -200.0)
    assert [how["value"] for _, how in audio.told] == [1.0, -90.0]
