"""Two processes with half of a batch each learn what one learns with the whole."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.training.conftest import with_train
from training import train
from training.batches import domain_of_step, prepare
from training.settings import Settings

STEPS = 5
WORKER = """
import json, pickle, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from training.corpus import settings as module
from training.distributed import Group
from training.loop import Trainer
folder = Path(sys.argv[1])
module.CORPORA = folder
settings = pickle.loads((folder / "settings.pickle").read_bytes())
group = Group("cpu")
torch.manual_seed(group.rank)
trainer = Trainer(settings, "cpu", group)
if group.rank == 1:  # weights come from the first process, or this would show
    assert trainer.network.encoder.input.weight.isfinite().all()
rows = []
for _ in range(int(sys.argv[2])):
    domain, losses = trainer.train_step()
    rows.append([domain, losses.reconstruction, losses.domain, losses.note, losses.accuracy, losses.gradient])
assert group.any(group.rank == 1), "one process that wants to stop stops both"
total = float(sum(v.double().sum() for v in trainer.network.state_dict().values()))
(folder / f"rank{group.rank}.json").write_text(json.dumps({"rows": rows, "total": total}))
group.close()
"""


@pytest.fixture
def two_domains(tiny: Settings) -> Settings:
    return with_train(
        tiny,
        domains={"a": 0.5, "b": 0.5},
        history_noise=0.02,
        confusion_weight=0.1,
        latent_dropout=0.3,
        listen=("b",),
        listen_batch=1,
        learning_rate=1e-3,
    )


def test_two_processes_equal_one_with_the_doubled_batch(two_domains: Settings, tmp_path: Path) -> None:
    import pickle

    (tmp_path / "settings.pickle").write_bytes(pickle.dumps(two_domains))
    (tmp_path / "worker.py").write_text(WORKER)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    repository = Path(train.__file__).parents[1]
    processes = []
    for rank in range(2):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
        environment = {**os.environ, **place, "MASTER_PORT": str(port), "PYTHONPATH": str(repository)}
        command = [sys.executable, str(tmp_path / "worker.py"), str(tmp_path), str(STEPS)]
        processes.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    whole = train.Trainer(with_train(two_domains, batch=4, listen_batch=2))
    expected = [whole.train_step() for _ in range(STEPS)]
    for process in processes:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    found = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert found[0] == found[1], "both processes have the same weights and tell the same"
    assert [row[0] for row in found[0]["rows"]] == [domain for domain, _ in expected]
    assert len({domain for domain, _ in expected}) == 2
    for row, (_, losses) in zip(found[0]["rows"], expected, strict=True):
        figures = [losses.reconstruction, losses.domain, losses.note, losses.accuracy, losses.gradient]
        # float32 sums in another order; Adam's first steps divide by gradients that are small, which spreads it
        np.testing.assert_allclose(row[1:], figures, rtol=2e-4)


def test_ranks_prepare_the_halves_of_the_doubled_batch(two_domains: Settings) -> None:
    corpus = train.Trainer(two_domains).corpus
    doubled = with_train(two_domains, batch=4, listen_batch=2)
    for step in (0, 7):
        whole = prepare(doubled, corpus, step)
        first, second = (prepare(two_domains, corpus, step, rank) for rank in (0, 1))
        for name in ("target", "history", "noise_level", "noise_seed", "kept"):
            halves = np.concatenate([getattr(first, name), getattr(second, name)])
            np.testing.assert_array_equal(getattr(whole, name), halves, err_msg=name)
        for name in ("source", "shifts", "timbre", "notes"):  # what is only listened to comes after the batch
            one, other = getattr(first, name), getattr(second, name)
            halves = np.concatenate([one[:2], other[:2], one[2:], other[2:]])
            np.testing.assert_array_equal(getattr(whole, name), halves, err_msg=name)
        assert not np.array_equal(first.target, second.target)


def test_domains_take_turns_by_their_shares() -> None:
    shares = {"piano": 3.0, "organ": 1.0, "choir": 1.0}
    turns = [domain_of_step(shares, step) for step in range(500)]
    for name, share in shares.items():
        assert abs(turns.count(name) - 100 * share) <= 2
        gaps = np.diff([i for i, turn in enumerate(turns) if turn == name])
        assert gaps.max() <= 8, f"{name} never waits long"


def test_gradients_of_other_decoders_are_left_alone(two_domains: Settings) -> None:
    trainer = train.Trainer(two_domains)
    before = {n: v.clone() for n, v in trainer.network.state_dict().items()}
    domain, _ = trainer.train_step()
    other = "b" if domain == "a" else "a"
    after = trainer.network.state_dict()
    assert all(torch.equal(after[n], v) for n, v in before.items() if n.startswith(f"decoders.{other}."))
    assert not torch.equal(after[f"decoders.{domain}.logits.weight"], before[f"decoders.{domain}.logits.weight"])
    assert not torch.equal(after["encoder.input.weight"], before["encoder.input.weight"])
