"""Add an instrument to a pack: `python -m training.add_instrument FOLDER --base piano.pt -o mine.pt`.

FOLDER holds recordings of the new instrument (wav, flac, mp3), three minutes at least. The encoder of the base stays as
it is, bit for bit; a decoder is taught, beginning as the one of the base that already predicts the recordings best. It
ends after --minutes, or earlier when recordings held out don't get better. Ctrl-C keeps what was learnt: the same
command goes on, and with `--minutes 0` writes the pack with what there is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rtserver import _engine, calibration, model_file
from rtserver.errors import UserError
from rtserver.model_file import Model
from training.adapt import Adaptation, Recipe, Report, adapt, cross_entropy, segments
from training.calibrate import decoder_ranges, is_half
from training.instrument_audio import LEAST_MINUTES, RATE_HZ, Recordings, gather
from training.network import network_of
from training.train import Stop

RECIPE = Recipe()
COMPARED = 24  # segments on which the decoders of the base compete
HELD_OUT = 48  # segments that say when to stop
CALIBRATION_S = 2.0
CALIBRATION_PIECES = 16


def distances(base: Model, audio: np.ndarray, recipe: Recipe) -> dict[str, float]:
    """How well each decoder of a pack predicts audio [N], in nats, the best first: what a new one begins as."""
    network = network_of(base)
    samples, context = round(recipe.segment_seconds * RATE_HZ), network.config.encoder.context_samples
    pieces = segments(audio, samples, COMPARED, 3, context)
    losses = {name: cross_entropy(network, name, pieces, recipe.warmup_samples) for name in base.decoders}
    return dict(sorted(losses.items(), key=lambda item: item[1]))


def begin(base: Model, name: str, nearest: str, heard: Recordings, recipe: Recipe) -> Adaptation:
    """The network with the new decoder, a copy of the nearest."""
    network = network_of(base)
    added = replace(base, decoders={name: base.decoders[nearest]})
    network.decoders[name] = network_of(added).decoders[name]
    samples = round(recipe.segment_seconds * RATE_HZ)
    held_out = segments(heard.held_out, samples, HELD_OUT, 5, network.config.encoder.context_samples)
    return Adaptation(network, name, heard.train, held_out, recipe)


def measured(model: Model, name: str, audio: np.ndarray) -> tuple[np.ndarray, Callable[[], dict[str, np.ndarray]]]:
    """Ranges of a new decoder's activations on its recordings, as `training.calibrate` has them, and 4-bit codes."""
    decoder = _engine.Decoder(model.decoder_config(name), model.decoders[name])
    encoder = calibration.open_encoder(model)
    samples = round(CALIBRATION_S * RATE_HZ) // model.hop_samples * model.hop_samples
    pieces = [calibration.hear(encoder, calibration.clip(), model)]
    for seed, piece in enumerate(segments(audio, min(samples, len(audio)), CALIBRATION_PIECES, seed=11)):
        latents, _ = calibration.hear(encoder, piece, model)
        codes = calibration.codes_played(piece, model)
        pieces += [(latents, codes)]
        pieces += [(latents, decoder.open_slot(seed).generate(latents))]
    ranges = decoder_ranges(model, name, pieces)
    return ranges, lambda: calibration.codes_of(model, name, ranges, pieces)


def write(
    path: Path, base: Model, adaptation: Adaptation, alone: bool, heard: Recordings, card: dict[str, Any]
) -> None:
    """The base's pack with the new decoder beside the old ones, or alone; the encoder keeps its bits."""
    name = adaptation.name
    weights = {k: np.ascontiguousarray(v.float().numpy()) for k, v in adaptation.best.items()}
    half = is_half(base)
    if half:  # measured as it will be loaded
        weights = {k: v.astype(np.float16).astype(np.float32) for k, v in weights.items()}
    decoders = {name: weights} if alone else {**base.decoders, name: weights}
    made = replace(base, decoders=decoders)
    found = base.calibration
    if found:
        ranges, codes = measured(made, name, heard.train)
        kept = {} if alone else dict(found["decoders"])
        found = {
            **found,
            "decoders": {**kept, name: ranges},
            "source": f"{found['source']}; {name}: its own recordings",
        }
        if found.get("codes"):
            kept = {} if alone else dict(found["codes"])
            found["codes"] = {**kept, name: codes()}
    model_file.save(path, base.config, base.encoder, decoders, card=card, calibration=found, half=half)


def card_of(base: Model, name: str, heard: Recordings, told: dict[str, Any], alone: bool, out: Path) -> dict[str, Any]:
    """The base's card, and what is to say about the new instrument under its name."""
    old = {} if alone else {k: v for k, v in base.card.items() if k != "instruments"}
    instruments = {} if alone else dict(base.card.get("instruments", {}))
    added = {
        "source": told["source"],
        "licence": told["licence"],
        "files": heard.files,
        "minutes": round((len(heard.train) + len(heard.held_out)) / RATE_HZ / 60, 2),
        "recordings_sha256": heard.sha256,
        "base": {"name": base.name, "sha256": base.sha256, "licence": str(base.card.get("licence", "not stated"))},
        **told["training"],
    }
    licence = f"{base.card.get('licence', 'not stated')} (encoder); {name}: {told['licence']}"
    return {**old, "name": out.stem, "licence": licence, "instruments": {**instruments, name: added}}


