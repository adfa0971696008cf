"""Inputs that checks feed to a submission."""

import torch

from grader.student import Student, StudentError


def pictures(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float32, device: str = "cpu") -> torch.Tensor:
    """Standard-normal tensor of this shape, the same for the same seed; on device "meta" only its shape."""
    if device == "meta":
        return torch.empty(shape, dtype=dtype, device="meta")
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def kernels(shapes: list[tuple[int, ...]], size: int) -> list[tuple[int, ...]]:
    """Those of the shapes that are weights of a size×size convolution."""
    return [shape for shape in shapes if len(shape) == 4 and shape[2:] == (size, size)]


def layers(student: Student, *arguments, **named) -> list[tuple[int, ...]]:
    """The shapes of all parameters of a UNet; nothing is allocated, where its code can be built without values."""
    try:
        return student.make("UNet", *arguments, on="meta", **named).shapes()
    except StudentError:
        return student.make("UNet", *arguments, **named).shapes()
