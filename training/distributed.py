"""Several processes that train one network, started by `torchrun`: each has every decoder and a batch of its own.

All processes take the same domain in the same step (`batches.domain_of_step` knows nothing but the step), so the
gradients that there are belong to the same parameters everywhere: they are averaged, and what has none, the other
decoders, is left alone. No wrapper around the network, no search for unused parameters.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET_BYTES = 32 * 2**20


class Group:
    """This process's place among those of a run; alone when `torchrun` didn't start it."""

    def __init__(self, device: str) -> None:
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        local = int(os.environ.get("LOCAL_RANK", "0"))
        self.device = torch.device("cuda", local) if device == "cuda" and self.size > 1 else torch.device(device)
        if self.size > 1 and not dist.is_initialized():
            if self.device.type == "cuda":
                torch.cuda.set_device(self.device)
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    @property
    def first(self) -> bool:
        """Whether this one writes the checkpoints and the log."""
        return self.rank == 0

    def share(self, network: nn.Module) -> None:
        """Give every process the weights of the first."""
        if self.size > 1:
            for tensor in network.state_dict().values():
                dist.broadcast(tensor, 0)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """The mean over all processes of each gradient that there is."""
        if self.size == 1:
            return
        bucket: list[Tensor] = []
        for parameter in parameters:
            if parameter.grad is None:
                continue
            bucket.append(parameter.grad)
            if sum(g.numel() * g.element_size() for g in bucket) >= BUCKET_BYTES:
                self._average(bucket)
                bucket = []
        if bucket:
            self._average(bucket)

    def _average(self, tensors: list[Tensor]) -> None:
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        at = 0
        for tensor in tensors:
            tensor.copy_(flat[at : at + tensor.numel()].view_as(tensor))
            at += tensor.numel()

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a vector over all processes."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values

    def any(self, holds: bool) -> bool:
        """Whether it holds in any process: they have to stop after the same step."""
        if self.size == 1:
            return holds
        value = torch.tensor(float(holds), device=self.device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return bool(value > 0)

    def close(self) -> None:
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()
