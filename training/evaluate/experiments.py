"""The experiments of the paper, one after another, on one pack; their figures and what a report shows of them."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rtserver.model_file import Model
from training.dataset import Corpus
from training.evaluate import domains, latents, seam, table2, tracks
from training.evaluate.held_out import pitch_of_translations, recordings
from training.evaluate.material import CONFIG, DIRECTIONS, SEGMENT_S, Segment, folder_of, level, played_by, segments
from training.evaluate.needs import BASIC_PITCH, basic_pitch_network
from training.evaluate.notes import Transcriber
from training.evaluate.playing import Player

RATE_HZ = 16000
BLENDS = 10
# Not in the paper's table: whistled melodies of test works, which a pack that was trained on melodies should follow.
CONTROL = "melody"


@dataclass(frozen=True)
class Options:
    """segments: in each direction; seconds: of each recording; notes: with onset and note F1 where basic-pitch is."""

    segments: int = 60
    seed: int = 0
    temperature: float = 1.0
    seconds: float = 15.0
    notes: bool = True
    material: Path = CONFIG


@dataclass
class Shown:
    """What a report shows beside the figures. latents: [P, L] by instrument; audio: float32 [N] at 16 kHz by title."""

    directions: dict[str, table2.Direction] = field(default_factory=dict)
    latents: dict[str, np.ndarray] = field(default_factory=dict)
    blends: list[np.ndarray] = field(default_factory=list)
    recordings: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def run(model: Model, decoder: str, wanted: list[str], options: Options, report: Path | None = None) -> dict[str, Any]:
    """The figures of the wanted experiments; with the pitch of recordings and a page if `report` names a folder.

    Raises UserError, saying what to install or to render, for what is missing.
    """
    folder = folder_of(options.material)
    player = Player(model, decoder, options.seed, options.temperature, folder=folder / "translated")
    result: dict[str, Any] = {
        "model": model.name,
        "decoder": decoder,
        "sha256": model.sha256,
        "precision": player.precision,
        "seed": options.seed,
        "temperature": options.temperature,
    }
    shown = Shown()
    if "table2" in wanted:
        result |= _table2(player, folder, options, shown)
    if "latents" in wanted:
        result["latents"], shown.latents = latents.evaluate(player.translator, folder / "scales")
    if "blend" in wanted:
        result["blend"] = _blend(player, folder, options, shown)
    if report is not None:
        from training.evaluate import report as pages

        inputs = recordings(options.seconds)
        result["pitch"] = pitch_of_translations(model, decoder, inputs, options.seed, options.temperature, None, player)
        shown.recordings = {name: (level(audio), player.play(level(audio))) for name, audio in inputs.items()}
        pages.write(report, result, shown)
    return result


def _table2(player: Player, folder: Path, options: Options, shown: Shown) -> dict[str, Any]:
    target = player.decoder
    chosen = {source: segments(folder, names, options.segments, options.seed) for source, names in DIRECTIONS.items()}
    transcriber = _transcriber(options)
    classifier = domains.open_classifier(folder, target)
    real = [s.audio for s in segments(folder, [target], 2 * options.segments, options.seed, "test")]
    rows, details = {}, {}
    chosen[CONTROL] = segments(folder, ["whistle"], options.segments, options.seed, "test", home="melody")
    for source, found in chosen.items():
        played = player.play_all([s.audio for s in found], f"{source} to {target}")
        shown.directions[source] = table2.Direction(source, found, played)
        name = f"{source}_to_{target}"
        rows[name], details[name] = table2.evaluate(
            shown.directions[source], target, classifier, real, transcriber, options.seed
        )
    perfect = [(s, played_by(folder, s, target)) for s in chosen[CONTROL]]
    there = [(s, audio) for s, audio in perfect if audio is not None]
    if there:
        same, audio = zip(*there, strict=True)
        details[f"{CONTROL}_to_{target}"] |= table2.ceiling(same, audio, transcriber)
    control = {f"{CONTROL}_to_{target}": rows.pop(f"{CONTROL}_to_{target}")}
    return {
        "table2": rows,
        "control": control,
        "table2_details": details,
        "tracker": tracks.SETTINGS,
        "classifier": _classifier(classifier, folder, target),
    }


def _transcriber(options: Options) -> Transcriber | None:
    """None, with a word on standard error, where basic-pitch isn't installed."""
    if not options.notes:
        return None
    if basic_pitch_network() is None:
        print(f"training.evaluate: {BASIC_PITCH}; left out", file=sys.stderr)
        return None
    return Transcriber()


def _classifier(classifier: domains.DomainClassifier, folder: Path, target: str) -> dict[str, Any]:
    """How far the judge is to be trusted: share of real segments that it names rightly, by split, and its confusions.

    valid: other works in the soundfonts that it learned from; test: others still; unseen: those in another soundfont.
    """
    out: dict[str, Any] = {"domains": classifier.domains}
    for split in ("valid", "test", "unseen"):
        confusion, right = {}, []
        for name in classifier.domains:
            heard = [classifier.classify(s.audio) for s in _segments_or_none(folder, name, split)]
            confusion[name] = {other: heard.count(other) for other in sorted(set(heard))}
            right += [float(h == name) for h in heard]
            if name == target:
                share = round(float(np.mean([h == name for h in heard])), 4) if heard else None
                out[f"{split}_target_recognised"] = share
        out[split] = {"n": len(right), "accuracy": round(float(np.mean(right)), 4) if right else None}
        out[split]["confusion"] = confusion
    return out


def _segments_or_none(folder: Path, name: str, split: str) -> list[Segment]:
    try:
        Corpus(folder, split, [name], home=name)
    except FileNotFoundError:
        return []
    return segments(folder, [name], 24, split=split)


def _blend(player: Player, folder: Path, options: Options, shown: Shown) -> dict[str, Any]:
    """From the harpsichord into the orchestra."""
    count = min(BLENDS, options.segments)
    first, second = (
        [s.audio for s in segments(folder, [name], count, options.seed)] for name in ("harpsichord", "orchestra")
    )
    pairs = list(zip(first, second, strict=False))
    translations = [(player.play(a), player.play(b)) for a, b in pairs]
    figures, shown.blends = seam.evaluate(
        player.translator, pairs, translations, player.decoder, crossfade_s=0.3 * SEGMENT_S, seed=options.seed
    )
    return figures
