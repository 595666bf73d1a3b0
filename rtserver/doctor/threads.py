"""What the audio worker's threads will be granted here: real-time scheduling, cores of their own, locked memory."""

from __future__ import annotations

import os

from rtserver.doctor.check import Check
from rtserver.worker import cores, locked_memory
from rtserver.worker.scheduling import WAYS, Scheduler

# Weights of a narrow model and the rings of a session fit into what most systems allow; a full-size decoder in fp32
# does not.
ENOUGH_LOCKED_MB = 64
LIMITS = (
    "add the lines `@audio - rtprio 95` and `@audio - memlock unlimited` to /etc/security/limits.d/audio.conf,"
    " `sudo usermod -aG audio $USER`, and log in again"
)


def realtime() -> Check:
    """Permission to run the audio threads before everything else (SCHED_FIFO), and who gives it."""
    name = "real-time priority"
    scheduler = Scheduler()
    data = {"granted": scheduler.granted, **scheduler.to_dict()}
    if not scheduler.granted:
        found = f"none ({scheduler.why_not}): other programs can make the audio late"
        return Check(name, "warning", found, f"install rtkit and log in at the machine itself, or {LIMITS}", data)
    if scheduler.way == "system":
        return Check(name, "ok", WAYS[scheduler.way], "", data)
    found = f"SCHED_FIFO {WAYS[scheduler.way]}, up to priority {scheduler.highest}"
    return Check(name, "ok", found, "", data)


def pinning(granted: bool) -> Check:
    """Which cores encoder and decoder will have for themselves. granted: whether realtime() found a way."""
    switched_on = os.environ.get("RTSERVER_PIN", "").lower() not in ("0", "false", "f", "no", "n", "off")
    plan = cores.plan("" if switched_on else "switched off")
    data = plan.to_dict()
    if not plan.pinned:
        return Check("cores", "note", f"encoder and decoder are not pinned: {plan.why_not}", "", data)
    decoders = " ".join(map(str, plan.decoders))
    where = f"decoder on core {decoders}, encoder on core {plan.encoder}"
    if granted:
        return Check("cores", "ok", where, "", data)
    return Check("cores", "note", f"{where}, once there is real-time priority", "", data)


def locked_pages() -> Check:
    """How much memory may be kept from being swapped out."""
    name = "locked memory"
    limit = locked_memory.limit_bytes()
    if limit is None:
        return Check(name, "ok", "all of the audio worker's, as it is touched", "", {"limit_mb": None})
    megabytes = limit / 2**20
    data = {"limit_mb": megabytes}
    found = f"weights and rings, up to {megabytes:.0f} MB"
    if megabytes >= ENOUGH_LOCKED_MB:
        return Check(name, "ok", found, "", data)
    fix = "add the line `@audio - memlock unlimited` to /etc/security/limits.d/audio.conf, and log in again"
    return Check(name, "note", f"{found}: the rest may be swapped out on a full machine", fix, data)
