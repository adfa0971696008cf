"""The reference's modules, adapted to what the contract leaves free in a submission.

Free are the order of concatenation, the width after upsampling, the kernel of the convolution after bilinear
upsampling, `align_corners`, and norms and biases in the attention gate. Each function returns every variant
that fits the submission's weights; equal to one of them is equal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import product

import torch
from torch import nn

from grader.checks.inputs import pictures
from grader.student import Student, StudentModule
from solutions.checks.matching import OtherLayers, expect_equal, without_idle
from solutions.reference import reference

ALIGN_CORNERS = {"transpose": (False,), "bilinear": (False, True)}


class Roll(nn.Module):
    """Moves the last `channels` channels to the front: cat([skip, x]) becomes cat([x, skip])."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) → (B, C, H, W)."""
        return torch.roll(x, self.channels, dims=1)


def up_weight(module: StudentModule, in_channels: int, upsampling: str = "transpose") -> tuple[int, int]:
    """(width, kernel size) of the submission's upsampling from `in_channels`; OtherLayers when it has none."""
    shapes = [shape for shape in module.shapes() if len(shape) == 4]
    if upsampling == "transpose":
        found = [(s[1], 2) for s in shapes if s[0] == in_channels and s[2:] == (2, 2)]
        wanted = f"a transposed convolution from {in_channels} channels, 2×2, stride 2"
    else:
        found = [(s[0], s[2]) for s in shapes if s[1] == in_channels]
        wanted = f"a convolution from {in_channels} channels after the bilinear upsampling"
    if not found:
        raise OtherLayers(came=f"weights of shapes {sorted(set(shapes))}", expected=wanted)
    return found[0]


def decoder_references(
    module: StudentModule, channels: tuple[int, int, int], upsampling: str, batch_norm: bool = True
) -> Iterator[nn.Module]:
    """Every reference DecoderBlock(*channels) that a submission's block may equal."""
    width, kernel = up_weight(module, channels[0], upsampling)
    for skip_first in (True, False):
        for align_corners in ALIGN_CORNERS[upsampling]:
            yield _decoder(channels, upsampling, batch_norm, width, kernel, align_corners, skip_first)


def unet_references(module: StudentModule, in_channels: int, out_channels: int, features: list[int]) -> Iterator[nn.Module]:
    """Every reference UNet (transposed convolutions) that a submission's network may equal."""
    below = [*features[1:], 2 * features[-1]]
    ups = [up_weight(module, channels)[0] for channels in below]
    for skip_first in (True, False):
        network = reference().UNet(in_channels, out_channels, features=features)
        decoders = [
            _decoder((low, width, width), "transpose", True, up, 2, False, skip_first)
            for low, width, up in zip(below, features, ups)
        ]
        network.decoders = nn.ModuleList(reversed(decoders))
        yield network


def _decoder(channels, upsampling, batch_norm, width, kernel, align_corners, skip_first) -> nn.Module:
    in_channels, skip_channels, out_channels = channels
    block = reference().DecoderBlock(*channels, upsampling, batch_norm=batch_norm)
    if upsampling == "transpose":
        block.up = nn.ConvTranspose2d(in_channels, width, 2, stride=2)
    else:
        upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=align_corners)
        block.up = nn.Sequential(upsample, nn.Conv2d(in_channels, width, kernel, padding="same"))
    block.double_conv = reference().DoubleConv(width + skip_channels, out_channels, batch_norm=batch_norm)
    if not skip_first:
        block.double_conv = nn.Sequential(Roll(width), block.double_conv)
    return block


def skip_references(module: StudentModule, decoder_channels: int, skip_channels: int, mode: str) -> Iterator[nn.Module]:
    """Every reference FlexibleSkipConnection that a submission's may equal."""
    gates = gate_references(module, decoder_channels, skip_channels) if mode == "attention" else [None]
    for gate, skip_first in product(gates, (False, True)):
        flexible = reference().FlexibleSkipConnection(decoder_channels, skip_channels, mode)
        if gate is not None:
            flexible.join.gate = gate
        if skip_first and mode != "add":
            flexible.join.conv = nn.Sequential(Roll(skip_channels), flexible.join.conv)
        yield flexible


def expect_skip_equal(student: Student, decoder_channels: int, skip_channels: int, mode: str) -> None:
    """Mismatch unless a submission's FlexibleSkipConnection answers as one of the reference's."""
    inputs = [pictures(2, decoder_channels, 7, 10), pictures(2, skip_channels, 7, 10, seed=2)]

    def make(dtype: torch.dtype) -> StudentModule:
        module = student.make("FlexibleSkipConnection", decoder_channels, skip_channels, mode, dtype=dtype)
        return without_idle(module, inputs, dtype)

    expect_equal(make, lambda module: skip_references(module, decoder_channels, skip_channels, mode), inputs)


def gate_references(module: StudentModule, gate_channels: int, skip_channels: int) -> Iterator[nn.Module]:
    """Every reference AttentionGate that a submission's gate may equal; the plain one first."""
    vectors = Counter(shape for shape in module.shapes() if len(shape) == 1)
    inner_vectors, alpha_norm = vectors[(gate_channels // 2,)], vectors[(1,)] > 1
    yield reference().AttentionGate(gate_channels, skip_channels)
    for norms, biases in product(product((False, True), repeat=2), repeat=2):
        if 2 * sum(norms) + sum(biases) == inner_vectors:  # a norm has two vectors, a bias is one
            yield _gate(gate_channels, skip_channels, (*norms, alpha_norm), (*biases, True))


def _gate(gate_channels: int, skip_channels: int, norms: tuple[bool, ...], biases: tuple[bool, ...]) -> nn.Module:
    gate = reference().AttentionGate(gate_channels, skip_channels)
    for name, norm, bias in zip(("gate_conv", "skip_conv", "alpha_conv"), norms, biases):
        conv = getattr(gate, name)
        if not bias:
            conv.bias = None
        if norm:
            setattr(gate, name, nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels)))
    return gate
