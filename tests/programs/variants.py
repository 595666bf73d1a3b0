"""Every build of a C++ program that `make test` drives, and the fixtures that ask for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.programs.build import PROGRAMS, ROOT, Build

PLUGIN = ROOT / "plugin_bridge/plugin"
FORMAT_HEADERS = Path("/usr/share/dpf/distrho/src/clap/entry.h")
LIE_FRAMES = 100
ARM_COMPILER = shutil.which("aarch64-linux-gnu-g++")
BUNDLES = "bundles"
MINGW = shutil.which("x86_64-w64-mingw32-g++-posix") or shutil.which("x86_64-w64-mingw32-g++")
QUICK = ("-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1 -g1")


def clap_headers() -> Path | None:
    """Folder of CLAP's own headers (entry.h): RTSERVER_CLAP_HEADERS, a DPF of the system, or one that CMake fetched."""
    named = os.environ.get("RTSERVER_CLAP_HEADERS")
    places = [Path(named)] if named else []
    places += [FORMAT_HEADERS.parent, Path("/usr/include/clap"), Path("/usr/local/include/clap")]
    places += sorted((ROOT / "build").glob("**/distrho/src/clap")) if (ROOT / "build").is_dir() else []
    return next((place for place in places if (place / "entry.h").is_file()), None)


def clap_host(*options: str, variant: str = "clap-host") -> Build:
    """The CLAP host, and faulty.clap beside it, in the build's folder."""
    return Build("all", PROGRAMS / variant, (f"-DCLAP_HEADERS={clap_headers()}", *options), ROOT / "tests/hosts/clap")


def decoder(variant: str, *options: str) -> Build:
    """The engine's decoder without Python."""
    return Build("decoder_program", PROGRAMS / variant, options)


def session(target: str, races: bool = False) -> Build:
    """What drives sessions without Python; `races`: under the thread sanitizer."""
    folder, options = ("session-thread", ("-DTHREAD_SANITIZER=ON",)) if races else ("session", ())
    return Build(target, PROGRAMS / folder, options, ROOT / "tests/programs/session")


def plugin_program(variant: str, *options: str) -> Build:
    """What drives a plugin without a host."""
    options = ("-DRTPLUGIN_FORMATS=OFF", "-DRTPLUGIN_PROGRAM=ON", *options)
    return Build("plugin_program", PROGRAMS / variant, options, PLUGIN)


def sanitized_plugin_program(kind: str) -> Build:
    """kind: as after -fsanitize=."""
    return plugin_program(f"plugin-{kind.split(',', maxsplit=1)[0]}", f"-DRTPLUGIN_SANITIZE={kind}", *QUICK)


def plugin_bundles(variant: str, *options: str, target: str = "all") -> Build:
    """The plugin in the formats of hosts, in the build's folder BUNDLES."""
    folder = PROGRAMS / variant
    return Build(target, folder, ("-DRTPLUGIN_FORMATS=ON", f"-DRTPLUGIN_OUTPUT={folder / BUNDLES}", *options), PLUGIN)


SANITIZED_DECODER = decoder("sanitized", "-DSANITIZE=ON")
ARM_DECODER = decoder(
    "aarch64",
    "-DCMAKE_SYSTEM_NAME=Linux",
    "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
    f"-DCMAKE_CXX_COMPILER={ARM_COMPILER}",
    "-DCMAKE_EXE_LINKER_FLAGS=-static",
)
EMULATED_GPU = Build("rtcuda_emulated", PROGRAMS / "cuda")
PLUGIN_BUNDLES = plugin_bundles("plugin", "-DRTPLUGIN_PROGRAM=ON")
# From the objects of the bundles, where these can be built.
PLUGIN_PROGRAM = (
    PLUGIN_BUNDLES._replace(target="plugin_program") if FORMAT_HEADERS.exists() else plugin_program("plugin-program")
)
WINDOWS_BUNDLES = plugin_bundles(
    "plugin-windows",
    f"-DCMAKE_TOOLCHAIN_FILE={PLUGIN}/mingw.cmake",
    "-DCMAKE_BUILD_TYPE=None",
    "-DCMAKE_CXX_FLAGS=-O0",
)
LIAR = plugin_bundles("plugin-liar", f"-DRTPLUGIN_LATENCY_LIE_FRAMES={LIE_FRAMES}", *QUICK, target="rtplugin_clap")

BY_FIXTURE: dict[str, tuple[Build, ...]] = {
    "remote_program": (session("remote_program", races=True),),
    "emulated_library": (EMULATED_GPU,),
    "sanitized_decoder": (SANITIZED_DECODER,),
    "arm_decoder": (ARM_DECODER,) if ARM_COMPILER else (),
    "bridge_program": (session("bridge_program"),),
    "bridge_program_watched": (session("bridge_program", races=True),),
    "ensemble_program": (session("ensemble_program"), session("ensemble_program", races=True)),
    "plugin_program": (PLUGIN_PROGRAM,),
    "sanitized_program": (sanitized_plugin_program("address,undefined"),),
    "clap_program": (clap_host(),) if FORMAT_HEADERS.exists() else (),
    "bundles": (PLUGIN_BUNDLES,) if FORMAT_HEADERS.exists() and not os.environ.get("RTSERVER_PLUGIN") else (),
    "windows_bundles": (WINDOWS_BUNDLES,) if FORMAT_HEADERS.exists() and MINGW else (),
    "lying_bundles": (LIAR,) if FORMAT_HEADERS.exists() else (),
}
