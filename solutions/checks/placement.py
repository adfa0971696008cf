"""Checks that a module follows the dtype and device of its inputs, without a second device at hand.

The second device is "meta": its tensors have a shape and no values, so whatever mixes in a tensor
of a fixed device raises.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from grader.checks.inputs import pictures
from grader.expect import expect, expect_shape
from grader.student import NotJudged, StudentError, StudentModule


def reads_values(error: StudentError) -> bool:
    """Whether the code read a value where there is none, as in print(x.min().item()): no fault of its own."""
    return "item() cannot be called on meta tensors" in error.message


def expect_follows_dtype_and_device(
    make: Callable[..., StudentModule], shapes: list[tuple[int, ...]], output: tuple[int, ...], count: int = 1
) -> None:
    """Mismatch unless the first output is float64 for float64 inputs, and on "meta" for inputs there."""
    wide = make(dtype=torch.float64).outputs(*[pictures(*s, dtype=torch.float64) for s in shapes], count=count)[0]
    expect(wide.dtype == torch.float64, came=f"{wide.dtype} for float64 in", expected="float64")
    try:
        elsewhere = make(on="meta").outputs(*[pictures(*s, device="meta") for s in shapes], count=count)[0]
    except StudentError as error:
        if reads_values(error):
            raise NotJudged("the code reads values of tensors, and those of the test device have none") from None
        raise
    expect_shape(elsewhere, output)
