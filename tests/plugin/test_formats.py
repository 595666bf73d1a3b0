"""The three formats as files: what hosts look for is in them, LV2's data are sound, and Windows compiles too."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs.build import build
from tests.programs.variants import BUNDLES, FORMAT_HEADERS, MINGW, PLUGIN_BUNDLES, WINDOWS_BUNDLES

LINE = re.compile(r'lv2:index (\d+) ;\s+lv2:symbol "(\w+)"')

pytestmark = pytest.mark.skipif(not FORMAT_HEADERS.exists(), reason="needs the formats' headers: package dpf-source")


@pytest.fixture(scope="module")
def bundles() -> Path:
    """A folder like the one that `make plugin` fills."""
    return build(PLUGIN_BUNDLES) / BUNDLES


@pytest.fixture(scope="module")
def windows_bundles() -> Path:
    if not MINGW:
        pytest.skip("needs the compiler of package g++-mingw-w64-x86-64-posix")
    return build(WINDOWS_BUNDLES) / BUNDLES


@pytest.mark.skipif(sys.platform != "linux", reason="names of Linux")
def test_hosts_find_their_entry_and_nothing_else(bundles):
    for binary, entries in (
        ("rtserver.clap", {"clap_entry"}),
        ("rtserver.lv2/rtserver.so", {"lv2_descriptor"}),
        ("rtserver.vst3/Contents/x86_64-linux/rtserver.so", {"GetPluginFactory", "ModuleEntry", "ModuleExit"}),
    ):
        command = ["nm", "-D", "--defined-only", bundles / binary]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        names = {line.split()[-1] for line in listed.splitlines()}
        # Templates of the standard library are weak and may show; a name of ours that does could meet another plugin's.
        assert {name for name in names if not name.startswith("_ZNS") and not name.startswith("_ZS")} == entries
        library = ctypes.CDLL(str(bundles / binary))
        for entry in entries:
            assert getattr(library, entry)


def test_lv2_data_are_valid(bundles):
    if not shutil.which("lv2_validate") or not shutil.which("sord_validate"):
        pytest.skip("needs lv2_validate: packages lv2-dev and sordi")
    files = sorted((bundles / "rtserver.lv2").glob("*.ttl"))
    assert [path.name for path in files] == ["manifest.ttl", "rtserver.ttl"]
    checked = subprocess.run(["lv2_validate", *files], capture_output=True, text=True, check=False)
    assert checked.returncode == 0 and "Found 0 errors" in checked.stdout, checked.stdout + checked.stderr


def test_lv2_ports_are_numbered_without_a_gap(bundles):
    text = (bundles / "rtserver.lv2/rtserver.ttl").read_text()
    stereo, mono = text.split("<urn:rtserver:bridge:mono>")
    for part, audio in ((stereo, 5), (mono, 3)):
        ports = LINE.findall(part)
        assert [int(index) for index, _ in ports] == list(range(audio + 18))
        assert len({symbol for _, symbol in ports}) == len(ports)


def test_windows_compiles(windows_bundles):
    for name in ("rtserver.clap", "rtserver.lv2/rtserver.dll", "rtserver.vst3/Contents/x86_64-win/rtserver.vst3"):
        assert (windows_bundles / name).read_bytes().startswith(b"MZ")
