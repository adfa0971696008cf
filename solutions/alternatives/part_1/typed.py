"""Typed and configured: dataclass configs, postponed annotations, Literal, small helper classes, a tuple default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Upsampling = Literal["transpose", "bilinear"]


class Encoded(NamedTuple):
    features: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class Config:
    in_channels: int
    out_channels: int
    features: tuple[int, ...]
    upsampling: Upsampling
    batch_norm: bool
    below: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "below", (*self.features[1:], 2 * self.features[-1]))


class DoubleConv(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, *, batch_norm: bool = True) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(c, out_channels, 3, padding=1, bias=not batch_norm) for c in (in_channels, out_channels)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(out_channels) if batch_norm else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x)).relu()
        return x


class EncoderBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, *, batch_norm: bool = True) -> None:
        super().__init__()
        self.conv = DoubleConv(in_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x: Tensor) -> Encoded:
        features = self.conv(x)
        return Encoded(features, F.max_pool2d(features, kernel_size=2))


class DecoderBlock(nn.Module):
    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, upsampling: Upsampling = "transpose",
                 *, batch_norm: bool = True) -> None:
        super().__init__()
        if upsampling not in get_args(Upsampling):
            raise ValueError(f"expected one of {get_args(Upsampling)}, got {upsampling!r}")
        half = in_channels // 2
        self.transposed = nn.ConvTranspose2d(in_channels, half, 2, stride=2) if upsampling == "transpose" else None
        self.project = nn.Conv2d(in_channels, half, 1) if upsampling == "bilinear" else None
        self.conv = DoubleConv(half + skip_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x: Tensor, skip_features: Tensor) -> Tensor:
        size = skip_features.shape[-2:]
        if self.transposed is not None:
            # same size: the interpolation changes nothing
            x = F.interpolate(self.transposed(x), size=size, mode="bilinear", align_corners=False)
        else:
            x = self.project(F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False))
            x = F.pad(x, (0, size[1] - x.shape[-1], 0, size[0] - x.shape[-2]))
        return self.conv(torch.cat((x, skip_features), dim=1))


class UNet(nn.Module):
    def __init__(self, in_channels: int = 3, out_channels: int = 1, features: Sequence[int] = (64, 128, 256, 512), *,
                 upsampling: Upsampling = "transpose", batch_norm: bool = True) -> None:
        super().__init__()
        self.config = config = Config(in_channels, out_channels, tuple(features), upsampling, batch_norm)
        norm = {"batch_norm": config.batch_norm}
        self.encoders = nn.ModuleList(
            EncoderBlock(a, b, **norm) for a, b in zip((config.in_channels, *config.features), config.features)
        )
        self.bottleneck = DoubleConv(config.features[-1], config.below[-1], **norm)
        self.decoders = nn.ModuleList(
            DecoderBlock(below, width, width, config.upsampling, **norm)
            for below, width in zip(reversed(config.below), reversed(config.features))
        )
        self.head = nn.Conv2d(config.features[0], config.out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for encoder in self.encoders:
            encoded = encoder(x)
            skips.append(encoded.features)
            x = encoded.pooled
        x = self.bottleneck(x)
        for decoder in self.decoders:
            x = decoder(x, skips.pop())
        return self.head(x)
