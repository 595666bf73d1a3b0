"""What a server is told when it is started."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from rtserver.precision import check
from rtserver.worker.messages import WorkerOptions

ADMIT = ("measured", "all")  # sessions: as many as the machine was measured to carry, or all


@dataclass(frozen=True)
class ServerOptions:
    """What the command line says."""

    models: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 9000
    key: bytes | None = None
    margin: str = "live"
    device: str = "auto"
    precision: str = "auto"
    temperature: float = 1.0
    pin: bool = True
    admit: str = ADMIT[0]
    announce: bool = False

    @cached_property
    def for_worker(self) -> WorkerOptions:
        """How its workers are started. UserError if the engine has no such precision."""
        # A GPU is taken where it is asked for by name: its decoder has not run on one yet (docs/gpu.md).
        device = "cpu" if self.device in ("auto", "cpu") else self.device
        return WorkerOptions(self.host, self.key, check(self.precision), pin=self.pin, device=device)
