"""Which checkpoint, which temperature: `python -m training.evaluate.choosing --config TOML --model PACK`.

Validation melodies in every timbre of the configuration, the whistled Ode to Joy of the demo and three recorded songs,
8 s each, played by the product's own pipeline: does it follow, does it sound, does it hiss? Minutes less than
`training.evaluate`, whose test works stay unseen by whoever chooses. Needs the configuration's corpus and the one of
`training/evaluate/material.toml`, for the judge.
Shapes: N samples at 16 kHz.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track as progress_track
from rich.table import Table

from rtserver import model_file, pipeline, pitch
from rtserver.demo.clip import melody
from rtserver.model_file import Model
from training.command import configured, one_line_errors
from training.dataset import Corpus
from training.evaluate import domains, held_out
from training.evaluate.material import CONFIG, RATE_HZ, folder_of, level
from training.settings import Settings

SECONDS = 8
AGAIN = ("whistle", "sung_a", "sung_b")  # timbres that people use are heard twice
ODE = "ode"
WINDOW_SAMPLES, NEAR_HZ = 1024, 40.0
HIGH_HZ = 3000.0
LOG = Console(stderr=True)


@dataclass(frozen=True)
class Clip:
    """in_tune: share within 50 cents of the frames in which both sound; any_octave: with octaves folded; sounding: of
    the frames in which the input does; harmonic_db: nan where nothing has a pitch; high: share of energy above 3 kHz.
    """

    in_tune: float
    any_octave: float
    sounding: float
    harmonic_db: float
    high: float


def clips(settings: Settings) -> dict[str, np.ndarray]:
    """What is translated, float32 [N] by name. FileNotFoundError without the configuration's corpus."""
    corpus = Corpus(settings.corpus.folder, "valid", list(settings.train.timbre_lags_ms))
    samples = SECONDS * RATE_HZ
    found = {name: corpus.cut(name, 0, 30 * RATE_HZ, samples) for name in corpus.instruments}
    found |= {f"{n}, later": corpus.cut(n, 0, 120 * RATE_HZ, samples) for n in AGAIN if n in corpus.instruments}
    songs = {name: audio for name, audio in held_out.recordings(float(SECONDS)).items() if "vocadito" in name}
    return found | {ODE: melody(RATE_HZ).astype(np.float32)} | songs


def harmonic_db(audio: np.ndarray, track: pitch.PitchTrack) -> float:
    """Energy within 40 Hz of the partials of the audio's own pitch over all other, mean over windows of 64 ms in dB."""
    frequency = np.fft.rfftfreq(WINDOW_SAMPLES, 1 / RATE_HZ)
    window, found = np.hanning(WINDOW_SAMPLES), []
    for time_s, f0, voiced in zip(track.times_s[::3], track.f0_hz[::3], track.voiced[::3], strict=True):
        start = round(float(time_s) * RATE_HZ) - WINDOW_SAMPLES // 2
        if not voiced or start < 0 or start + WINDOW_SAMPLES > len(audio):
            continue
        power = np.abs(np.fft.rfft(audio[start : start + WINDOW_SAMPLES] * window)) ** 2
        partial = np.round(frequency / f0)
        near = (np.abs(frequency - partial * f0) < NEAR_HZ) & (partial >= 1)
        if power.sum() > 1e-6:
            found.append(10.0 * np.log10(power[near].sum() / max(power[~near].sum(), 1e-12)))
    return float(np.mean(found)) if found else float("nan")


def high_share(audio: np.ndarray) -> float:
    """Share of the energy above 3 kHz."""
    power = np.abs(np.fft.rfft(audio)) ** 2
    return float(power[np.fft.rfftfreq(len(audio), 1 / RATE_HZ) > HIGH_HZ].sum() / max(power.sum(), 1e-12))


def score(
    model: Model,
    decoder: str,
    inputs: dict[str, tuple[np.ndarray, pitch.PitchTrack]],
    judge: domains.DomainClassifier,
    temperature: float,
) -> tuple[dict[str, Clip], Counter[str]]:
    """Every clip of one decoder at one temperature, and how often the judge said what of its halves; seed 0."""
    rows, said = {}, Counter[str]()
    for name, (audio, wanted) in progress_track(
        inputs.items(), description=f"{decoder} at {temperature:g}", console=LOG
    ):
        played = pipeline.translate(model, level(audio), RATE_HZ, decoder, 0, temperature)
        track = pitch.track(played, RATE_HZ)
        agreement = pitch.agreement(wanted, track)
        shares = (agreement.within_50_cents, agreement.within_50_cents_any_octave, agreement.voiced_both)
        rows[name] = Clip(*shares, harmonic_db(played, track), high_share(played))
        said.update(judge.classify(half) for half in np.array_split(played, 2))
    return rows, said


def summary(rows: dict[str, Clip]) -> dict[str, float]:
    """Means over clips; `product` is that of what is in tune times what sounds, clip by clip."""
    means = {name: float(np.nanmean([asdict(row)[name] for row in rows.values()])) for name in asdict(rows[ODE])}
    return means | {"product": float(np.mean([row.in_tune * row.sounding for row in rows.values()]))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="whose corpus and timbres are heard")
    parser.add_argument("--model", required=True, help="pack")
    parser.add_argument("--decoder", nargs="+", help="one or more; the pack's first one otherwise")
    parser.add_argument("--temperature", type=float, nargs="+", default=[1.0], help="one or more (1)")
    parser.add_argument("--json", action="store_true", help="every clip, to standard output")
    arguments = parser.parse_args()
    settings = configured(arguments.config)
    with one_line_errors():
        model = model_file.load(arguments.model)
        decoders = [model.decoder_name(name) for name in arguments.decoder or [None]]
        inputs = {name: (audio, pitch.track(audio, RATE_HZ)) for name, audio in clips(settings).items()}
        judge = domains.open_classifier(folder_of(CONFIG), "harpsichord")
    names = ("", "in tune", "octave", "sounds", "product", "harmonic", "high", "Ode", "heard as")
    table = Table(*names, box=None, padding=(0, 1, 0, 0))
    everything: dict[str, dict[str, object]] = {name: {} for name in decoders}
    for decoder, temperature in itertools.product(decoders, arguments.temperature):
        rows, said = score(model, decoder, inputs, judge, temperature)
        s, ode = summary(rows), rows[ODE]
        table.add_row(
            f"{decoder} at {temperature:g}",
            *(f"{s[name]:.3f}" for name in ("in_tune", "any_octave", "sounding", "product")),
            f"{s['harmonic_db']:.1f} dB",
            f"{s['high']:.1%}",
            f"{ode.in_tune:.2f} {ode.sounding:.2f} {ode.high:.0%}",
            ", ".join(f"{word} {count}" for word, count in said.most_common(3)),
        )
        clip_rows = {name: asdict(row) for name, row in rows.items()}
        everything[decoder][f"{temperature:g}"] = {"clips": clip_rows, "heard_as": said}
    if arguments.json:
        print(json.dumps({"model": str(arguments.model), "decoders": everything}, indent=1))
    else:
        Console().print(table)


if __name__ == "__main__":
    main()
