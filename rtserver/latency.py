"""The latency contract in host frames: what a session's delay is made of, computed before any audio flows.

The same sum is reported to the host, written into the shared-memory header and verified by the probes;
`docs/latency.md` derives it. Nothing here needs the engine: the filter lengths are mirrored (and tested) there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

NETWORK_RATE_HZ = 16000
MIN_RATE_HZ = 8000
MAX_RATE_HZ = 384000
MAX_BLOCK_FRAMES = 16384
MAX_MARGIN_MS = 500.0
MAX_JITTER_MS = 2000.0
FADE_MS = 1.0
MARGINS_MS: dict[str, float] = {"live": 5.0, "balanced": 15.0, "studio": 60.0}
AUTO_MARGIN = "auto"  # `rtserver live` alone: the one that suits its devices

Probe = Literal["loopback", "identity16k"]
PROBE_HOP_SAMPLES = 160

# Half length of the resampling filter, in periods of the slower of the two rates: Kaiser, 84 dB, transition from
# 7/16 to 8/16 of that rate (csrc/stream/resampler.h has the same fraction).
_HALF_NUMERATOR, _HALF_DENOMINATOR = 85, 2


@dataclass(frozen=True)
class LatencyParts:
    """Host frames. `reported` is the sum of the parts before it; `fade` is contained in `margin`."""

    block: int
    resampling: int
    lookahead: int
    hop: int
    margin: int
    jitter: int
    reported: int
    fade: int

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def to_host_frames(samples: int, rate_hz: int) -> int:
    """Host frames that last at least as long as `samples` at the network rate."""
    return _ceil_div(samples * rate_hz, NETWORK_RATE_HZ)


def check_rate(rate_hz: int) -> None:
    if rate_hz != int(rate_hz) or not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ:
        raise ValueError(
            f"sample rate {rate_hz} Hz is not supported: use a whole number from {MIN_RATE_HZ} to {MAX_RATE_HZ}"
        )


def resampler_half_lengths(rate_hz: int) -> tuple[int, int]:
    """Half lengths of the two filters: (intake, in host frames; output, in samples at the network rate)."""
    check_rate(rate_hz)
    if rate_hz == NETWORK_RATE_HZ:
        return 0, 0
    slower = min(rate_hz, NETWORK_RATE_HZ)
    intake = _ceil_div(_HALF_NUMERATOR * rate_hz, _HALF_DENOMINATOR * slower)
    output = _ceil_div(_HALF_NUMERATOR * NETWORK_RATE_HZ, _HALF_DENOMINATOR * slower)
    return intake, output


def margin_ms(margin: str | float) -> float:
    """A preset's name or milliseconds, as milliseconds. Raises ValueError for what is neither."""
    if isinstance(margin, str):
        if margin in MARGINS_MS:
            return MARGINS_MS[margin]
        try:
            margin = float(margin)
        except ValueError:
            names = ", ".join(MARGINS_MS)
            raise ValueError(f"margin {margin!r} is not known: use {names}, or milliseconds") from None
    if not 2 * FADE_MS <= margin <= MAX_MARGIN_MS:
        raise ValueError(f"margin {margin} ms is out of range: use {2 * FADE_MS:g} to {MAX_MARGIN_MS:g} ms")
    return float(margin)


def compute(
    rate_hz: int,
    max_block_frames: int,
    hop_samples: int,
    lookahead_samples: int,
    margin: str | float = "live",
    *,
    jitter_ms: float = 0.0,
    probe: str | None = None,
) -> LatencyParts:
    """The parts for a session at `rate_hz` whose host blocks hold at most `max_block_frames`.

    hop_samples and lookahead_samples are the encoder's, at the network rate. The encoder runs hop by hop, so its
    lookahead is rounded up to whole hops. `loopback` has neither hop nor resampling; `identity16k` has a hop of 160.
    Raises ValueError for a rate, block, margin or jitter out of range.
    """
    check_rate(rate_hz)
    if not 1 <= max_block_frames <= MAX_BLOCK_FRAMES:
        raise ValueError(f"block of {max_block_frames} frames is not supported: use 1 to {MAX_BLOCK_FRAMES}")
    if not 0.0 <= jitter_ms <= MAX_JITTER_MS:
        raise ValueError(f"jitter buffer of {jitter_ms} ms is out of range: use 0 to {MAX_JITTER_MS:g} ms")
    if probe == "loopback":
        hop_samples = lookahead_samples = 0
    elif probe == "identity16k":
        hop_samples, lookahead_samples = PROBE_HOP_SAMPLES, 0
    elif probe is not None:
        raise ValueError(f"probe {probe!r} is not known: use loopback or identity16k")
    elif hop_samples < 1 or lookahead_samples < 0:
        raise ValueError(f"hop of {hop_samples} samples with lookahead of {lookahead_samples} is not possible")

    intake, output = resampler_half_lengths(rate_hz)
    resampling = 0 if probe == "loopback" else intake + to_host_frames(output, rate_hz)
    whole_lookahead = _ceil_div(lookahead_samples, hop_samples) * hop_samples if hop_samples else 0
    parts = {
        "block": max_block_frames,
        "resampling": resampling,
        "lookahead": to_host_frames(whole_lookahead, rate_hz),
        "hop": to_host_frames(hop_samples, rate_hz),
        "margin": int(margin_ms(margin) * rate_hz / 1000.0 + 0.5),
        "jitter": int(jitter_ms * rate_hz / 1000.0 + 0.5),
    }
    return LatencyParts(**parts, reported=sum(parts.values()), fade=int(FADE_MS * rate_hz / 1000.0 + 0.5))
