"""The blocks, one of two modules of a hand-in; run as a script it tries them in the network of `unet.py`."""

import torch
from torch import nn
import torch.nn.functional as F


class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        mods = []
        for c in [in_channels, out_channels]:
            mods += [nn.Conv2d(c, out_channels, 3, padding=1)]
            mods += [nn.BatchNorm2d(out_channels)] * batch_norm
            mods += [nn.ReLU(inplace=True)]
        self.mods = nn.Sequential(*mods)

    def forward(self, x):
        return self.mods(x)


class EncoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.conv = DoubleConv(in_channels, out_channels, batch_norm=batch_norm)
        self.pool = nn.MaxPool2d(2, 2)

    def forward(self, x):
        features = self.conv(x)
        return features, self.pool(features)


class DecoderBlock(nn.Module):
    def __init__(self, in_channels, skip_channels, out_channels, upsampling="transpose", *, batch_norm=True):
        super().__init__()
        if upsampling == "transpose":
            self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, 2, stride=2)
        elif upsampling == "bilinear":
            self.up = nn.Sequential(
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                nn.Conv2d(in_channels, in_channels // 2, 1),
            )
        else:
            raise ValueError(f"Unknown upsampling {upsampling}")
        self.conv = DoubleConv(in_channels // 2 + skip_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x, skip_features):
        x = self.up(x)
        diff_y = skip_features.size(2) - x.size(2)
        diff_x = skip_features.size(3) - x.size(3)
        x = F.pad(x, [diff_x // 2, diff_x - diff_x // 2, diff_y // 2, diff_y - diff_y // 2])
        return self.conv(torch.cat([skip_features, x], dim=1))


if __name__ == "__main__":
    from unet import UNet

    print(UNet(features=[8, 16])(torch.rand(1, 3, 37, 45)).shape)
