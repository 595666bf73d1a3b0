"""What `rtserver live` shows: on a terminal a picture that is redrawn, elsewhere a line now and then."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from rtserver.live.controls import KEYS, Controls
from rtserver.tuner import note_name

FLOOR_DB = -60.0
WIDTH = 40
XRUNS = ("input_overflows", "input_underflows", "output_underflows", "output_overflows")


def decibels(level: float | None) -> float:
    """dB of full scale, -120 for silence."""
    return 20.0 * math.log10(level) if level and level > 1e-6 else -120.0


def meter(rms: float | None, peak: float | None) -> Text:
    """A bar from -60 dB to 0: full up to the mean level, a mark at the peak, red in the last 6 dB."""
    full = _cells(decibels(rms))
    top = _cells(decibels(peak))
    text = Text()
    for cell in range(WIDTH):
        db = FLOOR_DB * (1.0 - (cell + 1) / WIDTH)
        style = "red" if db > -6.0 else "yellow" if db > -18.0 else "green"
        if cell < full:
            text.append("█", style)
        elif cell == top - 1:
            text.append("▏", style)
        else:
            text.append("·", "dim")
    return text.append(f" {decibels(peak):6.1f} dB" if decibels(peak) > -119 else "   silent")


def _cells(db: float) -> int:
    return round(WIDTH * max(0.0, min(1.0, 1.0 - db / FLOOR_DB)))


def misses(state: dict[str, Any]) -> str:
    causes = ", ".join(f"{cause} {count}" for cause, count in (state.get("misses_by_cause") or {}).items())
    return f"{state.get('misses', 0):,} of {state.get('blocks', 0):,} blocks" + (f" ({causes})" if causes else "")


def xruns(state: dict[str, Any]) -> str:
    counts = {name: state.get(name, 0) for name in XRUNS}
    told = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items() if count)
    return told or "0"


def latency(state: dict[str, Any]) -> str:
    """Declared, in parts, and what the driver measured."""
    told = state.get("latency")
    if not told:
        return "-"
    parts = [f"input {told['input']:.1f}"] if told["input"] is not None else []
    session = told["session"]
    parts += [
        f"{part} {session[part]:.1f}" for part in ("block", "resampling", "lookahead", "hop", "margin") if session[part]
    ]
    if told["between_devices"]:
        parts.append(f"between devices {told['between_devices']:.1f}")
    parts += [f"output {told['output']:.1f}"] if told["output"] is not None else []
    declared = "-" if told["declared"] is None else f"{told['declared']:.1f} ms"
    measured = "" if told["measured"] is None else f", measured {told['measured']:.1f} ms"
    return f"{declared}{measured} = {' + '.join(parts)}"


def headline(state: dict[str, Any]) -> tuple[str, str]:
    """The state in a few words, and its colour."""
    if state.get("state") != "playing":
        return f"{state.get('state', 'starting')}: {state.get('why') or ''}", "bold yellow"
    if state.get("server") == "away":
        return "the server is away: playing dry", "bold yellow"
    if state.get("guard_gain_db", 0.0) <= -50.0:
        return "HOWL caught: turned down", "bold red"
    if state.get("muted"):
        pair = "; microphone and speakers are the built-in pair, use headphones" if state.get("built_in_pair") else ""
        return f"MUTED (m to be heard{pair})", "bold yellow"
    return "ON AIR", "bold green"


def picture(state: dict[str, Any], controls: Controls, midi: str | None) -> Group:
    """The whole screen."""
    words, style = headline(state)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", justify="right")
    grid.add_column(overflow="fold")
    grid.add_row("", Text(words, style))
    grid.add_row("instrument", _instruments(controls))
    grid.add_row("in", meter(state.get("input_rms"), state.get("input_peak")))
    grid.add_row("out", meter(state.get("output_rms"), state.get("output_peak")))
    pitch = state.get("pitch_hz")
    grid.add_row("pitch", f"{note_name(pitch)} cents, {pitch:.0f} Hz" if pitch else "-")
    grid.add_row("latency", latency(state))
    grid.add_row("misses", misses(state))
    grid.add_row("xruns", xruns(state))
    drift = state.get("drift")
    if drift:
        grid.add_row("clocks", f"{drift['ppm']:+.0f} ppm, {drift['skips']} skips, {drift['starved']} gaps")
    values = state.get("parameters") or {}
    grid.add_row("settings", "  ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in values.items()))
    guards = (
        [f"limiter {decibels(state.get('limiter_gain')):.1f} dB"] if (state.get("limiter_gain") or 1) < 0.98 else []
    )
    guards += [f"guard {state['guard_gain_db']:.0f} dB"] if state.get("guard_gain_db") else []
    guards += [f"{state['howls']} howls caught"] if state.get("howls") else []
    guards += [f"recording {state['recording']}"] if state.get("recording") else []
    guards += [f"MIDI {midi}"] if midi else []
    grid.add_row("", Text("  ".join(guards), "magenta"))
    grid.add_row("devices", f"{state.get('input')} to {state.get('output')}, {state.get('rate_hz')} Hz")
    keys = Text("  ".join(f"{key} {what}" for key, what in KEYS), "dim")
    return Group(grid, Text(controls.said, "bold cyan"), keys)


def _instruments(controls: Controls) -> Text:
    text = Text()
    for index, instrument in enumerate(controls.instruments):
        text.append(f"{index + 1} {instrument.name}", "bold reverse" if index == controls.current else "")
        text.append("  ")
    return text


def line(state: dict[str, Any], controls: Controls) -> str:
    """The same in one line."""
    words, _ = headline(state)
    name = controls.instruments[controls.current].name if controls.instruments else "-"
    pitch = f"{state['pitch_hz']:.0f} Hz" if state.get("pitch_hz") else "-"
    declared = (state.get("latency") or {}).get("declared")
    levels = f"in {decibels(state.get('input_peak')):.0f} dB, out {decibels(state.get('output_peak')):.0f} dB"
    counts = f"misses {misses(state)}; xruns {xruns(state)}"
    return f"{words}; {name}; {levels}, pitch {pitch}; latency {declared} ms; {counts}"
