"""The models being served: packs named on the command line, and the probes, which are always there.

Packs are read in a process of their own that ends afterwards: torch's memory goes with it, and a file that brings the
reader down doesn't bring the server down.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from rtserver.errors import UserError
from rtserver.worker.messages import Kind, LoadModel

PROBES: tuple[Kind, ...] = ("loopback", "identity16k")
ENCODINGS = {"rounded": "mu_law_rounded", "published": "mu_law_published"}


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


def load(path_or_name: str, precision: str = "fp32") -> ServedModel:
    """Read a pack in another process, check it, and make it ready for the worker. Slow. UserError if refused."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    reader = context.Process(
        target=_read_and_send, args=(theirs, path_or_name, precision), name="rtserver-reader", daemon=True
    )
    reader.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError:
        reader.join()
        raise UserError(
            f"{path_or_name}: reading it ended with status {reader.exitcode}; is there enough memory?", 1
        ) from None
    finally:
        ours.close()
        reader.join()
    if isinstance(answer, ServedModel):
        return answer
    raise UserError(str(answer))


def _read_and_send(pipe: Connection, path_or_name: str, precision: str) -> None:
    """The reader process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        pipe.send(read(path_or_name, precision))
    except UserError as error:
        pipe.send(str(error))
    except Exception as error:
        pipe.send(f"{path_or_name} can't be read: {type(error).__name__}: {error}; is it a model of this version?")


def read(path_or_name: str, precision: str = "fp32") -> ServedModel:
    """Read a pack here."""
    from rtserver import encoder_graph, model_file
    from rtserver.precision import calibration_for

    model = model_file.load(path_or_name)
    encoder = model.config.encoder
    message = LoadModel(
        name=model.name,
        kind="model",
        hop_samples=encoder.hop_samples,
        lookahead_samples=encoder.lookahead_samples,
        encoding=ENCODINGS[model.config.mu_law],
        encoder_config=encoder,
        encoder_graph=encoder_graph.build(encoder, model.encoder),
        encoder_key=model.encoder_sha256,
        decoder_config=model.decoder_config(),
        decoders=model.decoders,
        calibration=calibration_for(model, precision),
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
