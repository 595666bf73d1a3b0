"""pedalboard, minihost and dawdreamer: the demo melody comes out translated, at the latency that they were told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rtserver import model_file, pipeline
from rtserver.demo.clip import melody
from tests.hosts import python_hosts
from tests.hosts.bundles import LIE_FRAMES, Bundles
from tests.hosts.playing import Serve
from tests.hosts.signals import Floats, burst, delay_of, sine
from tests.server.harness import ROOT

pytestmark = pytest.mark.hosts
RATE, BLOCK = 48000, 256
HOSTS = [("pedalboard", "vst3"), ("dawdreamer", "vst3"), ("minihost", "vst3"), ("minihost", "lv2")]
COMPENSATES = ("pedalboard",)
BOUNCE = {"Bounce": 1.0}
Environment = Callable[[int], dict[str, str]]


def bundle(bundles: Bundles, kind: str) -> Path:
    return bundles.vst3 if kind == "vst3" else bundles.lv2


def aligned(host: str, y: Floats, latency: int, frames: int) -> Floats:
    """The output without its latency, as many frames as asked for."""
    return y[:frames] if host in COMPENSATES else y[latency : latency + frames]


@pytest.mark.parametrize("probe", ["loopback", "identity16k"])
@pytest.mark.parametrize(("host", "kind"), HOSTS)
def test_reported_is_measured(
    bundles: Bundles, lying_bundles: Bundles, serve: Serve, environment_for: Environment, tmp_path: Path,
    host: str, kind: str, probe: str,
) -> None:  # fmt: skip
    """And the build that lies is found out."""
    environment = environment_for(serve(probe).port)
    for rate, block in ((44100, 512), (48000, 256), (96000, 1024)):
        for lie, build in ((0, bundles), (LIE_FRAMES, lying_bundles)):
            x = burst(rate, rate)
            y, told = python_hosts.play(
                host, bundle(build, kind), x, tmp_path, rate=rate, block=block, environment=environment,
                parameters=BOUNCE,
            )  # fmt: skip
            delay, alike = delay_of(y, x)
            expected = lie if host in COMPENSATES else told["latency"] + lie
            print(f"{host} {told['version']} {kind} {probe} {rate} Hz: told {told['latency']}, delay {delay}")
            assert abs(delay - expected) <= (probe == "identity16k"), (rate, lie)
            assert alike > 0.99 and told["latency"] > block


@pytest.mark.parametrize("pack", ["tiny", "piano"])
@pytest.mark.parametrize(("host", "kind"), HOSTS)
def test_the_demo_melody_comes_out_as_rtserver_translates_it(
    bundles: Bundles, serve: Serve, environment_for: Environment, tiny_pack: Path, tmp_path: Path,
    host: str, kind: str, pack: str,
) -> None:  # fmt: skip
    """Twice, and every bit."""
    path = tiny_pack if pack == "tiny" else ROOT / "models/weights/piano.pt"
    tune = melody(RATE)[: 3 * RATE]
    wanted = pipeline.translate(model_file.load(path), tune, RATE, seed=0)
    assert np.std(wanted) > 1e-3
    x = np.repeat(np.concatenate([tune, np.zeros(RATE, np.float32)])[:, None], 2, axis=1)
    environment = environment_for(serve(path).port)
    for _ in range(2):
        y, told = python_hosts.play(
            host, bundle(bundles, kind), x, tmp_path, rate=RATE, block=BLOCK, environment=environment,
            parameters=BOUNCE,
        )  # fmt: skip
        heard = aligned(host, y, told["latency"], len(tune))
        assert np.array_equal(heard[:, 0], wanted) and np.array_equal(heard[:, 1], wanted)
    print(f"{host} {kind} {pack}: {len(x) / RATE / told['seconds']:.1f} times real time")


@pytest.mark.parametrize(("host", "kind"), [(host, kind) for host, kind in HOSTS if host != "dawdreamer"])
def test_a_session_comes_back_with_its_parameters(
    bundles: Bundles, serve: Serve, environment_for: Environment, tmp_path: Path, host: str, kind: str
) -> None:
    """Saved by the host with Output gain at its least, played by another process that only loads.

    dawdreamer loads state of plugins with an editor only.
    """
    environment = environment_for(serve("loopback").port)
    x = sine(RATE // 2, RATE)
    saved = tmp_path / "session"
    common = {"rate": RATE, "block": BLOCK, "environment": environment}
    plugin = bundle(bundles, kind)
    python_hosts.play(
        host, plugin, x, tmp_path, parameters={**BOUNCE, "Output gain": 0.0}, save_state=str(saved), **common
    )
    assert saved.stat().st_size > 0
    quiet, told = python_hosts.play(host, plugin, x, tmp_path, state=str(saved), **common)
    loud, _ = python_hosts.play(host, plugin, x, tmp_path, parameters=BOUNCE, **common)
    part = slice(told["latency"] + 2400, None)
    assert np.max(np.abs(loud[part])) > 0.4
    assert np.max(np.abs(quiet[part])) == pytest.approx(0.5 * 10 ** (-60 / 20), rel=0.05)


def test_minihost_streams_in_real_time(
    bundles: Bundles, serve: Serve, environment_for: Environment, tmp_path: Path
) -> None:
    """Blocks at the pace of a sound card, silence where one is missed: what is heard came through the server."""
    x = np.random.default_rng(6).uniform(-0.5, 0.5, (2 * RATE, 2)).astype(np.float32)
    y, told = python_hosts.play(
        "minihost", bundles.vst3, x, tmp_path, rate=RATE, block=512,
        environment=environment_for(serve("loopback").port), parameters={"Margin": 1.0, "Fallback": 1.0}, realtime=True,
    )  # fmt: skip
    latency = told["latency"]
    heard = (y[latency:] == x[:-latency]).all(axis=1)
    assert heard.mean() > 0.5, f"{100 * heard.mean():.0f} % of the frames"
