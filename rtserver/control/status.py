"""What the server tells about itself: one plain dictionary, the same over OSC, over HTTP and in `rtserver status`."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtserver.control import segments
from rtserver.control.sessions import Session
from rtserver.latency import NETWORK_RATE_HZ
from rtserver.version import rtserver_version

if TYPE_CHECKING:
    from rtserver.control.server import Server

COUNTERS = (
    "blocks",
    "misses",
    "misses_by_cause",
    "hops",
    "packets_lost",
    "packets_late",
    "packets_refused",
    "frames_concealed",
)


def snapshot(server: Server) -> dict[str, Any]:
    """Everything `rtserver status --json` shows."""
    options, worker, report, endpoint = server.options, server.worker, server.report, server.endpoint
    dropped = {**endpoint.dropped, **server.osc_refused}
    return {
        "version": rtserver_version(),
        "pid": os.getpid(),
        "state": server.state,
        "uptime_s": round(time.time() - server.started, 1),
        "host": options.host,
        "port": options.port,
        "sealed": options.key is not None,
        "margin": options.margin,
        "default_model": server.catalog.default,
        "models": [
            {**model.description, "cost": asdict(server.admission.at_rest(model.name))} for model in server.catalog
        ],
        "worker": {
            "state": server.worker_state,
            "pid": worker.pid if worker else None,
            "restarts": server.supervisor.restarts,
            "realtime_granted": worker.realtime_granted if worker else None,
            "scheduling": {**worker.scheduling, "threads_refused": report.threads_refused} if worker else {},
            "memory": worker.memory if worker else {},
            "ensembles": [_ensemble(ensemble) for ensemble in report.ensembles],
            "device": server.worker_devices.get(server.catalog.default, "cpu"),
            "isa": worker.isa if worker else None,
            "precision": server.precision,
            "audio_port": worker.audio_port if worker else None,
            "hops": report.hops,
            "encoder_us_per_hop": _per(report.encoder_ns, report.hops),
            "audio": report.audio,
        },
        "resident_mb": {"control": _resident_mb(os.getpid()), "worker": _resident_mb(worker.pid) if worker else None},
        "osc": {
            "received": endpoint.received,
            "by_kind": dict(server.osc_counts),
            "dropped": dropped,
            "dropped_total": sum(dropped.values()),
        },
        "capacity": server.admission.to_dict(server.sessions.values()),
        "sessions": [_session(session) for session in server.sessions.values()],
    }


def parameters(session: Session) -> dict[str, Any]:
    """The parameters of a session by name, choices and decoders as names."""
    known = dict(session.parameters)
    header = segments.described(session)
    known.update({name: header[name] for name in segments.PARAMETERS if name in header})
    known.pop("panic", None)
    shown: dict[str, Any] = dict(known)
    if "fallback" in known:
        shown["fallback"] = segments.FALLBACKS[int(known["fallback"]) % 2]
    index = int(known.get("decoder", 0))
    if index < len(session.model.decoders):
        shown["decoder"] = session.model.decoders[index]
    else:
        shown.pop("decoder", None)
    return shown


def _ensemble(counted: dict[str, Any]) -> dict[str, Any]:
    """A render thread: where it runs, how many sessions sit there, and how many a batch holds on average."""
    batches, chunks = counted["batches"], counted["chunks"]
    return {
        "core": counted["core"],
        "bounces": counted["bounces"],
        "sessions": counted["sessions"],
        "chunks": chunks,
        "together": round(chunks / batches, 2) if batches else None,
        "busy_s": round(counted["busy_ns"] / 1e9, 2),
    }


def _session(session: Session) -> dict[str, Any]:
    header = segments.described(session)
    hops = int(header.get("hops", 0))
    hop_us = 1e6 * session.model.hop_samples / NETWORK_RATE_HZ
    encoder, decoder = _per(header.get("encoder_ns", 0), hops), _per(header.get("decoder_ns", 0), hops)
    return {
        "session": session.number,
        "state": session.state,
        "transport": session.transport,
        "model": session.model.name,
        "sample_rate_hz": session.rate_hz,
        "block_frames": session.max_block_frames,
        "channels": session.channels,
        "client_pid": session.client_pid,
        "client_address": f"{session.address[0]}:{session.address[1]}",
        "generation": session.generation,
        "age_s": round(time.monotonic() - session.opened_at, 1),
        "offline": bool(header.get("offline", False)),
        "reserved": session.reserved,
        "latency_frames": session.parts.to_dict(),
        "latency_ms": round(1000 * session.parts.reported / session.rate_hz, 2),
        "parameters": parameters(session),
        "blend": {"amount": session.blend[0], "source": session.blend[1] or None},
        **{name: header.get(name, 0 if name != "misses_by_cause" else {}) for name in COUNTERS},
        "encoder_us_per_hop": encoder,
        "decoder_us_per_hop": decoder,
        "load": round((encoder + decoder) / hop_us, 3)
        if hop_us and encoder is not None and decoder is not None
        else None,
    }


def _per(total_ns: int, count: int) -> float | None:
    return round(total_ns / 1000 / count, 1) if count else None


def _resident_mb(pid: int) -> float | None:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)
    except (OSError, ValueError, IndexError, AttributeError):
        return None
