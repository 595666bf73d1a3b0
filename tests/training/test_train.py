"""A tiny network learns from a tiny corpus, goes on from its checkpoint, and comes out as a pack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models import mu_law, prediction
from rtserver import model_file
from tests.training.conftest import MODEL, RECIPE, with_train
from training import batches, cpu_decoder, settings, train
from training.export import describe_corpus, part
from training.network import History, Teacher, TranslationNetwork, draw_codes
from training.settings import Settings
from training.temperature import sharpened

SHIPPED = Path(settings.__file__).parent / "configs" / "live_cpu.toml"


def test_loss_falls(tiny: Settings) -> None:
    trainer = train.Trainer(with_train(tiny, steps=200))
    losses = [trainer.train_step()[1].reconstruction for _ in range(200)]
    assert np.mean(losses[-20:]) < np.mean(losses[:10]) - 0.4


def test_training_resumes_bit_for_bit(tiny: Settings, tmp_path: Path) -> None:
    """Twelve steps straight are six, a checkpoint and six more: weights, averages, moments and every loss."""
    settings = with_train(
        tiny,
        domains={"a": 0.6, "b": 0.4},
        steps=12,
        history_noise=0.02,
        history_noise_least=0.001,
        history_fade_probability=0.5,
        history_ringing_probability=0.5,
        own_history=0.5,
        own_history_passes=2,
        own_history_temperature=0.8,
        own_stretches=0.5,
    )
    straight = train.Trainer(settings)
    expected = [straight.train_step() for _ in range(12)]
    assert {domain for domain, _ in expected} == {"a", "b"}
    half = train.Trainer(settings)
    found = [half.train_step() for _ in range(6)]
    half.save(tmp_path / "checkpoint.pt")
    torch.manual_seed(12345)  # what a new process finds in the global generators must not matter
    rest = train.Trainer(settings)
    rest.load(tmp_path / "checkpoint.pt")
    assert rest.step == 6
    torch.manual_seed(54321)
    found += [rest.train_step() for _ in range(6)]
    assert found == expected
    assert same_bits(straight.state(), rest.state())
    late = train.Trainer(settings)
    late.load(tmp_path / "checkpoint.pt")
    late.optimizer.state.clear()
    assert [late.train_step() for _ in range(6)] != expected[6:], "without its moments a run goes another way"


def test_codes_are_drawn_with_the_chances_that_the_decoder_gives() -> None:
    chances = torch.tensor([0.5, 0.0, 0.2, 0.3])
    uniform = torch.rand(1, 20000, generator=torch.Generator().manual_seed(0))
    drawn = draw_codes(chances.log()[None, :, None].expand(1, 4, 20000), uniform)
    found = torch.bincount(drawn[0], minlength=4) / 20000
    assert torch.allclose(found, chances, atol=0.015) and found[1] == 0  # three standard deviations: 0.011


def test_a_decoder_is_led_by_what_it_says_itself() -> None:
    """With all of the past its own, the loss is that of a past drawn beforehand; with none, that of the true one."""
    torch.manual_seed(0)
    network = TranslationNetwork(MODEL, ["a"], timbres=1).eval()
    target, latents = 0.3 * torch.randn(2, 1600), torch.randn(2, 4, 10)
    uniform, everywhere = torch.rand(2, 1600), torch.ones(2, 1600, dtype=torch.bool)

    def loss(**options: Any) -> torch.Tensor:
        with torch.no_grad():
            return network.reconstruction("a", latents, target, History(**options))

    assert torch.equal(loss(own=(uniform, ~everywhere)), loss())
    with torch.no_grad():
        past = mu_law.network_input(network.codes(target)).unsqueeze(1)
        said = draw_codes(network.decoders["a"](past, latents), uniform)
    led = loss(audio=mu_law.decode(said))
    assert torch.equal(loss(own=(uniform, everywhere)), led) and not torch.equal(led, loss())
    with torch.no_grad():
        said = draw_codes(network.decoders["a"](mu_law.network_input(said).unsqueeze(1), latents), uniform)
    twice = loss(audio=mu_law.decode(said))
    assert torch.equal(loss(own=(uniform, everywhere), own_passes=2), twice) and not torch.equal(twice, led)


@pytest.mark.parametrize("prediction_order", [0, 24])
def test_a_decoder_is_led_by_stretches_that_it_plays_alone(prediction_order: int) -> None:
    torch.manual_seed(0)
    config = replace(MODEL, decoder=replace(MODEL.decoder, prediction_order=prediction_order))
    network = TranslationNetwork(config, ["a"], timbres=1).eval()
    target, latents = 0.3 * torch.randn(2, 1600), torch.randn(2, 4, 10)
    uniform, own = torch.rand(2, 1600), torch.zeros(2, 1600, dtype=torch.bool)
    with torch.no_grad():
        plain = network.reconstruction("a", latents, target)
        assert torch.equal(network.reconstruction("a", latents, target, History(alone=(uniform, own))), plain)
        own[:, 400:600] = True
        said = cpu_decoder.say(network.decoders["a"], network.codes(target), latents, own, uniform, 0.7)
        assert torch.equal(said[~own], network.codes(target)[~own])
        led = network.reconstruction("a", latents, target, History(mu_law.decode(said)))
        found = network.reconstruction("a", latents, target, History(alone=(uniform, own), temperature=0.7))
    assert torch.equal(found, led) and torch.equal(found[:, :401], plain[:, :401])
    assert not torch.equal(found[:, 401:], plain[:, 401:])


def test_stretches_cover_what_they_are_to_and_are_the_same_every_time(tiny: Settings) -> None:
    trainer = train.Trainer(with_train(tiny, own_stretches=0.6))
    shares = []
    for step in range(40):
        batch = batches.prepare(trainer.settings, trainer.corpus, step)
        found = batches.own_stretches(batch, 0.6, torch.device("cpu"))
        again = batches.own_stretches(batch, 0.6, torch.device("cpu"))
        assert found is not None and again is not None and all(map(torch.equal, found, again))
        shares += found[1].float().mean(dim=1).tolist()
    assert np.mean(shares) > 0.15 and min(shares) < 0.1
    assert batches.own_stretches(batch, 0.0, torch.device("cpu")) is None


def test_a_decoder_with_a_prediction_is_taught_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is that of the code, whichever class stands for it, through the engine's pass and through PyTorch."""
    torch.manual_seed(0)
    config = replace(MODEL, decoder=replace(MODEL.decoder, residual_channels=16, skip_channels=16, prediction_order=24))
    network = TranslationNetwork(config, ["a"], timbres=1).eval()
    target, latents = 0.1 * torch.sin(torch.arange(1600) * torch.tensor([[0.1], [0.3]])), torch.randn(2, 4, 10)
    own = (torch.rand(2, 1600), torch.rand(2, 1600) < 0.5)
    with torch.no_grad():
        codes = network.codes(target)
        past = mu_law.network_input(codes)
        ahead = prediction.ahead(past, 24)
        of_classes = network.decoders["a"](past[:, None], latents, ahead[:, None]).log_softmax(dim=1)
        of_codes = of_classes.gather(1, prediction.classes_of(torch.arange(256)[None, :, None], ahead[:, None]))
        expected = -of_codes.gather(1, codes[:, None])[:, 0]
        torch.testing.assert_close(network.reconstruction("a", latents, target), expected, rtol=1e-4, atol=1e-4)
        assert expected[:, 400:].mean() < 4.0, "so little without any training"
        led = network.reconstruction("a", latents, target, History(own=own))
        monkeypatch.setattr(cpu_decoder, "usable", lambda *_: False)
        torch.testing.assert_close(network.reconstruction("a", latents, target), expected, rtol=1e-4, atol=1e-4)
        by_torch = network.reconstruction("a", latents, target, History(own=own))
    # a draw may round to the other side, and leads all that follow
    assert abs(float(by_torch.mean() - led.mean())) < 0.1 and float(led.mean()) > float(expected.mean())


