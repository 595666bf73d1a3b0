"""`bench stream`: the whole path of audio, played in real time against a server of its own.

Clients in this process hand blocks to a server in another, paced like a sound card; every block's round trip and
every miss is logged natively. The run is cut into turns of at most a minute, so that two models, or quiet and a flood
of control messages, can take turns on a machine whose speed drifts.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from rtserver.bench import first_sound, machine, signals
from rtserver.bench.own_server import OwnServer
from rtserver.bench.stream_report import Miss, Stream, Turn, attribute, describe, line, rendering
from rtserver.errors import UserError
from rtserver.latency import MAX_BLOCK_FRAMES, check_rate, margin_ms
from rtserver.model_file import PROBES
from rtserver.precision import resolve

TURN_S = 60.0
# A host that calls with "varying" blocks still announces a largest one.
VARYING_LARGEST_FRAMES = 1024


@dataclass(frozen=True)
class StreamOptions:
    """What to play: `block` is a number of frames or "varying"; `flood` messages a second go to the control port."""

    model: str
    rate_hz: int = 48000
    block: int | str = 128
    seconds: float = 60.0
    transport: Literal["shm", "osc"] = "shm"
    clients: int = 1
    margin: str = "live"
    channels: int = 1
    flood: int = 0
    alternate_with: str | None = None
    port: int | None = None
    precision: str = "auto"
    device: str = "auto"

    def check(self) -> None:
        """UserError for what can't be run."""
        try:
            check_rate(self.rate_hz)
            margin_ms(self.margin)
        except ValueError as error:
            raise UserError(str(error)) from None
        resolve(self.precision)
        if self.block != "varying" and not (isinstance(self.block, int) and 1 <= self.block <= MAX_BLOCK_FRAMES):
            raise UserError(f"block {self.block!r} is not possible: give 1 to {MAX_BLOCK_FRAMES} frames, or varying")
        if self.transport not in ("shm", "osc"):
            raise UserError(f"transport {self.transport!r} is not known: give shm or osc")
        if not 0.5 <= self.seconds <= 86400.0:
            raise UserError(f"{self.seconds:g} seconds can't be run: give 0.5 to 86400")
        if self.alternate_with == self.model:
            raise UserError(f"{self.model} can't alternate with itself; name another model, such as identity16k")
        if not 1 <= self.clients <= 64 or self.channels not in (1, 2) or self.flood < 0:
            raise UserError("give 1 to 64 clients, 1 or 2 channels, and a flood of at least 0 messages a second")

    @property
    def server_arguments(self) -> list[str]:
        # What does not fit is measured too.
        return ["--margin", self.margin, "--precision", self.precision, "--device", self.device, "--admit", "all"]

    @property
    def largest_block_frames(self) -> int:
        return VARYING_LARGEST_FRAMES if self.block == "varying" else int(self.block)


