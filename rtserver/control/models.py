"""The models being served: packs named on the command line, and the probes, which are always there.

A pack whose prepared weights are cached costs a hash and a mapping. Another one is read in a process of its own that
ends afterwards: torch's memory goes with it, and a file that brings the reader down doesn't bring the server down.
Either way the worker maps the prepared file itself; only its path travels.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from rtserver import model_file, prepared, prepared_format
from rtserver.errors import UserError
from rtserver.precision import resolve
from rtserver.worker.messages import Kind, LoadModel

PROBES: tuple[Kind, ...] = ("loopback", "identity16k")


@dataclass(frozen=True)
class ServedModel:
    """What the control process knows of a model. `message` is sent again to every worker that is started."""

    name: str
    kind: Kind
    hop_samples: int
    lookahead_samples: int
    decoders: tuple[str, ...]  # in the order of the `decoder` parameter
    message: LoadModel
    description: dict[str, Any]

    def decoder_index(self, decoder: str | int) -> int:
        """Index of a decoder named or numbered. UserError if there is none such."""
        if isinstance(decoder, str) and decoder in self.decoders:
            return self.decoders.index(decoder)
        number = decoder if isinstance(decoder, int) else int(decoder) if decoder.isdigit() else -1
        if 0 <= number < max(1, len(self.decoders)):
            return number
        known = ", ".join(self.decoders) or "none, it is a probe"
        raise UserError(f"model {self.name} has no decoder {decoder!r}; its decoders: {known}")


def probe(kind: Kind) -> ServedModel:
    """A built-in model without a network."""
    hop = 0 if kind == "loopback" else 160
    message = LoadModel(kind, kind, hop, 0, "linear")
    return ServedModel(kind, kind, hop, 0, (), message, {"name": kind, "kind": kind, "hop_samples": hop})


@dataclass(frozen=True)
class _Prepared:
    """A reader's answer. image: path of the prepared file, or its bytes if it could not be kept; `why_not` says why."""

    sha256: str
    image: str | bytes
    why_not: str = ""


def load(path_or_name: str, precision: str = "fp32") -> ServedModel:
    """Find a pack's prepared weights, or have another process read it and prepare them (slow). UserError if refused.

    precision: as `rtserver.precision.check` gives it.
    """
    path = model_file.find(path_or_name)
    found = prepared.find(path, precision)
    if found is not None:
        return _served(found[0], str(found[1]), precision)
    why = ""
    for keep in (True, False):  # an entry that vanishes at once, or doesn't stay private: without the cache, then
        made = _ask_reader(path, precision, keep)
        prepared.warn_once(made.why_not)
        try:
            return _served(prepared.open_image(made.image, path, made.sha256), made.image, precision)
        except prepared.ImageGone as error:
            why = str(error)
    raise UserError(f"{path}: {why}; try again", 1)


def _ask_reader(path: Path, precision: str, keep: bool) -> _Prepared:
    """Start a reader and wait for its answer. UserError if it refuses the pack, or dies."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    arguments = (theirs, path, precision, keep)
    reader = context.Process(target=_read_and_send, args=arguments, name="rtserver-reader", daemon=True)
    reader.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError:
        reader.join()
        raise UserError(f"{path}: reading it ended with status {reader.exitcode}; is there enough memory?", 1) from None
    finally:
        ours.close()
        reader.join()
    if isinstance(answer, _Prepared):
        return answer
    raise UserError(str(answer))


def _read_and_send(pipe: Connection, path: Path, precision: str, keep: bool) -> None:
    """The reader process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pipe.send(prepare(path, precision, keep))
    except UserError as error:
        pipe.send(str(error))
    except Exception as error:
        pipe.send(f"{path} can't be read: {type(error).__name__}: {error}; is it a model of this version?")
    pipe.close()
    sys.stderr.flush()
    os._exit(0)  # torch takes half a second to tidy up, and there is nothing left to tidy


def prepare(path: Path, precision: str, keep: bool) -> _Prepared:
    """Read a pack here and prepare its weights."""
    model = prepared.read_pack(path, precision)
    why_not = ""
    if keep:
        try:
            return _Prepared(model.sha256, str(prepared.store(model)))
        except prepared.NotKept as error:
            why_not = str(error)
    return _Prepared(model.sha256, b"".join(prepared_format.pieces(model)), why_not)


def _served(model: model_file.Model, image: str | bytes, precision: str) -> ServedModel:
    """What is known of a model from now on, without its weights."""
    encoder = model.config.encoder
    message = LoadModel(
        name=model.name,
        kind="model",
        hop_samples=encoder.hop_samples,
        lookahead_samples=encoder.lookahead_samples,
        encoding=model.config.input_encoding,
        pack=str(model.path),
        sha256=model.sha256,
        image=image,
    )
    description = {
        "name": model.name,
        "kind": "model",
        "preset": model.config.preset,
        "path": str(model.path),
        "sha256": model.sha256,
        "hop_samples": encoder.hop_samples,
        "lookahead_samples": encoder.lookahead_samples,
        "decoders": list(model.decoders),
        "precision": resolve(precision, model),
    }
    return ServedModel(
        model.name,
        "model",
        encoder.hop_samples,
        encoder.lookahead_samples,
        tuple(model.decoders),
        message,
        description,
    )


class Catalog:
    """Models by name. The first one asked for is the default; the probes come last."""

    def __init__(self) -> None:
        self._models: dict[str, ServedModel] = {kind: probe(kind) for kind in PROBES}
        self.default = "loopback"

    def load_all(
        self, names: list[str], progress: Callable[[str], None] = lambda name: None, precision: str = "fp32"
    ) -> None:
        """Load every model named. UserError names the first that is refused."""
        for position, name in enumerate(names):
            progress(name)
            model = self._models[name] if name in self._models else load(name, precision)
            known = self._models.get(model.name)
            if known is not None and known.description.get("sha256") != model.description.get("sha256"):
                raise UserError(f"two different models are called {model.name}; rename one of the files")
            self._models[model.name] = model
            if position == 0:
                self.default = model.name

    @property
    def description(self) -> dict[str, Any]:
        """What `/rt/models` answers."""
        return {"default": self.default, "models": [model.description for model in self]}

    def precision(self, asked: str) -> str:
        """What the packs served run in; with none of them, what one would."""
        found = [model.description["precision"] for model in self._models.values() if model.kind == "model"]
        return ", ".join(dict.fromkeys(found)) or resolve(asked)

    def reload(self, name: str, precision: str) -> ServedModel:
        """Prepare a model anew whose prepared file went missing. UserError if the pack isn't what it was."""
        known = self._models[name]
        model = load(known.message.pack, precision)
        if model.message.sha256 != known.message.sha256:
            raise UserError(f"{known.message.pack} was changed while it was served; start the server again")
        self._models[name] = model
        return model

    def add(self, model: ServedModel) -> None:
        """Serve one more, that no other has the name of."""
        self._models[model.name] = model

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(sorted(self._models.values(), key=lambda model: model.kind != "model"))

    def find(self, name: str) -> ServedModel:
        """The model of that name, with or without `.pt`; "" is the default. UserError if it isn't served."""
        wanted = name or self.default
        model = self._models.get(wanted) or self._models.get(wanted.removesuffix(".pt"))
        if model is None:
            raise UserError(
                f"model {name!r} is not served here; served: {', '.join(self._models)};"
                " start the server with --model to add it"
            )
        return model
