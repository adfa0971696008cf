# %% [markdown]
# # Part 1 · The U-Net
#
# In this lab you build a U-Net and use it to find the animal in a picture.
# The answer of the network is not one word for the picture but one number for every pixel: pet or background.
#
# Part 1 is the network itself, in four tasks:
#
# | task | what you write | needs |
# |---|---|---|
# | 1.1 | `DoubleConv` and `EncoderBlock`, one step down | |
# | 1.2 | `DecoderBlock`, one step up | 1.1 |
# | 1.3 | `UNet.__init__`, all layers of the network | 1.1, 1.2 |
# | 1.4 | `UNet.forward`, the way through them | 1.3 |
#
# **How to work.** Read a task, fill its `TODO`s (replace `# YOUR CODE HERE` and the `raise` line below it), run the
# cell,
# then run the *check* cell. A check tells you the rule, what came out, and a hint.
# You may check as often as you like. Some further checks run only after you hand in.
#
# Keep the names of classes, methods and arguments. How you write the inside of a class is yours;
# what it computes is fixed: no layer more, none fewer.

# %% [markdown]
# ## Setup
#
# Run these three cells first, every time you start the notebook.
# The first one finds the lab's files, the last one fixes the random seeds and says what your machine has.

# %%
import subprocess
import sys
from pathlib import Path

REPO_URL = ""  # only for Google Colab: the address of your course's repository


def find_lab_files():
    """Return the folder that holds data_utils.py: this folder, one above it, or on Colab a clone of REPO_URL."""
    here, clone = Path.cwd(), Path.cwd() / "unetlab"
    for folder in [here, *here.parents, clone, Path("/content/unetlab")]:  # the last: Colab, after a change of folder
        if (folder / "data_utils.py").exists():
            return folder
    try:
        import google.colab  # importable on Colab only
    except ImportError:
        raise FileNotFoundError(
            f"data_utils.py is not in {here} or a folder above it. "
            "Keep this notebook in the folder labs/ of the lab's files, and open it from there."
        ) from None
    if not REPO_URL:
        raise ValueError(
            "REPO_URL is empty, so Colab cannot fetch the lab's files. "
            "Write the address of your course's repository between the quotes above and run this cell again."
        )
    command = ["git", "clone", "--depth", "1", REPO_URL, str(clone)]
    git = subprocess.run(command, capture_output=True, text=True, check=False)
    if git.returncode != 0 or not (clone / "data_utils.py").exists():
        raise RuntimeError(f"Fetching {REPO_URL} gave no data_utils.py. {git.stderr.strip()} Check REPO_URL above.")
    return clone


lab_files = find_lab_files()
if str(lab_files) not in sys.path:
    sys.path.insert(0, str(lab_files))

# %% export="true"
import torch
import torch.nn.functional as F
from torch import nn

# %%
import matplotlib
import numpy as np
import torchvision

from data_utils import make_loaders
from grader import check
from metrics import binarize, dice, iou, pixel_accuracy
from viz import draw_unet, show_feature_maps, show_pairs, show_predictions

SEED = 42
torch.manual_seed(SEED)
np.random.seed(SEED)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def show_unwritten(shell, kind, error, trace, tb_offset=None):
    """Show an unfilled TODO as one line; every other error keeps its full traceback."""
    todo = str(error).startswith("Need to implement")
    shell.showtraceback((kind, error, trace), exception_only=todo)


get_ipython().set_custom_exc((NotImplementedError,), show_unwritten)

print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, torchvision {torchvision.__version__}, "
      f"numpy {np.__version__}, matplotlib {matplotlib.__version__}")
print(f"seed {SEED}, device {device}")

# %% [markdown]
# ## The pictures
#
# Each picture comes with a **mask** of the same size: 1 where the animal is, 0 elsewhere.
# The network sees the picture and has to give the mask.
#
# The pictures are drawn by the lab itself, so nothing has to be downloaded.
# If your course has put the Oxford-IIIT Pet data set on your machine (the variable `UNETLAB_DATA` names its folder),
# you see real cats and dogs. Everything below works with both.

# %%
loaders = make_loaders(size=200, batch_size=8, count=40)
images, masks = next(iter(loaders.val))
print("images", tuple(images.shape), "from", round(images.min().item(), 2), "to", round(images.max().item(), 2))
print("masks ", tuple(masks.shape), "with the values", masks.unique().tolist())
show_pairs(images, masks, count=6)

