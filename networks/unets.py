"""U-Nets with residual blocks, with attention gates, and with both.

Same levels, widths and sizes as the lab's own U-Net, so that results compare: for `features=(64, 128, 256, 512)` there
are four encoders with a 2×2 max pool after each, a bottleneck of 1024 channels, four decoders and a 1×1 head. What
differs is the block, or what happens to the skip.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES = (64, 128, 256, 512)
GATES = ("before", "after")


# ---- blocks ----


def plain_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Twice 3×3 convolution, BatchNorm and ReLU: (B, in_channels, H, W) → (B, out_channels, H, W)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class ResidualBlock(nn.Module):
    """x + f(x), f being twice BatchNorm, ReLU and 3×3 convolution; where channels differ, a 1×1 convolution projects x.

    Pre-activation: norm and ReLU stand in front of the convolutions, as in both sources. Nothing then rectifies the
    sum, and the gradient has a way past the blocks' ReLUs. `first=True` leaves out the first norm and ReLU, which
    would rectify a picture.

    Shapes:
        x: (B, in_channels, H, W) → (B, out_channels, H, W)

    Source: Zhang, Liu, Wang: Road Extraction by Deep Residual U-Net, 2018, arXiv:1711.10684, figure 1; the block is
    that of He et al.: Identity Mappings in Deep Residual Networks, 2016, arXiv:1603.05027.
    """

    def __init__(self, in_channels: int, out_channels: int, first: bool = False):
        super().__init__()
        self.activate = nn.Identity() if first else nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True))
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        )
        same = in_channels == out_channels
        self.project = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x) + self.residual(self.activate(x))


class AdditiveGate(nn.Module):
    """Weight each position of the skip by α, on which gate and skip decide; the last α stays in `alpha`, detached.

    α = sigmoid(ψ(ReLU(skip + gate))), after a convolution of each to `skip_channels // 2` channels. With `stride=2` the
    skip's convolution is 2×2 with stride 2 and brings it to the size of a gate from the level below; α is then enlarged
    bilinearly.

    Shapes:
        gate: (B, gate_channels, H // stride, W // stride)
        skip: (B, skip_channels, H, W) → the same; alpha: (B, 1, H, W)

    Source: Oktay et al.: Attention U-Net: Learning Where to Look for the Pancreas, 2018, arXiv:1804.03999, figure 2.
    """

    def __init__(self, gate_channels: int, skip_channels: int, stride: int):
        super().__init__()
        inner = max(skip_channels // 2, 1)
        self.of_gate = nn.Conv2d(gate_channels, inner, 1)
        self.of_skip = nn.Conv2d(skip_channels, inner, stride, stride=stride, bias=False)  # the sum has the gate's bias
        self.psi = nn.Conv2d(inner, 1, 1)
        self.alpha: Tensor | None = None

    def forward(self, gate: Tensor, skip: Tensor) -> Tensor:
        both = F.relu(self.of_skip(skip) + self.of_gate(gate))  # (B, inner, H // stride, W // stride)
        alpha = self.psi(both).sigmoid()  # (B, 1, H // stride, W // stride)
        if alpha.shape != skip[:, :1].shape:
            alpha = F.interpolate(alpha, skip.shape[-2:], mode="bilinear", align_corners=False)  # (B, 1, H, W)
        self.alpha = alpha.detach()
        return alpha * skip


class UpStep(nn.Module):
    """One level up: 2×2 transposed convolution, the skip (gated, where there is a gate) beside it, a block.

    gate: None; "before": what comes from below asks as it comes, at half the size; "after": it asks once enlarged.

    Shapes:
        below: (B, in_channels, H // 2, W // 2), skip: (B, skip_channels, H, W) → (B, skip_channels, H, W)
    """

    def __init__(self, in_channels: int, skip_channels: int, block: nn.Module, gate: str | None = None):
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(in_channels, skip_channels, 2, stride=2)
        self.asks_before = gate == "before"
        self.gate = None
        if gate:
            asking, stride = (in_channels, 2) if self.asks_before else (skip_channels, 1)
            self.gate = AdditiveGate(asking, skip_channels, stride)
        self.block = block

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        large = self.enlarge(below)  # (B, skip_channels, H or H - 1, W or W - 1): pooling an odd side rounds down
        for side in (-2, -1):
            if skip.shape[side] > large.shape[side]:  # repeat the last; F.pad's gradient breaks in a compiled network
                large = torch.cat([large, large.narrow(side, -1, 1)], side)
        if self.gate is not None:
            skip = self.gate(below if self.asks_before else large, skip)
        return self.block(torch.cat([large, skip], 1))


# ---- networks ----


class _UShape(nn.Module):
    """What the networks below share: encoders and pools, bottleneck, decoders with their skips, head."""

    def __init__(self, in_channels: int, out_channels: int, features: Sequence[int], residual: bool, gate: str | None):
        super().__init__()
        if not features:
            raise ValueError("features is empty: one number of channels is needed for each level.")
        block = ResidualBlock if residual else plain_block
        top = ResidualBlock(in_channels, features[0], first=True) if residual else plain_block(in_channels, features[0])
        self.encoders = nn.ModuleList([top, *(block(above, width) for above, width in zip(features, features[1:]))])
        self.pool = nn.MaxPool2d(2)
        deepest = 2 * features[-1]
        self.bottleneck = block(features[-1], deepest)
        steps = zip([deepest, *reversed(features)], reversed(features))
        self.decoders = nn.ModuleList(UpStep(below, width, block(2 * width, width), gate) for below, width in steps)
        # sums of residual blocks reach the head as they are, so it begins as the blocks do
        activation = [nn.BatchNorm2d(features[0]), nn.ReLU(inplace=True)] if residual else []
        self.head = nn.Sequential(*activation, nn.Conv2d(features[0], out_channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for block in self.encoders:
            skips.append(block(x))  # (B, f, H / 2^level, W / 2^level)
            x = self.pool(skips[-1])  # half of that, rounded down
        x = self.bottleneck(x)
        for decoder in self.decoders:
            x = decoder(x, skips.pop())  # the size of the skip
        return self.head(x)  # (B, out_channels, H, W)


def _named(gate: str) -> str:
    if gate not in GATES:
        raise ValueError(f"gate={gate!r}: choose one of {', '.join(GATES)}.")
    return gate


class ResidualUNet(_UShape):
    """U-Net of residual blocks, from the first encoder to the last decoder.

    The paper's network shrinks by strides and enlarges by repetition; this one does both as the other U-Nets here do.

    Args:
        in_channels, out_channels: channels of the picture and of the logits.
        features: channels of each encoder, from the top down; one or more.

    Shapes:
        x: (B, in_channels, H, W), H and W ≥ 2 ** len(features) → logits (B, out_channels, H, W)

    Source: Zhang, Liu, Wang: Road Extraction by Deep Residual U-Net, 2018, arXiv:1711.10684.
    """

    def __init__(self, in_channels: int = 3, out_channels: int = 1, features: Sequence[int] = FEATURES):
        super().__init__(in_channels, out_channels, features, residual=True, gate=None)


class AttentionUNet(_UShape):
    """U-Net with an attention gate on every skip; the last α stay in `decoders[i].gate.alpha`, the deepest first.

    Args:
        in_channels, out_channels: channels of the picture and of the logits.
        features: channels of each encoder, from the top down; one or more.
        gate: who asks. "before", as in the paper: the level below, before it is enlarged. "after": the same, enlarged.

    Shapes:
        x: (B, in_channels, H, W), H and W ≥ 2 ** len(features) → logits (B, out_channels, H, W)

    Raises ValueError for another gate.

    Source: Oktay et al., 2018, arXiv:1804.03999; the paper leaves the top skip ungated.
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 1, features: Sequence[int] = FEATURES, gate: str = "before"
    ):
        super().__init__(in_channels, out_channels, features, residual=False, gate=_named(gate))


class AttentionResidualUNet(_UShape):
    """`ResidualUNet` with the gates of `AttentionUNet`; arguments, shapes and errors are those of the latter."""

    def __init__(
        self, in_channels: int = 3, out_channels: int = 1, features: Sequence[int] = FEATURES, gate: str = "before"
    ):
        super().__init__(in_channels, out_channels, features, residual=True, gate=_named(gate))
