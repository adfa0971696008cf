"""Fully convolutional networks on VGG16: FCN-32s, FCN-16s and FCN-8s.

Source: Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, 2015, arXiv:1411.4038.

The paper pads pictures by 100 pixels, so that the unpadded 7×7 convolution fits, and crops by offsets that follow from
it. Here pictures are padded at the right and the bottom to multiples of 32, and the 7×7 convolution's input by 3. Then
every map is exactly twice as large as the next one, nothing shifts, and one crop at the end gives the picture's size.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import VGG16_Weights

from networks.pretrained import InputNormalization, imagenet_weights

WIDTH, HIDDEN = 64, 4096
STAGES = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))  # channels in units of the width, convolutions; a pool ends each


def bilinear_kernel(channels: int, factor: int) -> Tensor:
    """Weights with which a transposed convolution enlarges bilinearly, each channel by itself.

    For an even factor, stride `factor` and padding `factor // 2` they give, away from the frame, what
    `F.interpolate(mode="bilinear", align_corners=False)` does.

    Shapes:
        (channels, channels, 2 · factor, 2 · factor)
    """
    places = torch.arange(2 * factor) - (factor - 0.5)  # distances from the middle of the kernel
    line = 1 - places.abs() / factor  # (2 · factor,)
    return torch.eye(channels)[:, :, None, None] * torch.outer(line, line)


class FCN32s(nn.Module):
    """FCN-32s: VGG16 with its classifier as convolutions, and class scores at 1/32 enlarged at once.

    Scores begin at 0, as in the paper, and transposed convolutions as bilinear ones; all of them learn, while the paper
    keeps the last one fixed. So in the first step the scores alone have a gradient. Within half a stride of the frame fewer
    scores reach a pixel, and logits are smaller there.

    Args:
        in_channels, out_channels: channels of the picture and of the logits.
        width, hidden: channels of the first convolutions (64) and of the classifier's two former layers (4096);
            smaller ones are for small machines.
        pretrained: begin with VGG16's ImageNet weights, those two layers included (528 MB, fetched by torchvision).
        frozen: keep these weights, see `freeze`.

    Shapes:
        x: (B, in_channels, H, W) in [0, 1], of any size; normalised inside → logits (B, out_channels, H, W)

    Raises ValueError for `pretrained` with other sizes or channels, OSError where the weights cannot be had.
    """

    stride = 32  # pixels between two scores of the finest map that counts

    def __init__(
        self, in_channels: int = 3, out_channels: int = 1, *, width: int = WIDTH, hidden: int = HIDDEN,
        pretrained: bool = False, frozen: bool = False,
    ):  # fmt: skip
        super().__init__()
        sizes = {"width": (width, WIDTH), "hidden": (hidden, HIDDEN)}
        weights = imagenet_weights(VGG16_Weights.IMAGENET1K_V1, in_channels, **sizes) if pretrained else {}
        self.normalize = InputNormalization(in_channels, imagenet=pretrained)
        self.features = vgg16_features(in_channels, width)
        self.conv6 = nn.Conv2d(8 * width, hidden, 7)
        self.conv7 = nn.Conv2d(hidden, hidden, 1)
        self.dropout = nn.Dropout()
        for each in (self.conv6, self.conv7):
            _start(each)
        self.score = _score(hidden, out_channels)
        self._add_decoder(width, out_channels)
        if weights:
            self.load_vgg16(weights)
        self.freeze(frozen)

    def _add_decoder(self, width: int, out_channels: int) -> None:
        self.enlarge_32 = _enlarge(out_channels, 32)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = F.pad(self.normalize(x), [0, -width % 32, 0, -height % 32])  # multiples of 32; 0 is the mean colour
        pools = []
        for layer in self.features:
            x = layer(x)
            if isinstance(layer, nn.MaxPool2d):
                pools.append(x)  # (B, C, H / 2^n, W / 2^n), the fifth: (B, 8 · width, H / 32, W / 32)
        # Padded apart: on maps much smaller than the kernel, oneDNN's own padding can leave NaN in a bf16 gradient.
        x = self.dropout(F.relu(self.conv6(F.pad(x, [3, 3, 3, 3])), inplace=True))
        x = self.dropout(F.relu(self.conv7(x), inplace=True))  # (B, hidden, H / 32, W / 32)
        logits = self._decode(self.score(x), pools)
        return logits[..., :height, :width].contiguous()  # (B, out_channels, H, W)

    def _decode(self, scores: Tensor, pools: list[Tensor]) -> Tensor:
        return self.enlarge_32(scores)

    def freeze(self, frozen: bool = True) -> None:
        """Keep the weights that come from ImageNet (features, conv6, conv7), or train them again with `frozen=False`.

        As the paper's fixed backbone; here all scores and transposed convolutions go on learning. Frozen features are the same in every pass,
        so dropout rests, too.
        """
        for part in (self.features, self.conv6, self.conv7):
            part.requires_grad_(not frozen)
        self.dropout.p = 0.0 if frozen else 0.5

    def load_vgg16(self, weights: Mapping[str, Tensor]) -> None:
        """Take a torchvision VGG16's tensors by name; layers 0 and 3 of its classifier become conv6 and conv7.

        Raises RuntimeError where sizes differ.
        """
        names = {"classifier.0": "conv6", "classifier.3": "conv7"}
        own = {name: value for name, value in weights.items() if name.startswith("features.")}
        for theirs, ours in names.items():
            weight = weights[f"{theirs}.weight"]
            own[f"{ours}.weight"] = weight.view_as(getattr(self, ours).weight)  # (hidden, 25088) → (hidden, 512, 7, 7)
            own[f"{ours}.bias"] = weights[f"{theirs}.bias"]
        self._load(own)

    def load_coarser(self, network: FCN32s) -> None:
        """Begin where a coarser network ended (32s, then 16s, then 8s): take all its weights but the last enlargement.

        Raises ValueError for a network that is not coarser, RuntimeError where sizes differ.
        """
        if network.stride <= self.stride:
            coarse, fine = type(network).__name__, type(self).__name__
            raise ValueError(f"{coarse} is not coarser than {fine}: train 32s, then 16s, then 8s.")
        last = f"enlarge_{network.stride}."
        self._load({name: value for name, value in network.state_dict().items() if not name.startswith(last)})

    def _load(self, tensors: Mapping[str, Tensor]) -> None:
        self.load_state_dict({**self.state_dict(), **tensors})


class FCN16s(FCN32s):
    """FCN-16s: the scores at 1/32, enlarged by 2, plus scores of the fourth pool; arguments as for `FCN32s`."""

    stride = 16

    def _add_decoder(self, width: int, out_channels: int) -> None:
        self.enlarge_pool5 = _enlarge(out_channels, 2)
        self.score_pool4 = _score(8 * width, out_channels)
        self.enlarge_16 = _enlarge(out_channels, 16)

    def _decode(self, scores: Tensor, pools: list[Tensor]) -> Tensor:
        scores = self.enlarge_pool5(scores) + self.score_pool4(pools[3])  # (B, out_channels, H / 16, W / 16)
        return self.enlarge_16(scores)


class FCN8s(FCN32s):
    """FCN-8s: as `FCN16s`, then enlarged by 2 again, plus scores of the third pool; arguments as for `FCN32s`."""

    stride = 8

    def _add_decoder(self, width: int, out_channels: int) -> None:
        self.enlarge_pool5, self.enlarge_pool4 = _enlarge(out_channels, 2), _enlarge(out_channels, 2)
        self.score_pool4, self.score_pool3 = _score(8 * width, out_channels), _score(4 * width, out_channels)
        self.enlarge_8 = _enlarge(out_channels, 8)

    def _decode(self, scores: Tensor, pools: list[Tensor]) -> Tensor:
        scores = self.enlarge_pool5(scores) + self.score_pool4(pools[3])  # (B, out_channels, H / 16, W / 16)
        scores = self.enlarge_pool4(scores) + self.score_pool3(pools[2])  # (B, out_channels, H / 8, W / 8)
        return self.enlarge_8(scores)


def vgg16_features(in_channels: int = 3, width: int = WIDTH) -> nn.Sequential:
    """VGG16's thirteen convolutions and five pools, numbered as torchvision numbers them, so that its weights fit.

    Shapes:
        (B, in_channels, H, W) → (B, 8 · width, H // 32, W // 32)

    Source: Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2015,
    arXiv:1409.1556.
    """
    layers, channels = [], in_channels
    for units, convolutions in STAGES:
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, units * width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = units * width
            _start(layers[-2])
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def _score(channels: int, classes: int) -> nn.Conv2d:
    convolution = nn.Conv2d(channels, classes, 1)
    nn.init.zeros_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    return convolution


def _enlarge(channels: int, factor: int) -> nn.ConvTranspose2d:
    convolution = nn.ConvTranspose2d(channels, channels, 2 * factor, stride=factor, padding=factor // 2, bias=False)
    with torch.no_grad():
        convolution.weight.copy_(bilinear_kernel(channels, factor))
    return convolution


def _start(convolution: nn.Conv2d) -> None:
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")  # 15 layers without norms need the gain of ReLU
    nn.init.zeros_(convolution.bias)