@pytest.mark.parametrize("prediction_order", [0, 24])
@pytest.mark.parametrize("channels", [8, 16], ids=["by PyTorch", "by the engine"])
def test_a_guided_teacher_goes_beyond_what_it_says_without_its_latent(channels: int, prediction_order: int) -> None:
    torch.manual_seed(0)
    shape = {"residual_channels": channels, "skip_channels": channels, "prediction_order": prediction_order}
    network = TranslationNetwork(replace(MODEL, decoder=replace(MODEL.decoder, **shape)), ["a"], timbres=1).eval()
    target, latents, silent = 0.3 * torch.randn(2, 800), torch.randn(2, 4, 5), torch.zeros(2, 4, 5)
    with torch.no_grad():
        past = network.past("a", latents, target, History())
        ahead = prediction.ahead(past, prediction_order)[:, None] if prediction_order else None
        heard = network.decoders["a"](past[:, None], latents, ahead)
        unheard = network.decoders["a"](past[:, None], silent, ahead)
        expected = (heard + 0.5 * (heard - unheard)).softmax(dim=1)
        torch.testing.assert_close(
            Teacher(network, {"a": 0.5}).chances("a", past, latents), expected, rtol=1e-3, atol=1e-5
        )
        found = network.reconstruction("a", latents, target, warmup_samples=9, teacher=Teacher(network, {"a": 0.5}))
    cross_entropy = -(expected * heard.log_softmax(dim=1)).sum(dim=1)
    torch.testing.assert_close(found, cross_entropy[:, 9:], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, heard.softmax(dim=1), atol=1e-3)


