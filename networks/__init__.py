"""Networks for segmentation that are nobody's task: to train, to compare with, to read.

The lab's own networks (U-Net, its skip modes, U-Net++) are what students write, so none of them is here; but the blocks of
these networks (double convolutions, attention gates) are near to those of Tasks 1.1 and 2.3. What is handed in cannot import
this package: it is not there where submissions are judged.

| name in `NETWORKS` | class | what it is |
|---|---|---|
| residual | `ResidualUNet` | residual blocks in place of plain ones |
| attention-before | `AttentionUNet` | a gate on every skip; the level below asks before it is enlarged (Oktay et al.) |
| attention-after | `AttentionUNet(gate="after")` | the same, once it is enlarged |
| attention-residual | `AttentionResidualUNet` | gates and residual blocks |
| resnet34 | `ResNet34UNet` | a ResNet-34 as encoder, ImageNet weights with `pretrained=True` |
| fcn32s, fcn16s, fcn8s | `FCN32s`, `FCN16s`, `FCN8s` | VGG16 as convolutions, ImageNet weights with `pretrained=True` |

`NETWORKS[name](in_channels=3, out_channels=1, **options)` builds one. All take pictures (B, in_channels, H, W) and give
raw logits (B, out_channels, H, W) of exactly their size, odd sides included. In train mode BatchNorm needs more than
one value a channel: a single picture must be larger than the least size of a U-Net.

`DeepSupervision` gives any U-Net heads on its inner decoders, the students' ones included, and `AuxiliaryLoss` sums up.
"""

from functools import partial

from networks.deep_supervision import AuxiliaryLoss, DeepSupervision
from networks.fcn import FCN8s, FCN16s, FCN32s, bilinear_kernel
from networks.resnet import ResNet34Encoder, ResNet34UNet
from networks.unets import AttentionResidualUNet, AttentionUNet, ResidualUNet

__all__ = [
    "NETWORKS", "AttentionResidualUNet", "AttentionUNet", "AuxiliaryLoss", "DeepSupervision", "FCN8s", "FCN16s",
    "FCN32s", "ResNet34Encoder", "ResNet34UNet", "ResidualUNet", "bilinear_kernel",
]  # fmt: skip

NETWORKS = {
    "residual": ResidualUNet,
    "attention-before": partial(AttentionUNet, gate="before"),
    "attention-after": partial(AttentionUNet, gate="after"),
    "attention-residual": AttentionResidualUNet,
    "resnet34": ResNet34UNet,
    "fcn32s": FCN32s,
    "fcn16s": FCN16s,
    "fcn8s": FCN8s,
}
