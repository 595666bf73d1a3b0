"""A stretch on a rented machine: what it leaves is enough for the next one, and small enough to travel."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from training import carried, lease, train
from training.checkpoint import read_compact
from training.settings import Settings

CONFIG = """
[model]
preset = "live"
encoder = { blocks = 1, layers = 6, channels = 8, latent_channels = 4 }
decoder = { blocks = 1, layers = 6, residual_channels = 8, skip_channels = 8 }

[corpus]
name = "tiny"
instruments = { a = "additive", b = "whistle" }
score_domains = []
reels = {}

[train]
domains = { a = 1.0 }
timbre_lags_ms = { a = 0, b = 20 }
batch = 2
segment_seconds = 0.2
warmup_samples = 64
bfloat16 = false
average_decay = 0.5
"""


def test_the_next_stretch_goes_on(tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "render", lambda *_: 0.0)
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)

    def stretch(name: str, **changes: Any) -> tuple[Path, dict[str, Any]]:
        out = tmp_path / name / "out"
        values = {"config": config, "out": out, "resume": None, "start": None, "minutes": 5.0, "steps": 4}
        values |= {
            "corpus_minutes": 1.0,
            "workers": 1,
            "loaders": None,
            "run": tmp_path / name / "run",
            "device": "cpu",
        }
        return out, lease.stretch(argparse.Namespace(**{**values, **changes}))

    first, told = stretch("first")
    assert (told["first_step"], told["last_step"], told["resumed"]) == (0, 4, False)
    assert told["audio_seconds"] == pytest.approx(4 * 2 * 0.2) and told["audio_seconds_a_second"] > 0
    files = [p for p in first.iterdir() if p.is_file()]
    assert len(files) <= 8 and all(p.stat().st_size < 16_000_000 for p in files)
    assert json.loads((first / "figures.json").read_text()) == told
    second, told = stretch("second", resume=first, steps=6)
    assert (told["first_step"], told["last_step"], told["resumed"]) == (4, 6, True)
    assert set(told["losses"]["a"]) == {"before", "first", "last"}
    rows = train.read_log(tmp_path / "second" / "run" / "log.jsonl")
    assert [r["step"] for r in rows] == [1, 2, 3, 4, 5, 6]
    weights = [read_compact(out)["average"]["encoder.input.weight"] for out in (first, second)]
    assert not torch.equal(*weights) and torch.allclose(*weights, atol=0.05), "it went on from there"


def test_losses_beside_the_seam() -> None:
    rows = [{"step": n, "decoder": "a", "reconstruction": 5.0 if n <= 200 else 3.0} for n in range(1, 401)]
    rows[-1] = {"step": 400, "decoder": "b", "reconstruction": 1.0}
    assert lease.losses_of(rows, 200) == {
        "a": {"before": 5.0, "first": 3.0, "last": 3.0},
        "b": {"first": 1.0, "last": 1.0},
    }


def test_without_a_corpus_or_its_tools_it_says_what_to_carry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "missing_for_rendering", lambda: ["soxr", "fluidsynth"])
    with pytest.raises(SystemExit, match=r"soxr, fluidsynth missing.*training\.carried"):
        lease.render(tmp_path / "c.toml", tmp_path / "nowhere", 1, 1.0)
    assert lease.render(tmp_path / "c.toml", tmp_path, 1, 1.0) == 0.0, "a corpus that is there will do"


def test_the_c_library_stays_at_home() -> None:
    for name in ("libc.so.6", "libm.so.6", "libpthread.so.0", "ld-linux-x86-64.so.2"):
        assert carried.OF_THE_MACHINE.match(name)
    for name in ("libcap.so.2", "libmd.so.0", "libfluidsynth.so.3"):
        assert not carried.OF_THE_MACHINE.match(name)
