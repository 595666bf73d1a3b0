"""Builds the plugin for the tests: as it is, with sanitizers, or lying about its latency."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIE_FRAMES = 100
VARIANTS = {
    "plain": (),
    "liar": (f"-DRTPLUGIN_LATENCY_LIE_FRAMES={LIE_FRAMES}",),
    "sanitized": ("-DRTPLUGIN_SANITIZE=ON", "-DCMAKE_BUILD_TYPE=RelWithDebInfo"),
}


@dataclass(frozen=True)
class Bundles:
    folder: Path
    clap_id: str = "rtserver.bridge"
    clap_mono_id: str = "rtserver.bridge.mono"
    lv2_uri: str = "urn:rtserver:bridge"
    vst3_name: str = "rtserver"

    @property
    def clap(self) -> Path:
        return self.folder / "rtserver.clap"

    @property
    def vst3(self) -> Path:
        return self.folder / "rtserver.vst3"

    @property
    def lv2(self) -> Path:
        return self.folder / "rtserver.lv2"


def build(variant: str, *targets: str) -> Bundles:
    """The three bundles, or some targets of CMake's, up to date; the plain ones in build/plugin, as by `make plugin`.

    RTSERVER_PLUGIN names a folder of plain ones that are to be tested as they are, installed ones for example.
    """
    ready = os.environ.get("RTSERVER_PLUGIN")
    if variant == "plain" and ready:
        return Bundles(Path(ready))
    folder = ROOT / "build" / ("plugin" if variant == "plain" else f"plugin-{variant}")
    # CMake and Ninja come with the project's environment, which need not be in the path.
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}

    def run(*command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"

    if not (folder / "work" / "CMakeCache.txt").exists():
        options = [f"-DRTPLUGIN_OUTPUT={folder}", *VARIANTS[variant]]
        run("cmake", "-S", str(ROOT / "plugin_bridge/plugin"), "-B", str(folder / "work"), "-GNinja", *options)
    wanted = ["--target", *targets] if targets else []
    run("cmake", "--build", str(folder / "work"), "--parallel", "2", *wanted)
    return Bundles(folder)
