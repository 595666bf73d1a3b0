"""The latency that a host is told is the delay that is heard; a build that lies is caught by the same check."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hosts.bundles import LIE_FRAMES, Bundles
from tests.hosts.playing import Serve, Start, Variant, loaded, translated_delay

RATES = (44100, 48000, 96000)
BLOCKS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
WITHIN_FRAMES = {"loopback": 0, "identity16k": 1}


@pytest.mark.parametrize("probe", WITHIN_FRAMES)
@pytest.mark.parametrize("rate", RATES)
def test_reported_is_measured(
    start_clap: Start, bundles: Bundles, clap_program: Path, serve: Serve, rate: int, probe: str
) -> None:
    host = loaded(start_clap, (bundles, clap_program), serve(probe).port).create()
    for block in BLOCKS:
        reported, measured, alike = translated_delay(host, rate, block)
        print(f"{probe} {rate} Hz {block} frames: reported {reported}, measured {measured}")
        assert abs(measured - reported) <= WITHIN_FRAMES[probe], (block, reported, measured)
        assert alike > 0.99
    assert host.quit() == 0


@pytest.mark.parametrize("probe", WITHIN_FRAMES)
def test_blocks_that_vary_change_nothing(start_clap: Start, variant: Variant, serve: Serve, probe: str) -> None:
    host = loaded(start_clap, variant, serve(probe).port).create()
    reported, measured, alike = translated_delay(host, 48000, 512, (512, 1, 0, 37, 480, 511))
    assert abs(measured - reported) <= WITHIN_FRAMES[probe] and alike > 0.99
    assert host.quit() == 0


@pytest.mark.parametrize("probe", WITHIN_FRAMES)
def test_a_build_that_lies_is_caught(
    start_clap: Start, lying_bundles: Bundles, clap_program: Path, serve: Serve, probe: str
) -> None:
    host = loaded(start_clap, (lying_bundles, clap_program), serve(probe).port).create()
    reported, measured, _ = translated_delay(host, 48000, 256)
    assert abs(measured - reported - LIE_FRAMES) <= WITHIN_FRAMES[probe]