def test_a_student_comes_to_say_what_its_teacher_says(tiny: Settings, tmp_path: Path) -> None:
    """A wider student, begun at random, with the teacher's encoder; and the run resumes bit for bit."""
    first = train.Trainer(with_train(tiny, steps=60))
    for _ in range(60):
        first.train_step()
    first.save(tmp_path / "teacher.pt")
    pack = str(tmp_path / "teacher.pt")
    wide = replace(tiny, model=replace(MODEL, decoder=replace(MODEL.decoder, residual_channels=16, skip_channels=16)))
    taught = with_train(
        wide, encoder="frozen", start=pack, teacher=pack, teacher_guidance={"a": 0.3}, own_stretches=0.5, steps=80
    )
    student = train.Trainer(taught)
    torch.nn.init.normal_(student.network.decoders["a"].logits.weight, std=0.3)
    losses = [student.train_step()[1].reconstruction for _ in range(40)]
    student.save(tmp_path / "half.pt")
    losses += [student.train_step()[1].reconstruction for _ in range(40)]
    assert np.mean(losses[-10:]) < np.mean(losses[:5]) - 0.3
    rest = train.Trainer(taught)
    rest.load(tmp_path / "half.pt")
    assert [rest.train_step()[1].reconstruction for _ in range(3)] == losses[40:43]
    assert not any("teacher" in name for name in student.state()["network"])


def test_a_teacher_must_understand_the_student(tiny: Settings, tmp_path: Path) -> None:
    train.Trainer(tiny).save(tmp_path / "one.pt")
    train.Trainer(with_train(tiny, seed=2)).save(tmp_path / "other.pt")
    taught = with_train(tiny, encoder="frozen", start=str(tmp_path / "one.pt"), teacher=str(tmp_path / "one.pt"))
    train.Trainer(taught)
    with pytest.raises(ValueError, match=r"other\.pt: expected a teacher with the encoder that `start` has"):
        train.Trainer(with_train(taught, teacher=str(tmp_path / "other.pt")))
    with pytest.raises(ValueError, match=r"one\.pt: expected a teacher with a decoder b"):
        train.Trainer(with_train(taught, domains={"a": 0.5, "b": 0.5}))
    with pytest.raises(FileNotFoundError, match=r"none\.pt: no pack or checkpoint there"):
        train.Trainer(with_train(taught, teacher=str(tmp_path / "none.pt")))
    predictive = replace(MODEL, decoder=replace(MODEL.decoder, prediction_order=24))
    with pytest.raises(ValueError, match="expected a teacher with prediction_order 24"):
        train.Trainer(replace(taught, model=predictive))


