"""The network reuses none of its own blocks: one big class with a ModuleDict of bare layers."""

import torch
import torch.nn.functional as F
from torch import nn


def two_convs(a, b, batch_norm):
    norm = (lambda: nn.BatchNorm2d(b)) if batch_norm else nn.Identity
    return nn.Sequential(nn.Conv2d(a, b, 3, 1, 1), norm(), nn.ReLU(), nn.Conv2d(b, b, 3, 1, 1), norm(), nn.ReLU())


def up_layer(channels, upsampling):
    if upsampling == "transpose":
        return nn.ConvTranspose2d(channels, channels // 2, 2, 2)
    if upsampling == "bilinear":
        return nn.Sequential(nn.UpsamplingBilinear2d(scale_factor=2), nn.Conv2d(channels, channels // 2, 1))
    raise ValueError("unknown upsampling: " + str(upsampling))


def fit(x, skip):
    return F.interpolate(x, size=skip.shape[2:], mode="nearest") if x.shape[2:] != skip.shape[2:] else x


class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.net = two_convs(in_channels, out_channels, batch_norm)

    def forward(self, x):
        return self.net(x)


class EncoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.net = two_convs(in_channels, out_channels, batch_norm)

    def forward(self, x):
        y = self.net(x)
        return y, F.max_pool2d(y, kernel_size=2, stride=2)


class DecoderBlock(nn.Module):
    def __init__(self, in_channels, skip_channels, out_channels, upsampling="transpose", *, batch_norm=True):
        super().__init__()
        self.up = up_layer(in_channels, upsampling)
        self.net = two_convs(in_channels // 2 + skip_channels, out_channels, batch_norm)

    def forward(self, x, skip_features):
        return self.net(torch.cat([skip_features, fit(self.up(x), skip_features)], 1))


class UNet(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 upsampling="transpose", batch_norm=True):
        super().__init__()
        self.depth = len(features)
        self.layers = nn.ModuleDict()
        below = list(features[1:]) + [2 * features[-1]]
        for i, f in enumerate(features):
            self.layers[f"enc{i}"] = two_convs(features[i - 1] if i else in_channels, f, batch_norm)
            self.layers[f"up{i}"] = up_layer(below[i], upsampling)
            self.layers[f"dec{i}"] = two_convs(below[i] // 2 + f, f, batch_norm)
        self.layers["bottom"] = two_convs(features[-1], 2 * features[-1], batch_norm)
        self.layers["head"] = nn.Conv2d(features[0], out_channels, 1)

    def forward(self, x):
        skips = {}
        for i in range(self.depth):
            skips[i] = self.layers[f"enc{i}"](x)
            x = F.max_pool2d(skips[i], 2)
        x = self.layers["bottom"](x)
        for i in range(self.depth - 1, -1, -1):
            x = fit(self.layers[f"up{i}"](x), skips[i])
            x = self.layers[f"dec{i}"](torch.cat([skips[i], x], 1))
        return self.layers["head"](x)
