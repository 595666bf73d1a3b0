"""A new encoder learns the latents of a pack's, and nothing else of the network changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rtserver import model_file
from rtserver.model_config import ConstantQConfig, EncoderConfig
from tests.training.conftest import MODEL, with_train
from training import distil, train
from training.dataset import Corpus
from training.export import part
from training.network import TranslationNetwork
from training.settings import Settings

FRONT_END = ConstantQConfig(lowest_note=48, octaves=4, bins_per_octave=12, periods=12, window_samples=640)
STUDENT = replace(
    MODEL,
    emphasis=0.85,
    encoder=EncoderConfig(blocks=1, layers=2, channels=16, latent_channels=4, front_end=FRONT_END),
)


@pytest.fixture
def pack(tiny: Settings, tmp_path: Path) -> Path:
    """The tiny network with its first weights, as a pack: what it says depends on what it hears all the same."""
    torch.manual_seed(3)
    weights = TranslationNetwork(tiny.model, ["a"], timbres=2).state_dict()
    path = tmp_path / "teacher.pt"
    model_file.save(path, tiny.model, part(weights, "encoder."), {"a": part(weights, "decoders.a.")}, card={})
    return path


def test_the_new_encoder_comes_to_say_what_the_old_one_says(tiny: Settings, pack: Path) -> None:
    settings = replace(with_train(tiny, steps=120, timbre_probability=0.8), model=STUDENT)
    corpus = Corpus(settings.corpus.folder, "train", list(settings.train.timbre_lags_ms))
    network = distil.student(settings, pack)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    teacher = distil.Teacher(pack, corpus, settings)
    errors = [error for error, _ in distil.learn(network, teacher, corpus, settings, batch=4)]
    assert len(errors) == 120
    assert np.mean(errors[-20:]) < 0.5 * np.mean(errors[:5]), "a guess of the mean gives 1"
    changed = {k.partition(".")[0] for k, v in network.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"encoder", "note_probe"}


def test_decoders_are_the_teachers(tiny: Settings, pack: Path) -> None:
    network = distil.student(replace(tiny, model=STUDENT), pack)
    weights = model_file.load(pack).decoders["a"]
    for name, value in network.decoders["a"].state_dict().items():
        assert np.array_equal(value.numpy(), weights[name])


def test_a_pack_of_another_language_is_refused(tiny: Settings, pack: Path) -> None:
    other = replace(STUDENT, encoder=replace(STUDENT.encoder, latent_channels=5))
    corpus = Corpus(tiny.corpus.folder, "train", list(tiny.train.timbre_lags_ms))
    with pytest.raises(ValueError, match="latent_channels 5, found 4"):
        distil.Teacher(pack, corpus, replace(tiny, model=other))


def test_training_goes_on_from_what_was_written(tiny: Settings, pack: Path, tmp_path: Path) -> None:
    """The whole command's outcome is a `start` of a run behind a filter bank, which takes a step."""
    settings = replace(with_train(tiny, steps=2, listen=("b",), listen_batch=2, source_noise=0.01), model=STUDENT)
    network = distil.student(settings, pack)
    values = network.state_dict()
    distil.checkpoint.write(tmp_path / "encoder.pt", {"step": 0, "network": values, "average": values})
    trainer = train.Trainer(with_train(settings, start=str(tmp_path / "encoder.pt")))
    assert torch.equal(trainer.network.encoder.input.weight, network.encoder.input.weight)
    domain, losses = trainer.train_step()
    assert domain == "a" and np.isfinite(losses.reconstruction)
