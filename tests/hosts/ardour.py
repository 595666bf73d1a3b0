"""Ardour without a window: builds a session in its Lua interpreter, puts audio into it, and exports it.

The session has a track "dry" and tracks "wet1" and so on with a plugin each; all play the same audio, and the master
bus adds them up. Ardour delays every track by what the slowest one reports, and the export starts at the first frame.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

SCRIPT = Path(__file__).with_name("drivers") / "ardour_session.lua"
LIVE = SCRIPT.with_name("ardour_live.lua")
SUPERCLOCKS_PER_SECOND = 282240000  # Ardour 7's unit of time
SCANNER = Path("/usr/lib/ardour7/ardour-vst3-scanner")
# One export in ten of Ardour 7.3's tool ends in its own destructor (PortExportChannel: "double free or corruption"),
# with other plugins just as often. Valgrind finds nothing of the plugin's.
EXPORTS = 4
CORRUPTION = re.compile(r"double free or corruption|invalid pointer|corrupted")
Floats = npt.NDArray[np.float32]


def require() -> None:
    """Skip the test where Ardour isn't installed."""
    if not (shutil.which("ardour7-lua") and shutil.which("ardour7-export")):
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
    told = _run(["ardour7-lua", str(SCRIPT), *map(str, words)], session.environment) or ""
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


def export(session: Session, name: str = "export") -> Floats:
    """The sum of all tracks, [frames, 2]."""
    target = session.folder.parent / f"{name}.wav"
    command = ["ardour7-export", "-b", "float", "-o", str(target), str(session.folder), session.name]
    for left in reversed(range(EXPORTS)):
        target.unlink(missing_ok=True)
        if _run(command, session.environment, may_abort=left > 0) is not None:
            break
    y, rate = soundfile.read(target, dtype="float32", always_2d=True)
    assert rate == session.rate
    return np.asarray(y)


@dataclass
class Heard:
    """What came out of a track while Ardour played, and what its plugin told at the end."""

    y: Floats  # [frames, 2]
    connection: int
    misses: int


def play(session: Session, seconds: int, block: int = 1024) -> list[Heard]:
    """Play the session in real time, as many seconds; each track with a plugin, in order."""
    instances = len(session.latency)
    words = [session.folder, session.name, session.rate, block, instances, seconds]
    told = _run(["ardour7-lua", str(LIVE), *map(str, words)], session.environment) or ""
    assert "played" in told.splitlines(), told
    said = {tuple(line.split("\t")[:2]): line.split("\t")[2] for line in told.splitlines() if line.count("\t") == 2}
    audio = session.folder / "interchange" / session.name / "audiofiles"
    heard = []
    for i in range(1, instances + 1):
        sides = [soundfile.read(audio / f"Take1_rec{i}-1%{side}.wav", dtype="float32")[0] for side in "LR"]
        connection, misses = (int(float(said[what, f"wet{i}"])) for what in ("connection", "misses"))
        heard.append(Heard(np.stack(sides, 1), connection, misses))
    return heard


def _child(root: ElementTree.Element, name: str) -> ElementTree.Element:
    found = root.find(name)
    assert found is not None, f"the session has no {name}"
    return found


def _run(command: list[str], environment: dict[str, str], may_abort: bool = False) -> str | None:
    """What the program told; None if it may abort and did."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, env=environment)
    told = f"{done.stdout}\n{done.stderr}"
    if may_abort and done.returncode == -signal.SIGABRT and CORRUPTION.search(told):
        return None
    assert done.returncode == 0, f"{command[0]}: status {done.returncode}\n{told[-6000:]}"
    return told
