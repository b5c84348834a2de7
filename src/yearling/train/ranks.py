"""Several processes that train one adapter: each takes a part of every update's rows, and their gradients are added.

In: what torchrun tells each process. Out: sums over all of them. With one process nothing is sent anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def ranks_asked() -> tuple[int, int]:
    """The number of this process among those that torchrun started, and how many there are; (0, 1) without it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


@dataclass(frozen=True)
class Ranks:
    """This process's number, and how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Make each tensor the sum of all processes' tensors, in place."""
        if self.size > 1:
            import torch.distributed as dist

            for tensor in tensors:
                dist.all_reduce(tensor)

    def of_first(self, tensor: Tensor) -> Tensor:
        """The first process's tensor, which is of the same shape in all."""
        if self.size > 1:
            import torch.distributed as dist

            dist.broadcast(tensor, 0)
        return tensor

    def most(self, value: int) -> int:
        """The greatest of all processes' values."""
        if self.size == 1:
            return value
        import torch
        import torch.distributed as dist

        found = torch.tensor(value, device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def leave(self) -> None:
        """Part with the others."""
        if self.size > 1:
            import torch.distributed as dist

            dist.destroy_process_group()

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let the first go through by itself, and the others when it has: what it writes they read."""
        if not self.first:
            self._wait()
        yield
        if self.first:
            self._wait()

    def _wait(self) -> None:
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier()


def join_ranks(device: str) -> Ranks:
    """Meet the other processes, where torchrun started more than one."""
    rank, size = ranks_asked()
    if size == 1:
        return Ranks()
    import torch
    import torch.distributed as dist

    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device == "cuda" else "gloo")
    return Ranks(rank, size)
