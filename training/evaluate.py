"""How good is a pack? `python -m training.evaluate --model piano.pt --config training/configs/live_cpu.toml --json`.

Held-out loss of a decoder beside what it has to beat (an untrained network, a histogram of codes, itself without its
latent), and the pitch of translations made by the product's own pipeline against the pitch of their inputs: test
melodies in every timbre, and the recordings in `training/data/recordings`, which are never trained on.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from rich.progress import track as progress_track

from rtserver import model_file, pipeline, pitch
from rtserver.model_file import Model
from training.calibrate import rewrite
from training.dataset import Corpus
from training.network import TranslationNetwork
from training.scores import DATA
from training.settings import Settings

RATE_HZ = 16000


def network_of(model: Model, untrained: bool = False) -> TranslationNetwork:
    """The PyTorch network with a pack's weights, or with fresh ones."""
    torch.manual_seed(0)
    network = TranslationNetwork(model.config, list(model.decoders), timbres=1).eval()
    if not untrained:
        network.encoder.load_state_dict({k: torch.from_numpy(v) for k, v in model.encoder.items()})
        for name, weights in model.decoders.items():
            network.decoders[name].load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return network


@torch.no_grad()
def held_out_losses(model: Model, settings: Settings, decoder: str, split: str, batches: int) -> dict[str, float]:
    """Mean cross-entropy in nats of the next code, on segments of a split that training never saw.

    `other_timbre`: the encoder hears the passage in another instrument; `other_latent`: latents of another segment;
    `no_latent`: zeros, which the decoder was trained with too (latent dropout); `histogram`: entropy against the
    frequencies of codes in the training split.
    """
    train = settings.train
    corpus = Corpus(settings.corpus.folder, split, list(train.timbre_lags_ms))
    trained, fresh = network_of(model), network_of(model, untrained=True)
    frequencies = _code_frequencies(trained, Corpus(settings.corpus.folder, "train", [decoder]), decoder)
    rng = np.random.default_rng(7)
    samples = round(train.segment_seconds * RATE_HZ)
    sums: dict[str, list[float]] = {}
    for _ in range(batches):
        own = corpus.draw(rng, decoder, train.timbre_lags_ms, 0.0, train.batch, samples)
        other = corpus.draw(rng, decoder, train.timbre_lags_ms, 1.0, train.batch, samples)
        target = torch.from_numpy(own.target)
        latents = trained.encode(torch.from_numpy(own.source))

        def loss(latents: torch.Tensor, target: torch.Tensor = target) -> float:
            return float(trained.reconstruction(decoder, latents, target, 0.0, train.warmup_samples).mean())

        codes = trained.codes(target)[:, train.warmup_samples :]
        row = {
            "model": loss(latents),
            "other_timbre": loss(trained.encode(torch.from_numpy(other.source)), torch.from_numpy(other.target)),
            "no_latent": loss(torch.zeros_like(latents)),
            "other_latent": loss(latents.roll(1, dims=0)),
            "untrained": float(
                fresh.reconstruction(
                    decoder, fresh.encode(torch.from_numpy(own.source)), target, 0.0, train.warmup_samples
                ).mean()
            ),
            "histogram": float(-torch.from_numpy(np.log(frequencies))[codes].mean()),
        }
        for name, value in row.items():
            sums.setdefault(name, []).append(value)
    return {name: round(float(np.mean(values)), 4) for name, values in sums.items()}


def _code_frequencies(network: TranslationNetwork, corpus: Corpus, instrument: str) -> np.ndarray:
    counts = np.ones(256)
    for reel in range(len(corpus.notes)):
        audio = corpus.cut(instrument, reel, 0, 60 * RATE_HZ)
        counts += np.bincount(network.codes(torch.from_numpy(audio)).numpy(), minlength=256)
    return counts / counts.sum()


