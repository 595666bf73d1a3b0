"""Write a trained run as an instrument pack: `python -m training.export --config ... -o models/weights/piano.pt`.

The averaged weights go into the pack in half precision, with a card that says what they are and where they come from,
and with what int8 and int4 arithmetic needs: the ranges of its activations on training audio, and weights in 4 bits.
`python -m training.evaluate --card` adds the figures afterwards.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rtserver import model_file
from training.calibrate import calibrate, rewrite
from training.checkpoint import read
from training.command import configured, one_line_errors
from training.corpus import storage
from training.progress import read_log
from training.settings import CorpusSettings, Settings
from training.temperature import sharpened
from training.train import RUNS


def part(state: dict[str, torch.Tensor], prefix: str) -> dict[str, np.ndarray]:
    """The entries of a state dict below `prefix`, as float32 arrays, without it."""
    return {k[len(prefix) :]: v.float().cpu().numpy() for k, v in state.items() if k.startswith(prefix)}


def describe_corpus(corpus: CorpusSettings) -> dict[str, Any]:
    """What was trained on, for the card: scores by licence, instruments and soundfonts, hours; of what is rendered."""
    records = [r for r in storage.read_records(corpus.folder) if r["split"] == "train"]
    heard = {r["reel"] for r in records}
    reels = [entry for entry in storage.read_index(corpus.folder) if entry["name"] in heard]
    works = {work["path"]: work for entry in reels for work in entry["works"]}.values()
    hours: Counter[str] = Counter()
    for record in records:
        hours[record["timbre"]] += record["seconds"] / 3600.0
    pitches = f"MIDI pitches {corpus.lowest_pitch} to {corpus.highest_pitch}"
    melodies = f"melodies, one note at a time, {pitches}" if corpus.reels else ""
    parts = "passages in all their parts" if corpus.domains else ""
    return {
        "scores": len(works),
        "score_licences": dict(Counter(work["licence"] for work in works)),
        "credits": sorted({w["credit"] for w in works if w["licence"].startswith("CC-BY") and w["credit"]}),
        "soundfonts": sorted({r["settings"]["soundfont"] for r in records if r["settings"].get("soundfont")}),
        "instruments": dict(corpus.instruments),
        "hours": {name: round(value, 2) for name, value in hours.items()},
        "material": " and ".join(filter(None, (melodies, parts))) + ", rendered at 16 kHz",
        "split": "by whole work",
    }


def departures(settings: Settings) -> list[str]:
    """What of Mor et al. 2018 was done otherwise, for the card."""
    train, model = settings.train, settings.model
    guided = ", ".join(f"{value:g} ({name})" for name, value in train.teacher_guidance.items()) or "nothing"
    known = {
        "encoder also hears the same passage in other timbres (timbre_probability)": train.timbre_probability > 0,
        "note probe on the latent (note_weight)": train.note_weight > 0,
        "noise on the teacher-forced past (history_noise)": train.history_noise > 0,
        "stretches of the teacher-forced past made quieter (history_fade_probability)": train.history_fade_probability
        > 0,
        "stretches of the teacher-forced past ring (history_ringing_probability)": train.history_ringing_probability
        > 0,
        "part of the teacher-forced past drawn by the decoder itself (own_history)": train.own_history > 0,
        "stretches of the past that the decoder plays alone (own_stretches)": train.own_stretches > 0,
        f"decoders are taught what earlier ones say, guided by {guided} (teacher)": bool(train.teacher),
        "background noise under what the encoder hears (source_noise)": train.source_noise > 0,
        "encoder behind a constant-Q filter bank (model.encoder.front_end)": model.encoder.front_end is not None,
        f"decoders predict a pre-emphasised signal (model.emphasis {model.emphasis:g})": model.emphasis > 0,
    }
    return [text for text, holds in known.items() if holds]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="the configuration that was trained")
    parser.add_argument("--run", type=Path, help="folder of the run; training/runs/NAME otherwise")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the .pt file to write")
    parser.add_argument("--temperature", type=float, default=1.0, help="sampling temperature that the pack calls 1.0")
    parser.add_argument("--device", default="", help="where it was trained, for the card")
    parser.add_argument("--note", default="", help="anything else about how it was trained, for the card")
    arguments = parser.parse_args()
    with one_line_errors():
        export(arguments, configured(arguments.config))


def export(arguments: argparse.Namespace, settings: Settings) -> None:
    run = arguments.run or RUNS / settings.name
    checkpoint = run / "checkpoint.pt"
    state = read(checkpoint)
    average = state["average"]
    rows = read_log(run / "log.jsonl")
    train = settings.train
    segments = train.batch * state.get("processes", 1)
    card = {
        "name": arguments.output.stem,
        "licence": "MIT",
        "data": describe_corpus(settings.corpus),
        "recipe": {
            "config": settings.name,
            "steps": state["step"],
            "batch": train.batch,
            "processes": state.get("processes", 1),
            "segment_seconds": train.segment_seconds,
            "audio_hours_seen": round(state["step"] * segments * train.segment_seconds / 3600, 2),
            "trained_on": arguments.device,
            "note": arguments.note,
            "folded_temperature": dict.fromkeys(train.domains, arguments.temperature),
            "start": train.start,
            "departures": departures(settings),
        },
        "training_loss": {
            d: round(float(np.mean([r["reconstruction"] for r in rows if r["decoder"] == d][-100:])), 3)
            for d in train.domains
        },
        "checkpoint_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "metrics": {},
    }
    decoders = {d: sharpened(part(average, f"decoders.{d}."), arguments.temperature) for d in train.domains}
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    model_file.save(arguments.output, settings.model, part(average, "encoder."), decoders, card=card, half=True)
    rewrite(arguments.output, ranges=calibrate(model_file.load(arguments.output), settings))
    print(f"{arguments.output}: {arguments.output.stat().st_size / 1e6:.1f} MB, step {state['step']}")


if __name__ == "__main__":
    main()
