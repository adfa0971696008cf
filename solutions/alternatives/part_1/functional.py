"""Functional style: weights and running statistics are plain parameters and buffers, no nn.Conv2d or nn.BatchNorm2d anywhere."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def conv_weight(*shape):
    weight = nn.Parameter(torch.empty(*shape))
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    return weight


class ConvNormRelu(nn.Module):
    def __init__(self, c_in, c_out, batch_norm):
        super().__init__()
        self.w = conv_weight(c_out, c_in, 3, 3)
        self.b = nn.Parameter(torch.zeros(c_out))  # without BatchNorm: the conv's bias; with it: the shift
        self.g = nn.Parameter(torch.ones(c_out)) if batch_norm else None
        if batch_norm:
            self.register_buffer("mean", torch.zeros(c_out))
            self.register_buffer("var", torch.ones(c_out))

    def forward(self, x):
        if self.g is None:
            return F.relu(F.conv2d(x, self.w, self.b, padding=1))
        x = F.conv2d(x, self.w, padding=1)
        return F.relu(F.batch_norm(x, self.mean, self.var, self.g, self.b, training=self.training))


class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.one = ConvNormRelu(in_channels, out_channels, batch_norm)
        self.two = ConvNormRelu(out_channels, out_channels, batch_norm)

    def forward(self, x):
        return self.two(self.one(x))


class EncoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.pair = DoubleConv(in_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x):
        x = self.pair(x)
        return x, F.max_pool2d(x, 2)


class DecoderBlock(nn.Module):
    def __init__(self, in_channels, skip_channels, out_channels, upsampling="transpose", *, batch_norm=True):
        super().__init__()
        half = in_channels // 2
        self.upsampling = upsampling
        if upsampling == "transpose":
            self.w = conv_weight(in_channels, half, 2, 2)
        elif upsampling == "bilinear":
            self.w = conv_weight(half, in_channels, 1, 1)
        else:
            raise ValueError(upsampling)
        self.b = nn.Parameter(torch.zeros(half))
        self.pair = DoubleConv(half + skip_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x, skip_features):
        if self.upsampling == "transpose":
            x = F.conv_transpose2d(x, self.w, self.b, stride=2)
        else:
            x = F.conv2d(F.interpolate(x, scale_factor=2, mode="bilinear"), self.w, self.b)
        h, w = skip_features.shape[2:]
        x = F.pad(x, (0, w - x.shape[3], 0, h - x.shape[2]))
        return self.pair(torch.cat((skip_features, x), 1))


class UNet(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 upsampling="transpose", batch_norm=True):
        super().__init__()
        widths = [in_channels, *features]
        self.down = nn.ModuleList(EncoderBlock(a, b, batch_norm=batch_norm) for a, b in zip(widths, features))
        self.middle = DoubleConv(widths[-1], 2 * widths[-1], batch_norm=batch_norm)
        below = [*widths[2:], 2 * widths[-1]]
        self.up = nn.ModuleList(
            DecoderBlock(b, f, f, upsampling, batch_norm=batch_norm) for b, f in zip(below, features)
        )  # top to bottom, as self.down
        self.w = conv_weight(out_channels, features[0], 1, 1)
        self.b = nn.Parameter(torch.zeros(out_channels))

    def forward(self, x):
        skips = []
        for block in self.down:
            skip, x = block(x)
            skips += [skip]
        x = self.middle(x)
        for block, skip in zip(self.up[::-1], skips[::-1]):
            x = block(x, skip)
        return F.conv2d(x, self.w, self.b)
