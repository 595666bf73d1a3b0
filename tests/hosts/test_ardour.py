"""Ardour, without a window, LV2 and VST3: dry and wet tracks line up to the sample, bounces are the translation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rtserver import model_file, pipeline
from rtserver.demo.clip import melody
from tests.hosts import ardour
from tests.hosts.bundles import LIE_FRAMES, Bundles
from tests.hosts.playing import Serve
from tests.hosts.signals import Floats, delay_of

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(900)]
RATE = 48000
KINDS = ("LV2", "VST3")
Environment = Callable[[int], dict[str, str]]


def exact(frames: int, seed: int = 0) -> Floats:
    """Noise whose sums are exact in float32: 13 bits, [frames, 2], with silence at its end."""
    x = np.random.default_rng(seed).integers(-4096, 4096, (frames, 2)) / 32768
    x[-frames // 4 :] = 0
    return x.astype(np.float32)


def session(
    folder: Path, bundles: Bundles, kind: str, environment: dict[str, str], **options: object
) -> ardour.Session:
    bundle, identity = (bundles.lv2, bundles.lv2_uri) if kind == "LV2" else (bundles.vst3, bundles.vst3_name)
    return ardour.build(folder, bundle, kind, identity, environment=environment, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [44100, 48000, 96000])
@pytest.mark.parametrize("kind", KINDS)
def test_dry_and_wet_line_up_to_the_sample(
    bundles: Bundles, serve: Serve, environment_for: Environment, tmp_path: Path, kind: str, rate: int
) -> None:
    """loopback plays what it hears: dry + wet is twice the input, every bit."""
    made = session(tmp_path, bundles, kind, environment_for(serve("loopback").port), rate=rate)
    assert made.latency["wet1"] > 1024
    x = exact(rate)
    ardour.put_audio(made, x)
    y = ardour.export(made)
    assert np.array_equal(y[: len(x)], 2 * x)
    print(f"Ardour {kind} {rate} Hz: latency {made.latency['wet1']}, dry + wet = 2 x input")


@pytest.mark.parametrize("kind", KINDS)
def test_a_build_that_lies_is_caught(
    lying_bundles: Bundles, serve: Serve, environment_for: Environment, tmp_path: Path, kind: str
) -> None:
    made = session(tmp_path, lying_bundles, kind, environment_for(serve("loopback").port))
    x = exact(RATE)
    ardour.put_audio(made, x)
    y = ardour.export(made)
    assert not np.array_equal(y[: len(x)], 2 * x)
    wet = y[: len(x)] - x
    assert delay_of(wet, x)[0] == LIE_FRAMES


@pytest.mark.parametrize("kind", KINDS)
def test_identity16k_lines_up_too(
    bundles: Bundles, serve: Serve, environment_for: Environment, tmp_path: Path, kind: str
) -> None:
    made = session(tmp_path, bundles, kind, environment_for(serve("identity16k").port))
    x = np.repeat(melody(RATE)[:RATE, None], 2, axis=1)
    ardour.put_audio(made, x)
    wet = ardour.export(made)[: len(x)] - x
    delay, alike = delay_of(wet, x)
    assert abs(delay) <= 1 and alike > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_export_twice_is_the_translation(
    bundles: Bundles, serve: Serve, environment_for: Environment, tiny_pack: Path, tmp_path: Path, kind: str
) -> None:
    """The export says offline (LV2's freewheel port, VST3's process mode), so every block is waited for."""
    tune = melody(RATE)[: 2 * RATE]
    x = np.repeat(tune[:, None], 2, axis=1)
    made = session(tmp_path, bundles, kind, environment_for(serve(tiny_pack).port))
    ardour.put_audio(made, x)
    first, second = ardour.export(made, "first"), ardour.export(made, "second")
    assert np.array_equal(first, second)
    wanted = pipeline.translate(model_file.load(tiny_pack), tune, RATE, seed=0)
    assert np.array_equal(first[: len(x), 0], x[:, 0] + wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_sixteen_instances_are_aligned_each_and_all(
    bundles: Bundles, serve: Serve, environment_for: Environment, tmp_path: Path, kind: str
) -> None:
    made = session(tmp_path, bundles, kind, environment_for(serve("loopback").port), instances=16)
    assert len(made.latency) == 16 and len(set(made.latency.values())) == 1
    x = exact(2 * RATE)
    ardour.put_audio(made, x)
    y = ardour.export(made)
    assert np.array_equal(y[: len(x)], 17 * x)