def clips(settings: Settings, split: str, seconds: float) -> dict[str, np.ndarray]:
    """What is translated: one passage of the split in every timbre, and every recording, at 16 kHz."""
    out: dict[str, np.ndarray] = {}
    if settings.corpus.folder.exists():
        corpus = Corpus(settings.corpus.folder, split, list(settings.train.timbre_lags_ms))
        for name in corpus.instruments:
            out[f"melody/{name}"] = corpus.cut(name, 0, 30 * RATE_HZ, round(seconds * RATE_HZ))
    with open(DATA / "recordings" / "manifest.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            audio, rate_hz = soundfile.read(DATA / "recordings" / row["path"], dtype="float32")
            if rate_hz != RATE_HZ:
                raise ValueError(f"{row['path']}: expected {RATE_HZ} Hz, found {rate_hz}")
            out[f"recording/{Path(row['path']).stem}"] = audio[: round(seconds * RATE_HZ)]
    return out


def pitch_of_translations(
    model: Model, decoder: str, inputs: dict[str, np.ndarray], seed: int, temperature: float, out: Path | None
) -> dict[str, dict[str, float]]:
    """Translate every clip and compare its pitch with the input's; leaves the wavs in `out` if given."""
    rows = {}
    for name, audio in progress_track(inputs.items(), description=f"translating to {decoder}"):
        level = np.float32(0.5 / max(float(np.abs(audio).max()), 1e-3))
        played = pipeline.translate(model, audio * level, RATE_HZ, decoder, seed, temperature)
        agreement = pitch.agreement(pitch.track(audio, RATE_HZ), pitch.track(played, RATE_HZ))
        rows[name] = {k: round(float(v), 4) for k, v in asdict(agreement).items()}
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            soundfile.write(out / f"{name.replace('/', '_')}_to_{decoder}.wav", played, RATE_HZ)
            soundfile.write(out / f"{name.replace('/', '_')}.wav", audio * level, RATE_HZ)
    return rows


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    model = model_file.load(arguments.model)
    settings = Settings.read(arguments.config)
    decoder = model.decoder_name(arguments.decoder)
    inputs = clips(settings, "test", arguments.seconds)
    result: dict[str, Any] = {"model": model.name, "decoder": decoder, "sha256": model.sha256}
    if settings.corpus.folder.exists():
        result["held_out_loss_nats"] = {
            name: held_out_losses(model, settings, name, "test", arguments.batches) for name in model.decoders
        }
    result["pitch"] = pitch_of_translations(
        model, decoder, inputs, arguments.seed, arguments.temperature, arguments.output
    )
    return result


def write_card(path: Path, metrics: dict[str, Any]) -> None:
    """Put the figures into a pack's card; the rest stays as it is."""
    card = {**model_file.load(path).card, "metrics": {k: v for k, v in metrics.items() if k != "sha256"}}
    rewrite(path, card=card)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="piano.pt", help="pack to evaluate")
    parser.add_argument("--config", type=Path, default=Path("training/configs/live_cpu.toml"))
    parser.add_argument("--decoder", help="decoder that plays; the first otherwise")
    parser.add_argument("--batches", type=int, default=40, help="batches for the held-out loss")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of each translated clip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("-o", "--output", type=Path, help="folder for the translated clips")
    parser.add_argument("--card", action="store_true", help="write the figures into the pack's card")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    arguments = parser.parse_args()
    result = evaluate(arguments)
    if arguments.card:
        write_card(model_file.find(arguments.model), result)
    if arguments.json:
        json.dump(result, sys.stdout)
        return
    for name, losses in result.get("held_out_loss_nats", {}).items():
        print(f"{name}: " + ", ".join(f"{k} {v:.3f}" for k, v in losses.items()))
    for name, row in result["pitch"].items():
        print(
            f"{name:36s} within 50 cents {row['within_50_cents']:.2f} (octaves folded"
            f" {row['within_50_cents_any_octave']:.2f}, chance {row['chance']:.2f}), sounding {row['voiced_both']:.2f},"
            f" delay {row['delay_s'] * 1000:.0f} ms"
        )


if __name__ == "__main__":
    main()
