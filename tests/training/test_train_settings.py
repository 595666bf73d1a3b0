"""A configuration that is wrong says which field, before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from training import settings
from training.corpus.settings import CorpusSettings
from training.loop import confusion_weight, learning_rate
from training.settings import Settings, TrainSettings

CONFIGS = Path(settings.__file__).parent / "configs"
WRONG = [
    ("batch = 4", 'batch = "four"', TypeError, r"train\.batch: expected a whole number, found 'four'"),
    ("batch = 4", "batch = 0", ValueError, r"train\.batch: expected more than 0, found 0"),
    ("batch = 4", 'batch = 4\nencoder = "thawed"', ValueError, r'train\.encoder: expected "train" or "frozen"'),
    ("batch = 4", 'batch = 4\nencoder = "frozen"', ValueError, r"train\.start: expected a pack or checkpoint"),
    ("batch = 4", 'batch = 4\nteacher = "a.pt"', ValueError, r'train\.encoder: expected "frozen", so that the teacher'),
    (
        "batch = 4",
        "batch = 4\nteacher_guidance = { piano = 1 }",
        ValueError,
        r"teacher_guidance: expected none without",
    ),
    ("latent_dropout = 0.1", "latent_dropout = 1.5", ValueError, r"train\.latent_dropout: expected between 0 and 1"),
    ("violin = 0.3 }", "oboe = 0.3 }", ValueError, r"train\.timbre_lags_ms: expected an entry for the domain oboe"),
    ("steps = 7000", 'steps = 7000\nlisten = ["voice"]', ValueError, "listen and listen_batch: expected both"),
    ("layers = 9, channels = 32", "layers = -9, channels = 32", TypeError, r"model\.encoder\.layers: expected a whole"),
    (
        'preset = "live"',
        'preset = "alive"',
        ValueError,
        r"model\.preset: expected one of paper, live, constant_q, found 'alive'",
    ),
    ('name = "melodies"', "", ValueError, r"corpus\.name: missing"),
    ("[train]", "[trains]", ValueError, r"\[train\] is missing"),
]


@pytest.mark.parametrize(("right", "wrong", "kind", "message"), WRONG, ids=[w[1][:24] for w in WRONG])
def test_settings_name_the_field(right: str, wrong: str, kind: type[Exception], message: str, tmp_path: Path) -> None:
    text = (CONFIGS / "live_cpu.toml").read_text()
    assert right in text
    path = tmp_path / "bad.toml"
    path.write_text(text.replace(right, wrong, 1))
    with pytest.raises(kind, match=message):
        Settings.read(path)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda p: p.stem)
def test_every_configuration_can_be_read(path: Path) -> None:
    settings = Settings.read(path)
    assert settings.name == path.stem and settings.corpus == CorpusSettings.read(path)


def test_schedules() -> None:
    train = TrainSettings(
        domains={"a": 1.0},
        timbre_lags_ms={"a": 0.0},
        learning_rate=1.0,
        final_learning_rate=0.1,
        steps=1000,
        learning_rate_warmup_steps=10,
        confusion_weight=0.5,
        confusion_from_step=100,
        confusion_warmup_steps=50,
    )
    assert learning_rate(train, 0) == pytest.approx(0.1) and learning_rate(train, 9) > 0.99
    assert learning_rate(train, 500) == pytest.approx(0.55, abs=1e-3)
    assert learning_rate(train, 1000) == learning_rate(train, 5000) == pytest.approx(0.1)
    assert confusion_weight(train, 99) == 0.0
    assert confusion_weight(train, 124) == pytest.approx(0.25)
    assert confusion_weight(train, 149) == confusion_weight(train, 900) == 0.5
