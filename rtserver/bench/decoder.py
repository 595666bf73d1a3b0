"""`bench decoder`: the engine, PyTorch with cached queues, and a plain read of the same weights, by turns in one run.

The machine's speed drifts (other tenants, clocks), so each round measures all three and the medians are compared. The
first two are measured in processor time of their threads, so that other programs on the same cores don't count; a pass
of the third is shorter than a scheduler's turn, and its median leaves them out too.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from rtserver import _engine, prepared, quantise
from rtserver import precision as precisions
from rtserver.errors import UserError
from rtserver.model_check import Weights, decoder_shapes
from rtserver.model_config import PRESETS, DecoderConfig, ModelConfig
from rtserver.model_file import Model
from rtserver.worker import cores

ENGINE_ROUND_S = 0.1
TORCH_ROUND_S = 0.1
READ_ROUND_S = 0.02
MIN_ROUNDS = 5
MAX_SLOTS = 64
RANGE_HOPS = 4
LAYERS_A_BLOCK = 10


@dataclass(frozen=True)
class Subject:
    """The decoder to measure."""

    config: ModelConfig
    weights: Weights
    model: Model | None = None  # None: random weights

    @property
    def engine_config(self) -> dict[str, Any]:
        encoder = self.config.encoder
        return {
            **asdict(self.config.decoder),
            "latent_channels": encoder.latent_channels,
            "hop_samples": encoder.hop_samples,
            "mu_law": self.config.mu_law,
        }


def random_weights(config: DecoderConfig, latent_channels: int, seed: int = 0) -> Weights:
    """Weights of an untrained decoder: the arithmetic takes as long with these."""
    rng = np.random.default_rng(seed)
    weights: Weights = {}
    for name, shape in decoder_shapes(config, latent_channels).items():
        bound = 1.0 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.05
        weights[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
    return weights


def run(
    preset: str | None = None,
    model: str | None = None,
    layers: int | None = None,
    channels: int | None = None,
    precision: str = "auto",
    slots: int = 1,
    device: str = "auto",
    seconds: float = 4.0,
) -> dict[str, Any]:
    """Generate back to back for about `seconds`: a preset with random weights (default `live`), or a pack's decoder.

    layers: in all; channels: residual and skip; slots: streams at once, all on one core; device: "auto" or
    "cpu". Gives the fields of `bench decoder --json`. torch_times_realtime and speedup_over_torch are None, with the
    reason on standard error, where the PyTorch definitions are not at hand.
    """
    if device not in ("auto", "cpu"):
        raise UserError(f"no decoder kernels for device {device!r} in this version; use cpu")
    if not 1 <= slots <= MAX_SLOTS:
        raise UserError(f"--slots is {slots}; give a number from 1 to {MAX_SLOTS}")
    subject = choose(preset, model, layers, channels, precision)
    precision = precisions.resolve(precision, subject.model)
    try:
        decoder = build(subject, precision)
    except ValueError as error:
        raise UserError(f"{error}") from error

    torch_sample = _torch_sampler(subject)
    with ThreadPoolExecutor(1, initializer=_to_decoder_core) as pool:
        engine_round = _engine_round(decoder, slots, pool)
        rounds = _interleave(decoder, engine_round, torch_sample, pool, seconds)

    rate_hz = subject.config.sample_rate_hz
    engine_s, read_s = float(np.median(rounds["engine"])), float(np.median(rounds["read"]))
    torch_s = float(np.median(rounds["torch"])) if torch_sample else None
    return {
        "device": "cpu",
        "isa": decoder.isa,
        "precision": precision,
        "layers": decoder.layers,
        "residual_channels": decoder.residual_channels,
        "skip_channels": decoder.skip_channels,
        "slots": slots,
        "samples_per_second": round(1.0 / engine_s, 1),
        "aggregate_samples_per_second": round(slots / engine_s, 1),
        "times_realtime": round(1.0 / engine_s / rate_hz, 4),
        "torch_times_realtime": round(1.0 / torch_s / rate_hz, 5) if torch_s else None,
        "speedup_over_torch": round(torch_s / engine_s, 2) if torch_s else None,
        "weight_bytes_per_sample": decoder.weight_bytes_per_sample,
        "roofline_ratio": round(read_s / engine_s, 4),
    }


def choose(
    preset: str | None, model: str | None, layers: int | None, channels: int | None, precision: str = "fp32"
) -> Subject:
    """The decoder asked for. UserError where the wishes contradict each other or make no network."""
    if model:
        if preset or layers or channels:
            raise UserError("--model fixes the decoder; leave out --preset, --layers and --channels")
        pack = prepared.load(model, precision)
        if pack.kind != "model":
            raise UserError(f"{pack.name} is a probe and has no decoder; name an instrument pack")
        return Subject(pack.config, pack.decoders[pack.decoder_name()], pack)
    name = preset or "live"
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    config = PRESETS[name]
    decoder = config.decoder
    if layers is not None:
        blocks, a_block = _arrange(layers)
        decoder = replace(decoder, blocks=blocks, layers=a_block)
    if channels is not None:
        if not 1 <= channels <= 1024:
            raise UserError(f"--channels is {channels}; give a number from 1 to 1024")
        decoder = replace(decoder, residual_channels=channels, skip_channels=channels)
    config = replace(config, decoder=decoder)
    return Subject(config, random_weights(decoder, config.encoder.latent_channels))


def build(subject: Subject, precision: str) -> _engine.Decoder:
    """The subject in the engine. precision: one that `precision.resolve` gave. ValueError where it makes no decoder."""
    return precisions.decoder(subject.engine_config, subject.weights, precision, *_quantised(subject, precision))


def _quantised(subject: Subject, precision: str) -> tuple[npt.NDArray[np.float32] | None, Weights | None]:
    """What quantising needs: ranges float32 [layers, R] and in int4 codes, a pack's or those of a moment of noise."""
    if precision not in precisions.QUANTISED:
        return None, None
    if subject.model is not None:
        name, known = subject.model.decoder_name(), subject.model.calibration
        return precisions.decoder_ranges(known, name), precisions.decoder_codes(known, name)
    rng = np.random.default_rng(3)
    encoder = subject.config.encoder
    latents = rng.standard_normal((RANGE_HOPS, encoder.latent_channels)).astype(np.float32)
    codes = rng.integers(0, 256, RANGE_HOPS * encoder.hop_samples, dtype=np.uint8)
    exact = precisions.decoder(subject.engine_config, subject.weights, "fp32")
    ranges = exact.input_ranges(latents, codes)
    if precision != "int4":
        return ranges, None
    alone = np.broadcast_to(np.eye(ranges.shape[1]), (*ranges.shape, ranges.shape[1]))  # inputs that don't go together
    return ranges, quantise.quantise(subject.weights, ranges, alone, alone)


