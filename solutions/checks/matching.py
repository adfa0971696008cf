"""Gives a submission's module and the reference's the same weights, without knowing the submission's names.

Weights are matched by shape alone: every parameter of one shape gets the same values, in the
submission and in the reference. Channel counts in the checks are chosen so that layers differ in
shape; where they do not, equal values make the order irrelevant. In train mode BatchNorm cancels
the bias in front of it, so a convolution may have one or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

import torch
from torch import nn

from grader.expect import Mismatch, expect, expect_close
from grader.servant import cotangents
from grader.student import StudentError, StudentModule

Shape = tuple[int, ...]


def values(shape: Shape, dtype: torch.dtype) -> torch.Tensor:
    """The values of every parameter of this shape: weights scaled by their fan-in, vectors in [0.5, 1.5)."""
    generator = torch.Generator().manual_seed(hash(tuple(shape)) % 2**31)  # integers hash alike in every process
    if len(shape) < 2:
        return (torch.rand(shape, generator=generator, dtype=torch.float64) + 0.5).to(dtype)
    fan_in = max(1, shape[1] * shape[-1] * shape[-2])
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * (2 / fan_in) ** 0.5).to(dtype)


def weights(shapes: Iterable[Shape]) -> Counter:
    """How often each shape of a convolution's weight occurs."""
    return Counter(tuple(shape) for shape in shapes if len(shape) > 1)


def without_idle(module: StudentModule, inputs: list[torch.Tensor], dtype: torch.dtype) -> StudentModule:
    """The module without the parameters that no gradient reaches: what is built and never used is another check's business."""
    gradients = module.vjp(*[x.to(dtype) for x in inputs]).parameters
    module.parameters = {name: shape for name, shape in module.parameters.items() if gradients.get(name) is not None}
    return module


class OtherLayers(Mismatch):
    """The submission's module has other weights than the reference, so the two cannot be compared."""


def expect_layers(module: StudentModule, reference: nn.Module) -> None:
    """OtherLayers unless both have convolutions of the same shapes, equally often."""
    came = weights(module.shapes())
    wanted = weights(parameter.shape for parameter in reference.parameters())
    missing, extra = sorted((wanted - came).elements()), sorted((came - wanted).elements())
    if missing or extra:
        raise OtherLayers(
            came=f"weights missing: {missing or 'none'}; weights too many: {extra or 'none'}",
            expected="the weights of the layers that the task describes, each once",
        )


def same_weights(module: StudentModule, reference: nn.Module, dtype: torch.dtype) -> None:
    """Load the values of each shape into both; vectors that only the reference has become zero."""
    module.load({name: values(shape, dtype) for name, shape in module.parameters.items()})
    known = set(module.shapes())
    with torch.no_grad():
        for parameter in reference.parameters():
            shape = tuple(parameter.shape)
            parameter.copy_(values(shape, dtype) if shape in known else torch.zeros(shape, dtype=dtype))


def expect_equal(
    make: Callable[[torch.dtype], StudentModule],
    references: Callable[[StudentModule], Iterable[nn.Module]],
    inputs: list[torch.Tensor],
    count: int = 1,
) -> None:
    """Mismatch unless the module answers, in outputs and input gradients, as one of the equally right references.

    In float64 where the submission's code allows it, else in float32: a hard-coded dtype is another check's business.
    """
    try:
        _expect_equal(make, references, inputs, count, torch.float64)
    except StudentError:
        _expect_equal(make, references, inputs, count, torch.float32)


def _expect_equal(make, references, inputs, count, dtype) -> None:
    module = make(dtype).train()
    inputs = [x.to(dtype) for x in inputs]
    mismatches = []
    for reference in references(module):
        reference = reference.to(dtype).train()
        expect_layers(module, reference)
        same_weights(module, reference, dtype)
        try:
            return _compare(module, reference, inputs, count)
        except Mismatch as mismatch:
            mismatches.append(mismatch)
    raise mismatches[0]


def _compare(module: StudentModule, reference: nn.Module, inputs: list[torch.Tensor], count: int) -> None:
    came = module.vjp(*inputs, count=count)
    leaves = [x.clone().requires_grad_() for x in inputs]
    outputs = reference(*leaves)
    outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    for number, (output, expected) in enumerate(zip(came.outputs, outputs), start=1):
        expect_close(output, expected.detach(), "the output" if count == 1 else f"output {number}")
    gradients = torch.autograd.grad(outputs, leaves, cotangents(outputs, seed=module.student.seed))
    for number, (gradient, expected) in enumerate(zip(came.inputs, gradients), start=1):
        expect(gradient is not None, came=f"no gradient for input {number}", expected="a gradient")
        expect_close(gradient, expected, f"the gradient of input {number}")
