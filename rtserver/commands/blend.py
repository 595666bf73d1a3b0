"""`rtserver blend`: two audio files as one, crossfaded in the latent."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from rtserver.command_options import AsJson, EncoderDevice, Precision, Quiet, Seed, Temperature, progress_bar
from rtserver.errors import UserError

if TYPE_CHECKING:
    import numpy as np

LONGEST_S = 600.0  # of both inputs together: they are held in memory


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def blend(
        first: Annotated[Path, typer.Argument(metavar="A", help="Audio file to begin with.")],
        second: Annotated[Path, typer.Argument(metavar="B", help="Audio file to arrive at.")],
        model: Annotated[str, typer.Option("--model", "-m", metavar="MODEL", help="Path or name of a pack.")],
        output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="File to write.")],
        decoder: Annotated[
            Optional[str],  # noqa: UP045
            typer.Option(metavar="NAME", help="Decoder to play; by default the first."),
        ] = None,
        crossfade_seconds: Annotated[
            float, typer.Option(min=0.0, max=60.0, metavar="S", help="How long A turns into B; 0 goes over at once.")
        ] = 1.5,
        seed: Seed = 0,
        temperature: Temperature = 1.0,
        rate: Annotated[
            Optional[int],  # noqa: UP045
            typer.Option(min=8000, max=384000, metavar="HZ", help="Of the output; by default A's."),
        ] = None,
        device: EncoderDevice = "cpu",
        precision: Precision = "auto",
        quiet: Quiet = False,
        as_json: AsJson = False,
    ) -> None:
        """Turn one piece of music into another, played by one instrument in one breath.

        Both are embedded, what the network makes of them is crossfaded, and a decoder plays it: not two recordings
        over one another, but music that goes from A to B.
        """
        from rtserver.blending import blend as blended
        from rtserver.pipeline import Translator
        from rtserver.precision import check
        from rtserver.prepared import load
        from rtserver.translate_files import SUFFIXES

        if output.suffix.lower() not in SUFFIXES:
            raise UserError(f"{output} has a suffix that can't be written; use one of {' '.join(SUFFIXES)}")
        for path in (first, second):
            if output.exists() and path.exists() and output.samefile(path):
                raise UserError(f"the output {output} would overwrite an input; choose another -o")
        signals = [_read(path) for path in (first, second)]
        if sum(len(frames) / rate_hz for frames, rate_hz in signals) > LONGEST_S:
            raise UserError(f"the inputs are longer than {LONGEST_S / 60:.0f} minutes together; cut them first")
        pack = load(model, check(precision))
        if pack.kind != "model":
            raise UserError(f"{pack.name} has no latent to blend in; use a pack")
        name = pack.decoder_name(decoder)
        translator = Translator(pack, device, precision)
        started = time.perf_counter()
        with progress_bar(quiet) as bar:
            line = bar.add_task(f"{first.name} to {second.name}", total=1.0)
            played = blended(
                translator,
                signals[0],
                signals[1],
                name,
                crossfade_seconds,
                seed,
                temperature,
                rate,
                lambda share: bar.update(line, completed=share),
            )
        rate_hz = rate or signals[0][1]
        _write(output, played, rate_hz)
        if as_json:
            elapsed, seconds = time.perf_counter() - started, len(played) / rate_hz
            record = {
                "model": pack.name,
                "decoder": name,
                "precision": translator.precision,
                "output": str(output),
                "sample_rate_hz": rate_hz,
                "seconds": round(seconds, 6),
                "crossfade_seconds": crossfade_seconds,
                "elapsed_s": round(elapsed, 3),
                "times_realtime": round(seconds / elapsed, 3),
            }
            print(json.dumps(record, indent=2))


def _read(path: Path) -> tuple[np.ndarray, int]:
    """float32 [n, channels], what isn't a number as silence, and the rate."""
    import numpy as np
    import soundfile as sf

    if not path.is_file():
        raise UserError(f"input {path} does not exist; check the path")
    try:
        found: Any = sf.info(path)
        if found.samplerate > 0 and found.frames / found.samplerate > LONGEST_S:
            raise UserError(f"{path} is longer than {LONGEST_S / 60:.0f} minutes; cut it first")
        frames, rate_hz = sf.read(path, dtype="float32", always_2d=True)
    except (sf.LibsndfileError, OSError) as error:
        text = str(getattr(error, "error_string", "") or error).rstrip(". ")
        raise UserError(f"{path} can't be read as audio: {text}; convert it to WAV or FLAC") from None
    if not len(frames):
        raise UserError(f"{path} is empty: it has no samples to blend")
    return np.where(np.isfinite(frames), frames, np.float32(0)), int(rate_hz)


def _write(path: Path, audio: np.ndarray, rate_hz: int) -> None:
    """Under `.part` first, so that an interrupted run leaves no half of a file."""
    import soundfile as sf

    from rtserver.translate_files import SUFFIXES

    kind, subtype = SUFFIXES[path.suffix.lower()]
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sf.write(partial, audio, rate_hz, format=kind, subtype=subtype)
        partial.replace(path)
    except sf.LibsndfileError as error:
        raise UserError(f"{path} can't be written at {rate_hz} Hz: {str(error).rstrip('. ')}; try .wav") from None
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror or error}; check the folder") from None
    finally:
        partial.unlink(missing_ok=True)
