"""MIDI messages to a performer's actions. Transport-independent: tests hand messages in without any port."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

from rtserver.live.controls import Controls
from rtserver.midi import mapping as maps
from rtserver.midi.mapping import LEARNABLE, Mapping
from rtserver.midi.ports import Port

ALL_SOUND_OFF, RESET_ALL_CONTROLLERS, ALL_NOTES_OFF = 120, 121, 123
SILENCING = (ALL_SOUND_OFF, RESET_ALL_CONTROLLERS, ALL_NOTES_OFF)
DOWN = 64


class Interpreter:
    """What each message does to `controls`, and the learning of controllers."""

    def __init__(self, mapping: Mapping, controls: Controls, keep_in: Path) -> None:
        self.mapping = mapping
        self._controls = controls
        self._keep_in = keep_in
        self._learning: int | None = None  # place in LEARNABLE
        self._positions: dict[int, int] = {}

    def receive(self, message: Any) -> None:
        """A mido message. What means nothing here is ignored."""
        if message.type == "reset":
            self._controls.panic()
            return
        channel = getattr(message, "channel", None)
        if self.mapping.channel is not None and channel not in (None, self.mapping.channel):
            return
        if message.type == "control_change":
            self._control(message.control, message.value)
        elif message.type == "program_change":
            self._program(message.program)
        elif message.type == "note_on" and message.velocity > 0 and message.note in self.mapping.notes:
            self._named(self.mapping.notes[message.note])

    def _control(self, number: int, position: int) -> None:
        before, self._positions[number] = self._positions.get(number, 0), position
        if number in SILENCING:
            self._controls.panic()
            return
        if self._learning is not None:
            self._teach(number)
            return
        control = self.mapping.controls.get(number)
        if control is None:
            return
        if control.target not in maps.ACTIONS:
            self._controls.set(control.target, control.value(position))
        elif control.target == "mute":  # a pedal or switch: as it stands
            self._controls.mute(position >= DOWN)
        elif position >= DOWN > before:
            self._named(control.target)

    def _program(self, number: int) -> None:
        if not self.mapping.programs:
            self._controls.select(number)
            return
        chosen = self.mapping.programs.get(number)
        if isinstance(chosen, int):
            self._controls.select(chosen)
        elif chosen is not None:
            self._named(chosen)

    def _named(self, name: str) -> None:
        """Do an action, or play an instrument."""
        match name:
            case "panic":
                self._controls.panic()
            case "mute":
                self._controls.mute()
            case "next":
                self._controls.step(1)
            case "previous":
                self._controls.step(-1)
            case "record":
                self._controls.record()
            case _:
                places = [i for i, instrument in enumerate(self._controls.instruments) if instrument.name == name]
                if places:
                    self._controls.select(places[0])
                else:
                    self._controls.say(f"MIDI wants {name}, which is not loaded")

    def learn(self) -> str:
        """Teach the next controller that moves; each call goes on to the next parameter, then ends. In words."""
        self._learning = 0 if self._learning is None else self._learning + 1
        if self._learning == len(LEARNABLE):
            self._learning = None
            return "learning ended"
        return f"move a controller for {LEARNABLE[self._learning].replace('_', ' ')}; l: for the next"

    def _teach(self, number: int) -> None:
        assert self._learning is not None
        target = LEARNABLE[self._learning]
        self._learning = None
        self.mapping = self.mapping.with_control(number, target)
        try:
            maps.save(self.mapping, self._keep_in)
            self._controls.say(f"controller {number} moves {target.replace('_', ' ')}, kept in {self._keep_in}")
        except OSError as error:
            self._controls.say(f"controller {number} moves {target.replace('_', ' ')}; not kept: {error.strerror}")


class MidiPlayer:
    """Context manager: a port and its interpreter, while it is open."""

    def __init__(self, port: str, mapping: Path | None, controls: Controls) -> None:
        self._controls = controls
        self._interpreter = Interpreter(maps.load(mapping), controls, mapping or maps.learned_file())
        self._port = Port(port, self._interpreter.receive)

    @property
    def words(self) -> str:
        return self._port.name

    def __enter__(self) -> MidiPlayer:
        self._controls.learn = self._interpreter.learn
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controls.learn = None
        self._port.close()
