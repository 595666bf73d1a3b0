"""What int4, int8 and bf16 cost: the shipped packs on seconds that they never heard, and the arithmetic of comparisons.

`held_out.npz` holds int16 audio [segments, 16000] for each shipped decoder: seconds of test melodies in its timbre, at
several levels.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from rtserver import model_file, precision
from rtserver.model_file import Model
from rtserver.quantise import input_units
from tests.training.conftest import MODEL
from training import precisions
from training.evaluate.held_out import held_out_batches
from training.export import part
from training.network import TranslationNetwork
from training.settings import Settings

OTHERS = [name for name in precision.available() if name != "fp32"]
HELD_OUT = Path(__file__).parent / "held_out.npz"
WEIGHTS = Path(__file__).parents[2] / "models" / "weights"
SHIPPED = ("piano.pt", "piano_wavenet.pt")  # behind a filter bank, and on the waveform
DECODERS = [(pack, name) for pack in SHIPPED for name in ("piano", "violin")]
DECODERS += [("classical.pt", name) for name in ("harpsichord", "organ", "strings", "choir")]
WARMUP_SAMPLES = 512
BOUND_NATS = 0.01


def held_out(decoder: str) -> list[tuple[np.ndarray, np.ndarray]]:
    with np.load(HELD_OUT) as archive:
        audio = archive[decoder].astype(np.float32) / np.float32(32767)
    return [(segment, segment) for segment in audio]


@pytest.mark.parametrize(("pack", "decoder"), DECODERS)
def test_shipped_decoders_lose_less_than_a_hundredth_of_a_nat(pack: str, decoder: str) -> None:
    model = model_file.load(WEIGHTS / pack)
    losses = precisions.segment_losses(model, decoder, held_out(decoder), OTHERS, WARMUP_SAMPLES)
    assert 2.0 < losses["fp32"].mean() < 4.8, "a trained decoder, on music that it can follow"
    for name in set(losses) - {"fp32"}:
        difference = losses[name] - losses["fp32"]
        assert abs(difference.mean()) < BOUND_NATS, name
        assert (difference != 0.0).all(), f"{name} is another arithmetic than fp32"
    if "int8" in OTHERS:
        same = losses["int8"] == losses["int8_decoder_alone"]
        assert same.all() if model.config.encoder.front_end else not same.any(), "a waveform's encoder is int8, too"


def test_classical_is_the_piano_and_four_more() -> None:
    piano, classical = (model_file.load(WEIGHTS / pack) for pack in ("piano.pt", "classical.pt"))
    assert list(classical.decoders) == ["piano", "violin", "harpsichord", "organ", "strings", "choir"]
    assert classical.encoder_sha256 == piano.encoder_sha256, "a server runs one encoder for both"
    for name, weights in piano.decoders.items():
        assert all(np.array_equal(weights[key], array) for key, array in classical.decoders[name].items()), name


@pytest.mark.skipif("int8" not in OTHERS, reason="this engine has no int8 on this machine")
def test_wrong_ranges_would_be_noticed() -> None:
    """Ranges a twentieth of what a network needs: int8 clips, and the bound above is broken."""
    model = model_file.load(WEIGHTS / "piano_wavenet.pt")
    for kind, label in (("decoders", "int8_decoder_alone"), ("encoder", "int8")):
        ranges = {**model.calibration, kind: {k: v / 20 for k, v in model.calibration[kind].items()}}
        bad = replace(model, calibration=ranges)
        losses = precisions.segment_losses(bad, "piano", held_out("piano")[:2], ["int8"], WARMUP_SAMPLES)
        assert (losses[label] - losses["fp32"]).mean() > 2 * BOUND_NATS, kind


@pytest.mark.skipif("int4" not in OTHERS, reason="this engine has no int4 on this machine")
@pytest.mark.parametrize("pack", SHIPPED)
def test_coarser_codes_would_be_noticed(pack: str) -> None:
    """Weights rounded each for itself, to 11 levels about a row's greatest instead of 15, break the bound."""
    model = model_file.load(WEIGHTS / pack)
    made = precision.calibration_for(model, "int4")
    for decoder, codes in made["codes"].items():
        for i, ranges in enumerate(made["decoders"][decoder]):
            layer = {name: array[:, :, -1] for name, array in _matrices(model, decoder, i).items()}
            layer["now"] = layer["now"] * input_units(ranges) * 127.0
            for name, weight in layer.items():
                scale = np.abs(weight).max(axis=1) / 5.0
                codes[name][i] = np.rint(weight / scale[:, None])
                codes[f"{name}_scale"][i] = scale / 127.0
    losses = precisions.segment_losses(
        replace(model, calibration=made), "piano", held_out("piano"), ["int4"], WARMUP_SAMPLES
    )
    assert (losses["int4_decoder_alone"] - losses["fp32"]).mean() > BOUND_NATS


