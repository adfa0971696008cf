"""Right, but noisy: prints on both streams, warns, logs, and prints again while it is imported."""

import logging
import sys
import warnings

import torch
from torch import nn

log = logging.getLogger("unet")
logging.basicConfig(level=logging.DEBUG)
print("torch", torch.__version__, "cuda:", torch.cuda.is_available())


class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        print("DoubleConv", in_channels, "->", out_channels)
        bn = nn.BatchNorm2d if batch_norm else nn.Identity
        self.seq = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1), bn(out_channels), nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, 3, padding=1), bn(out_channels), nn.ReLU(),
        )

    def forward(self, x):
        print("[debug] DoubleConv in:", tuple(x.shape), file=sys.stderr)
        return self.seq(x)


class EncoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.conv = DoubleConv(in_channels, out_channels, batch_norm=batch_norm)
        self.pool = nn.MaxPool2d(2, stride=2)

    def forward(self, x):
        features = self.conv(x)
        pooled = self.pool(features)
        log.debug("encoder: %s -> %s, %s", x.shape, features.shape, pooled.shape)
        return features, pooled


class DecoderBlock(nn.Module):
    def __init__(self, in_channels, skip_channels, out_channels, upsampling="transpose", *, batch_norm=True):
        super().__init__()
        print("upsampling:", upsampling, file=sys.stderr)
        if upsampling == "transpose":
            self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, 2, stride=2)
        elif upsampling == "bilinear":
            warnings.warn("bilinear is slower on my laptop")
            self.up = nn.Sequential(
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.Conv2d(in_channels, in_channels // 2, 1),
            )
        else:
            raise ValueError(upsampling)
        self.conv = DoubleConv(in_channels // 2 + skip_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x, skip_features):
        x = self.up(x)
        if x.shape[-2:] != skip_features.shape[-2:]:
            warnings.warn(f"size mismatch {tuple(x.shape)} vs {tuple(skip_features.shape)}, resizing", UserWarning)
            x = nn.functional.interpolate(x, skip_features.shape[-2:])
        return self.conv(torch.cat([x, skip_features], 1))


class UNet(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 upsampling="transpose", batch_norm=True):
        super().__init__()
        self.encoders, self.decoders = nn.ModuleList(), nn.ModuleList()
        for f in features:
            self.encoders.append(EncoderBlock(in_channels, f, batch_norm=batch_norm))
            in_channels = f
        self.bottleneck = DoubleConv(in_channels, in_channels * 2, batch_norm=batch_norm)
        in_channels *= 2
        for f in features[::-1]:
            self.decoders.append(DecoderBlock(in_channels, f, f, upsampling=upsampling, batch_norm=batch_norm))
            in_channels = f
        self.final = nn.Conv2d(in_channels, out_channels, 1)
        print(self)
        print("parameters:", sum(p.numel() for p in self.parameters()))

    def forward(self, x):
        skips = []
        for i, encoder in enumerate(self.encoders):
            skip, x = encoder(x)
            skips.append(skip)
            print(f"level {i}: skip {tuple(skip.shape)}", end="\r", file=sys.stderr)
        x = self.bottleneck(x)
        for decoder in self.decoders:
            x = decoder(x, skips.pop(-1))
        logits = self.final(x)
        print("logits", logits.min().item(), logits.max().item())
        return logits


if __name__ == "__main__":
    UNet()(torch.rand(1, 3, 200, 200))
