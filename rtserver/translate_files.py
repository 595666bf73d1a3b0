"""Translating audio files: what goes where, what is already done, and one file after another in bounded memory.

An output carries, as its comment, a fingerprint of the input's bytes, the model and every setting. A run that is
repeated skips outputs whose fingerprint is the one it would write, so it resumes where it stopped and does again what
changed. An output is written under `.part` and renamed when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf

from rtserver.errors import UserError
from rtserver.pipeline import RATES_HZ, Translator

# Suffixes taken from a folder and how each is written: format and subtype of libsndfile.
SUFFIXES = {
    ".wav": ("WAV", "FLOAT"),
    ".flac": ("FLAC", "PCM_24"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
    ".aiff": ("AIFF", "FLOAT"),
    ".aif": ("AIFF", "FLOAT"),
    ".caf": ("CAF", "FLOAT"),
    ".opus": ("OGG", "OPUS"),
    ".w64": ("W64", "FLOAT"),
    ".au": ("AU", "FLOAT"),
}
MAX_WAV_FRAMES = 1_000_000_000  # of float32; WAV itself holds 4 GiB, RF64 any length
PIPELINE_VERSION = 2  # raise when the same settings give other samples


@dataclass(frozen=True)
class Task:
    """One output to make."""

    input: Path
    output: Path
    decoder: str  # "" for a probe


@dataclass(frozen=True)
class Settings:
    """What the samples of an output depend on apart from its input and decoder."""

    seed: int = 0
    temperature: float = 1.0
    rate_hz: int | None = None  # the input's, if None


def plan(inputs: Sequence[Path], output: Path, decoders: Sequence[str]) -> list[Task]:
    """The outputs of a run: a folder's tree is mirrored below `output`, with a folder a decoder if there are several.

    A single input file may go to a single file. UserError for what can't be: no input, an output over its input, a
    format that can't be written.
    """
    single = len(inputs) == 1 and not inputs[0].is_dir()
    if output.suffix.lower() in SUFFIXES and not output.is_dir():
        if not single:
            raise UserError(f"{output} is one file but the input is many; give a folder with -o")
        if not inputs[0].is_file():
            raise UserError(f"input {inputs[0]} does not exist; check the path")
        several = len(decoders) > 1
        tasks = [
            Task(inputs[0], output.with_stem(f"{output.stem}.{name}") if several else output, name) for name in decoders
        ]
    else:
        if single and output.suffix and not output.is_dir():
            kinds = " ".join(SUFFIXES)
            raise UserError(f"{output} has a suffix that can't be written; use one of {kinds}, or give a folder")
        tasks = _mirror(inputs, output, decoders)
    sources = {task.input.resolve() for task in tasks}
    over = next((task for task in tasks if task.output.resolve() in sources), None)
    if over is not None:
        raise UserError(f"the output {over.output} would overwrite an input; choose another -o")
    return tasks


def _mirror(inputs: Sequence[Path], output: Path, decoders: Sequence[str]) -> list[Task]:
    found: list[tuple[Path, Path]] = []  # input, and its place below the output folder
    for path in inputs:
        if path.is_dir():
            found += [(file, file.relative_to(path)) for file in _audio_below(path, output)]
        elif path.is_file():
            found.append((path, Path(path.name)))
        else:
            raise UserError(f"input {path} does not exist; check the path")
    if not found:
        raise UserError(f"no audio files in {', '.join(map(str, inputs))}; known are {' '.join(SUFFIXES)}")
    places = [place.with_suffix(".wav") for _, place in found]
    tasks: list[Task] = []
    for name in decoders:
        folder = output / name if len(decoders) > 1 else output
        for (source, place), wanted in zip(found, places, strict=True):
            # a.wav and a.flac of one folder would meet in one output: these keep their suffix.
            own = wanted if places.count(wanted) == 1 else place.with_name(place.name + ".wav")
            tasks.append(Task(source, folder / own, name))
    outputs = [task.output for task in tasks]
    twice = next((path for path in outputs if outputs.count(path) > 1), None)
    if twice is not None:
        raise UserError(f"two inputs would both be written to {twice}; translate them in two runs")
    return tasks


def _audio_below(folder: Path, output: Path) -> Iterable[Path]:
    inside = output.resolve()
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        written = inside != folder.resolve() and inside in path.resolve().parents  # by an earlier run
        if path.suffix.lower() in SUFFIXES and path.is_file() and not hidden and not written:
            yield path


def fingerprint(translator: Translator, task: Task, settings: Settings) -> str:
    """The comment of an output: equal if and only if the same samples would be written."""
    with task.input.open("rb") as file:
        source = hashlib.file_digest(file, "sha256").hexdigest()
    values: list[Any] = [PIPELINE_VERSION, source, translator.model.sha256, task.decoder, task.output.suffix.lower()]
    values += [settings.seed, settings.temperature, settings.rate_hz, translator.precision]
    digest = hashlib.sha256(json.dumps(values).encode()).hexdigest()[:32]
    return f"rtserver translate {translator.model.name} {task.decoder} seed {settings.seed} {digest}"


def is_done(task: Task, comment: str) -> bool:
    """Whether the output is there, whole, and of the same input and settings."""
    try:
        with sf.SoundFile(task.output) as file:
            return bool(file.comment == comment)
    except (sf.LibsndfileError, OSError):
        return False


@dataclass(frozen=True)
class _Note:
    """What is told about a file: to later runs, and to the person who waits."""

    comment: str
    progress: Callable[[float], None]


def translate_file(
    translator: Translator, task: Task, settings: Settings, comment: str, progress: Callable[[float], None]
) -> dict[str, Any]:
    """Translate one file; give its record for `--json`. UserError for a file that can't be.

    progress: called with the seconds of audio just done.
    """
    started = time.perf_counter()
    partial = task.output.with_name(task.output.name + ".part")
    try:
        task.output.parent.mkdir(parents=True, exist_ok=True)
        with sf.SoundFile(task.input) as source:
            counts = _through(translator, task, settings, source, partial, _Note(comment, progress))
        _undated(partial)
        partial.replace(task.output)
    except (sf.LibsndfileError, sf.SoundFileRuntimeError, EOFError) as error:
        raise UserError(f"{task.input} can't be read as audio: {_reason(error)}; convert it to WAV or FLAC") from None
    except OSError as error:
        raise UserError(f"{task.output} can't be written: {error.strerror or error}; check the folder") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    elapsed = time.perf_counter() - started
    return {**counts, "elapsed_s": round(elapsed, 3), "times_realtime": round(counts["seconds"] / elapsed, 3)}


def _through(
    translator: Translator, task: Task, settings: Settings, source: sf.SoundFile, partial: Path, note: _Note
) -> dict[str, Any]:
    rate = source.samplerate
    if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
        raise UserError(f"{task.input} has a sample rate of {rate} Hz; supported are {RATES_HZ[0]} to {RATES_HZ[1]} Hz")
    if source.frames == 0:
        raise UserError(f"{task.input} is empty: it has no samples to translate")
    out_rate = settings.rate_hz or rate
    kind, subtype = SUFFIXES[task.output.suffix.lower()]
    if kind == "WAV" and source.frames * out_rate // rate > MAX_WAV_FRAMES:
        kind = "RF64"
    stream = translator.open(
        rate,
        source.channels,
        decoder=task.decoder or None,
        seed=settings.seed,
        temperature=settings.temperature,
        output_rate_hz=out_rate,
    )
    frames = non_finite = clipped = 0
    try:
        sink = sf.SoundFile(partial, "w", out_rate, 1, format=kind, subtype=subtype)
    except sf.LibsndfileError as error:
        raise UserError(f"{task.output} can't be written at {out_rate} Hz: {_reason(error)}; try .wav") from None
    with sink:
        if kind not in ("W64", "AU"):  # no room for text in these
            sink.comment = note.comment
        for block in source.blocks(blocksize=rate, dtype="float32", always_2d=True):
            frames += len(block)
            finite = np.isfinite(block)
            non_finite += int(block.size - np.count_nonzero(finite))
            clipped += int(np.count_nonzero((np.abs(block) > 1.0) & finite))
            sink.write(stream.push(block))
            note.progress(len(block) / rate)
        sink.write(stream.finish())
    if frames == 0:
        raise UserError(f"{task.input} is empty: it has no samples to translate")
    return {
        "sample_rate_hz": out_rate,
        "channels_in": source.channels,
        "seconds": round(frames / rate, 6),
        "non_finite_samples": non_finite,
        "clipped_samples": clipped,
    }


def _undated(path: Path) -> None:
    """Zero the time of day that libsndfile puts into the PEAK chunk of float WAV: same samples, same bytes."""
    with path.open("r+b") as file:
        if file.read(4) != b"RIFF":
            return
        file.seek(12)
        while len(header := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", header)
            if name == b"PEAK":
                file.seek(4, 1)
                file.write(bytes(4))
                return
            if name == b"data":
                return
            file.seek(size + size % 2, 1)


def _reason(error: Exception) -> str:
    """libsndfile's own words, without the path it repeats."""
    text = str(getattr(error, "error_string", "") or error)
    return text.rstrip(". ").removeprefix("Error : ") or type(error).__name__
