"""Hidden checks of Task 2.3."""

import torch
from torch import nn

from grader.checks.inputs import pictures
from grader.expect import Mismatch, expect_close
from grader.student import StudentError
from solutions.checks.matching import expect_equal, without_idle
from solutions.checks.placement import expect_follows_dtype_and_device
from solutions.checks.references import expect_skip_equal, gate_references, skip_references

CHANNELS = (12, 5)  # gate or decoder, skip


def test_gate_equals_the_reference(student):
    """With the same weights, AttentionGate gives the same numbers and gradients as the handout's Algorithm 7.

    Hint: two 1×1 convolutions to gate_channels // 2 channels, their sum, ReLU, a 1×1 convolution to one channel, sigmoid.
    """
    _expect_gate(student, CHANNELS)
    _expect_gate(student, (6, 9))


def test_attention_equals_the_reference(student):
    """With the same weights, "attention" gives the same numbers and gradients as gate, concatenation and 3×3 convolution.

    Hint: which of the two is gated, and by which? What is concatenated with what?
    """
    try:
        expect_skip_equal(student, *CHANNELS, "attention")
    except Mismatch:
        if _gate_is_right(student):
            raise
        _expect_attention_around_the_gate(student)


def test_inputs_stay_unchanged(student):
    """gate and skip have the same values afterwards.

    Hint: skip *= alpha writes into the skip, which is the caller's; skip * alpha makes a new tensor.
    """
    gate, skip = _inputs(CHANNELS)
    module = student.make("AttentionGate", *CHANNELS)
    module(gate, skip)
    expect_close(module.inputs_after[0], gate, "gate afterwards")
    expect_close(module.inputs_after[1], skip, "skip afterwards")


def test_works_in_any_dtype_and_on_any_device(student):
    """The gate follows the dtype and device of its inputs and weights.

    Hint: no .cuda(), .to("cpu") or .float() inside a module; make new tensors like the ones that are there.
    """
    expect_follows_dtype_and_device(
        lambda **where: student.make("AttentionGate", *CHANNELS, **where), [(2, 12, 7, 10), (2, 5, 7, 10)], (2, 5, 7, 10)
    )


class HalfOfTheSkip(nn.Module):
    """A join that gets half of the skip, as from a gate whose weights are all zero."""

    def __init__(self, join: nn.Module):
        super().__init__()
        self.join = join

    def forward(self, decoder_features: torch.Tensor, skip_features: torch.Tensor) -> torch.Tensor:
        """As the join's."""
        return self.join(decoder_features, skip_features / 2)


def _expect_gate(student, channels: tuple[int, int]) -> None:
    inputs = _inputs(channels)
    expect_equal(
        lambda dtype: without_idle(student.make("AttentionGate", *channels, dtype=dtype), inputs, dtype),
        lambda module: gate_references(module, *channels),
        inputs,
    )


def _expect_attention_around_the_gate(student) -> None:
    """Mismatch unless gating and joining are right, with a gate of zeros: every α is sigmoid(0) = 1/2, however it got there."""

    def make(dtype: torch.dtype):
        module = student.make("FlexibleSkipConnection", *CHANNELS, "attention", dtype=dtype)
        join = {name: shape for name, shape in module.parameters.items() if shape in [(12, 17, 3, 3), (12,)]}
        gate = {name: shape for name, shape in module.parameters.items() if name not in join}
        module.load({name: torch.zeros(shape, dtype=dtype) for name, shape in gate.items()})
        module.parameters = join
        return module

    def references(module):
        return map(HalfOfTheSkip, skip_references(module, *CHANNELS, "concat"))

    expect_equal(make, references, _inputs(CHANNELS))


def _gate_is_right(student) -> bool:
    try:
        _expect_gate(student, CHANNELS)
    except (Mismatch, StudentError):
        return False
    return True


def _inputs(channels: tuple[int, int]) -> list[torch.Tensor]:
    return [pictures(2, channels[0], 7, 10), pictures(2, channels[1], 7, 10, seed=2)]