def _matrices(model: Model, decoder: str, layer: int) -> dict[str, np.ndarray]:
    """The weights [rows, R, taps] that have codes, by their names."""
    names = {"now": "dilated", "residual": "residual", "skip": "skip"}
    return {code: model.decoders[decoder][f"layers.{layer}.{name}.weight"] for code, name in names.items()}


def test_losses_are_cross_entropies() -> None:
    rng = np.random.default_rng(0)
    logits = (10.0 * rng.standard_normal((50, 256))).astype(np.float32)
    codes = rng.integers(0, 256, 50).astype(np.uint8)
    expected = F.cross_entropy(
        torch.from_numpy(logits).double(), torch.from_numpy(codes.astype(np.int64)), reduction="none"
    )
    np.testing.assert_allclose(precisions.code_losses(logits, codes), expected.numpy(), rtol=1e-12)


def test_paired_losses_take_the_music_out_of_the_noise() -> None:
    music = np.array([1.0, 5.0, 3.0, 2.0])
    rows = precisions.compare_losses({"fp32": music, "int8": music + np.array([0.1, 0.1, 0.1, 0.3])})
    assert rows["fp32"] == {"mean": 2.75, "standard_error": pytest.approx(0.85391)}
    assert rows["int8"]["difference"] == pytest.approx(0.15)
    assert rows["int8"]["difference_standard_error"] == pytest.approx(0.05)
    assert rows["int8"]["largest_difference"] == pytest.approx(0.3)


def test_noise_of_pitch_is_that_of_the_seeds() -> None:
    """Clips that are hard or easy in every seed add no noise."""
    same = np.array([[0.2, 0.2], [0.9, 0.9]])
    seeds = np.array([[0.1, 0.3], [0.9, 0.9]])
    rows = precisions.compare_pitch({"fp32": same, "int8": seeds})
    assert rows["fp32"] == {"mean": 0.55, "standard_error": 0.0}
    # the variance 0.02 of two seeds, in one of two clips
    assert rows["int8"]["standard_error"] == pytest.approx(np.sqrt(0.02 / 2) / 2, abs=1e-4)
    assert rows["int8"]["difference"] == 0.0
    assert rows["int8"]["difference_standard_error"] == rows["int8"]["standard_error"]


def test_decoders_are_compared_on_the_segments_of_the_held_out_loss(tiny: Settings, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = TranslationNetwork(MODEL, ["a"], 1).state_dict()
    path = tmp_path / "random.pt"
    model_file.save(path, MODEL, part(state, "encoder."), {"a": part(state, "decoders.a.")})
    model = model_file.load(path)
    batches = [own for own, _ in held_out_batches(tiny, "a", "train", 2)]
    segments = [(s, t) for own in batches for s, t in zip(own.source, own.target, strict=True)]
    float32 = [(s.astype(np.float32), t.astype(np.float32)) for s, t in segments]
    found = precisions.compare(model, {"a": float32}, {}, OTHERS, tiny.train.warmup_samples, seeds=2)
    json.dumps(found)
    assert found["a"]["segments"] == 4 and set(found["a"]["held_out_loss_nats"]) == {
        row.label for row in precisions.variants(OTHERS)
    }

    network = TranslationNetwork(MODEL, ["a"], 1).eval()
    network.load_state_dict(state)
    with torch.no_grad():
        losses = [
            network.reconstruction(
                "a",
                network.encode(torch.from_numpy(own.source).float()),
                torch.from_numpy(own.target).float(),
                warmup_samples=tiny.train.warmup_samples,
            ).mean()
            for own in batches
        ]
    assert found["a"]["held_out_loss_nats"]["fp32"]["mean"] == pytest.approx(float(np.mean(losses)), abs=1e-4)
