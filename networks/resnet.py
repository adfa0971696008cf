"""The U-Net whose encoder is a ResNet-34, with ImageNet weights where wanted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import ResNet34_Weights

from networks.pretrained import InputNormalization, imagenet_weights

BLOCKS = (3, 4, 6, 3)  # basic blocks of the four stages: with stem and classifier 34 layers
WIDTH = 64  # channels of the first stage; each further stage has twice as many


class BasicBlock(nn.Module):
    """ReLU(x + f(x)), f being 3×3 convolution, BatchNorm, ReLU, 3×3 convolution, BatchNorm.

    Shapes:
        x: (B, in_channels, H, W) → (B, out_channels, ⌈H / stride⌉, ⌈W / stride⌉)
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride > 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return F.relu(y, inplace=True)


class ResNet34Encoder(nn.Module):
    """ResNet-34 without its classifier; layers are named as torchvision names them, so that its weights fit.

    Shapes:
        x: (B, in_channels, H, W) → five maps (B, C, ⌈H / s⌉, ⌈W / s⌉): C = width, width, 2·width, 4·width, 8·width for
        s = 2, 4, 8, 16, 32

    Source: He et al.: Deep Residual Learning for Image Recognition, 2016, arXiv:1512.03385.
    """

    def __init__(self, in_channels: int = 3, width: int = WIDTH):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        for stage, count in enumerate(BLOCKS, start=1):
            first = BasicBlock(widths[stage - 1], widths[stage], stride=1 if stage == 1 else 2)
            others = (BasicBlock(widths[stage], widths[stage], stride=1) for _ in range(count - 1))
            self.add_module(f"layer{stage}", nn.Sequential(first, *others))
        _start(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [F.relu(self.bn1(self.conv1(x)), inplace=True)]  # (B, width, H / 2, W / 2)
        x = self.maxpool(maps[0])  # (B, width, H / 4, W / 4)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)  # from layer2 on half the size, twice the channels
            maps.append(x)
        return maps


class ResNetUpStep(nn.Module):
    """Enlarge by repetition to the size of the next map, skip beside it, twice 3×3 convolution, BatchNorm, ReLU.

    Shapes:
        x: (B, in_channels, h, w), skip: (B, skip_channels, H, W) or None; size: H and W → (B, out_channels, H, W)
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int):
        super().__init__()
        self.mix = nn.Sequential(
            nn.Conv2d(in_channels + skip_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor, size: Sequence[int], skip: Tensor | None = None) -> Tensor:
        x = F.interpolate(x, size, mode="nearest")  # (B, in_channels, H, W)
        return self.mix(x if skip is None else torch.cat([x, skip], 1))


class ResNet34UNet(nn.Module):
    """U-Net with a ResNet-34 as encoder, and its maps at 1/2, 1/4, 1/8 and 1/16 as skips.

    The encoder has no map of the picture's own size: the last decoder enlarges from 1/2 without a skip. Layers and
    widths are those of `Unet("resnet34")` in segmentation_models.pytorch, so measurements of the two compare.

    Args:
        in_channels, out_channels: channels of the picture and of the logits.
        width: channels of the encoder's first stage; 64 is ResNet-34, smaller ones are for small machines.
        decoder_channels: of the five decoders, from the deepest; unless said 4, 2, 1, 1/2 and 1/4 times `width`.
        pretrained: begin with the encoder's ImageNet weights (84 MB, fetched by torchvision).

    Shapes:
        x: (B, in_channels, H, W) in [0, 1]; pictures are normalised inside → logits (B, out_channels, H, W)

    Raises ValueError for `pretrained` with another width or other channels, OSError where the weights cannot be had.
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 1, *, width: int = WIDTH,
        decoder_channels: Sequence[int] | None = None, pretrained: bool = False,
    ):  # fmt: skip
        super().__init__()
        ups = list(decoder_channels or [max(round(width * share), 1) for share in (4, 2, 1, 1 / 2, 1 / 4)])
        if len(ups) != 5:
            raise ValueError(f"decoder_channels={ups}: five numbers are needed, the deepest decoder's first.")
        weights = {}
        if pretrained:
            weights = imagenet_weights(ResNet34_Weights.IMAGENET1K_V1, in_channels, width=(width, WIDTH))
        self.normalize = InputNormalization(in_channels, imagenet=pretrained)
        self.encoder = ResNet34Encoder(in_channels, width)
        skips = [4 * width, 2 * width, width, width, 0]
        ends = zip([8 * width, *ups], skips, ups)
        self.decoders = nn.ModuleList(ResNetUpStep(*each) for each in ends)
        _start(self.decoders)
        self.head = nn.Conv2d(ups[-1], out_channels, 3, padding=1)
        if weights:
            self.encoder.load_state_dict({name: value for name, value in weights.items() if not name.startswith("fc.")})

    def forward(self, x: Tensor) -> Tensor:
        *skips, y = self.encoder(self.normalize(x))
        for decoder in self.decoders[:-1]:
            skip = skips.pop()
            y = decoder(y, skip.shape[-2:], skip)  # (B, C, H / s, W / s), s = 16, 8, 4, 2
        y = self.decoders[-1](y, x.shape[-2:])  # (B, C, H, W)
        return self.head(y)  # (B, out_channels, H, W)


def _start(module: nn.Module) -> None:
    """Draw convolutions from He's normal distribution, as torchvision does; 34 layers then keep the signal's size."""
    for each in module.modules():
        if isinstance(each, nn.Conv2d):
            nn.init.kaiming_normal_(each.weight, mode="fan_out", nonlinearity="relu")
