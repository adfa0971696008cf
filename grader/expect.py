"""What checks assert with: a mismatch says what came and what was expected, with the largest difference."""

from __future__ import annotations

import torch

FLOAT64_TOLERANCE = 1e-8
FLOAT32_TOLERANCE = 1e-4


class Mismatch(AssertionError):
    """An expectation that did not hold: phrases that a student reads; `hint` where it is not the check's own."""

    def __init__(self, came: str, expected: str, hint: str = ""):
        super().__init__(f"came: {came}; expected: {expected}")
        self.came, self.expected, self.hint = came, expected, hint


def expect(condition: bool, came: str, expected: str) -> None:
    """Mismatch unless `condition` holds."""
    if not condition:
        raise Mismatch(came, expected)


def expect_shape(tensor: torch.Tensor, shape: tuple[int, ...], what: str = "the output") -> None:
    """Mismatch unless `tensor` has exactly this shape."""
    came = tuple(tensor.shape)
    expect(came == tuple(shape), came=f"{what} of shape {came}", expected=f"shape {tuple(shape)}")


def largest_difference(came: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest absolute difference, in float64; infinite where either is not finite or the shapes differ."""
    if came.shape != expected.shape or came.is_meta or expected.is_meta:
        return float("inf")
    difference = (came.to(torch.float64) - expected.to(torch.float64)).abs()
    if difference.numel() == 0:
        return 0.0
    return float(torch.nan_to_num(difference, nan=float("inf")).max())


def tolerance_of(tensor: torch.Tensor) -> float:
    """The absolute tolerance for values of order one in the tensor's dtype."""
    return FLOAT64_TOLERANCE if tensor.dtype == torch.float64 else FLOAT32_TOLERANCE


def expect_close(came: torch.Tensor, expected: torch.Tensor, what: str = "the output") -> None:
    """Mismatch unless shapes agree, and values within the less exact dtype's tolerance, relative to the largest one (or to 1)."""
    expect_shape(came, tuple(expected.shape), what)
    difference = largest_difference(came, expected)
    scale = max(1.0, float(expected.abs().max())) if expected.numel() else 1.0
    tolerance = max(tolerance_of(came), tolerance_of(expected)) * scale  # a float32 expectation judges no float64 finer
    expect(
        difference <= tolerance,
        came=f"{what} is {numbers(came)}, off by up to {difference:.3g}",
        expected=f"{numbers(expected)} (within {tolerance:g})",
    )


def expect_arrives(gradient: torch.Tensor | None, name: str) -> None:
    """Mismatch unless a finite gradient arrived that is not zero everywhere."""
    expected = "a gradient that is finite and not zero"
    expect(gradient is not None, came=f"no gradient reaches {name}", expected=expected)
    expect(bool(torch.isfinite(gradient).all()), came=f"the gradient of {name} is not finite", expected=expected)
    expect(bool((gradient != 0).any()), came=f"the gradient of {name} is zero everywhere", expected=expected)


def expect_every_parameter_learns(parameters: dict[str, torch.Tensor | None]) -> None:
    """Mismatch unless there are parameters and a gradient arrives at each."""
    expect(bool(parameters), came="there are no parameters", expected="the weights of every layer")
    for name, gradient in parameters.items():
        # BatchNorm cancels the bias of the convolution in front of it: its gradient is there, but zero
        if gradient is None or gradient.ndim > 1 or not torch.isfinite(gradient).all():
            expect_arrives(gradient, name)


def numbers(tensor: torch.Tensor, count: int = 3) -> str:
    """The first values of a tensor, for a message."""
    values = tensor.detach().flatten()[:count].tolist()
    return "[" + ", ".join(f"{value:.4g}" for value in values) + (", …]" if tensor.numel() > count else "]")


def expect_number(value, what: str) -> float:
    """The number in what a function returned, a plain one or a tensor of one element; Mismatch for anything else or NaN."""
    came, single = value, isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_meta
    if single and not value.is_complex():
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        shown = f"a tensor of shape {tuple(came.shape)}" if isinstance(came, torch.Tensor) and not single else repr(value)[:120]
        raise Mismatch(f"{what} is {shown}", "one number")
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        raise Mismatch(f"{what} is beyond all floating point numbers", "one number") from None
