"""Builds the plugin for the tests: as it is, with sanitizers, or lying about its latency."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tests.programs.build import Build, build
from tests.programs.variants import BUNDLES, LIAR, LIE_FRAMES, PLUGIN_BUNDLES, plugin_bundles

__all__ = ["LIAR", "LIE_FRAMES", "SANITIZED", "Bundles", "built", "plain"]

SANITIZED = plugin_bundles("plugin-sanitized", "-DRTPLUGIN_SANITIZE=ON", "-DCMAKE_BUILD_TYPE=RelWithDebInfo")


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


def built(wanted: Build) -> Bundles:
    """The three bundles, or some of them, up to date."""
    build(wanted)
    return Bundles(wanted.folder / BUNDLES)


def plain() -> Bundles:
    """The plugin as it is, or the one in the folder that RTSERVER_PLUGIN names: an installed one for example."""
    ready = os.environ.get("RTSERVER_PLUGIN")
    return Bundles(Path(ready)) if ready else built(PLUGIN_BUNDLES)
