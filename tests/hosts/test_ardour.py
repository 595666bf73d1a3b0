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
from tests.hosts.playing import Connection, Serve
from tests.hosts.signals import Floats, delay_of

pytestmark = [pytest.mark.hosts, pytest.mark.timeout(900)]
RATE = 48000
PIANO = Path(__file__).resolve().parents[2] / "models" / "weights" / "piano.pt"
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


def share_of_dry(y: Floats, x: Floats) -> float:
    """Of the frames of a recording those that are the input's, bit for bit; Ardour fades in and places it roughly."""
    lag, _ = delay_of(y, x)
    a = x[max(0, -lag) : len(y) - lag]
    return float(np.mean(np.all(y[max(0, lag) :][: len(a)] == a[: len(y) - max(0, lag)], axis=1)))


@pytest.mark.parametrize("kind", KINDS)
def test_of_sixteen_with_a_real_model_as_many_play_as_fit(
    bundles: Bundles, serve: Serve, environment_for: Environment, tmp_path: Path, kind: str
) -> None:
    """Live, those admitted play the translation, the others dry, and say that they were refused. Offline all play.

    Who is refused asks again, and may get in while the others are recorded, when it is seen that there is room.
    """
    server = serve(PIANO)
    tune = melody(RATE)[: 6 * RATE]
    x = np.repeat(tune[:, None], 2, axis=1)
    made = session(tmp_path, bundles, kind, environment_for(server.port), instances=16)
    ardour.put_audio(made, x)

    blocks = 6 * RATE // 1024
    heard = ardour.play(made, seconds=6)
    playing = [track for track in heard if track.first == Connection.CONNECTED]
    later = [track for track in heard if track.first != Connection.CONNECTED == track.connection]
    refused = [track for track in heard if track.connection == Connection.REFUSED]
    capacity = server.status()["capacity"]
    dry = [share_of_dry(track.y, x) for track in playing]
    print(
        f"Ardour {kind}: {len(playing)} of 16 play, {len(later)} more were let in meanwhile; at most"
        f" {max(t.misses for t in playing)} misses in {blocks} blocks, {100 * max(dry):.1f} % dry; {capacity}"
    )
    assert len(playing) + len(later) + len(refused) == 16 and playing
    assert all(track.connection == Connection.CONNECTED for track in playing), "who was admitted stays"
    for track, share in zip(playing, dry, strict=True):
        assert np.max(np.abs(track.y)) > 0.01 and share < 0.25
    for track in refused:
        assert share_of_dry(track.y, x) > 0.95
    if not refused and not later:
        assert capacity["refused"] == 0, "this machine carries them all"

    y = ardour.export(made)[: len(x), 0]
    wanted = pipeline.translate(model_file.load(PIANO), tune, RATE, seed=0)
    assert np.allclose(y, x[:, 0] + 16 * wanted, rtol=0, atol=1e-4)