def add(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run it all; gives what is told at the end. UserError for what a person can put right."""
    base = model_file.load(arguments.base)
    if not base.decoders:
        raise UserError(f"{arguments.base} has no weights to begin with; give a pack such as piano.pt")
    out: Path = arguments.output
    name = arguments.name or re.sub(r"[^a-z0-9_]+", "_", out.stem.lower()).strip("_")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name or ""):
        raise UserError(f"--name {name!r}: expected small letters, digits and _, beginning with a letter")
    if name in base.decoders and not arguments.alone:
        raise UserError(f"{base.name} has a decoder {name} already; choose another --name, or --alone")
    heard = gather(arguments.folder, arguments.least_minutes)
    steps = arguments.steps or RECIPE.steps
    recipe = replace(RECIPE, minutes=arguments.minutes, steps=steps, seed=arguments.seed)
    if base.config.sample_rate_hz != RATE_HZ:
        raise UserError(f"{base.name} works at {base.config.sample_rate_hz} Hz, expected {RATE_HZ}")
    run = out.with_name(out.name + ".run")
    run.mkdir(parents=True, exist_ok=True)
    fingerprint = hashlib.sha256(f"{base.sha256} {heard.sha256} {name}".encode()).hexdigest()
    near = distances(base, heard.train, recipe)
    nearest = arguments.start or next(iter(near))
    if nearest not in near:
        raise UserError(f"--start {nearest!r}: {base.name} has {', '.join(near)}")
    say(f"{len(heard.files)} file(s), {len(heard.train) / RATE_HZ / 60:.1f} minutes to learn from")
    say("nearest decoder: " + ", ".join(f"{k} {v:.3f} nats" for k, v in near.items()) + f"; begins as {nearest}")
    adaptation = begin(base, name, nearest, heard, recipe)
    if (run / "checkpoint.pt").exists():
        try:
            adaptation.load(run / "checkpoint.pt", fingerprint)
        except ValueError as error:
            raise UserError(str(error)) from None
        say(f"goes on after step {adaptation.step}")
    finished = train(adaptation, run, fingerprint, name)
    result = {
        "output": str(out),
        "decoder": name,
        "started_as": nearest,
        "nearest_nats": {k: round(v, 4) for k, v in near.items()},
        "steps": adaptation.step,
        "minutes": round(adaptation.spent_s / 60, 2),
        "held_out_nats": {"before": round(adaptation.first_loss, 4), "after": round(adaptation.best_loss, 4)},
        "stopped_early": adaptation.share < 1.0 and finished,
        "finished": finished,
    }
    if finished:
        training = {k: result[k] for k in ("started_as", "steps", "minutes", "held_out_nats")}
        told = {"source": arguments.source, "licence": arguments.licence, "training": training}
        card = card_of(base, name, heard, told, arguments.alone, out)
        say("learnt; now measured on the recordings for int8 and 4-bit weights, which takes some minutes")
        write(out, base, adaptation, arguments.alone, heard, card)
    return result


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def train(adaptation: Adaptation, run: Path, fingerprint: str, name: str) -> bool:
    """Take the steps, with a bar, a log and checkpoints; False if Ctrl-C ended it."""
    from training.progress import bar

    began, done = time.monotonic(), adaptation.share
    held_out = adaptation.best_loss

    with Stop() as stop, bar(f"learning {name}", 1000) as shown, open(run / "log.jsonl", "a", encoding="utf-8") as log:

        def told(report: Report) -> None:
            nonlocal held_out
            row = {"step": report.step, "loss": round(report.loss, 4)}
            if report.held_out is not None:
                held_out = report.held_out
                row["held_out"] = round(report.held_out, 4)
            log.write(json.dumps(row) + "\n")
            gone = time.monotonic() - began
            left = gone * (1.0 - report.share) / max(report.share - done, 1e-6)
            text = f"step {report.step} loss {report.loss:.2f}, held out {held_out:.3f} (best {report.best:.3f})"
            shown.update(int(1000 * report.share), f"{text}, {timedelta(seconds=round(left))} left")

        return adapt(adaptation, told, lambda: stop.asked, lambda: adaptation.save(run / "checkpoint.pt", fingerprint))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="recordings of the instrument, and of nothing else")
    parser.add_argument("--base", default="piano.pt", help="pack whose encoder is used (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the pack to write")
    parser.add_argument("--name", help="what the decoder is called; the output's name otherwise")
    parser.add_argument("--alone", action="store_true", help="leave the base's decoders out of the pack")
    parser.add_argument("--start", help="decoder of the base to begin as; the nearest otherwise")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long to train (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="or how many steps, if that is less")
    parser.add_argument("--least-minutes", type=float, default=LEAST_MINUTES, help="of sound (default: %(default)s)")
    parser.add_argument("--source", default="not stated", help="who recorded what, for the card")
    parser.add_argument("--licence", default="not stated", help="of the recordings, for the card")
    parser.add_argument("--threads", type=int, help="CPU threads; PyTorch's choice otherwise")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    try:
        result = add(arguments)
    except UserError as error:
        sys.exit(f"{error}")
    if arguments.json:
        print(json.dumps(result))
    elif result["finished"]:
        losses = result["held_out_nats"]
        print(f"{result['output']}: {result['decoder']}, held-out loss {losses['before']} -> {losses['after']} nats")
        print(f"hear it: rtserver translate IN.wav --model {result['output']} --decoder {result['decoder']} -o OUT.wav")
    if not result["finished"]:
        say(f"kept at step {result['steps']}; the same command goes on, with --minutes 0 it writes the pack")
        sys.exit(130)


if __name__ == "__main__":
    main()