def run_stream(options: StreamOptions, progress: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Start a server, play, and give the fields that design promises for `bench stream` (and some more)."""
    options.check()
    models = [options.model, *([options.alternate_with] if options.alternate_with else [])]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(OwnServer(models, options.port, arguments=options.server_arguments, wait=False))
        first_sound_s = first_sound.listen(options, server)
        server.wait_ready()
        streams: dict[str, Stream] = {}
        for model, flood, seconds in plan(options):
            if model not in streams:
                streams[model] = stack.enter_context(connect(options, model, server))
            stream = streams[model]
            turn = play(options, stream, flood, seconds, server)
            stream.turns.append(turn)
            progress(line(turn))
        status = server.status() or {}
        resident_mb = server.resident_mb()
        streams[options.model].first_sound_s = first_sound_s
        report = {**describe(options, streams[options.model]), "resident_mb": resident_mb}
        report["worker"] = status.get("worker", {})
        played_s = sum(turn.seconds for stream in streams.values() for turn in stream.turns)
        report["rendering"] = rendering(status, played_s)
        report["device"] = report["worker"].get("device", "cpu")
        report["precision"] = report["worker"].get("precision", options.precision)
        if options.alternate_with:
            report["alternate"] = describe(options, streams[options.alternate_with])
        if len(list(plan(options))) > 1:
            report["turns"] = [turn.summary() for stream in streams.values() for turn in stream.turns]
    report["machine"] = machine.describe()
    return report


def plan(options: StreamOptions) -> Iterator[tuple[str, int, float]]:
    """(model, flood, seconds) of each turn: `seconds` of the model, cut into minutes, everything else beside it.

    Each minute of the model is followed by one of the alternate, each quiet one by a flooded one.
    """
    left_s = options.seconds
    while left_s > 1e-9:
        turn_s = min(left_s, TURN_S)
        for flood in dict.fromkeys((0, options.flood)):
            yield options.model, flood, turn_s
            if options.alternate_with:
                yield options.alternate_with, flood, turn_s
        left_s -= turn_s


@contextlib.contextmanager
def connect(options: StreamOptions, model: str, server: OwnServer) -> Iterator[Stream]:
    """Connect all clients of a model. Probes fall back to silence, so that no miss can pass for their output."""
    from rtserver.client import Bridge

    with contextlib.ExitStack() as stack:
        bridges = [
            stack.enter_context(
                Bridge(
                    server.port,
                    options.rate_hz,
                    options.largest_block_frames,
                    options.channels,
                    options.transport,
                    model=server.model_names[model],
                )
            )
            for _ in range(options.clients)
        ]
        if model in PROBES:
            for bridge in bridges:
                bridge.set("fallback", "silence")
        yield Stream(model, bridges, bridges[0].latency)


def play(options: StreamOptions, stream: Stream, flood: int, seconds: float, server: OwnServer) -> Turn:
    """Play a turn on every client of a stream at once: noise for probes, a melody for instruments."""
    frames = round(seconds * options.rate_hz)
    make = signals.noise if stream.model in PROBES else signals.melody
    sources = [make(frames, options.rate_hz, options.channels, seed) for seed in range(options.clients)]
    turn = perform(options, stream, sources, server, flood)
    if not stream.turns and stream.model in PROBES:
        stream.delay = _measure(stream, turn, options)
    turn.source = turn.output = None  # a minute of both is a lot to keep
    return turn


def perform(
    options: StreamOptions, stream: Stream, sources: list[signals.Audio], server: OwnServer, flood: int = 0
) -> Turn:
    """Play one source a client, float32 [N, C], in real time, all at once."""
    frames = len(sources[0])
    sizes = signals.block_sizes(options.block, frames, options.largest_block_frames, seed=len(stream.turns))
    with contextlib.ExitStack() as stack:
        flooding = stack.enter_context(_flood(flood, server.port, stream.bridges[0].session)) if flood else None
        steal = stack.enter_context(machine.StealMeter())
        pool = stack.enter_context(ThreadPoolExecutor(len(sources)))
        jobs = zip(stream.bridges, sources, strict=True)
        runs = list(pool.map(lambda job: _drive(job[0], job[1], sizes, options.rate_hz), jobs))
    # What a turn's last blocks waited for was the next turn's first: the pause between is no round trip.
    before = stream.unanswered or [0] * len(runs)
    trips = [run.round_trip_us[late:] for run, late in zip(runs, before, strict=True)]
    stream.unanswered = [
        max(0, late + run.blocks - len(run.round_trip_us)) for run, late in zip(runs, before, strict=True)
    ]
    misses = [miss for run in runs for miss in run.misses]
    stalls_ns = runs[0].stalls_ns
    return Turn(
        stream.model,
        flood,
        frames / options.rate_hz,
        np.concatenate(trips),
        np.concatenate([run.lateness_us for run in runs]),
        sum(run.blocks for run in runs),
        misses,
        Counter(attribute(miss, stream.latency, options.rate_hz, steal, stalls_ns) for miss in misses),
        steal.steal_ms,
        stalls_ns,
        flooding.sent if flooding else 0,
        sources[0],
        runs[0].output,
        [miss.frame for miss in runs[0].misses],
    )


def _measure(stream: Stream, turn: Turn, options: StreamOptions) -> signals.Delay | None:
    """The delay of a probe's first turn."""
    assert turn.source is not None and turn.output is not None
    longest = 2 * stream.latency.reported + options.largest_block_frames
    found = signals.correlated_delay(*signals.excerpt(turn.source, turn.output, options.rate_hz), longest)
    if found is None or stream.model != "loopback":
        return found
    heard = np.ones(len(turn.output), bool)
    for frame in turn.missed_frames:  # the fallback, and the fades around it
        heard[frame : frame + options.largest_block_frames + stream.latency.fade] = False
    return signals.exact_delay(turn.source, turn.output, found, heard)


@dataclass(frozen=True)
class _Run:
    output: signals.Audio
    round_trip_us: npt.NDArray[np.float64]
    blocks: int
    misses: list[Miss]
    stalls_ns: npt.NDArray[np.int64]
    lateness_us: npt.NDArray[np.float64]


def _drive(bridge: Any, source: signals.Audio, sizes: list[int], rate_hz: int) -> _Run:
    """One client's turn in native code, paced by the clock."""
    from rtserver import _engine

    before = bridge.stats()
    result = _engine.BlockDriver().run(bridge.native, source, sizes, rate_hz)
    after = bridge.stats()
    stalls_ns = np.asarray(result["machine_stall_times_ns"], np.int64)
    return _Run(
        np.asarray(result["output"], np.float32).reshape(source.shape),
        np.asarray(result["round_trip_us"], np.float64),
        int(after["blocks"] - before["blocks"]),
        [
            Miss(int(time_ns), str(stage), int(frame))
            for time_ns, stage, frame in zip(
                result["miss_times_ns"], result["miss_causes"], result["miss_frames"], strict=True
            )
        ],
        np.stack([stalls_ns, stalls_ns + np.asarray(result["machine_stalls_ns"], np.int64)], axis=1),
        np.asarray(result["lateness_us"], np.float64),
    )


@dataclass
class _Flooding:
    sent: int = 0


@contextlib.contextmanager
def _flood(rate: int, port: int, session: int) -> Iterator[_Flooding]:
    told = _Flooding()
    process = subprocess.Popen(
        [sys.executable, "-m", "rtserver.bench.flood", str(port), str(rate), "--session", str(session)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield told
    finally:
        answer, _ = process.communicate(timeout=10.0)
        with contextlib.suppress(ValueError):
            told.sent = int(json.loads(answer)["sent"])