def same_bits(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_bits(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_bits, one, other))
    return bool(one == other)


def test_export_loads_as_a_pack(tiny: Settings, tmp_path: Path) -> None:
    trainer = train.Trainer(tiny)
    trainer.train_step()
    decoder = part(trainer.average, "decoders.a.")
    path = tmp_path / "tiny.pt"
    model_file.save(path, MODEL, part(trainer.average, "encoder."), {"a": sharpened(decoder, 0.5)}, half=True)
    loaded = model_file.load(path).decoders["a"]
    np.testing.assert_allclose(loaded["logits.bias"], decoder["logits.bias"] * 2, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(loaded["output.bias"], decoder["output.bias"], rtol=1e-3, atol=1e-6)


def test_a_card_tells_what_was_heard(tiny: Settings) -> None:
    told = describe_corpus(tiny.corpus)
    assert told["instruments"] == {"a": "additive", "b": "whistle"} and told["soundfonts"] == []
    assert set(told["hours"]) == {"a", "b"} and told["scores"] == sum(told["score_licences"].values())


def test_confusion_makes_the_classifier_worse(tiny: Settings) -> None:
    network = train.Trainer(tiny).network
    audio, timbre = torch.randn(2, 3200) * 0.1, torch.tensor([0, 1])
    notes = torch.zeros(2, 20, dtype=torch.long)
    parameters = list(network.encoder.parameters())
    before, _ = network.heads(network.encode(audio), timbre, notes)
    gradient = torch.autograd.grad(-RECIPE.confusion_weight * before, parameters)
    with torch.no_grad():
        for parameter, g in zip(parameters, gradient, strict=True):
            parameter.sub_(5.0 * g)
    after, _ = network.heads(network.encode(audio), timbre, notes)
    assert after > before


def test_a_faded_history_changes_what_the_decoder_is_taught_with_only(tiny: Settings) -> None:
    network = train.Trainer(tiny).network.eval()
    target = torch.rand(1, 1600) - 0.5
    latents = network.encode(target)
    as_it_is = network.reconstruction("a", latents, target)
    assert torch.equal(network.reconstruction("a", latents, target, History(target)), as_it_is)
    muted = network.reconstruction("a", latents, target, History(torch.zeros_like(target)))
    assert muted.shape == as_it_is.shape and not torch.equal(muted, as_it_is)


@pytest.mark.parametrize("kind", ["rounded", "published"])
def test_mu_law_round_trip(kind: mu_law.MuLawKind) -> None:
    codes = torch.arange(256)
    audio = mu_law.decode(codes, kind)
    if kind == "rounded":
        assert torch.equal(mu_law.encode(audio, kind), codes)
        assert audio[0] == -1.0 and audio[255] == 1.0
    else:
        assert audio[128] == 0.0 and (mu_law.encode(audio, kind) - codes).abs().max() <= 1
    noise = torch.rand(1000) * 2 - 1
    # The step between the two loudest codes is 0.0437: rounding is half of it off, the published kind up to two.
    largest = 0.022 if kind == "rounded" else 0.088
    assert (mu_law.decode(mu_law.encode(noise, kind), kind) - noise).abs().max() < largest


def test_settings_refuse_an_unknown_field(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(SHIPPED.read_text() + "\nfancy = 3\n")
    with pytest.raises(TypeError, match="fancy"):
        Settings.read(path)
    assert Settings.read(SHIPPED).model.encoder.causal
