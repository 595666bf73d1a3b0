"""The compact form travels in small files and is refused when damaged; a run starts from a pack or a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rtserver import model_file
from tests.training.conftest import MODEL, with_train
from training import checkpoint, train
from training.export import part
from training.settings import Settings


def test_compact_checkpoint_restarts_warm(tiny: Settings, tmp_path: Path) -> None:
    trainer = train.Trainer(tiny)
    for _ in range(3):
        trainer.train_step()
    folder = tmp_path / "compact"
    files = checkpoint.write_compact(folder, trainer.state(), MODEL, part_bytes=9_000)
    parts = sorted(folder.glob("compact-*.pt"))
    assert len(parts) == files - 1 > 2
    read = checkpoint.read(folder)
    assert read["step"] == 3
    for name, value in trainer.average.items():
        # bfloat16 keeps 8 bits of the mantissa, the hidden one included
        torch.testing.assert_close(read["average"][name], value, rtol=2**-8, atol=0.0)
    warm = train.Trainer(tiny)
    warm.load(folder)
    assert warm.step == 3 and not warm.optimizer.state
    warm.train_step()
    assert checkpoint.write_compact(folder, warm.state(), MODEL) == 2 and not parts[1].exists()


def test_a_damaged_part_is_refused(tiny: Settings, tmp_path: Path) -> None:
    checkpoint.write_compact(tmp_path, train.Trainer(tiny).state(), MODEL, part_bytes=9_000)
    second = tmp_path / "compact-001.pt"
    data = bytearray(second.read_bytes())
    data[len(data) // 2] ^= 1
    second.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"compact-001\.pt: damaged"):
        checkpoint.read(tmp_path)
    second.unlink()
    with pytest.raises(ValueError, match=r"compact-001\.pt: missing"):
        checkpoint.read(tmp_path)


def test_new_decoders_start_from_a_pack(tiny: Settings, tmp_path: Path) -> None:
    state = train.Trainer(with_train(tiny, seed=5)).network.state_dict()
    pack = tmp_path / "base.pt"
    model_file.save(pack, MODEL, part(state, "encoder."), {"a": part(state, "decoders.a.")})
    settings = with_train(
        tiny, domains={"b": 1.0}, encoder="frozen", start=str(pack), start_decoders={"b": "a"}, latent_dropout=0.0
    )
    trainer = train.Trainer(settings)
    encoder = part(trainer.network.state_dict(), "encoder.")
    for name, value in part(state, "encoder.").items():
        assert (encoder[name] == value).all()
    for name, value in part(state, "decoders.a.").items():
        assert (part(trainer.network.state_dict(), "decoders.b.")[name] == value).all()
    losses = [trainer.train_step()[1].reconstruction for _ in range(40)]
    assert sum(losses[-10:]) < sum(losses[:10]) - 1.0, "the decoder learns"
    after = part(trainer.network.state_dict(), "encoder.")
    assert all((after[name] == value).all() for name, value in encoder.items()), "the encoder does not"
    with pytest.raises(ValueError, match="no decoder 'c'"):
        train.Trainer(with_train(settings, start_decoders={"b": "c"}))


def test_another_runs_checkpoint_is_refused(tiny: Settings, tmp_path: Path) -> None:
    train.Trainer(tiny).save(tmp_path / "checkpoint.pt")
    other = train.Trainer(with_train(tiny, domains={"a": 0.5, "b": 0.5}))
    with pytest.raises(ValueError, match=r"decoders\.b\..* is not in the checkpoint"):
        other.load(tmp_path / "checkpoint.pt")
    torch.save({"weights": 3}, tmp_path / "else.pt")
    with pytest.raises(ValueError, match="not a checkpoint"):
        other.load(tmp_path / "else.pt")


def test_a_run_leaves_log_picture_and_checkpoint(tiny: Settings, tmp_path: Path) -> None:
    settings = with_train(tiny, steps=6, checkpoint_steps=4, listen=("b",), listen_batch=2)
    assert train.run(settings, tmp_path, minutes=0.0, quiet=True).step == 1
    with open(tmp_path / "log.jsonl", "a", encoding="utf-8") as log:
        log.write('{"step": 2, "decoder": "a", "reconstruction": 9.0}\n')  # of a step that no checkpoint saw
    assert train.run(settings, tmp_path, quiet=True).step == 6
    rows = train.read_log(tmp_path / "log.jsonl")
    assert [r["step"] for r in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[1]["reconstruction"] < 9.0
    for key in ("reconstruction", "domain", "note", "accuracy", "chance", "gradient", "seconds"):
        assert all(key in r for r in rows), key
    assert (tmp_path / "loss.png").stat().st_size > 5000