# %% [markdown]
# Look at them for a moment. Where would *you* find it hard to draw the outline?
# A colour alone does not tell pet from background. You need to know *what* the thing is, and *where* exactly it ends.
#
# ## What an encoder-decoder is for
#
# A 3×3 convolution sees 3×3 pixels. Whether a brown pixel is fur or floor cannot be told from so few.
#
# * The **encoder** makes the picture smaller, step by step. Each halving doubles the part of the picture that a
#   3×3 convolution covers. Deep down the network sees large parts at once and can tell *what* is there.
#   The price: at 12×12, one number stands for a patch of about 16×16 pixels, and fine outlines are lost.
# * The **decoder** makes it large again, because the answer needs one value per pixel.
# * The **skip connections** carry the encoder's features of each size straight across to the decoder.
#   They still know *where* the edges are.
#
# In short: the way down finds out *what*, the skips remember *where*, the way up puts both together.
#
# This is the U-Net of Ronneberger, Fischer and Brox: *U-Net: Convolutional Networks for Biomedical Image
# Segmentation*,
# MICCAI 2015, [arXiv:1505.04597](https://arxiv.org/abs/1505.04597). The main changes, as most people make them today:
#
# | | Ronneberger et al. 2015 | this lab |
# |---|---|---|
# | convolutions | unpadded: 572×572 in, 388×388 out, skips are cropped | padded: the mask is as large as the picture |
# | normalisation | none | BatchNorm after each 3×3 convolution |
#
# ## The U
#
# Read it from the top left: down, across the bottom, up to the top right.
# Each box says *(channels, height, width)* of what comes out of it.

# %%
draw_unet(features=(64, 128, 256, 512), size=(200, 200), in_channels=3, out_channels=1)

# %% [markdown]
# Remember one number from the picture: **25**. Half of 25 is 12, and twice 12 is 24. You will meet it in Task 1.2.

# %% [markdown]
# ## Task 1.1 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} points*
#
# **Objective.** Write one step of the way down. It gives two things: *features* for the skip, and a *pooled* version
# of half the size for the next step.
#
# **`DoubleConv`**
#
# 1. 3×3 convolution with padding 1, from `in_channels` to `out_channels`.
# 2. BatchNorm (unless `batch_norm=False`).
# 3. ReLU.
# 4. The same three once more, now from `out_channels` to `out_channels`.
#
# **`EncoderBlock`**
#
# 1. `features` = `DoubleConv` of the input.
# 2. `pooled` = 2×2 max pooling with stride 2 of the features.
# 3. Return both, features first.
#
# **Shapes**, for `EncoderBlock(3, 64)` on a 200×200 picture:
#
# | tensor | shape | in general |
# |---|---|---|
# | x | (B, 3, 200, 200) | (B, in_channels, H, W) |
# | features | (B, 64, 200, 200) | (B, out_channels, H, W) |
# | pooled | (B, 64, 100, 100) | (B, out_channels, ⌊H/2⌋, ⌊W/2⌋) |
#
# A convolution with kernel k, padding p and stride 1 turns H into H + 2p − k + 1.
# So k = 3 needs p = 1 to keep the size.

