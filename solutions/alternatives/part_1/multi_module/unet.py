"""The network, one of two modules of a hand-in; the blocks come from `blocks.py`."""

from torch import nn

import blocks
from blocks import DecoderBlock, DoubleConv, EncoderBlock

__all__ = ["DoubleConv", "EncoderBlock", "DecoderBlock", "UNet"]


class UNet(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 upsampling="transpose", batch_norm=True):
        super().__init__()
        sizes = [in_channels, *features, 2 * features[-1]]
        self.encoders = nn.ModuleList()
        self.decoders = nn.ModuleList()
        for above, here, below in zip(sizes, sizes[1:], sizes[2:]):
            self.encoders.append(EncoderBlock(above, here, batch_norm=batch_norm))
            self.decoders.insert(0, DecoderBlock(below, here, here, upsampling, batch_norm=batch_norm))
        self.bottleneck = blocks.DoubleConv(*sizes[-2:], batch_norm=batch_norm)
        self.head = nn.Conv2d(features[0], out_channels, 1)

    def forward(self, x):
        skips = []
        for encoder in self.encoders:
            features, x = encoder(x)
            skips.append(features)
        x = self.bottleneck(x)
        for decoder in self.decoders:
            x = decoder(x, skips.pop())
        return self.head(x)
