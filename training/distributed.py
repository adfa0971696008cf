"""Several processes that train one network as one process would: the same batches, losses, statistics and steps.

    torchrun --standalone --nproc-per-node 2 -m grader train …        on GPUs with NCCL, on CPUs with Gloo

DistributedDataParallel averages gradients. The losses add up over all processes before they divide, and so does
BatchNorm; so a batch shared out gives the gradient of the whole batch, whatever the shares.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn


def rank() -> int:
    """This process among all, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def processes() -> int:
    """How many processes train together; 1 without torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextlib.contextmanager
def together(device: torch.device) -> Iterator[torch.device]:
    """Join the other processes if torchrun started this one, and say on which device it works."""
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def total(value: Tensor) -> Tensor:
    """The sum over all processes, with the gradient of the sum."""
    return _Total.apply(value) if processes() > 1 else value


class _Total(torch.autograd.Function):
    """What one process's value does to the sum, it does to the loss of every process; so the gradients add up, too."""

    @staticmethod
    def forward(context, value: Tensor) -> Tensor:
        value = value.detach().clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


def wait() -> None:
    """Go on when all processes are here."""
    if processes() > 1:
        dist.barrier()


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm whose statistics are those of all processes' pictures; on the CPU too, where torch.nn.SyncBatchNorm is not.

    Source: Ioffe, Szegedy: Batch Normalization, ICML 2015, algorithm 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or processes() == 1:
            return super().forward(x)
        count = total(x.new_tensor(x.numel() / x.shape[1], dtype=torch.float32))
        values = x.float()
        mean = total(values.sum((0, 2, 3))) / count  # (C,)
        centred = values - mean[:, None, None]
        variance = total(centred.square().sum((0, 2, 3))) / count  # (C,)
        if self.track_running_stats:
            self._note(mean.detach(), (variance * count / (count - 1)).detach())
        centred = centred * (variance + self.eps).rsqrt()[:, None, None]
        return (centred * self.weight[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    def _note(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        momentum = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


def synchronised(network: nn.Module) -> nn.Module:
    """The network with every BatchNorm's statistics taken over all processes; the modules stay, with all they hold."""
    for module in network.children():
        if type(module) is nn.BatchNorm2d and module.affine:
            module.__class__ = SyncedBatchNorm2d  # device, dtype and what is frozen stay
        else:
            synchronised(module)
    return network