def _arrange(layers: int) -> tuple[int, int]:
    """Blocks and layers a block, with as many layers a block as divide the whole, ten at most."""
    if 1 <= layers <= 160:
        a_block = max(n for n in range(1, LAYERS_A_BLOCK + 1) if layers % n == 0)
        if layers <= LAYERS_A_BLOCK or a_block >= LAYERS_A_BLOCK // 2:
            return layers // a_block, a_block
    raise UserError(
        f"--layers is {layers}; give a number from 1 to 160 that splits into equal blocks of 5 to 10 layers"
    )


def _engine_round(decoder: _engine.Decoder, slots: int, pool: ThreadPoolExecutor) -> Callable[[], float]:
    """A function that runs every slot for a moment, all on one core, and gives the seconds of one sample of one slot.

    Slots go together as the renderer takes them: up to MOST_TOGETHER with one reading of the weights.
    """
    opened = [decoder.open_slot(seed) for seed in range(slots)]
    groups = [opened[i : i + _engine.MOST_TOGETHER] for i in range(0, slots, _engine.MOST_TOGETHER)]
    rng = np.random.default_rng(2)

    def play(latents: list[npt.NDArray[np.float32]]) -> float:
        started_s = time.thread_time()
        for group, given in zip(groups, latents, strict=True):
            _engine.generate_together(group, given)
        return time.thread_time() - started_s

    def play_all(hops: int) -> float:
        shapes = [(len(group), hops, decoder.latent_channels) for group in groups]
        latents = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
        return pool.submit(play, latents).result() / (hops * decoder.hop_samples)

    play_all(1)  # touches the memory and starts the thread
    hops = max(1, round(ENGINE_ROUND_S / (play_all(1) * decoder.hop_samples)))
    return lambda: play_all(hops)


def _to_decoder_core() -> None:
    """Has the calling thread run where the server's decoders do."""
    found = cores.plan().decoders
    if found:
        os.sched_setaffinity(0, found[:1])


def _torch_sampler(subject: Subject) -> Callable[[int], float] | None:
    """A function that generates n samples with models.Decoder.step on one thread; gives the seconds of one."""
    try:
        import torch

        from models.decoder import Decoder
    except ImportError as error:
        why = "an installed rtserver lacks the `models` folder of a checkout" if "models" in str(error) else str(error)
        print(f"rtserver: PyTorch column left out: {why}", file=sys.stderr)
        return None

    encoder = subject.config.encoder
    module = Decoder(subject.config.decoder, encoder.latent_channels, encoder.hop_samples).eval()
    module.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in subject.weights.items()})
    state = module.init_state()
    previous = torch.zeros(1, 1, 1)
    latent = torch.randn(1, encoder.latent_channels, 1, generator=torch.Generator().manual_seed(0))

    def generate(samples: int) -> float:
        nonlocal state, previous
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the engine has one core a slot; more threads make steps this small slower anyway
        try:
            started_s = time.thread_time()
            with torch.inference_mode():
                for _ in range(samples):
                    logits, state = module.step(previous, latent, state)
                    code = torch.multinomial(torch.softmax(logits[0, :, 0], 0), 1)
                    previous = (code.float() / 255.0 - 0.5).reshape(1, 1, 1)
            return (time.thread_time() - started_s) / samples
        finally:
            torch.set_num_threads(threads)

    return generate


def _interleave(
    decoder: _engine.Decoder,
    engine_round: Callable[[], float],
    torch_sample: Callable[[int], float] | None,
    pool: ThreadPoolExecutor,
    seconds: float,
) -> dict[str, list[float]]:
    """Seconds of one sample of each contestant, a number a round."""
    num_bytes = decoder.weight_bytes_per_sample
    reads = max(3, round(READ_ROUND_S / _engine.read_loop_seconds(num_bytes, 3)))
    torch_samples = 0
    if torch_sample:
        torch_sample(3)
        torch_samples = max(1, round(TORCH_ROUND_S / torch_sample(3)))
    rounds: dict[str, list[float]] = {"engine": [], "torch": [], "read": []}
    end_s = time.perf_counter() + seconds
    while len(rounds["engine"]) < MIN_ROUNDS or time.perf_counter() < end_s:
        rounds["engine"].append(engine_round())
        rounds["read"].append(pool.submit(_engine.read_loop_seconds, num_bytes, reads).result())
        if torch_sample:
            rounds["torch"].append(torch_sample(torch_samples))
    return rounds
