"""What comes out of the plugin in real time: latency to the frame, and dry sound bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from tests.plugin.driver import connection
from tests.server.harness import free_port, noise

VARYING = [128, 1, 0, 77, 128, 13]


def delayed(frames: np.ndarray, by: int) -> np.ndarray:
    return np.concatenate([np.zeros_like(frames[:by]), frames[: len(frames) - by]])


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [44100, 48000, 96000])
def test_loopback_is_late_by_the_reported_latency(plugin_of, server, rate_hz, channels):
    plugin = plugin_of(server.port)
    late = plugin.activate(rate_hz, 128, channels)
    frames = noise(rate_hz // 2, channels)
    returned, counted = plugin.play(frames, VARYING)
    assert connection(plugin) == "connected"
    if counted["misses"] == 0:
        assert np.array_equal(returned, delayed(frames, late))
    else:  # a machine that others use too: the dry signal in its place, cross-faded to within rounding
        assert np.allclose(returned, delayed(frames, late), atol=1e-6)


@pytest.mark.parametrize("setting", [("bypass", 1), ("mix", 0)])
@pytest.mark.parametrize("channels", [1, 2])
def test_dry_is_aligned_bit_for_bit(plugin_of, server, setting, channels):
    plugin = plugin_of(server.port)
    plugin.set("instrument", 2)  # identity16k, whose sound is not its input's
    plugin.set(*setting)
    late = plugin.activate(48000, 256, channels)
    frames = noise(24000, channels)
    returned, _ = plugin.play(frames, [256, 3, 0, 100])
    assert np.array_equal(returned, delayed(frames, late))


def test_dry_is_aligned_bit_for_bit_without_a_server(plugin_of):
    plugin = plugin_of(free_port())
    late = plugin.activate(48000, 128, 2)
    frames = noise(24000, 2)
    returned, counted = plugin.play(frames, VARYING, pace=0)
    assert connection(plugin) == "no server"
    assert counted["failed"] == 0
    assert np.array_equal(returned, delayed(frames, late))


def test_silence_instead_of_dry(plugin_of):
    plugin = plugin_of(free_port())
    plugin.set("fallback", 1)
    plugin.activate(48000, 128, 1)
    returned, _ = plugin.play(noise(9600), [128], pace=0)
    assert not returned.any()


def test_a_longer_latency_asks_for_a_restart_and_comes_with_it(plugin_of, server):
    plugin = plugin_of(server.port)
    late = plugin.activate(48000, 128)
    plugin.set("margin", 2)
    plugin.begin(noise(24000), [128])
    plugin.finish()
    assert plugin.numbers("restart")["value"] == 1
    assert plugin.numbers("latency")["latency"] == late, "fixed while active"
    assert connection(plugin) == "connected", "and it plays on"
    assert plugin.activate(48000, 128) == late + 48 * 55
    assert plugin.numbers("restart")["value"] == 0


def test_another_instrument_with_a_longer_latency_needs_a_restart(plugin_of, server):
    plugin = plugin_of(server.port)
    late = plugin.activate(48000, 128, 1)
    plugin.set("instrument", 2)
    frames = noise(48000)
    returned, _ = plugin.play(frames, [128])
    assert connection(plugin) == "restart needed"
    assert np.allclose(returned, delayed(frames, late), atol=1e-6), "dry until then"
    assert plugin.activate(48000, 128, 1) > late
    assert connection(plugin) == "connected"


def test_absurd_activations_are_refused(plugin_of):
    plugin = plugin_of(free_port())
    for command in ("0 128 1", "nan 128 1", "7999 128 1", "500000 128 1", "48000 0 1", "48000 128 0", "48000 128 3"):
        with pytest.raises(Exception, match="latency"):
            plugin.ask(f"activate {command}")
    assert plugin.activate(48000, 100000, 2) > 16384, "what is longer is cut"
