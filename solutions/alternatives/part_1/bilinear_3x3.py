"""Bilinear upsampling with align_corners=True and a 3×3 convolution behind it; crops or pads, whichever is needed."""

import torch
from torch import nn


def conv3x3(c_in, c_out, batch_norm):
    layers = [nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU()]
    return layers if batch_norm else [layers[0], layers[2]]


class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.layers = nn.ModuleList(
            conv3x3(in_channels, out_channels, batch_norm) + conv3x3(out_channels, out_channels, batch_norm)
        )

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class EncoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.body = DoubleConv(in_channels, out_channels, batch_norm=batch_norm)
        self.down = nn.MaxPool2d((2, 2), (2, 2))

    def forward(self, x):
        skip = self.body(x)
        return skip, self.down(skip)


class DecoderBlock(nn.Module):
    UPS = ("transpose", "bilinear")

    def __init__(self, in_channels, skip_channels, out_channels, upsampling="transpose", *, batch_norm=True):
        super().__init__()
        if upsampling not in self.UPS:
            raise ValueError(f"{upsampling=} is not in {self.UPS}")
        half = in_channels // 2
        if upsampling == "transpose":
            self.up = nn.ConvTranspose2d(in_channels, half, 2, 2)
        else:
            self.up = nn.Sequential(
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                nn.Conv2d(in_channels, half, kernel_size=3, padding=1),
            )
        self.body = DoubleConv(half + skip_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x, skip_features):
        x = self.up(x)
        dy, dx = (a - b for a, b in zip(skip_features.shape[2:], x.shape[2:]))
        x = nn.functional.pad(x, (dx // 2, dx - dx // 2, dy // 2, dy - dy // 2))  # negative numbers crop
        return self.body(torch.cat([x, skip_features], 1))


class UNet(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=(64, 128, 256, 512), *,
                 upsampling="transpose", batch_norm=True):
        super().__init__()
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        previous = in_channels
        for i, width in enumerate(features):
            self.down.append(EncoderBlock(previous, width, batch_norm=batch_norm))
            below = features[i + 1] if i + 1 < len(features) else 2 * width
            self.up.insert(0, DecoderBlock(below, width, width, upsampling=upsampling, batch_norm=batch_norm))
            previous = width
        self.bottom = DoubleConv(previous, 2 * previous, batch_norm=batch_norm)
        self.logits = nn.Conv2d(features[0], out_channels, 1)

    def forward(self, x):
        stack = []
        for block in self.down:
            skip, x = block(x)
            stack.append(skip)
        x = self.bottom(x)
        for block in self.up:
            x = block(x, stack.pop())
        return self.logits(x)
