"""How good is a pack? `python -m training.evaluate --model piano.pt --config training/configs/live_cpu.toml --json`.

Held-out loss of a decoder beside what it has to beat (an untrained network, a histogram of codes, itself without its
latent), and the pitch of translations made by the product's own pipeline against the pitch of their inputs: test
melodies in every timbre, and the recordings in `training/data/recordings`, which are never trained on.
With `--precision int4 --precision int8`: what these cost against fp32 (see `training/precisions.py`).
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from rich.console import Console
from rich.progress import track as progress_track

from rtserver import model_file, pipeline, pitch, precision
from rtserver.model_file import Model
from training import precisions
from training.calibrate import rewrite
from training.corpus.catalogue import DATA
from training.dataset import Batch, Corpus
from training.network import TranslationNetwork
from training.settings import Settings

RATE_HZ = 16000
LOG = Console(stderr=True)  # standard output is for the figures


def network_of(model: Model, untrained: bool = False) -> TranslationNetwork:
    """The PyTorch network with a pack's weights, or with fresh ones."""
    torch.manual_seed(0)
    network = TranslationNetwork(model.config, list(model.decoders), timbres=1).eval()
    if not untrained:
        network.encoder.load_state_dict({k: torch.from_numpy(v) for k, v in model.encoder.items()})
        for name, weights in model.decoders.items():
            network.decoders[name].load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()})
    return network


def held_out_batches(settings: Settings, decoder: str, split: str, batches: int) -> Iterator[tuple[Batch, Batch]]:
    """The same segments every time: with sources in the decoder's own timbre, and others with sources in any."""
    train = settings.train
    corpus = Corpus(settings.corpus.folder, split, list(train.timbre_lags_ms))
    rng = np.random.default_rng(7)
    samples = round(train.segment_seconds * RATE_HZ)
    for _ in range(batches):
        own = corpus.draw(rng, decoder, train.timbre_lags_ms, 0.0, train.batch, samples)
        yield own, corpus.draw(rng, decoder, train.timbre_lags_ms, 1.0, train.batch, samples)


@torch.no_grad()
def held_out_losses(model: Model, settings: Settings, decoder: str, split: str, batches: int) -> dict[str, float]:
    """Mean cross-entropy in nats of the next code, on segments of a split that training never saw.

    `other_timbre`: the encoder hears the passage in another instrument; `other_latent`: latents of another segment;
    `no_latent`: zeros, which the decoder was trained with too (latent dropout); `histogram`: entropy against the
    frequencies of codes in the training split.
    """
    train = settings.train
    trained, fresh = network_of(model), network_of(model, untrained=True)
    frequencies = _code_frequencies(trained, Corpus(settings.corpus.folder, "train", [decoder]), decoder)
    sums: dict[str, list[float]] = {}
    for own, other in held_out_batches(settings, decoder, split, batches):
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
    for reel in corpus.reels_of(instrument):
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
    for name, audio in progress_track(inputs.items(), description=f"translating to {decoder}", console=LOG):
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
    if arguments.precision:
        return {"model": model.name, "sha256": model.sha256, "precisions": _compare_precisions(model, arguments)}
    inputs = clips(settings, "test", arguments.seconds)
    result: dict[str, Any] = {"model": model.name, "decoder": decoder, "sha256": model.sha256}
    result["precision"] = precision.resolve(model=model)  # of the translations; held-out losses are PyTorch's, in fp32
    if settings.corpus.folder.exists():
        result["held_out_loss_nats"] = {
            name: held_out_losses(model, settings, name, "test", arguments.batches) for name in model.decoders
        }
    result["pitch"] = pitch_of_translations(
        model, decoder, inputs, arguments.seed, arguments.temperature, arguments.output
    )
    return result


def _compare_precisions(model: Model, arguments: argparse.Namespace) -> dict[str, Any]:
    """Losses on the segments of the held-out loss, and pitch on the test melodies in every timbre."""
    settings = Settings.read(arguments.config)
    names = [model.decoder_name(arguments.decoder)] if arguments.decoder else list(model.decoders)
    segments = {
        name: [
            (source.astype(np.float32), target.astype(np.float32))
            for own, _ in held_out_batches(settings, name, "test", arguments.batches)
            for source, target in zip(own.source, own.target, strict=True)
        ]
        for name in names
    }
    melodies = {k: v for k, v in clips(settings, "test", arguments.seconds).items() if k.startswith("melody/")}
    return precisions.compare(
        model,
        segments,
        melodies,
        [precision.resolve(wanted) for wanted in arguments.precision],
        settings.train.warmup_samples,
        arguments.seeds,
        arguments.temperature,
    )


def write_card(path: Path, metrics: dict[str, Any]) -> None:
    """Put the figures into a pack's card, in the place of older ones of the same name; the rest stays as it is."""
    card = model_file.load(path).card
    fresh = {k: v for k, v in metrics.items() if k != "sha256"}
    rewrite(path, card={**card, "metrics": {**card.get("metrics", {}), **fresh}})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="piano.pt", help="pack to evaluate")
    parser.add_argument("--config", type=Path, default=Path("training/configs/live_cpu.toml"))
    parser.add_argument("--decoder", help="decoder that plays; the first otherwise")
    parser.add_argument("--batches", type=int, default=40, help="batches for the held-out loss")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of each translated clip")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument(
        "--precision",
        action="append",
        help="compare the engine in this precision (int4, int8, bf16) with fp32, and nothing else; may be repeated",
    )
    parser.add_argument("--seeds", type=int, default=4, help="how often each clip is played when precisions compete")
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
    for name, rows in result.get("precisions", {}).items():
        for title, unit in (("held_out_loss_nats", "nats"), ("within_50_cents", "of frames within 50 cents")):
            for wanted, row in rows.get(title, {}).items():
                print(f"{name} {wanted}: {row['mean']:.4f} +- {row['standard_error']:.4f} {unit}", end="")
                if "difference" in row:
                    print(f", {row['difference']:+.4f} +- {row['difference_standard_error']:.4f} from fp32", end="")
                print()
    for name, losses in result.get("held_out_loss_nats", {}).items():
        print(f"{name}: " + ", ".join(f"{k} {v:.3f}" for k, v in losses.items()))
    for name, row in result.get("pitch", {}).items():
        print(
            f"{name:36s} within 50 cents {row['within_50_cents']:.2f} (octaves folded"
            f" {row['within_50_cents_any_octave']:.2f}, chance {row['chance']:.2f}), sounding {row['voiced_both']:.2f},"
            f" delay {row['delay_s'] * 1000:.0f} ms"
        )


if __name__ == "__main__":
    main()
