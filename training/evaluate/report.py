"""A report as one page that needs nothing else: figures, pictures and players, all within the file.

Sound is FLAC and pictures are PNG, as data URLs, so that the page can be sent, or opened without a network.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from training.evaluate import pictures
from training.evaluate.table2 import MUSICIANS, PAPER, Direction

if TYPE_CHECKING:
    from training.evaluate.experiments import Shown

RATE_HZ = 16000
EXAMPLES = 4  # of each direction
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .25rem .7rem; text-align: right }
th { border-bottom: 2px solid #999; font-weight: 600 } td { border-bottom: 1px solid #ddd }
th:first-child, td:first-child { text-align: left } img { max-width: 100% } audio { height: 32px }
small, .note { color: #666 } figure { margin: 1rem 0 }
"""


def write(folder: Path, result: dict[str, Any], shown: Shown) -> Path:
    """report.html, report.json and the pictures in `folder`; gives the page. UserError if matplotlib is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    made = _pictures(result, shown)
    for name, png in made.items():
        (folder / f"{name}.png").write_bytes(png)
    (folder / "report.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    path = folder / "report.html"
    path.write_text(page(result, shown, made), encoding="utf-8")
    return path


def _pictures(result: dict[str, Any], shown: Shown) -> dict[str, bytes]:
    made = {}
    if "table2" in result:
        made["table2"] = pictures.table(result["table2"])
        heard = {name: row["heard_as"] for name, row in result["table2_details"].items()}
        made["heard_as"] = pictures.confusion(heard, "what the independent classifier hears in the outputs")
        made["classifier"] = pictures.confusion(
            result["classifier"]["test"]["confusion"], "the classifier itself, on real test works"
        )
    if shown.latents:
        made["latents"] = pictures.note_latents(shown.latents, result["latents"]["pitches"][0])
    return made


def page(result: dict[str, Any], shown: Shown, made: dict[str, bytes]) -> str:
    """The whole page as HTML."""
    title = f"{result['model']}: {result['decoder']}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p class=note>SHA-256 {html.escape(result['sha256'][:16])}, {html.escape(result['precision'])}, seed"
        f" {result['seed']}, temperature {result['temperature']}</p>",
    ]
    if "table2" in result:
        parts += _table2(result, made)
    parts += [part for direction in shown.directions.values() for part in _examples(direction)]
    if "pitch" in result:
        parts += _recordings(result["pitch"], shown.recordings)
    if "latents" in result:
        parts += _latents(result["latents"], made)
    if "blend" in result:
        parts += _blend(result["blend"], shown.blends)
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    return f"<!doctype html><html lang=en><head>{head}</head><body>{body}</body></html>"


def _table2(result: dict[str, Any], made: dict[str, bytes]) -> list[str]:
    rows, details = result["table2"], result["table2_details"]
    paper, measured, notes, sound = [], [], [], []
    for name, row in (rows | result["control"]).items():
        source, own = name.partition("_to_")[0], details[name]
        label = name.replace("_", " ")
        for measure in ("ncc", "dtw"):
            paper.append(
                (
                    f"{label}, {measure.upper()}",
                    _with_interval(own[measure]),
                    _number(row[f"chance_{measure}"]),
                    _number(PAPER.get(source, {}).get(measure)),
                    f"{MUSICIANS[measure][0]} to {MUSICIANS[measure][1]}" if source in PAPER else "-",
                )
            )
        measured.append((label, str(row["n"]), _with_interval(own["onset_delay_ms"], 0), str(own["silent"])))
        if "note_f1" in own:
            for kind in ("onset", "note"):
                keys = (f"{kind}_f1", f"input_{kind}_f1", f"chance_{kind}_f1")
                notes.append((f"{label}, {kind} F1", *(_with_interval(own.get(key, {"mean": None})) for key in keys)))
        far = own["frechet"]
        recognised = _with_interval(own["target_recognised"])
        sound.append((label, recognised, *(_number(far[key]) for key in ("output", "input", "real"))))
    judge = result["classifier"]
    parts = [
        "<h2>Table 2 of Mor et al. 2018</h2>",
        f"<p>Test works, in a soundfont kept for testing. {html.escape(result['tracker'])}. In brackets: 95 %"
        " bootstrap intervals over segments. Chance is the output against the input of another segment. Melodies are"
        " whistled, of one voice: a control that isn't in the paper.</p>",
        _table(("", "this pack", "chance", "paper's network", "paper's musicians"), paper),
        _figure(made["table2"]),
        _table(("", "segments", "onsets late by, ms", "silent outputs"), measured),
    ]
    if notes:
        parts += [
            "<h2>Onsets and notes</h2><p>basic-pitch's transcription against the score, the median delay of the"
            " direction taken off; <i>input</i> is the transcription of the original, as far as one can get.</p>",
            _table(("", "output", "input", "chance"), notes),
        ]
    parts += [
        "<h2>Does it sound like its target?</h2>"
        f"<p>An independent classifier, right on {_percent(judge['valid']['accuracy'])} of held-out works,"
        f" {_percent(judge['test']['accuracy'])} of test works and {_percent(judge['unseen']['accuracy'])} of those in"
        " another soundfont; and Frechet distances of its last hidden layer to real audio of the target.</p>",
        _table(("", "heard as its target", "distance", "of the untranslated input", "of other real audio"), sound),
        _figure(made["heard_as"]),
        _figure(made["classifier"]),
    ]
    return parts


def _examples(direction: Direction) -> Iterable[str]:
    yield f"<h2>From {html.escape(direction.source)}</h2>"
    for segment, played in list(zip(direction.segments, direction.played, strict=True))[:EXAMPLES]:
        yield f"<h3>{html.escape(segment.name)}</h3>"
        yield f"<p>input {_player(segment.audio)} output {_player(played)}</p>"
        yield _figure(pictures.spectrograms({"input": segment.audio, "output": played}))


def _recordings(rows: dict[str, dict[str, float]], audio: dict[str, tuple[np.ndarray, np.ndarray]]) -> list[str]:
    table = [
        (
            name.removeprefix("recording/"),
            _number(row["within_50_cents"]),
            _number(row["chance"]),
            _number(row["voiced_both"]),
            f"{1000 * row['delay_s']:.0f}",
        )
        for name, row in rows.items()
    ]
    parts = [
        "<h2>Recordings</h2><p>Real ones, never trained on. Pitch by swift-f0, which follows one voice: figures of"
        " polyphonic recordings mean little.</p>",
        _table(("", "within 50 cents", "chance", "of voiced frames sounding", "late by, ms"), table),
    ]
    for name, (source, played) in audio.items():
        title = html.escape(name.removeprefix("recording/"))
        parts.append(f"<p>{title}<br>input {_player(source)} output {_player(played)}</p>")
    return parts


def _latents(found: dict[str, Any], made: dict[str, bytes]) -> list[str]:
    keys = ("same_pitch", "other_pitch", "centred_same_pitch", "centred_other_pitch")
    pairs = [(name, *(_number(row[key]) for key in keys)) for name, row in found["pairs"].items()]
    rows = [("all", *(_with_interval(found[key]) for key in keys)), *pairs]
    parts = [
        "<h2>Latents of single notes</h2><p>Cosine of two instruments' latents; the paper has 0.90 to 0.95 at the same"
        f" pitch. The nearest note of another instrument is the same one in"
        f" {_percent(found['nearest_is_same_pitch']['mean'])} of the cases.</p>",
        _table(("", "same pitch", "other pitches", "same, centred", "other, centred"), rows),
    ]
    return parts + ([_figure(made["latents"])] if "latents" in made else [])


def _blend(found: dict[str, Any], blends: Sequence[np.ndarray]) -> list[str]:
    names = {
        "blend": "crossfaded in the latent",
        "audio_crossfade": "two translations crossfaded",
        "hard_cut": "two translations, cut",
        "unblended": "one translation, no seam",
    }
    parts = [
        "<h2>Blends</h2><p>The greatest change of the spectrum at the seam over the 95th percentile elsewhere;"
        f" crossfade {found['crossfade_s']:.1f} s.</p>",
        _table(("", "roughness"), [(label, _with_interval(found[key])) for key, label in names.items()]),
    ]
    return parts + [f"<p>{_player(audio)}</p>" for audio in blends[:EXAMPLES]]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(h)}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _player(audio: np.ndarray) -> str:
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, RATE_HZ, format="FLAC", subtype="PCM_16")
    return f'<audio controls preload="none" src="data:audio/flac;base64,{_base64(buffer.getvalue())}"></audio>'


def _figure(png: bytes) -> str:
    return f'<figure><img alt="" src="data:image/png;base64,{_base64(png)}"></figure>'


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _with_interval(row: dict[str, Any], digits: int = 2) -> str:
    if row["mean"] is None:
        return "-"
    low, high = row["interval"]
    return f"{row['mean']:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
