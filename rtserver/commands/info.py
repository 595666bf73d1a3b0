"""`rtserver info`: what a pack holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rtserver.command_options import AsJson

if TYPE_CHECKING:
    from rtserver.model_file import Model


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def info(
        model: Annotated[str, typer.Argument(metavar="MODEL", help="Path or name of a pack, or of a probe.")],
        as_json: AsJson = False,
    ) -> None:
        """Tell what an instrument pack holds: architecture, decoders, latency, card."""
        from rtserver.prepared import load

        described = describe(load(model))
        if as_json:
            print(json.dumps(described, indent=2))
        else:
            _show(described)


def describe(model: Model) -> dict[str, Any]:
    """The JSON fields of `rtserver info`."""
    from rtserver.model_check import FORMAT

    encoder, decoder = model.config.encoder, model.config.decoder
    probe = model.kind != "model"
    return {
        "name": model.name,
        "path": str(model.path) if model.path else None,
        "sha256": model.sha256,
        "file_bytes": model.path.stat().st_size if model.path else 0,
        "format": "probe" if probe else FORMAT,
        "preset": model.config.preset,
        "sample_rate_hz": model.config.sample_rate_hz,
        "mu_law": model.config.mu_law,
        "emphasis": model.config.emphasis,
        "hop_samples": model.hop_samples,
        "lookahead_samples": model.lookahead_samples,
        "latent_channels": 0 if probe else encoder.latent_channels,
        "encoder": None if probe else asdict(encoder),
        "decoder": None if probe else asdict(decoder),
        "decoders": list(model.decoders),
        "parameters": model.parameters,
        "card": model.card,
    }


def _show(described: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", overflow="fold", max_width=32)  # long names fold, so that the values stay in sight
    table.add_column(overflow="fold", ratio=1)

    def row(label: str, text: str) -> None:
        table.add_row(label, escape(text))

    d, rate = described, described["sample_rate_hz"]
    row("model", f"{d['name']} ({d['preset']}, {d['format']})")
    if d["path"]:
        row("file", f"{d['path']}, {d['file_bytes'] / 1e6:.1f} MB")
    row("sha256", d["sha256"])
    hop, ahead = (1000 * d[key] / rate for key in ("hop_samples", "lookahead_samples"))
    row("hop", f"{d['hop_samples']} samples at {rate} Hz ({hop:g} ms)")
    row("lookahead", f"{d['lookahead_samples']} samples ({ahead:g} ms)")
    if d["encoder"]:
        e, w = d["encoder"], d["decoder"]
        kind = "causal" if e["causal"] else "symmetric"
        row("encoder", f"{e['blocks']} x {e['layers']} layers, {e['channels']} channels, {kind}")
        if f := e["front_end"]:
            bins = f"{f['octaves']} octaves from note {f['lowest_note']} with {f['bins_per_octave']} bins each"
            row("front end", f"constant-Q: {bins}, windows of up to {f['window_samples']} samples")
        row(
            "latent",
            f"{d['latent_channels']} values a hop ({d['latent_channels'] * rate // d['hop_samples']} a second)",
        )
        widths = f"{w['residual_channels']} residual and {w['skip_channels']} skip channels"
        row("decoder", f"{w['blocks']} x {w['layers']} layers, {widths}")
        row("decoders", ", ".join(d["decoders"]))
        row("parameters", f"{d['parameters']:,}")
        row("mu-law", d["mu_law"])
        if w["prediction_order"]:
            row("prediction", f"linear, {w['prediction_order']} taps; decoders say its error")
        if d["emphasis"]:
            row("emphasis", f"{d['emphasis']:g}")
    for label, text in _flat(d["card"]):
        row(label, text)
    Console().print(table)


def _flat(card: dict[str, Any], prefix: str = "card") -> list[tuple[str, str]]:
    """A card as lines: nested dictionaries by dotted name, lists and dictionaries of plain values on one line."""
    lines: list[tuple[str, str]] = []
    for key, value in card.items():
        name = f"{prefix}.{key}"
        if isinstance(value, dict) and any(isinstance(item, (dict, list)) for item in value.values()):
            lines += _flat(value, name)
        elif isinstance(value, dict):
            lines.append((name, ", ".join(f"{k} {_plain(v)}" for k, v in value.items()) or "none"))
        elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
            lines += [(name, json.dumps(item)) for item in value]
        elif isinstance(value, list):
            lines.append((name, ", ".join(map(_plain, value))))
        else:
            lines.append((name, _plain(value)))
    return lines


def _plain(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
