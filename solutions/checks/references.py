"""The reference's modules, adapted to what the contract leaves free in a submission.

Free are the order of concatenation, the width after upsampling, the kernel of the convolution after
bilinear upsampling, and `align_corners`. Each function returns every variant that fits the
submission's weights; equal to one of them is equal.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from grader.student import StudentModule
from solutions.checks.matching import OtherLayers
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
