"""Imported music-translation checkpoints compute what the published network does.

The reference here is written from the description of that network in plain numpy, one sample of one channel axis at a
time, on the tensor names of the official checkpoints; it shares no code with `models`.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path, PosixPath
from typing import Any

import numpy as np
import pytest
import torch

from models import mu_law
from models.decoder import Decoder
from models.encoder import Encoder
from rtserver import cli, model_file

SMALL = {
    **{"encoder_blocks": 2, "encoder_layers": 4, "encoder_channels": 12, "latent_d": 6, "encoder_func": "relu"},
    **{"encoder_pool": 80, "blocks": 2, "layers": 5, "residual_channels": 10, "skip_channels": 14, "kernel_size": 2},
    **{"expName": "musicnet", "lr": 1e-3, "distributed": True, "grad_clip": None, "data_aug": True},
}
State = dict[str, torch.Tensor]


def rows(**shapes: tuple[int, ...]) -> State:
    """Random weight and bias of each convolution; `__` stands for a dot."""
    state: State = {}
    for name, shape in shapes.items():
        bound = 1 / np.sqrt(np.prod(shape[1:]))
        state[name.replace("__", ".") + ".weight"] = torch.empty(shape).uniform_(-bound, bound)
        state[name.replace("__", ".") + ".bias"] = torch.empty(shape[0]).uniform_(-bound, bound)
    return state


def encoder_state(a: Namespace) -> State:
    c = a.encoder_channels
    state = rows(start=(c, 1, 3), conv_1x1=(a.latent_d, c, 1))
    for i in range(a.encoder_blocks * a.encoder_layers):
        state |= rows(**{f"dilated_convs__{i}__dilated_conv": (c, c, 3), f"dilated_convs__{i}__conv_1x1": (c, c, 1)})
    return state


def decoder_state(a: Namespace) -> State:
    r, s, z = a.residual_channels, a.skip_channels, a.latent_d
    state = rows(first_conv=(r, 1, 2), skip_conv=(s, r, 1), fc=(s, s, 1), condition=(s, z, 1), logits=(256, s, 1))
    for i in range(a.blocks * a.layers):
        layer = {"causal": (2 * r, r, 2), "condition": (2 * r, z, 1), "residual": (r, r, 1), "skip": (s, r, 1)}
        state |= rows(**{f"layers__{i}__{name}": shape for name, shape in layer.items()})
    return state


def experiment(folder: Path, *, legacy: bool = False, domains: int = 2, **changes: Any) -> Namespace:
    """Write an experiment's folder as the official train.py does, of either age of PyTorch."""
    torch.manual_seed(4)
    args = Namespace(**{**SMALL, **changes})
    args.data = [PosixPath("musicnet/preprocessed") / name for name in ("Bach_Solo_Cello", "Beethoven_Solo_Piano")]
    folder.mkdir(parents=True, exist_ok=True)
    encoder = encoder_state(args)
    torch.save([args, 37], folder / "args.pth", _use_new_zipfile_serialization=not legacy)
    for rank in range(domains):
        state = {
            "encoder_state": encoder,
            "decoder_state": decoder_state(args),
            "discriminator_state": rows(convs__0=(100, args.latent_d, 1)),
            "model_optimizer_state": {"state": {0: {"step": 5, "exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1}]},
            "dataset": rank,
            "d_optimizer_state": {},
        }
        torch.save(state, folder / f"lastmodel_{rank}.pth", _use_new_zipfile_serialization=not legacy)
    return args


# --- the reference ------------------------------------------------------------------------------------------------


def conv(state: dict[str, np.ndarray], name: str, x: np.ndarray, dilation: int = 1, ahead: int = 0) -> np.ndarray:
    """x [channels, time]; tap j of k reads (k - 1 - j) * dilation - ahead samples back; silence outside."""
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    total = np.repeat(bias[:, None], x.shape[1], axis=1)
    for tap in range(weight.shape[2]):
        back = (weight.shape[2] - 1 - tap) * dilation - ahead
        for t in range(max(0, back), min(x.shape[1], x.shape[1] + back)):
            total[:, t] += weight[:, :, tap] @ x[:, t - back]
    return total


def reference_latents(a: Namespace, state: dict[str, np.ndarray], codes: np.ndarray) -> np.ndarray:
    x = conv(state, "start", (codes / 255 - 0.5)[None], ahead=1)
    for i in range(a.encoder_blocks * a.encoder_layers):
        d = 2 ** (i % a.encoder_layers)
        hidden = np.maximum(conv(state, f"dilated_convs.{i}.dilated_conv", x, d, ahead=d), 0)
        x = x + conv(state, f"dilated_convs.{i}.conv_1x1", hidden)
    return conv(state, "conv_1x1", x).reshape(a.latent_d, -1, a.encoder_pool).mean(axis=2)


def reference_logits(a: Namespace, state: dict[str, np.ndarray], codes: np.ndarray, latents: np.ndarray) -> np.ndarray:
    held = np.repeat(latents, a.encoder_pool, axis=1)
    x = conv(state, "first_conv", np.concatenate([[0.0], codes[:-1] / 255 - 0.5])[None])
    skip = conv(state, "skip_conv", x)
    r = a.residual_channels
    for i in range(a.blocks * a.layers):
        pair = conv(state, f"layers.{i}.causal", x, 2 ** (i % a.layers)) + conv(state, f"layers.{i}.condition", held)
        z = np.tanh(pair[r:]) / (1 + np.exp(-pair[:r]))
        x, skip = x + conv(state, f"layers.{i}.residual", z), skip + conv(state, f"layers.{i}.skip", z)
    hidden = conv(state, "fc", np.maximum(skip, 0)) + conv(state, "condition", held)
    return conv(state, "logits", np.maximum(hidden, 0))


def doubles(state: State) -> dict[str, np.ndarray]:
    return {name: tensor.double().numpy() for name, tensor in state.items()}


def run(*arguments: object) -> int:
    return cli.run(["import-checkpoint", *map(str, arguments)])


# --- tests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True])
@torch.no_grad()
def test_latents_and_logits_are_the_published_ones(tmp_path: Path, legacy: bool) -> None:
    args = experiment(tmp_path / "musicnet", legacy=legacy)
    assert run(tmp_path / "musicnet", "-o", tmp_path / "out.pt") == 0
    pack = model_file.load(tmp_path / "out.pt")
    assert list(pack.decoders) == ["Bach_Solo_Cello", "Beethoven_Solo_Piano"]
    assert (pack.config.mu_law, pack.config.encoder.causal, pack.hop_samples) == ("published", False, 80)
    assert pack.card["epoch"] == 37 and len(pack.card["checkpoints"][1]["sha256"]) == 64

    codes = np.random.default_rng(1).integers(0, 256, 4 * 80)
    x = mu_law.network_input(torch.from_numpy(codes))[None, None]
    encoder = Encoder(pack.config.encoder)
    encoder.load_state_dict({name: torch.from_numpy(array) for name, array in pack.encoder.items()})
    latents = encoder(x)
    for rank, weights in enumerate(pack.decoders.values()):
        official = torch.load(tmp_path / "musicnet" / f"lastmodel_{rank}.pth", weights_only=True)
        expected = reference_latents(args, doubles(official["encoder_state"]), codes)
        np.testing.assert_allclose(latents[0].numpy(), expected, rtol=0, atol=1e-5)
        decoder = Decoder(pack.config.decoder, args.latent_d, args.encoder_pool)
        decoder.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
        logits = decoder(x, latents)[0].numpy()
        expected = reference_logits(args, doubles(official["decoder_state"]), codes, expected)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def test_the_published_mu_law_truncates() -> None:
    audio = torch.tensor([-1.0, -0.5, -1e-4, 0.0, 1e-4, 0.5, 1.0], dtype=torch.float64)
    expected = [int((np.sign(v) * np.log1p(255 * abs(v)) / np.log(256) + 1) / 2 * 255) for v in audio.tolist()]
    assert mu_law.encode(audio, "published").tolist() == expected
    assert mu_law.decode_table("published")[128] == 0 and mu_law.decode_table("published")[0] == -1


def test_names_can_be_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment(tmp_path)
    assert run(tmp_path, "-o", tmp_path / "out.pt", "--names", "cello, piano", "--half") == 0
    assert list(model_file.load(tmp_path / "out.pt").decoders) == ["cello", "piano"]
    assert run(tmp_path, "-o", tmp_path / "out.pt", "--names", "cello") == 2
    assert "1 decoder names for 2 checkpoints" in capsys.readouterr().err
    assert run(tmp_path, "-o", tmp_path / "out.pt", "--names", "a,a") == 2
    assert "must differ" in capsys.readouterr().err


def test_a_single_process_run_names_its_decoder_by_file(tmp_path: Path) -> None:
    experiment(tmp_path, domains=1, distributed=False)
    assert run(tmp_path / "lastmodel_0.pth", "-o", tmp_path / "out.pt") == 0
    assert list(model_file.load(tmp_path / "out.pt").decoders) == ["lastmodel_0"]


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run(*arguments) == 2
    message = capsys.readouterr().err
    assert message.startswith("rtserver: error: ") and message.count("\n") == 1
    return message


def test_what_does_not_fit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.pt"
    assert "has no lastmodel_N.pth" in fails(capsys, tmp_path, "-o", out)
    assert "does not exist" in fails(capsys, tmp_path / "x.pth", "-o", out)
    experiment(tmp_path / "a")
    experiment(tmp_path / "tanh", encoder_func="tanh")
    experiment(tmp_path / "k3", kernel_size=3)
    experiment(tmp_path / "deep", layers=6)
    assert "encoder_func is 'tanh'" in fails(capsys, tmp_path / "tanh", "-o", out)
    assert "kernel_size is 3" in fails(capsys, tmp_path / "k3", "-o", out)
    a, deep = tmp_path / "a", tmp_path / "deep"
    assert "does not fit its args.pth: missing layers.10" in fails(capsys, a, "--args", deep / "args.pth", "-o", out)
    state = torch.load(a / "lastmodel_1.pth", weights_only=True)
    state["encoder_state"]["start.bias"] += 1
    torch.save(state, a / "lastmodel_1.pth")
    assert "another encoder than" in fails(capsys, a, "-o", out)
    torch.save({"x": 1}, a / "lastmodel_1.pth")
    assert "not a music-translation checkpoint" in fails(capsys, a, "-o", out)
    (a / "args.pth").unlink()
    assert "args.pth can't be read" in fails(capsys, a, "-o", out)
    torch.save({"x": 1}, a / "args.pth")
    assert "is not an args.pth" in fails(capsys, a, "-o", out)
    assert not out.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_checkpoint_is_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], legacy: bool) -> None:
    class Exploit:
        def __reduce__(self) -> Any:
            return exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    experiment(tmp_path / "a")
    torch.save([Namespace(x=Exploit()), 1], tmp_path / "a/args.pth", _use_new_zipfile_serialization=not legacy)
    assert "could run code" in fails(capsys, tmp_path / "a", "-o", tmp_path / "out.pt")
    experiment(tmp_path / "a")
    state = {"encoder_state": Exploit(), "decoder_state": {}}
    torch.save(state, tmp_path / "a/lastmodel_0.pth", _use_new_zipfile_serialization=not legacy)
    assert "could run code" in fails(capsys, tmp_path / "a", "-o", tmp_path / "out.pt")
    assert not (tmp_path / "ran").exists()


def test_without_a_checkout_the_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment(tmp_path)
    monkeypatch.setitem(sys.modules, "models", None)
    monkeypatch.delitem(sys.modules, "models.official", raising=False)
    assert "`models` folder of a checkout" in fails(capsys, tmp_path, "-o", tmp_path / "out.pt")
