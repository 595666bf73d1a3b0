"""`rtserver translate`: audio files and folders into an instrument."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from rtserver.command_options import AsJson, EncoderDevice, Precision, Quiet, Seed, Temperature, progress_bar
from rtserver.errors import UserError

if TYPE_CHECKING:
    from rtserver.pipeline import Translator
    from rtserver.translate_files import Settings, Task


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def translate(
        inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Audio files, or folders of them.")],
        model: Annotated[str, typer.Option("--model", "-m", metavar="MODEL", help="Path or name of a pack.")],
        output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT", help="A file, or a folder.")],
        decoder: Annotated[
            Optional[list[str]],  # noqa: UP045
            typer.Option(metavar="NAME", help="Decoder to play; may be repeated, or `all`. By default the first."),
        ] = None,
        seed: Seed = 0,
        temperature: Temperature = 1.0,
        rate: Annotated[
            Optional[int],  # noqa: UP045
            typer.Option(min=8000, max=384000, metavar="HZ", help="Of the output; by default the input's."),
        ] = None,
        device: EncoderDevice = "cpu",
        precision: Precision = "auto",
        force: Annotated[bool, typer.Option("--force", help="Translate again what is already done.")] = False,
        quiet: Quiet = False,
        as_json: AsJson = False,
    ) -> None:
        """Translate audio files of any rate and channel count.

        A folder's tree is mirrored below OUT. Run again, it resumes: what is done with the same settings is skipped.
        """
        from rtserver.pipeline import Translator
        from rtserver.precision import check
        from rtserver.prepared import load
        from rtserver.translate_files import Settings, plan

        pack = load(model, check(precision))
        wanted = list(pack.decoders) if decoder == ["all"] else [pack.decoder_name(name) for name in decoder or [""]]
        tasks = plan(inputs, output, list(dict.fromkeys(wanted)))
        translator = Translator(pack, device, precision)
        started = time.perf_counter()
        records = _run(translator, tasks, Settings(seed, temperature, rate), force=force, quiet=quiet)
        failed = sum("error" in record for record in records)
        if as_json:
            elapsed = time.perf_counter() - started
            print(json.dumps(_summary(translator, records, elapsed), indent=2))
        if failed:
            raise UserError(f"{failed} of {len(records)} outputs could not be made; the lines above say why", 1)


def _run(
    translator: Translator, tasks: list[Task], settings: Settings, *, force: bool, quiet: bool
) -> list[dict[str, Any]]:
    """Every task in turn; one that fails leaves a record and the rest goes on."""
    import soundfile as sf
    from rich.progress import TextColumn

    from rtserver.translate_files import fingerprint, is_done, translate_file

    lengths = {path: _seconds(sf, path) for path in {task.input for task in tasks}}
    records: list[dict[str, Any]] = []
    with progress_bar(quiet, TextColumn("{task.fields[speed]}")) as bar:
        line = bar.add_task("", total=sum(lengths[task.input] for task in tasks) or 1.0, speed="")
        begun, heard = time.perf_counter(), 0.0

        def progress(seconds: float) -> None:
            nonlocal heard
            heard += seconds
            speed = heard / (time.perf_counter() - begun)
            bar.update(line, advance=seconds, speed=f"{speed:.2f} x real time")

        for task in tasks:
            bar.update(line, description=task.input.name)
            record: dict[str, Any] = {"input": str(task.input), "output": str(task.output), "decoder": task.decoder}
            before = bar.tasks[line].completed
            try:
                comment = fingerprint(translator, task, settings)
                if not force and is_done(task, comment):
                    record["skipped"] = True
                else:
                    record |= translate_file(translator, task, settings, comment, progress)
                    for text in _warnings(record):
                        bar.console.print(f"rtserver: warning: {task.input}: {text}", markup=False, soft_wrap=True)
            except (UserError, OSError) as error:
                record["error"] = str(error)
                bar.console.print(f"rtserver: error: {error}", markup=False, highlight=False, soft_wrap=True)
            bar.update(line, completed=before + lengths[task.input])
            records.append(record)
    return records


def _seconds(sf: Any, path: Path) -> float:
    """Length of a file; 0 for one that can't be read, which its own turn will tell."""
    try:
        found = sf.info(path)
    except (sf.LibsndfileError, OSError):
        return 0.0
    return float(found.frames / found.samplerate) if found.samplerate > 0 else 0.0


def _warnings(record: dict[str, Any]) -> list[str]:
    texts = []
    if record["non_finite_samples"]:
        texts.append(f"{record['non_finite_samples']} samples are NaN or infinite and were taken for silence")
    if record["clipped_samples"]:
        texts.append(f"{record['clipped_samples']} samples lie beyond full scale and were clipped")
    return texts


def _summary(translator: Translator, records: list[dict[str, Any]], elapsed: float) -> dict[str, Any]:
    seconds = sum(record.get("seconds", 0.0) for record in records)
    spent = sum(record.get("elapsed_s", 0.0) for record in records)
    return {
        "model": translator.model.name,
        "precision": translator.precision,
        "translated": sum("seconds" in record for record in records),
        "skipped": sum("skipped" in record for record in records),
        "failed": sum("error" in record for record in records),
        "seconds": round(seconds, 3),
        "elapsed_s": round(elapsed, 3),
        "times_realtime": round(seconds / spent, 3) if spent else None,
        "files": records,
    }
