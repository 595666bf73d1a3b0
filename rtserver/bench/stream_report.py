"""What a run of `bench stream` gave: turns, misses and their causes, and the fields that are reported."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rtserver.bench import machine, signals
from rtserver.latency import LatencyParts

if TYPE_CHECKING:
    from rtserver.bench.stream import StreamOptions

# A stall shorter than this can't use up the smallest margin (live, 5 ms) even when several follow one another.
EXPLAINING_STALL_MS = 1.0


@dataclass(frozen=True)
class Miss:
    """When a block was not there (CLOCK_MONOTONIC), where its translation was then, and the block's first frame."""

    time_ns: int
    stage: str
    frame: int = 0


@dataclass
class Turn:
    """What one turn of one model gave, all clients together. stalls_ns [S, 2]; round_trip_us, host_late_us [B].

    host_late_us: how much later than a sound card would have called the blocks were handed in.
    """

    model: str
    flood: int
    seconds: float
    round_trip_us: npt.NDArray[np.float64]
    host_late_us: npt.NDArray[np.float64]
    blocks: int
    misses: list[Miss]
    causes: Counter[str]
    steal_ms: float | None
    stalls_ns: npt.NDArray[np.int64]
    flood_sent: int = 0
    source: signals.Audio | None = None  # of the first client, as are:
    output: signals.Audio | None = None
    missed_frames: list[int] = field(default_factory=list)  # where its missed blocks begin

    def summary(self) -> dict[str, Any]:
        stalls_ms = (self.stalls_ns[:, 1] - self.stalls_ns[:, 0]) / 1e6 if len(self.stalls_ns) else np.zeros(0)
        return {
            "model": self.model,
            "seconds": round(self.seconds, 2),
            "flood_messages_per_second": self.flood,
            "flood_messages_sent": self.flood_sent,
            "round_trip_us": percentiles(self.round_trip_us),
            "blocks": self.blocks,
            "misses": len(self.misses),
            "misses_by_cause": dict(self.causes),
            "steal_ms": self.steal_ms,
            "machine_stalls": {
                "count": len(stalls_ms),
                "total_ms": round(float(stalls_ms.sum()), 2),
                "max_ms": round(float(stalls_ms.max(initial=0.0)), 2),
            },
        }


@dataclass
class Stream:
    """The clients of one model, and what they have played so far."""

    model: str
    bridges: list[Any]
    latency: LatencyParts
    turns: list[Turn] = field(default_factory=list)
    unanswered: list[int] = field(
        default_factory=list
    )  # blocks a client whose round trip was not over at the turn's end
    first_sound_s: float | None = None
    delay: signals.Delay | None = None


def attribute(
    miss: Miss, latency: LatencyParts, rate_hz: int, steal: machine.StealMeter, stalls_ns: npt.NDArray[np.int64]
) -> str:
    """Why a block was missed: the machine if it stood still while the block was due, else the stage it was stuck in.

    Looked at is the stretch in which the block's translation was made: one hop, one block and the margin before.
    "steal": the host of a virtual machine ran others. "machine_stall": no core of ours ran even the most urgent
    thread, for at least a millisecond in sum.
    """
    if miss.stage == "starting":
        return miss.stage
    window_ns = round(1e9 * (latency.hop + latency.block + latency.margin) / rate_hz)
    if steal.stolen_ms(miss.time_ns - window_ns, miss.time_ns) > 0.0:
        return "steal"
    if machine.overlap_ms(stalls_ns, miss.time_ns - window_ns, miss.time_ns) >= EXPLAINING_STALL_MS:
        return "machine_stall"
    return miss.stage


def percentiles(values: npt.NDArray[np.float64]) -> dict[str, float | None]:
    """p50, p99, p999 and max; None without values."""
    if not len(values):
        return dict.fromkeys(("p50", "p99", "p999", "max"))
    marks = np.percentile(values, [50.0, 99.0, 99.9, 100.0])
    return {name: round(float(mark), 1) for name, mark in zip(("p50", "p99", "p999", "max"), marks, strict=True)}


def describe(options: StreamOptions, stream: Stream) -> dict[str, Any]:
    """The promised fields for one model, over all its turns."""
    turns = stream.turns
    steals = [turn.steal_ms for turn in turns if turn.steal_ms is not None]
    delay = stream.delay
    misses = [miss for turn in turns for miss in turn.misses]
    return {
        "sample_rate_hz": options.rate_hz,
        "block_frames": options.block,
        "seconds": round(sum(turn.seconds for turn in turns), 2),
        "model": stream.model,
        "device": "cpu",
        "transport": options.transport,
        "clients": options.clients,
        "channels": options.channels,
        "margin": options.margin,
        "latency_frames": {**stream.latency.to_dict(), "measured": None if delay is None else delay.frames},
        "latency_ms": round(1000.0 * stream.latency.reported / options.rate_hz, 3),
        "bit_exact": delay.bit_exact if delay is not None and stream.model == "loopback" else None,
        "round_trip_us": percentiles(np.concatenate([turn.round_trip_us for turn in turns])),
        "host_late_us": percentiles(np.concatenate([turn.host_late_us for turn in turns])),
        "blocks": sum(turn.blocks for turn in turns),
        "misses": len(misses),
        "misses_by_cause": dict(sum((turn.causes for turn in turns), Counter[str]())),
        "misses_by_stage": dict(Counter(miss.stage for miss in misses)),
        "steal_ms": round(sum(steals), 1) if steals else None,
        "first_sound_s": None if stream.first_sound_s is None else round(stream.first_sound_s, 3),
    }


def rendering(status: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What the decoders did, from the server's status while its clients are still connected; None without a network.

    together: clients whose samples were generated in one go, on average. busy: of a core, over `seconds` of playing.
    decoder_us_per_hop: a client's share of the time, the longest of all clients.
    """
    live = [ensemble for ensemble in status.get("worker", {}).get("ensembles", []) if not ensemble["bounces"]]
    chunks = sum(ensemble["chunks"] for ensemble in live)
    batches = sum(ensemble["chunks"] / ensemble["together"] for ensemble in live if ensemble["together"])
    spent = [session["decoder_us_per_hop"] for session in status.get("sessions", [])]
    return {
        "together": round(chunks / batches, 2) if batches else None,
        "busy": round(sum(ensemble["busy_s"] for ensemble in live) / seconds, 3),
        "cores": len(live),
        "decoder_us_per_hop": max((us for us in spent if us is not None), default=None),
    }


def line(turn: Turn) -> str:
    """A turn in words."""
    told = turn.summary()
    trip = told["round_trip_us"]
    causes = ", ".join(f"{cause} {count}" for cause, count in told["misses_by_cause"].items())
    flood = f", {turn.flood} control messages a second" if turn.flood else ""
    return (
        f"{turn.model}: {turn.seconds:.0f} s{flood}: {turn.blocks} blocks, {len(turn.misses)} misses"
        f"{f' ({causes})' if causes else ''}, round trip p50 {trip['p50']} p99.9 {trip['p999']} us,"
        f" steal {turn.steal_ms if turn.steal_ms is not None else '?'} ms"
    )
