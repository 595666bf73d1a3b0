"""Ardour without a window: builds a session in its Lua interpreter, puts audio into it, and exports it.

The session has a track "dry" and tracks "wet1" and so on with a plugin each; all play the same audio, and the master
bus adds them up. Ardour delays every track by what the slowest one reports, and the export starts at the first frame.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from tests.hosts import crashes

SCRIPT = Path(__file__).with_name("drivers") / "ardour_session.lua"
LIVE = SCRIPT.with_name("ardour_live.lua")
PATIENCE_SECONDS = 240.0
SUPERCLOCKS_PER_SECOND = 282240000  # Ardour 7's unit of time
SCANNER = Path("/usr/lib/ardour7/ardour-vst3-scanner")
EXPORT = SCRIPT.with_name("ardour_export.lua")
PRESET = "6d8f2f6a-1c0f-4a58-9d0c-3b1f6a0e7c11"  # written by `export`; its format is Ardour's "BWAV 32float"
PRESET_TEXT = f"""<?xml version="1.0" encoding="UTF-8"?>
<ExportPreset id="{PRESET}" name="float"><ExportFormat id="20b4ab09-6452-4cb3-bd66-b921cdbd2942"/>
<ExportFilename><Folder relative="true" path="/export"/><Field name="label" enabled="true"/></ExportFilename>
</ExportPreset>
"""
LUA = Path("/usr/lib/ardour7/luasession")  # what /usr/bin/ardour7-lua runs
EXPORTS = 3
# Ardour 7.3 damages its heap while it ends an export: without any plugin, 3 of 37 runs of its tool ended by a signal
# and one never ended, and 2 of 12 of a script that closes the session. So what has exported is ended before it tidies
# up; an export that crashes earlier is repeated only if the core shows that it did so in Ardour's own code for exports.
EXPORTING = re.compile(r"ARDOUR::\w*Export")
Floats = npt.NDArray[np.float32]


def require() -> None:
    """Skip the test where Ardour isn't installed."""
    if not shutil.which("ardour7-lua"):
        pytest.skip("Ardour 7 is not installed: apt-get install ardour")


@dataclass
class Session:
    folder: Path
    name: str
    rate: int
    latency: dict[str, int] = field(default_factory=dict)  # by track, as Ardour has it from the plugin
    parameters: dict[str, int] = field(default_factory=dict)  # numbers of the controls by name
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.ardour"


def build(
    folder: Path,
    bundle: Path,
    kind: str,  # LV2 or VST3
    identity: str,  # URI, or the VST3's name
    *,
    rate: int = 48000,
    block: int = 1024,
    instances: int = 1,
    parameters: dict[str, float] | None = None,
    environment: dict[str, str] | None = None,
) -> Session:
    """A session of empty tracks, saved; the plugins have been active for two seconds by then."""
    require()
    home = folder / "home"
    plugins = home / (".lv2" if kind == "LV2" else ".vst3")
    plugins.mkdir(parents=True)
    (plugins / bundle.name).symlink_to(bundle)
    session = Session(folder / "session", "session", rate)
    session.environment = {**os.environ, "HOME": str(home), **(environment or {})}
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "LV2_PATH", "VST3_PATH"):
        session.environment.pop(name, None)
    if kind == "VST3":
        scan = {**session.environment, "LD_LIBRARY_PATH": str(SCANNER.parent)}
        _run([str(SCANNER), "-f", str(plugins / bundle.name)], scan)
    wanted = [f"{name}={value}" for name, value in (parameters or {}).items()]
    words = [session.folder, session.name, rate, block, kind, identity, instances, *wanted]
    told = _run(["ardour7-lua", str(SCRIPT), *map(str, words)], session.environment)
    assert "saved" in told.splitlines(), told
    for line in told.splitlines():
        what, *rest = line.split("\t")
        if what == "latency":
            session.latency[rest[0]] = int(rest[1])
        elif what == "parameter":
            session.parameters[rest[0]] = int(rest[1])
    return session


