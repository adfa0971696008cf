"""The lab's TODOs as a plain module, for work in an editor instead of the notebooks.

The notebooks in labs/ explain each task. To check one, run in the repository's folder:

    unetlab check 1.1 starter/lab04_student.py

or without the task's number for all of them. Hand in this file or the notebooks.
"""

import torch
import torch.nn.functional as F
from torch import nn


# ---- Task 1.1 · Encoder block ----


class DoubleConv(nn.Module):
    """(3×3 convolution → BatchNorm → ReLU) twice; height and width stay as they are.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output (both convolutions end at this number).
        batch_norm: `False` leaves the two norms out.

    Shapes:
        x: (B, in_channels, H, W) → (B, out_channels, H, W)
    """

    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        # TODO Task 1.1: build the layers in their order and keep them in self.
        # Which of them go when batch_norm is False?
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 1.1: DoubleConv.__init__")

    def forward(self, x):
        # TODO Task 1.1: send x through the layers and return the result.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 1.1: DoubleConv.forward")


class EncoderBlock(nn.Module):
    """One step down: `DoubleConv`, then a 2×2 max pool with stride 2.

    Shapes:
        x: (B, in_channels, H, W)
        features: (B, out_channels, H, W), the skip
        pooled: (B, out_channels, H // 2, W // 2), the way down
    """

    def __init__(self, in_channels, out_channels, *, batch_norm=True):
        super().__init__()
        # TODO Task 1.1: build the two parts, a double convolution and a pool. Hand batch_norm on.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 1.1: EncoderBlock.__init__")

    def forward(self, x):
        # TODO Task 1.1: return (features, pooled), in this order. Which of the two does the pool read?
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 1.1: EncoderBlock.forward")


# ---- Task 1.2 · Decoder block ----


class DecoderBlock(nn.Module):
    """One step up: double the size, join the skip, `DoubleConv`.

    Args:
        in_channels: channels of x, from the level below.
        skip_channels: channels of the skip, from the encoder of this level.
        out_channels: channels of the output.
        upsampling: "transpose" (2×2 transposed convolution, stride 2) or
            "bilinear" (bilinear ×2, then a convolution); both end at `in_channels // 2` channels.
        batch_norm: handed on to `DoubleConv`.

    Shapes:
        x: (B, in_channels, h, w), skip_features: (B, skip_channels, H, W) with H ∈ {2h, 2h + 1}, W alike
        output: (B, out_channels, H, W)

    Raises:
        ValueError: `upsampling` is neither "transpose" nor "bilinear".
    """

    def __init__(self, in_channels, skip_channels, out_channels, upsampling="transpose", *, batch_norm=True):
        super().__init__()
        # TODO Task 1.2: build the upsampling (two kinds, ValueError for any other) and the double convolution.
        # How many channels does the double convolution see after the concatenation?
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 1.2: DecoderBlock.__init__")

    def forward(self, x, skip_features):
        # TODO Task 1.2: upsample x, bring it to the skip's height and width, concatenate, convolve.
        # Rows and columns can each be one short, or not.
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 1.2: DecoderBlock.forward")


# ---- Task 1.3 · The network's layers ----
# ---- Task 1.4 · The forward pass ----


class UNet(nn.Module):
    """The U-Net of Ronneberger, Fischer and Brox (2015), with BatchNorm and padded convolutions.

    Args:
        in_channels: channels of the picture.
        out_channels: channels of the logits (1 for pet against background).
        features: channels of each encoder, from the top down; any length ≥ 1.
        upsampling: handed on to every `DecoderBlock`.
        batch_norm: handed on to every block.

    Shapes:
        x: (B, in_channels, H, W), H and W ≥ 2 ** len(features)
        logits: (B, out_channels, H, W), no sigmoid
    """

    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 upsampling="transpose", batch_norm=True):
        super().__init__()
        # TODO Task 1.3: build the encoders, the bottleneck, the decoders and the head.
        # In which container does PyTorch find the parameters of many blocks?
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 1.3: UNet.__init__")

    def forward(self, x):
        # TODO Task 1.4: down through the encoders, through the bottleneck, up through the decoders, head.
        # Which skip does the first decoder need?
        # YOUR CODE HERE
        raise NotImplementedError("Need to implement for Task 1.4: UNet.forward")
