"""The plugin computes a latency before any server answers: to the frame what the server computes."""

from __future__ import annotations

import itertools

from rtserver import latency
from tests.server.harness import free_port

RATES = (8000, 16000, 22050, 44100, 48000, 96000, 192000, 384000)
DELAYS = ((160, 0), (320, 511), (800, 3072))


def test_parts_are_those_of_the_server(plugin_of):
    plugin = plugin_of(free_port())
    for rate_hz, block, (hop, lookahead) in itertools.product(RATES, (1, 128, 4096), DELAYS):
        for margin, jitter in (("live", 0.0), ("studio", 20.0), (33.3, 7.7)):
            expected = latency.compute(rate_hz, block, hop, lookahead, margin, jitter_ms=jitter).to_dict()
            ms = latency.margin_ms(margin)
            assert plugin.numbers(f"latency_of {rate_hz} {block} {hop} {lookahead} 0 {ms} {jitter}") == expected


def test_probes(plugin_of):
    plugin = plugin_of(free_port())
    for rate_hz in RATES:
        for probe, delay in (("loopback", "0 0 1"), ("identity16k", "160 0 0")):
            expected = latency.compute(rate_hz, 256, 0, 0, probe=probe).to_dict()
            assert plugin.numbers(f"latency_of {rate_hz} 256 {delay} 5 0") == expected