# %% task="1.1"
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
        ### BEGIN SOLUTION
        layers = []
        for channels in (in_channels, out_channels):
            layers.append(nn.Conv2d(channels, out_channels, kernel_size=3, padding=1, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm2d(out_channels))
            layers.append(nn.ReLU(inplace=True))
        self.layers = nn.Sequential(*layers)
        ### END SOLUTION

    def forward(self, x):
        # TODO Task 1.1: send x through the layers and return the result.
        ### BEGIN SOLUTION
        return self.layers(x)  # (B, out_channels, H, W)
        ### END SOLUTION


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
        ### BEGIN SOLUTION
        self.double_conv = DoubleConv(in_channels, out_channels, batch_norm=batch_norm)
        self.pool = nn.MaxPool2d(kernel_size=2, stride=2)
        ### END SOLUTION

    def forward(self, x):
        # TODO Task 1.1: return (features, pooled), in this order. Which of the two does the pool read?
        ### BEGIN SOLUTION
        features = self.double_conv(x)  # (B, out_channels, H, W)
        pooled = self.pool(features)  # (B, out_channels, H // 2, W // 2)
        return features, pooled
        ### END SOLUTION

# %% [markdown]
# Try it. You should see `(1, 64, 200, 200)` and `(1, 64, 100, 100)`.

# %%
features, pooled = EncoderBlock(3, 64)(torch.rand(1, 3, 200, 200))
print("features", tuple(features.shape))
print("pooled  ", tuple(pooled.shape))

# %% check="1.1"
check("1.1")

# %% [markdown]
# **What can go wrong**
#
# * *The picture shrinks by 2 in each convolution*: the padding is missing.
# * *"expected input[…] to have 3 channels, but got 64 channels"*: the second convolution starts from `in_channels`
#   again.
# * *The two outputs are swapped*: features first, then pooled. The code runs with them swapped, but the skip is then
#   too small.
# * *The pool reads `x`*: it must read the features, otherwise the next level never sees your convolutions.
# * *In-place operations*: `nn.ReLU(inplace=True)` right after a BatchNorm or convolution is fine, nobody else holds
#   that tensor.
#   But never change `x` or the returned features in place (`F.relu_(features)`, `features += 1`): the skip would
#   change with them.
# * *`batch_norm=False` is ignored*: hand it on from `EncoderBlock` to `DoubleConv`.

# %% [markdown]
# ## Task 1.2 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} points*
#
# **Objective.** Write one step of the way up. It doubles the size, joins what comes from below with the skip,
# and mixes both with a `DoubleConv`.
#
# 1. Upsample `x` by 2 and go to `in_channels // 2` channels:
#    * `"transpose"`: a transposed convolution with kernel 2 and stride 2. It learns how to enlarge.
#    * `"bilinear"`: bilinear upsampling by 2, then a convolution for the channels, with nothing after it.
#    * anything else: `ValueError`.
# 2. Compare the height and width with the skip's. Where they differ, bring `x` to the skip's size.
# 3. Concatenate both along the channels.
# 4. `DoubleConv` to `out_channels`.
#
# **Shapes**, for `DecoderBlock(1024, 512, 512)`, the lowest decoder for a 200×200 picture:
#
# | tensor | shape |
# |---|---|
# | x, from below | (B, 1024, **12**, **12**) |
# | skip_features | (B, 512, **25**, **25**) |
# | after step 1 | (B, 512, **24**, **24**) |
# | after step 2 | (B, 512, 25, 25) |
# | after step 3 | (B, 512 + 512, 25, 25) |
# | after step 4 | (B, 512, 25, 25) |
#
# **25 → 12 → 24.** Pooling an odd size drops the last row and column, so doubling it again comes back one short:
# 2 · ⌊25 / 2⌋ = 24. The output always has the *skip's* height and width.
# You may pad `x`, or resize it. Look up `torch.nn.functional.pad`: its numbers start with the *last* dimension
# (left, right, top, bottom).

# %% task="1.2"
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
        ### BEGIN SOLUTION
        up_channels = in_channels // 2
        if upsampling == "transpose":
            self.up = nn.ConvTranspose2d(in_channels, up_channels, kernel_size=2, stride=2)
        elif upsampling == "bilinear":
            self.up = nn.Sequential(
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.Conv2d(in_channels, up_channels, kernel_size=1),
            )
        else:
            raise ValueError(f'upsampling is "transpose" or "bilinear", not {upsampling!r}')
        self.double_conv = DoubleConv(up_channels + skip_channels, out_channels, batch_norm=batch_norm)
        ### END SOLUTION

    def forward(self, x, skip_features):
        # TODO Task 1.2: upsample x, bring it to the skip's height and width, concatenate, convolve.
        # Rows and columns can each be one short, or not.
        ### BEGIN SOLUTION
        x = self.up(x)  # (B, in_channels // 2, 2h, 2w)
        missing_rows = skip_features.shape[-2] - x.shape[-2]
        missing_columns = skip_features.shape[-1] - x.shape[-1]
        x = F.pad(
            x,
            (
                missing_columns // 2,
                missing_columns - missing_columns // 2,
                missing_rows // 2,
                missing_rows - missing_rows // 2,
            ),
        )  # (B, in_channels // 2, H, W)
        x = torch.cat([skip_features, x], dim=1)  # (B, skip_channels + in_channels // 2, H, W)
        return self.double_conv(x)  # (B, out_channels, H, W)
        ### END SOLUTION

# %% [markdown]
# Try it with a size that is one short. You should see `(1, 32, 25, 30)`.

# %%
block = DecoderBlock(in_channels=64, skip_channels=32, out_channels=32)
from_below, skip = torch.rand(1, 64, 12, 15), torch.rand(1, 32, 25, 30)
print("output", tuple(block(from_below, skip).shape))

# %% check="1.2"
check("1.2")

# %% [markdown]
# **What can go wrong**
#
# * *"Sizes of tensors must match except in dimension 1"*: step 2 is missing, or pads only the height.
#   In the cell above the height differs and the width does not. Each has to work without the other.
# * *Both sides padded by the difference*: `F.pad` adds on the left **and** on the right. A difference of 1 is 1 in
#   total.
# * *The skip is cropped to `x` instead*: it runs, but the output is 24×24, and the final mask is smaller than the
#   picture.
# * *The channels do not match*: count the channels of both parts; the skip may have another number than the upsampled x.
#   Do not assume that the skip has as many channels as the upsampled `x`.
# * *Concatenated along dimension 0*: that is the batch. Channels are dimension 1.
# * *A typing error in `upsampling` goes unnoticed*: that is what the `ValueError` is for.

# %% [markdown]
# ## Task 1.3 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} points*
#
# **Objective.** Build all layers of the U-Net in `__init__`, for any list of `features`.
# The way through them (`forward`, in the same cell) is Task 1.4. Leave it for now.
#
# 1. One `EncoderBlock` for each entry of `features`, from the top down. The first takes `in_channels`.
# 2. The bottleneck: a `DoubleConv` from the last entry to twice as many channels.
# 3. One `DecoderBlock` for each entry of `features`, from the bottom up.
#    Each one takes what the block below it gives, and the skip of its own level.
# 4. The head: a 1×1 convolution to `out_channels`, and nothing after it.
#
# **Channels**, for `features=[64, 128, 256, 512]`:
#
# | level | encoder: in → out | decoder: from below, skip → out |
# |---|---|---|
# | 1 | 3 → 64 | 128, 64 → 64, then the head: 64 → 1 |
# | 2 | 64 → 128 | 256, 128 → 128 |
# | 3 | 128 → 256 | 512, 256 → 256 |
# | 4 | 256 → 512 | 1024, 512 → 512 |
# | bottleneck | 512 → 1024 | |
#
# Do not write these numbers into the code. `features=[16, 32]` has to work as well.

# %% task="1.3, 1.4"
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
        ### BEGIN SOLUTION
        self.encoders = nn.ModuleList()
        channels = in_channels
        for width in features:
            self.encoders.append(EncoderBlock(channels, width, batch_norm=batch_norm))
            channels = width
        self.bottleneck = DoubleConv(channels, 2 * channels, batch_norm=batch_norm)
        channels = 2 * channels
        self.decoders = nn.ModuleList()
        for width in reversed(features):
            self.decoders.append(DecoderBlock(channels, width, width, upsampling, batch_norm=batch_norm))
            channels = width
        self.head = nn.Conv2d(channels, out_channels, kernel_size=1)
        ### END SOLUTION

    def forward(self, x):
        # TODO Task 1.4: down through the encoders, through the bottleneck, up through the decoders, head.
        # Which skip does the first decoder need?
        ### BEGIN SOLUTION
        skips = []
        for encoder in self.encoders:
            features, x = encoder(x)  # (B, f, H / 2^level, W / 2^level), half of that
            skips.append(features)
        x = self.bottleneck(x)
        for decoder, skip in zip(self.decoders, reversed(skips)):
            x = decoder(x, skip)  # (B, f, H / 2^level, W / 2^level)
        return self.head(x)  # (B, out_channels, H, W)
        ### END SOLUTION

# %% [markdown]
# Try it. The default network has about 31 million parameters.

# %%
model = UNet()
print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters")

# %% check="1.3"
check("1.3")

# %% [markdown]
# **What can go wrong**
#
# * *Far too few parameters*: the blocks are in a plain Python list. PyTorch does not look into lists, so the
#   optimizer would
#   never train these blocks and `model.to(device)` would leave them behind. `torch.nn` has containers for this.
# * *The second network is upside down*: `features.reverse()` or `features.append(…)` changes the caller's list. It
#   even changes
#   the *default*: Python creates `[64, 128, 256, 512]` once and every later `UNet()` gets the same list.
#   Make a new list instead.
# * *Sigmoid in the head* (the checks of 1.4 see it): the network gives raw numbers (*logits*). The losses of Part 3 apply the sigmoid
#   themselves,
#   in a way that does not overflow.
# * *`upsampling` or `batch_norm` is not handed on* to the blocks.

# %% [markdown]
# ## Task 1.4 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} points*
#
# **Objective.** Send a picture through the U. **Go back up to the `UNet` cell, write `forward` there, and run that
# cell again.**
#
# 1. Go down: run the encoders one after the other. Keep the features of each, and go on with its pooled output.
# 2. Run the bottleneck.
# 3. Go up: run the decoders one after the other. Each gets what comes from below and the skip of its own level.
#    The features kept *last* are needed *first*.
# 4. Run the head and return the logits.
#
# **Shapes**, for a 200×200 picture:
#
# | level | skip (features) | pooled | on the way up |
# |---|---|---|---|
# | 1 | 64 × 200 × 200 | 64 × 100 × 100 | 64 × 200 × 200 |
# | 2 | 128 × 100 × 100 | 128 × 50 × 50 | 128 × 100 × 100 |
# | 3 | 256 × 50 × 50 | 256 × 25 × 25 | 256 × 50 × 50 |
# | 4 | 512 × **25** × **25** | 512 × **12** × **12** | 512 × **25** × **25** |
# | bottleneck | | | 1024 × 12 × 12 |
# | head | | | 1 × 200 × 200 |

# %% [markdown]
# Try it on four pictures of any size you like, here 50×70. You should see `(4, 1, 50, 70)`.

# %%
model = UNet(features=[8, 16, 32])
print("logits", tuple(model(torch.rand(4, 3, 50, 70)).shape))

# %% check="1.4"
check("1.4")

# %% [markdown]
# **What can go wrong**
#
# * *"Sizes of tensors must match"* or *"expected input[…] to have 1024 channels"*: the skips come in the wrong order.
# * *The bottleneck is forgotten*, or gets the features of the last encoder instead of its pooled output.
# * *The skips are collected in `self`*: the next call then finds those of the last one, and their memory stays taken.
#   Use a local variable.
# * *`x.cuda()` in `forward`*: the picture already lies where the caller wants it.
# * *`torch.sigmoid` at the end*: return the logits.
# * *The `UNet` cell was not run again*: the check then still sees the old class.

# %% [markdown]
# ## A look inside: the features of your encoder
#
# Three of your encoder blocks in a row, not trained yet. Each panel is one channel of `features`.
#
# Already with random weights some channels answer to edges and others to areas of one brightness.
# With each level the maps get coarser: that is the *where* being lost, and why the skips are there.

# %%
torch.manual_seed(SEED)
x = images[:1]
with torch.no_grad():
    for level, block in enumerate([EncoderBlock(3, 16), EncoderBlock(16, 32), EncoderBlock(32, 64)], start=1):
        features, x = block(x)
        display(show_feature_maps(features, image=images[0], count=9, title=f"level {level}"))

# %% [markdown]
# ## A first prediction, before training
#
# Now a whole U-Net, small so that it runs anywhere, with random weights.
# `sigmoid` turns its logits into probabilities. Above 0.5 a pixel counts as pet.

# %%
torch.manual_seed(SEED)
model = UNet(features=[16, 32, 64, 128]).to(device)
with torch.no_grad():
    logits = model(images.to(device)).cpu()
show_predictions(images, masks, logits, threshold=0.5, count=4)

# %% [markdown]
# Is that any good? Compare it with two predictions that never look at the picture: a coin for every pixel, and "all
# pet".
#
# * **IoU** (intersection over union): pixels that both masks share, divided by pixels that are in at least one of
#   them.
# * **Dice**: twice the shared pixels, divided by the sum of both areas.
# * **Pixel accuracy**: the share of pixels that are right.

# %%
guesses = {
    "your U-Net, untrained": binarize(logits),
    "a coin for every pixel": (torch.rand_like(masks) > 0.5).float(),
    "all pet": torch.ones_like(masks),
}
print(f"{masks.mean():.0%} of the pixels are pet\n")
for name, guess in guesses.items():
    overlap = f"IoU {iou(guess, masks):.2f}   Dice {dice(guess, masks):.2f}"
    print(f"{name:<24}{overlap}   accuracy {pixel_accuracy(guess, masks):.2f}")

# %% [markdown]
# The untrained network is no better than a guess, and that is as it should be: it has learnt nothing yet.
# Where a share *p* of the pixels is pet, guesses can be worked out without a network:
#
# | guess | IoU | accuracy |
# |---|---|---|
# | a coin for every pixel | (p/2) / (p/2 + 1/2) = p / (1 + p) | 1/2 |
# | all pet | p | p |
# | all background | 0 | 1 − p |
#
# The last row is a warning: with few pet pixels, *all background* has a high accuracy and is useless. IoU tells.
#
# ## What you have now
#
# * Blocks for one step down and one step up that work at every size, odd ones too.
# * A U-Net of any depth that gives one logit per pixel.
#
# **Before you hand in:** restart the kernel, run all cells, look at the four checks once more, save.
#
# **Next: Part 2, skip connections.** The skips were concatenated because the paper does it so.
# You will compare that with adding them and with letting the network choose what to look at.
# Training comes in Part 3: then the U-Net has to beat the coin.
