"""Bilinear upsampling to the skip's width instead of half the input's (accepted with a note); convolution before BatchNorm has a bias."""

import torch
import torch.nn as nn
import torchvision.transforms.functional as TF


class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.block = nn.Sequential()
        for i in (1, 2):
            self.block.add_module(f'conv{i}', nn.Conv2d(in_channels if i == 1 else out_channels, out_channels, 3, 1, 1))
            if batch_norm:
                self.block.add_module(f'bn{i}', nn.BatchNorm2d(out_channels))
            self.block.add_module(f'act{i}', nn.ReLU(inplace=True))

    def forward(self, x):
        return self.block(x)


class EncoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        self.double_conv = DoubleConv(in_channels, out_channels, batch_norm=batch_norm)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        x = self.double_conv(x)
        return x, self.pool(x)


class DecoderBlock(nn.Module):
    def __init__(self, in_channels, skip_channels, out_channels, upsampling='transpose', *, batch_norm=True):
        super().__init__()
        if upsampling == 'transpose':
            width = in_channels // 2
            self.up = nn.ConvTranspose2d(in_channels, width, 2, stride=2)
        elif upsampling == 'bilinear':
            width = skip_channels
            self.up = nn.Sequential(nn.Upsample(scale_factor=2, mode='bilinear'), nn.Conv2d(in_channels, width, 1))
        else:
            raise ValueError('unknown upsampling ' + repr(upsampling))
        self.double_conv = DoubleConv(width + skip_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x, skip_features):
        x = self.up(x)
        if x.shape[2:] != skip_features.shape[2:]:
            x = TF.resize(x, list(skip_features.shape[2:]), antialias=False)
        return self.double_conv(torch.cat([skip_features, x], dim=1))


class UNet(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 upsampling='transpose', batch_norm=True):
        super().__init__()
        features = list(features)
        self.encoders = nn.ModuleList()
        for a, b in zip([in_channels] + features, features):
            self.encoders.append(EncoderBlock(a, b, batch_norm=batch_norm))
        self.bottleneck = DoubleConv(features[-1], features[-1] * 2, batch_norm=batch_norm)
        features.append(features[-1] * 2)
        self.decoders = nn.ModuleList()
        for i in range(len(features) - 1, 0, -1):
            self.decoders.append(
                DecoderBlock(features[i], features[i - 1], features[i - 1], upsampling, batch_norm=batch_norm)
            )
        self.out_conv = nn.Conv2d(features[0], out_channels, 1)

    def forward(self, x):
        skips = []
        for encoder in self.encoders:
            s, x = encoder(x)
            skips = [s] + skips
        x = self.bottleneck(x)
        for i, decoder in enumerate(self.decoders):
            x = decoder(x, skips[i])
        return self.out_conv(x)
