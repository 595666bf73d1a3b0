"""jalv on JACK's dummy sound card, in real time: jack_iodelay finds the latency that the plugin reports."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts import jack
from tests.hosts.bundles import LIE_FRAMES, Bundles
from tests.hosts.playing import Serve
from tests.server.harness import eventually

pytestmark = pytest.mark.hosts
Environment = Callable[[int], dict[str, str]]


@pytest.mark.parametrize("lie", [0, LIE_FRAMES], ids=["plain", "liar"])
@pytest.mark.parametrize("probe", ["loopback", "identity16k"])
def test_the_delay_of_a_running_graph(
    bundles: Bundles, lying_bundles: Bundles, serve: Serve, environment_for: Environment, tmp_path: Path,
    probe: str, lie: int,
) -> None:  # fmt: skip
    used = lying_bundles if lie else bundles
    server = serve(probe)
    folder = tmp_path / "lv2"
    folder.mkdir()
    (folder / used.lv2.name).symlink_to(used.lv2)
    with jack.running(tmp_path, 48000, 256, LV2_PATH=str(folder), **environment_for(server.port)) as running:
        running.start("jalv", "-n", "plugin", used.lv2_uri)
        eventually(lambda: [p for p in running.ports() if p.startswith("plugin:")], "jalv's ports")
        ports = [p for p in running.ports() if p.startswith("plugin:")]
        source = next(p for p in ports if "out" in p.lower())
        target = next(p for p in ports if "in" in p.lower().removeprefix("plugin:"))
        (session,) = eventually(lambda: server.status()["sessions"], "a session")
        time.sleep(1)
        measured = running.roundtrip(target, source, 4)
        told = running.latencies(source)
    reported = session["latency_frames"]["reported"]
    print(f"jalv {probe}: reported {reported - lie}, measured {measured:.2f}, ports say {told}")
    assert measured == pytest.approx(reported, abs=1 if probe == "identity16k" else 0.01)
    assert reported - lie in told, "what jalv tells JACK is what the plugin tells jalv"
