"""The command line of the evaluation: what is measured, and the figures on standard output or in the pack's card."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from rtserver import model_file, precision
from rtserver.errors import UserError
from rtserver.model_file import Model
from training import precisions
from training.calibrate import rewrite
from training.command import configured
from training.evaluate import experiments
from training.evaluate.held_out import clips, held_out_batches, held_out_losses, pitch_of_translations
from training.evaluate.material import CONFIG
from training.evaluate.table2 import PAPER

EXPERIMENTS = ("table2", "latents", "blend")


def evaluate(arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything that was asked for; held-out losses and pitch if nothing else was."""
    model = model_file.load(arguments.model)
    decoder = model.decoder_name(arguments.decoder)
    wanted = [name for name in EXPERIMENTS if getattr(arguments, name)]
    if arguments.report or wanted:
        return experiments.run(model, decoder, wanted or list(EXPERIMENTS), options(arguments), arguments.report)
    settings = configured(arguments.config)
    if arguments.precision:
        return {"model": model.name, "sha256": model.sha256, "precisions": _compare_precisions(model, arguments)}
    inputs = clips(settings, "test", arguments.seconds)
    result: dict[str, Any] = {"model": model.name, "decoder": decoder, "sha256": model.sha256}
    result["precision"] = precision.resolve(model=model)  # of the translations; held-out losses are PyTorch's, in fp32
    if settings.corpus.folder.exists():
        names = [decoder] if arguments.decoder else list(model.decoders)
        result["held_out_loss_nats"] = {
            name: held_out_losses(model, settings, name, "test", arguments.batches) for name in names
        }
    result["pitch"] = pitch_of_translations(
        model, decoder, inputs, arguments.seed, arguments.temperature, arguments.output
    )
    return result


def options(arguments: argparse.Namespace) -> experiments.Options:
    return experiments.Options(
        segments=arguments.segments,
        seed=arguments.seed,
        temperature=arguments.temperature,
        seconds=arguments.seconds,
        notes=not arguments.no_notes,
        material=arguments.material,
    )


def _compare_precisions(model: Model, arguments: argparse.Namespace) -> dict[str, Any]:
    """Losses on the segments of the held-out loss, and pitch on the test melodies in every timbre."""
    settings = configured(arguments.config)
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
    """Put the figures into a pack's card, in the place of older ones of the same name; the rest stays as it is.

    Those of a decoder that isn't the first one, alone, go to its entry under `instruments`.
    """
    model = model_file.load(path)
    card, fresh = model.card, {k: v for k, v in metrics.items() if k != "sha256"}
    decoder = metrics.get("decoder")
    if decoder in (None, model.decoder_name()):
        card = {**card, "metrics": {**card.get("metrics", {}), **fresh}}
    else:
        instruments = dict(card.get("instruments", {}))
        entry = instruments.get(decoder, {})
        instruments[decoder] = {**entry, "metrics": {**entry.get("metrics", {}), **fresh}}
        card = {**card, "instruments": instruments}
    rewrite(path, card=card)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.evaluate",
        description="How good is a pack? Held-out losses and the pitch of translations, unless asked for more:"
        " see docs/evaluation.md.",
    )
    parser.add_argument("--model", default="piano.pt", help="pack to evaluate")
    parser.add_argument("--config", type=Path, default=Path("training/configs/constant_q_cpu_steady.toml"))
    parser.add_argument("--decoder", help="the one decoder to evaluate; the first plays otherwise")
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
    more = parser.add_argument_group("experiments of the paper")
    more.add_argument("--table2", action="store_true", help="Table 2, and whether the outputs sound like their target")
    more.add_argument("--latents", action="store_true", help="latents of single notes across instruments (Fig. 3)")
    more.add_argument("--blend", action="store_true", help="smoothness of blends at their seam")
    more.add_argument("--report", type=Path, metavar="FOLDER", help="all of it, and a page with players in this folder")
    more.add_argument("--segments", type=int, default=60, help="segments of 5 s in each direction of Table 2")
    more.add_argument("--no-notes", action="store_true", help="without onset and note F1, which need basic-pitch")
    more.add_argument(
        "--material", type=Path, default=CONFIG, metavar="TOML", help="corpus of the experiments' segments"
    )
    parser.add_argument("-o", "--output", type=Path, help="folder for the translated clips")
    parser.add_argument("--card", action="store_true", help="write the figures into the pack's card")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser


def print_figures(result: dict[str, Any]) -> None:
    """What a person reads."""
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
    for direction, row in (result.get("table2", {}) | result.get("control", {})).items():
        paper = PAPER.get(direction.partition("_to_")[0], {"ncc": "-", "dtw": "-"})
        recognised = _share(row["target_recognised"])
        print(
            f"{direction:22s} n {row['n']}, NCC {_share(row['ncc'])} (paper {paper['ncc']}, chance"
            f" {_share(row['chance_ncc'])}), DTW {_share(row['dtw'])} (paper {paper['dtw']}, chance"
            f" {_share(row['chance_dtw'])}), heard as its target {recognised}, onsets {row['onset_delay_ms']} ms late"
        )
        detail = result["table2_details"][direction]
        if "note_f1" in detail:
            print(
                f"{'':22s} onset F1 {_mean(detail, 'onset_f1')} (input {_mean(detail, 'input_onset_f1')}, chance"
                f" {_mean(detail, 'chance_onset_f1')}), note F1 {_mean(detail, 'note_f1')} (input"
                f" {_mean(detail, 'input_note_f1')}, chance {_mean(detail, 'chance_note_f1')})"
            )
    if found := result.get("latents"):
        print(
            f"latents: cosine at the same pitch {_mean(found, 'same_pitch')}, at others {_mean(found, 'other_pitch')};"
            f" centred {_mean(found, 'centred_same_pitch')} and {_mean(found, 'centred_other_pitch')}"
        )
    if found := result.get("blend"):
        ways = ("blend", "audio_crossfade", "hard_cut", "unblended")
        print("roughness of the seam: " + ", ".join(f"{way} {_mean(found, way)}" for way in ways))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _mean(rows: dict[str, Any], name: str) -> str:
    return _share(rows[name]["mean"]) if name in rows else "-"


def main() -> None:
    arguments = parser().parse_args()
    try:
        result = evaluate(arguments)
    except (UserError, FileNotFoundError) as error:
        sys.exit(f"training.evaluate: error: {error}")
    if arguments.card:
        write_card(model_file.find(arguments.model), result)
    if arguments.json:
        json.dump(result, sys.stdout)
        return
    print_figures(result)
