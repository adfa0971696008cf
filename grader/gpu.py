"""How many submissions share one GPU, and how much of its memory each may take."""

from __future__ import annotations

import torch

from .rubric import Limits, load_rubric

CONTEXT_MB = 600  # that CUDA takes for each process beside PyTorch's own memory, which alone can be capped


def places(tasks: list | None = None, free_mb: float | None = None) -> int:
    """How many children fit on the GPU at a time, the dearest task in each; ValueError where not even one does."""
    budget = CONTEXT_MB + max(task.limits.gpu_memory_mb for task in tasks or load_rubric().values())
    free = torch.cuda.mem_get_info()[0] / 2**20 if free_mb is None else free_mb
    if free < budget:
        raise ValueError(
            f"the GPU has {free:,.0f} MB free, and one submission needs {budget:,} (gpu_memory_mb in grader/rubric.toml, "
            f"and {CONTEXT_MB} for CUDA); end what else runs on it, lower the budget, or use --device cpu"
        )
    return int(free // budget)


def share(limits: Limits, total_mb: float) -> float:
    """The part of a GPU of `total_mb` that one child may take, as PyTorch's allocator wants it."""
    return min(1.0, limits.gpu_memory_mb / total_mb)
