"""The layers by name as on pytorch.org (conv1, bn1, ...), the head created first, [up, skip] order, a resize instead of a pad."""

import torch
import torch.nn as nn
import torch.nn.functional as F


class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super(DoubleConv, self).__init__()
        self.relu = nn.ReLU(inplace=True)
        self.bn2 = nn.BatchNorm2d(out_channels) if batch_norm else None
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=(3, 3), stride=1, padding=(1, 1), bias=True)
        self.bn1 = nn.BatchNorm2d(out_channels) if batch_norm else None
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=(3, 3), stride=1, padding=(1, 1), bias=True)

    def forward(self, x):
        out = self.conv1(x)
        if self.bn1 is not None:
            out = self.bn1(out)
        out = self.relu(out)

        out = self.conv2(out)
        if self.bn2 is not None:
            out = self.bn2(out)
        out = self.relu(out)
        return out


class EncoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super(EncoderBlock, self).__init__()
        self.maxpool = nn.MaxPool2d(2, 2)
        self.conv = DoubleConv(in_channels, out_channels, batch_norm=batch_norm)

    def forward(self, x):
        out = self.conv(x)
        return out, self.maxpool(out)


class DecoderBlock(nn.Module):
    def __init__(self, in_channels, skip_channels, out_channels, upsampling='transpose', *, batch_norm=True):
        super(DecoderBlock, self).__init__()
        if upsampling not in ('transpose', 'bilinear'):
            raise ValueError('upsampling should be "transpose" or "bilinear"')
        self.upsampling = upsampling
        self.conv = DoubleConv(in_channels // 2 + skip_channels, out_channels, batch_norm=batch_norm)
        if upsampling == 'transpose':
            self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, kernel_size=2, stride=2)
        else:
            self.conv1x1 = nn.Conv2d(in_channels, in_channels // 2, kernel_size=1)

    def forward(self, x, skip_features):
        if self.upsampling == 'transpose':
            x = self.up(x)
        else:
            x = F.interpolate(x, scale_factor=2, mode='bilinear', align_corners=False)
            x = self.conv1x1(x)

        if x.size()[2:] != skip_features.size()[2:]:
            x = F.interpolate(x, size=skip_features.size()[2:], mode='bilinear', align_corners=False)
        return self.conv(torch.cat((x, skip_features), dim=1))


class UNet(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 upsampling='transpose', batch_norm=True):
        super(UNet, self).__init__()
        n = len(features)
        self.n = n
        self.final = nn.Conv2d(features[0], out_channels, kernel_size=1)
        # self.dec1 ... self.decN, self.enc1 ... self.encN as in the figure
        for i in range(n, 0, -1):
            f = features[i - 1]
            below = 2 * f if i == n else features[i]
            above = in_channels if i == 1 else features[i - 2]
            setattr(self, f'dec{i}', DecoderBlock(below, f, f, upsampling, batch_norm=batch_norm))
            setattr(self, f'enc{i}', EncoderBlock(above, f, batch_norm=batch_norm))
        self.bottleneck = DoubleConv(features[-1], 2 * features[-1], batch_norm=batch_norm)

    def forward(self, x):
        skips = [None]
        for i in range(1, self.n + 1):
            skip, x = getattr(self, f'enc{i}')(x)
            skips.append(skip)
        x = self.bottleneck(x)
        for i in range(self.n, 0, -1):
            x = getattr(self, f'dec{i}')(x, skips[i])
        return self.final(x)