def put_audio(session: Session, x: Floats) -> None:
    """Have every track play x, [frames, 2], from the session's start on; the session lasts as long."""
    tree = ElementTree.parse(session.file)
    root = tree.getroot()
    numbers = count(int(root.get("id-counter", "0")) + 1000)
    sources = []
    for channel, letter in enumerate("LR"):
        name = f"input%{letter}.wav"
        path = session.folder / "interchange" / session.name / "audiofiles" / name
        soundfile.write(path, x[:, channel], session.rate, subtype="FLOAT")
        sources.append(str(next(numbers)))
        attributes = {"name": name, "type": "audio", "flags": "", "id": sources[-1], "channel": "0", "origin": ""}
        ElementTree.SubElement(_child(root, "Sources"), "Source", {**attributes, "take-id": "", "gain": "1"})
    end = len(x) * SUPERCLOCKS_PER_SECOND // session.rate
    for playlist in _child(root, "Playlists"):
        region = {"name": "input", "type": "audio", "id": str(next(numbers)), "channels": "2", "start": "a0"}
        region |= {"length": f"a{end}@a0", "position": "a0", "layer": "0", "opaque": "0", "scale-amplitude": "1"}
        region |= {f"source-{channel}": source for channel, source in enumerate(sources)}
        region |= {f"master-source-{channel}": source for channel, source in enumerate(sources)}
        region |= dict.fromkeys(("fade-in-active", "fade-out-active", "envelope-active", "muted", "locked"), "0")
        ElementTree.SubElement(playlist, "Region", region)
    location = {"id": str(next(numbers)), "name": "session", "start": "a0", "end": f"a{end}", "flags": "IsSessionRange"}
    ElementTree.SubElement(_child(root, "Locations"), "Location", {**location, "locked": "0", "timestamp": "0"})
    root.set("session-range-is-free", "0")
    root.set("id-counter", str(next(numbers) + 1))
    tree.write(session.file, encoding="UTF-8", xml_declaration=True)


def export(session: Session, name: str = "export", block: int = 1024) -> Floats:
    """The sum of all tracks, [frames, 2]."""
    presets = Path(session.environment["HOME"], ".config", "ardour7", "export")
    presets.mkdir(parents=True, exist_ok=True)
    (presets / "float.preset").write_text(PRESET_TEXT)
    target = session.folder.parent / name
    words = [session.folder, session.name, block, target, PRESET]
    for left in reversed(range(EXPORTS)):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        crash = _crash(["ardour7-lua", str(EXPORT), *map(str, words)], session.environment, target)
        if not crash:
            break
        assert left and crashes.not_ours(crash, EXPORTING), f"the export crashed:\n{crash}"
    (file,) = target.glob("*.wav")
    y, rate = soundfile.read(file, dtype="float32", always_2d=True)
    assert rate == session.rate
    return np.asarray(y)


@dataclass
class Heard:
    """What came out of a track while Ardour played, and what its plugin told as that began and as it ended."""

    y: Floats  # [frames, 2]
    first: int  # connection as it began
    connection: int
    misses: int  # meanwhile


def play(session: Session, seconds: int, block: int = 1024) -> list[Heard]:
    """Play the session in real time, as many seconds; each track with a plugin, in order."""
    instances = len(session.latency)
    words = [session.folder, session.name, session.rate, block, instances, seconds]
    told = _run(["ardour7-lua", str(LIVE), *map(str, words)], session.environment)
    assert "played" in told.splitlines(), told
    said = {tuple(line.split("\t")[:2]): line.split("\t")[2] for line in told.splitlines() if line.count("\t") == 2}
    audio = session.folder / "interchange" / session.name / "audiofiles"
    heard = []
    for i in range(1, instances + 1):
        sides = [soundfile.read(audio / f"Take1_rec{i}-1%{side}.wav", dtype="float32")[0] for side in "LR"]
        told_of = {what: int(float(value)) for (what, track), value in said.items() if track == f"wet{i}"}
        misses = told_of["misses"] - told_of["first misses"]
        heard.append(Heard(np.stack(sides, 1), told_of["first connection"], told_of["connection"], misses))
    return heard


def _child(root: ElementTree.Element, name: str) -> ElementTree.Element:
    found = root.find(name)
    assert found is not None, f"the session has no {name}"
    return found


def _crash(command: list[str], environment: dict[str, str], folder: Path) -> str:
    """Run what prints "exported" and end it then; "", or what is known of its crash. folder: where it runs."""
    told = folder / "told"
    with (
        told.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=folder) as process,
    ):
        crashes.let_it_leave_a_core(process.pid)
        ends = time.monotonic() + PATIENCE_SECONDS
        while process.poll() is None and "exported" not in told.read_text().splitlines() and time.monotonic() < ends:
            time.sleep(0.05)
        status = process.poll()
        process.kill()
    assert status is None or status < 0, f"{command[0]}: status {status}\n{told.read_text()[-6000:]}"
    assert status is not None or time.monotonic() < ends, f"{command[0]}: no export\n{told.read_text()[-6000:]}"
    return "" if status is None else f"signal {-status}\n{told.read_text()[-2000:]}\n{crashes.stack(LUA, folder)}"


def _run(command: list[str], environment: dict[str, str]) -> str:
    """What the program told."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS, env=environment
    )
    told = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, f"{command[0]}: status {done.returncode}\n{told[-6000:]}"
    return told
