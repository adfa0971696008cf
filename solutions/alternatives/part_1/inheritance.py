"""Inheritance: encoder and decoder *are* double convolutions, which is itself an nn.Sequential."""

from collections import OrderedDict

import torch
from torch import nn


class DoubleConv(nn.Sequential):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        parts = OrderedDict()
        for i, channels in enumerate([in_channels, out_channels], start=1):
            parts[f"conv{i}"] = nn.Conv2d(channels, out_channels, 3, padding="same", bias=not batch_norm)
            if batch_norm:
                parts[f"norm{i}"] = nn.BatchNorm2d(out_channels)
            parts[f"relu{i}"] = nn.ReLU()
        super().__init__(parts)


class EncoderBlock(DoubleConv):
    def forward(self, x):
        features = super().forward(x)
        return features, nn.functional.max_pool2d(features, 2, 2)


class DecoderBlock(DoubleConv):
    def __init__(self, in_channels, skip_channels, out_channels, upsampling="transpose", *, batch_norm=True):
        mid = in_channels // 2
        super().__init__(mid + skip_channels, out_channels, batch_norm=batch_norm)
        ups = {
            "transpose": lambda: nn.ConvTranspose2d(in_channels, mid, 2, stride=2),
            "bilinear": lambda: nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(in_channels, mid, 1)),
        }
        if upsampling not in ups:
            raise ValueError(f"upsampling must be one of {sorted(ups)}")
        self.up = ups[upsampling]()

    def forward(self, x, skip_features):
        x = self.up(x)
        h, w = skip_features.shape[-2:]
        x = nn.functional.pad(x, (0, w - x.size(-1), 0, h - x.size(-2)), mode="replicate")
        x = torch.cat([skip_features, x], dim=1)
        for name, layer in self.named_children():  # super().forward would run self.up again
            if name != "up":
                x = layer(x)
        return x


class UNet(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 upsampling="transpose", batch_norm=True):
        super().__init__()
        kw = dict(batch_norm=batch_norm)
        ins = [in_channels] + list(features[:-1])
        self.encoders = nn.ModuleList([EncoderBlock(a, b, **kw) for a, b in zip(ins, features)])
        self.bottleneck = DoubleConv(features[-1], features[-1] * 2, **kw)
        outs = list(features)[::-1]
        self.decoders = nn.ModuleList(
            [DecoderBlock(a, b, b, upsampling, **kw) for a, b in zip([outs[0] * 2] + outs[:-1], outs)]
        )
        self.out = nn.Conv2d(outs[-1], out_channels, (1, 1))

    def forward(self, x):
        skips = []
        for encoder in self.encoders:
            skip, x = encoder(x)
            skips.insert(0, skip)
        x = self.bottleneck(x)
        for decoder, skip in zip(self.decoders, skips):
            x = decoder(x, skip)
        return self.out(x)
