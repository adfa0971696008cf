"""A recursive network: a level is an encoder, whatever lies below it, and a decoder."""

import torch
from torch import nn
from torch.nn import functional as F


def block(a, b, batch_norm):
    yield nn.Conv2d(a, b, 3, padding=1)
    if batch_norm:
        yield nn.BatchNorm2d(b)
    yield nn.ReLU(True)


class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.first = nn.Sequential(*block(in_channels, out_channels, batch_norm))
        self.second = nn.Sequential(*block(out_channels, out_channels, batch_norm))

    def forward(self, x):
        return self.second(self.first(x))


class EncoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.conv = DoubleConv(in_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x):
        return (skip := self.conv(x)), F.max_pool2d(skip, 2)


class DecoderBlock(nn.Module):
    def __init__(self, in_channels, skip_channels, out_channels, upsampling="transpose", *, batch_norm=True):
        super().__init__()
        match upsampling:
            case "transpose":
                self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, 2, 2)
            case "bilinear":
                self.up = nn.Sequential(
                    nn.Upsample(scale_factor=2, mode="bilinear"),
                    nn.Conv2d(in_channels, in_channels // 2, 1),
                )
            case other:
                raise ValueError(f"no such upsampling: {other}")
        self.conv = DoubleConv(in_channels // 2 + skip_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x, skip_features):
        # one row and column more than needed, then cut to the skip: covers even and odd sizes alike
        h, w = skip_features.shape[-2:]
        x = F.pad(self.up(x), (0, 1, 0, 1), mode="replicate").narrow(-2, 0, h).narrow(-1, 0, w)
        return self.conv(torch.cat([x, skip_features], dim=1))


class Level(nn.Module):
    """The part of the U from here down: (B, channels, H, W) → (B, features[0], H, W)."""

    def __init__(self, channels, features, upsampling, batch_norm):
        super().__init__()
        width, *deeper = features
        self.encoder = EncoderBlock(channels, width, batch_norm=batch_norm)
        if deeper:
            self.below = Level(width, deeper, upsampling, batch_norm)
        else:
            self.below = DoubleConv(width, 2 * width, batch_norm=batch_norm)
        self.decoder = DecoderBlock(deeper[0] if deeper else 2 * width, width, width, upsampling, batch_norm=batch_norm)

    def forward(self, x):
        skip, x = self.encoder(x)
        return self.decoder(self.below(x), skip)


class UNet(nn.Sequential):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 upsampling="transpose", batch_norm=True):
        super().__init__(
            Level(in_channels, features, upsampling, batch_norm),
            nn.Conv2d(features[0], out_channels, kernel_size=1),
        )
