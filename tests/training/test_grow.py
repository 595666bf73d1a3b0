"""A decoder that grows says at first what it said, and then learns with what is new."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.decoder import Decoder
from rtserver import model_file
from rtserver.model_config import DecoderConfig
from tests.training.conftest import MODEL, with_train
from training import train
from training.export import part
from training.grow import fits, grow
from training.settings import Settings

SMALL = DecoderConfig(blocks=2, layers=3, residual_channels=6, skip_channels=8)
LATENT, HOP = 4, 40


def logits(decoder: Decoder, seed: int = 3) -> torch.Tensor:
    torch.manual_seed(seed)
    with torch.no_grad():
        return decoder(torch.rand(2, 1, 5 * HOP) * 2 - 1, torch.randn(2, LATENT, 5))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"residual_channels": 9},
        {"skip_channels": 11},
        {"layers": 5},
        {"blocks": 3},
        {"blocks": 3, "layers": 4, "residual_channels": 16, "skip_channels": 24},
    ],
)
def test_it_sounds_as_before(changes: dict[str, int]) -> None:
    torch.manual_seed(1)
    small, large = Decoder(SMALL, LATENT, HOP), Decoder(replace(SMALL, **changes), LATENT, HOP)
    expected = logits(small)
    assert not changes or (logits(large) - expected).abs().max() > 0.01, "a fresh one says something else"
    grow(large, small.state_dict(), SMALL)
    # a few dozen additions in another order
    torch.testing.assert_close(logits(large), expected, rtol=1e-5, atol=1e-6)


def test_all_that_is_new_learns() -> None:
    torch.manual_seed(1)
    small = Decoder(SMALL, LATENT, HOP)
    large = Decoder(replace(SMALL, blocks=3, layers=4, residual_channels=16, skip_channels=24), LATENT, HOP)
    grow(large, small.state_dict(), SMALL)
    before = {name: value.clone() for name, value in large.state_dict().items()}
    optimizer = torch.optim.SGD(large.parameters(), lr=0.1)
    for step in range(6):  # outgoing weights of what is new first, then, through these, all else
        optimizer.zero_grad()
        said = large(torch.rand(2, 1, 5 * HOP) * 2 - 1, torch.randn(2, LATENT, 5))
        torch.nn.functional.cross_entropy(said, torch.full((2, 5 * HOP), 17 + step)).backward()
        optimizer.step()
    for name, value in large.state_dict().items():
        if name.startswith("layers.11.residual"):
            continue  # nothing hears the last layer's
        assert (value != before[name]).float().mean() > 0.9, name


def test_what_does_not_fit_is_refused() -> None:
    small = Decoder(SMALL, LATENT, HOP)
    narrow = replace(SMALL, residual_channels=4, blocks=5)
    assert not fits(SMALL, narrow)
    with pytest.raises(ValueError, match="every size has to be as large or larger"):
        grow(Decoder(narrow, LATENT, HOP), small.state_dict(), SMALL)
    with pytest.raises(ValueError, match="latent channels"):
        grow(Decoder(SMALL, LATENT + 1, HOP), small.state_dict(), SMALL)


def test_a_run_begins_with_a_smaller_pack(tiny: Settings, tmp_path: Path) -> None:
    state = train.Trainer(with_train(tiny, seed=5)).network.state_dict()
    pack = tmp_path / "small.pt"
    model_file.save(pack, MODEL, part(state, "encoder."), {"a": part(state, "decoders.a.")})
    larger = replace(MODEL, decoder=replace(MODEL.decoder, blocks=2, residual_channels=16, skip_channels=16))
    settings = with_train(replace(tiny, model=larger), encoder="frozen", start=str(pack), seed=6)
    trainer = train.Trainer(settings)
    old = Decoder(MODEL.decoder, MODEL.encoder.latent_channels, MODEL.encoder.hop_samples)
    old.load_state_dict({k: torch.from_numpy(v) for k, v in part(state, "decoders.a.").items()})
    past, latents = torch.rand(1, 1, 320) * 2 - 1, torch.randn(1, MODEL.encoder.latent_channels, 2)
    with torch.no_grad():
        torch.testing.assert_close(
            trainer.network.decoders["a"](past, latents), old(past, latents), rtol=1e-5, atol=1e-6
        )
    trainer.save(tmp_path / "checkpoint.pt")
    back = with_train(settings, start=str(tmp_path / "checkpoint.pt"))
    narrower = replace(back, model=MODEL)
    fresh = train.Trainer(narrower).network.state_dict()["decoders.a.layers.0.dilated.weight"]
    assert (fresh != state["decoders.a.layers.0.dilated.weight"]).any(), "it doesn't shrink: that decoder is new"
