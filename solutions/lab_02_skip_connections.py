# %% [markdown]
# # Part 2 · Skip connections
#
# In Part 1 a skip connection was always the same: concatenate, then convolve.
# The paper did it so, and it works. But is it the best way, and what would the network lose without it?
#
# In Part 2 you write three ways to join a skip, and the tools to measure what they do.
# Then you train four small networks that differ in their joins alone, and compare them.
# Mind that a join may bring weights of its own: `concat` and `attention` add a 3×3 convolution at every level,
# so they also have more parameters than `none` and `add`.
#
# | task | what you write | needs |
# |---|---|---|
# | 2.1 | `ConcatSkip`, join by concatenation | |
# | 2.2 | `AddSkip`, join by addition | |
# | 2.3 | `AttentionGate` and `AttentionSkip`, weight the skip first | |
# | 2.4 | `gradient_norms` and `analyze_skip_connections`, the measurements | |
# | experiments | nothing: run, look, think | Part 1, 2.1 to 2.4 |
# | discussion | what you found, in words; marked by a person | the experiments |
#
# **How to work.** As in Part 1: fill the `TODO`s of a task, run the cell, run the *check* cell.
# The tasks do not need each other. If one is hard, go on with the next.
#
# **Your Part 1 is needed too.** The experiments build a network from *your* `EncoderBlock` and `DoubleConv`.
# Save `01_unet.ipynb` beside this notebook, under its own name. The outputs do not matter, only the code counts.
# On Google Colab keep both notebooks in the folder *Colab Notebooks* of your Drive, where Colab saves them anyway.
# The third setup cell asks for your Drive, so that this notebook can read the other one.

# %% [markdown]
# ## Setup
#
# Run these three cells first, every time you start the notebook. They are like those of Part 1.

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
import time

import torch
import torch.nn.functional as F
from torch import nn

# %%
import os

import matplotlib
import numpy as np
import torchvision
from tqdm.auto import tqdm

from data_utils import DeviceLoader, make_loaders
from grader import check
from metrics import evaluate
from viz import (
    compare_histories,
    draw_unet,
    plot_gradient_flow,
    results_table,
    show_attention,
    show_pairs,
    show_progress,
)

SEED = 42
torch.manual_seed(SEED)
np.random.seed(SEED)
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def show_unwritten(shell, kind, error, trace, tb_offset=None):
    """Show an unfilled TODO as one line; every other error keeps its full traceback."""
    todo = str(error).startswith("Need to implement")
    shell.showtraceback((kind, error, trace), exception_only=todo)


get_ipython().set_custom_exc((NotImplementedError,), show_unwritten)

if "google.colab" in sys.modules:  # on Colab your notebooks are in your Drive
    from google.colab import drive

    drive.mount("/content/drive")
    os.makedirs("/content/drive/MyDrive/Colab Notebooks", exist_ok=True)
    os.chdir("/content/drive/MyDrive/Colab Notebooks")

print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, torchvision {torchvision.__version__}, "
      f"numpy {np.__version__}, matplotlib {matplotlib.__version__}")
print(f"seed {SEED}, device {device}")

# %% [markdown]
# ## Where the two ways meet
#
# At every level of the U two feature maps of one size meet:
#
# * the **decoder features** come from below. They know *what* is there, but only coarsely *where*.
# * the **skip** comes from the encoder of the same level. It knows *where* the edges are, but not yet *what* they are.
#
# The green arrows end where both are joined. In this part the join is a class of its own, so that you can exchange it.

# %%
draw_unet(features=(8, 16, 32, 64), size=(64, 64), skip="join: concat, add or attention?")

# %% [markdown]
# Four networks will be compared. Three use a join that you write, one has none.
#
# | mode | what the decoder goes on with |
# |---|---|
# | `"none"` | the decoder features alone: a plain encoder-decoder |
# | `"concat"` | both, side by side as channels, mixed by a 3×3 convolution |
# | `"add"` | the sum of both |
# | `"attention"` | as `"concat"`, but each position of the skip is first multiplied by a weight between 0 and 1 |
#
# All joins are built and called in the same way, and give the same shape. With D and S channels:
#
# | tensor | shape |
# |---|---|
# | decoder_features | (B, D, H, W) |
# | skip_features | (B, S, H, W) |
# | output | (B, D, H, W) |
#
# The next cell is given. It picks one of your classes by its name, and the checks call your classes through it.
# It builds only the class that is asked for, so one unfinished task does not disturb another.

# %% export="true"
class FlexibleSkipConnection(nn.Module):
    """Join decoder features and skip in one of three ways; given, it only picks one of your classes.

    Args:
        decoder_channels: channels of the decoder's features, and of the output.
        skip_channels: channels of the skip.
        mode: "concat" (`ConcatSkip`), "add" (`AddSkip`) or "attention" (`AttentionSkip`).

    Raises:
        ValueError: `mode` is none of the three.
    """

    def __init__(self, decoder_channels, skip_channels, mode="concat"):
        super().__init__()
        if mode == "concat":
            self.join = ConcatSkip(decoder_channels, skip_channels)
        elif mode == "add":
            self.join = AddSkip(decoder_channels, skip_channels)
        elif mode == "attention":
            self.join = AttentionSkip(decoder_channels, skip_channels)
        else:
            raise ValueError(f'mode is "concat", "add" or "attention", not {mode!r}')

    def forward(self, decoder_features, skip_features):
        return self.join(decoder_features, skip_features)

# %% [markdown]
# ## Task 2.1 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} points*
#
# **Objective.** Join the skip by concatenation (Algorithm 5 of the handout). This is the join of the original U-Net.
# Nothing is lost: the convolution after it sees every channel of both, and learns how to mix them.
#
# 1. Concatenate `decoder_features` and `skip_features` along the channels.
# 2. One 3×3 convolution with padding 1, to `decoder_channels` channels.
# 3. Return its output: no BatchNorm and no ReLU after it. The network brings its own `DoubleConv` behind every join.
#
# **Shapes**, for `ConcatSkip(64, 32)` at 25×25:
#
# | tensor | shape | in general |
# |---|---|---|
# | decoder_features | (B, 64, 25, 25) | (B, D, H, W) |
# | skip_features | (B, 32, 25, 25) | (B, S, H, W) |
# | after step 1 | (B, 96, 25, 25) | (B, D + S, H, W) |
# | output | (B, 64, 25, 25) | (B, D, H, W) |
#
# The two always have the same height and width here. The network in this notebook takes care of it.

# %% task="2.1"
class ConcatSkip(nn.Module):
    """Join the skip by concatenation along the channels, then one 3×3 convolution (Algorithm 5 of the handout).

    Args:
        decoder_channels: channels of the decoder's features, and of the output.
        skip_channels: channels of the skip.

    Shapes:
        decoder_features: (B, decoder_channels, H, W), skip_features: (B, skip_channels, H, W)
        output: (B, decoder_channels, H, W)
    """

    def __init__(self, decoder_channels, skip_channels):
        super().__init__()
        # TODO Task 2.1: build the convolution. How many channels does it see, and how many does it give?
        ### BEGIN SOLUTION
        self.conv = nn.Conv2d(decoder_channels + skip_channels, decoder_channels, kernel_size=3, padding=1)
        ### END SOLUTION

    def forward(self, decoder_features, skip_features):
        # TODO Task 2.1: concatenate along the channels, convolve. No norm and no ReLU after it.
        ### BEGIN SOLUTION
        both = torch.cat([decoder_features, skip_features], dim=1)  # (B, decoder_channels + skip_channels, H, W)
        return self.conv(both)  # (B, decoder_channels, H, W)
        ### END SOLUTION

# %% [markdown]
# Try it. You should see `(2, 64, 25, 25)` and `55,360 parameters`.

# %%
join = ConcatSkip(decoder_channels=64, skip_channels=32)
from_below, skip = torch.rand(2, 64, 25, 25), torch.rand(2, 32, 25, 25)
print("output", tuple(join(from_below, skip).shape))
print(f"{sum(parameter.numel() for parameter in join.parameters()):,} parameters")

# %% check="2.1"
check("2.1")

# %% [markdown]
# **What can go wrong**
#
# * *"expected input[…] to have … channels"*: the convolution sees the channels of *both* inputs.
#   The two numbers may differ, so `2 * decoder_channels` is right only by luck.
# * *The output has `skip_channels` channels*: it has those of the decoder.
# * *The picture shrinks by 2*: the padding is missing.
# * *A ReLU or BatchNorm at the end*: the output can then not be what it should be. The check sees it.
# * *Concatenated along dimension 0*: that is the batch. Channels are dimension 1.

# %% [markdown]
# ## Task 2.2 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} points*
#
# **Objective.** Join the skip by adding it (Algorithm 6 of the handout).
# Two tensors can be added only if they have equally many channels. Where they do not, a 1×1 convolution brings
# the skip to the decoder's number. Where they do, there is nothing to learn.
#
# 1. If `skip_channels` and `decoder_channels` differ: project the skip with a 1×1 convolution to `decoder_channels`.
#    If they are equal: leave the skip as it is, without any layer.
# 2. Add it to `decoder_features` and return the sum. Nothing after it.
#
# **Shapes**
#
# | tensor | `AddSkip(64, 64)` | `AddSkip(64, 32)` |
# |---|---|---|
# | decoder_features | (B, 64, H, W) | (B, 64, H, W) |
# | skip_features | (B, 64, H, W) | (B, 32, H, W) |
# | after step 1 | (B, 64, H, W) | (B, 64, H, W) |
# | output | (B, 64, H, W) | (B, 64, H, W) |
# | parameters | 0 | 32 · 64 + 64 = 2,112 |

# %% task="2.2"
class AddSkip(nn.Module):
    """Join the skip by adding it, with a 1×1 projection only where the channels differ (Algorithm 6 of the handout).

    Args:
        decoder_channels: channels of the decoder's features, and of the output.
        skip_channels: channels of the skip.

    Shapes:
        decoder_features: (B, decoder_channels, H, W), skip_features: (B, skip_channels, H, W)
        output: (B, decoder_channels, H, W)
    """

    def __init__(self, decoder_channels, skip_channels):
        super().__init__()
        # TODO Task 2.2: build the projection of the skip, where one is needed, and no layer where none is.
        ### BEGIN SOLUTION
        same = decoder_channels == skip_channels
        self.project = nn.Identity() if same else nn.Conv2d(skip_channels, decoder_channels, kernel_size=1)
        ### END SOLUTION

    def forward(self, decoder_features, skip_features):
        # TODO Task 2.2: add the (projected) skip. Leave both inputs as they are.
        ### BEGIN SOLUTION
        return decoder_features + self.project(skip_features)  # (B, decoder_channels, H, W)
        ### END SOLUTION

# %% [markdown]
# Try it. You should see `(2, 64, 25, 25)` twice, once with 0 parameters and once with 2,112.

# %%
for skip_channels in (64, 32):
    join = AddSkip(decoder_channels=64, skip_channels=skip_channels)
    output = join(torch.rand(2, 64, 25, 25), torch.rand(2, skip_channels, 25, 25))
    parameters = sum(parameter.numel() for parameter in join.parameters())
    print(f"{skip_channels} skip channels: output {tuple(output.shape)}, {parameters:,} parameters")

# %% check="2.2"
check("2.2")

# %% [markdown]
# **What can go wrong**
#
# * *`decoder_features += …`*: this changes the tensor of the caller, who still needs it. Write a sum that makes a
#   new tensor.
# * *A projection that is always there*: with equal channels the join has no parameters at all.
# * *The decoder features are projected instead of the skip*: it is the skip that is brought to the other's channels.
# * *"The size of tensor a (64) must match the size of tensor b (32)"*: the projection is missing.
# * *One channel too few goes unnoticed*: a skip with **1** channel can be added to 64 without any error, because
#   PyTorch repeats it (*broadcasting*). It still needs its projection.

# %% [markdown]
# ## Task 2.3 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} points*
#
# **Objective.** Let the decoder decide which positions of the skip it wants to see (Algorithm 7 of the handout).
# The skip brings *every* edge: those of the animal and those of the carpet.
# The gate gives each position one weight α between 0 (closed) and 1 (open), and learns where to open.
#
# **`AttentionGate`**
#
# 1. Resize the gate to the skip's height and width, bilinear.
# 2. Two 1×1 convolutions, one of the gate and one of the skip, both to `gate_channels // 2` channels.
# 3. Add the two, then ReLU.
# 4. A third 1×1 convolution, to **one** channel.
# 5. Sigmoid. This is α. Keep it in `self.alpha`: you will look at it later.
# 6. Return `skip` times α.
#
# As a formula: α = σ( W₃ · ReLU( W₁ · gate + W₂ · skip ) ), output = α · skip.
#
# **`AttentionSkip`**
#
# 1. The gate looks at `decoder_features` and weights `skip_features`.
# 2. Then as in Task 2.1: concatenate with `decoder_features`, 3×3 convolution to `decoder_channels`.
#
# **Shapes**, for `AttentionGate(64, 32)` and a gate that is smaller than the skip:
#
# | tensor | shape | in general |
# |---|---|---|
# | gate | (B, 64, 12, 12) | (B, G, h, w) |
# | skip | (B, 32, 25, 25) | (B, S, H, W) |
# | after step 1 | (B, 64, 25, 25) | (B, G, H, W) |
# | each one after step 2 | (B, 32, 25, 25) | (B, G // 2, H, W) |
# | α | (B, **1**, 25, 25) | (B, 1, H, W) |
# | output | (B, 32, 25, 25) | (B, S, H, W) |
#
# The gate is from Oktay et al., *Attention U-Net: Learning Where to Look for the Pancreas*, 2018,
# [arXiv:1804.03999](https://arxiv.org/abs/1804.03999). The main difference:
#
# | | Oktay et al. 2018 | this lab |
# |---|---|---|
# | sizes of gate and skip differ | the skip is made smaller, α is made larger again | the gate is made larger |

# %% task="2.3"
class AttentionGate(nn.Module):
    """Weight every position of the skip by how much the gate asks for it (Algorithm 7 of the handout).

    Source: Oktay et al., Attention U-Net: Learning Where to Look for the Pancreas, 2018, arXiv:1804.03999.

    Args:
        gate_channels: channels of the gate, the decoder's features.
        skip_channels: channels of the skip, and of the output.

    Shapes:
        gate: (B, gate_channels, h, w), skip: (B, skip_channels, H, W), h and w at most H and W
        output: (B, skip_channels, H, W); the last α, (B, 1, H, W), stays in self.alpha
    """

    def __init__(self, gate_channels, skip_channels):
        super().__init__()
        # TODO Task 2.3: build three 1×1 convolutions: of the gate and of the skip to gate_channels // 2 channels each,
        # and of their sum to one channel.
        ### BEGIN SOLUTION
        inner_channels = gate_channels // 2
        self.gate_conv = nn.Conv2d(gate_channels, inner_channels, kernel_size=1)
        self.skip_conv = nn.Conv2d(skip_channels, inner_channels, kernel_size=1)
        self.alpha_conv = nn.Conv2d(inner_channels, 1, kernel_size=1)
        ### END SOLUTION

    def forward(self, gate, skip):
        # TODO Task 2.3: resize the gate to the skip's height and width, add, ReLU, one channel, sigmoid:
        # that is alpha. Keep it in self.alpha and return the weighted skip.
        ### BEGIN SOLUTION
        gate = F.interpolate(gate, size=skip.shape[-2:], mode="bilinear", align_corners=False)
        asked = F.relu(self.gate_conv(gate) + self.skip_conv(skip))  # (B, gate_channels // 2, H, W)
        self.alpha = torch.sigmoid(self.alpha_conv(asked))  # (B, 1, H, W)
        return skip * self.alpha  # (B, skip_channels, H, W)
        ### END SOLUTION


class AttentionSkip(nn.Module):
    """Join the skip after an `AttentionGate`: gate, concatenate, 3×3 convolution.

    Shapes:
        decoder_features: (B, decoder_channels, H, W), skip_features: (B, skip_channels, H, W)
        output: (B, decoder_channels, H, W)
    """

    def __init__(self, decoder_channels, skip_channels):
        super().__init__()
        # TODO Task 2.3: build the gate and the convolution after the concatenation.
        ### BEGIN SOLUTION
        self.gate = AttentionGate(decoder_channels, skip_channels)
        self.conv = nn.Conv2d(decoder_channels + skip_channels, decoder_channels, kernel_size=3, padding=1)
        ### END SOLUTION

    def forward(self, decoder_features, skip_features):
        # TODO Task 2.3: the decoder's features gate the skip; then as in Task 2.1.
        ### BEGIN SOLUTION
        gated = self.gate(decoder_features, skip_features)  # (B, skip_channels, H, W)
        return self.conv(torch.cat([decoder_features, gated], dim=1))  # (B, decoder_channels, H, W)
        ### END SOLUTION

# %% [markdown]
# Try it. You should see `(2, 32, 25, 25)`, then an α of `(2, 1, 25, 25)` whose values lie between 0 and 1
# (near 0.5, because nothing is learnt yet), the two numbers of parameters of this table, and `(2, 64, 25, 25)`.
#
# | gate | of the gate | of the skip | to one channel | together |
# |---|---|---|---|---|
# | `AttentionGate(64, 32)` | 64 · 32 + 32 = 2,080 | 32 · 32 + 32 = 1,056 | 32 + 1 = 33 | 3,169 |
# | `AttentionGate(64, 48)` | 64 · 32 + 32 = 2,080 | 48 · 32 + 32 = 1,568 | 32 + 1 = 33 | 3,681 |

# %%
gate = AttentionGate(gate_channels=64, skip_channels=32)
gated = gate(torch.rand(2, 64, 12, 12), torch.rand(2, 32, 25, 25))
print("gated skip", tuple(gated.shape))
print("alpha     ", tuple(gate.alpha.shape), f"from {gate.alpha.min():.2f} to {gate.alpha.max():.2f}")

for skip_channels in (32, 48):
    parameters = sum(parameter.numel() for parameter in AttentionGate(64, skip_channels).parameters())
    print(f"gate of {skip_channels} skip channels: {parameters:,} parameters")

join = AttentionSkip(decoder_channels=64, skip_channels=32)
print("output    ", tuple(join(torch.rand(2, 64, 25, 25), torch.rand(2, 32, 25, 25)).shape))

# %% check="2.3"
check("2.3")

# %% [markdown]
# **What can go wrong**
#
# * *α has as many channels as the skip*: one weight a position, not one a number. The last convolution gives 1 channel.
# * *Softmax in place of the sigmoid*: over one channel it is 1 everywhere. Over the positions, all weights together
#   sum to 1, so each is tiny.
# * *The gate is enlarged by a factor of 2*: 2 · 12 = 24 is not 25. Resize it to the skip's *size*.
# * *The gate is multiplied instead of the skip*: the gate only asks. What is weighted is the skip.
# * *The arguments are swapped* (`skip` first): with equal channels it runs, and is wrong.
# * *The gate never learns*: α was detached (or `.item()`, `.data`) on the way to the product.
#   If you `detach()` α, then only the copy that you keep.
# * *`skip *= alpha`*: this changes the encoder's features, which others still need.

# %% [markdown]
# ## The network around the joins
#
# `SkipUNet` is given. It has the same join at every level, and your blocks from Part 1 everywhere else.
# Two things are new:
#
# * `skip="none"` leaves the joins out, and with them all skips. Nothing else changes.
# * `model(images, use_skips=False)` puts zeros in place of every skip of a network that has them.
#   You will use it to see what a *trained* network does without its skips.
#
# If the next cell does not find a class, save Part 1 (`01_unet.ipynb`) beside this notebook and run the cell again.

# %%
from grader.mine import DoubleConv, EncoderBlock

# %% export="true"
class SkipUNet(nn.Module):
    """The U-Net with a `FlexibleSkipConnection` at every level, of your own `EncoderBlock` and `DoubleConv`; given.

    Args:
        in_channels: channels of the picture.
        out_channels: channels of the logits.
        features: channels of each encoder, from the top down; any length ≥ 1.
        skip: "concat", "add", "attention", or "none" for a plain encoder-decoder.
        batch_norm: handed on to every block.

    Shapes:
        x: (B, in_channels, H, W), H and W ≥ 2 ** len(features)
        logits: (B, out_channels, H, W)
    """

    def __init__(self, in_channels=3, out_channels=1, features=(64, 128, 256, 512), skip="concat", *, batch_norm=True):
        super().__init__()
        wide, deep = [in_channels, *features], [*features, 2 * features[-1]]
        upwards = range(len(features) - 1, -1, -1)  # levels in the order in which the decoders run
        self.encoders = nn.ModuleList(EncoderBlock(*ends, batch_norm=batch_norm) for ends in zip(wide, features))
        self.bottleneck = DoubleConv(*deep[-2:], batch_norm=batch_norm)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(deep[i + 1], deep[i], 2, stride=2) for i in upwards)
        joins = upwards if skip != "none" else []
        self.joins = nn.ModuleList(FlexibleSkipConnection(deep[i], deep[i], skip) for i in joins)
        self.decoders = nn.ModuleList(DoubleConv(deep[i], deep[i], batch_norm=batch_norm) for i in upwards)
        self.head = nn.Conv2d(deep[0], out_channels, 1)

    def forward(self, x, use_skips=True):
        """Logits of pictures; `use_skips=False` puts zeros in place of every skip, without other changes."""
        return self.head(self._level(x, 0, use_skips))

    def _level(self, x, depth, use_skips):
        """One level of the U and all below it: (B, C, H, W) → (B, features[depth], H, W)."""
        if depth == len(self.encoders):
            return self.bottleneck(x)
        skip, pooled = self.encoders[depth](x)
        up, decoder = self.ups[-1 - depth], self.decoders[-1 - depth]
        y = up(self._level(pooled, depth + 1, use_skips))
        # one row or column short where pooling rounded down
        y = F.pad(y, (0, skip.shape[-1] - y.shape[-1], 0, skip.shape[-2] - y.shape[-2]), mode="replicate")
        if self.joins:
            y = self.joins[-1 - depth](y, skip if use_skips else torch.zeros_like(skip))
        return decoder(y)

# %% [markdown]
# Try it. Each line ends with `(1, 1, 50, 70)`, the size of the picture. Compare the numbers of parameters: do you see
# why two of them are equal? The cell stops at the first join that you have not written; the lines before it are good.

# %%
for mode in ("none", "concat", "add", "attention"):
    model = SkipUNet(features=(8, 16, 32, 64), skip=mode)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{mode:<10} {parameters:>8,} parameters, logits {tuple(model(torch.rand(1, 3, 50, 70)).shape)}")

# %% [markdown]
# ## Task 2.4 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} points*
#
# **Objective.** Measure a network: how strong the gradient is in every layer, and what one training step costs.
#
# A layer learns from its gradient. In a deep network the gradient comes a long way, from the loss back to the first
# layer, and may become small on the way. This is called *gradient flow*, and you measure it.
#
# **`gradient_norms`**
#
# 1. Logits of the images, then the loss: `criterion(logits, masks)`.
# 2. The gradient of the loss for every parameter.
# 3. The L2 norm of each one: ‖g‖ = √(Σ gᵢ²), over all its numbers. As a float, under the parameter's name.
# 4. 0.0 for a parameter that no gradient reaches.
# 5. Afterwards every `.grad` is what it was before. Somebody may be in the middle of a training step.
#
# **`analyze_skip_connections`** gives one row for each model:
#
# | key | what | from |
# |---|---|---|
# | `name` | name of the model | the dict |
# | `parameters` | how many numbers the model learns | the model |
# | `forward_ms`, `backward_ms` | time of one pass, in milliseconds | `step_times_ms`, given |
# | `peak_memory_mb` | memory of one training step, in megabytes | `step_memory_mb`, given |
# | `first_encoder_grad` | L2 norm over *all* parameters of `encoders[0]` | `gradient_norms` |
# | `last_decoder_grad` | L2 norm over *all* parameters of `decoders[-1]` | `gradient_norms` |
#
# For the last two, imagine all gradients of a block written one after the other in one long vector.
# Its L2 norm is asked for. It is *not* the sum of the single norms.

# %% export="true"
def step_times_ms(model, images, masks, criterion):
    """Milliseconds of one forward and one backward pass, after one that warms up; given."""
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def now():
        if images.is_cuda:
            torch.cuda.synchronize()
        return 1000 * time.perf_counter()

    for _ in range(2):
        start = now()
        loss = criterion(model(images), masks)
        middle = now()
        torch.autograd.grad(loss, weights, allow_unused=True)
        end = now()
    return middle - start, end - middle


def step_memory_mb(model, images, masks, criterion):
    """Megabytes that one training step holds on to; given.

    On a GPU the peak of one step, on the CPU the activations that the forward pass keeps for the backward pass.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if images.is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()  # other models, and the loaders' pictures
        torch.autograd.grad(criterion(model(images), masks), weights, allow_unused=True)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = criterion(model(images), masks)
    del loss
    return sum(kept.values()) / 1e6

# %% task="2.4"
def gradient_norms(model, images, masks, criterion):
    """L2 norm of the gradient of every parameter after one backward pass.

    Args:
        model: any `nn.Module`.
        images, masks: one batch, (B, C, H, W) and (B, 1, H, W).
        criterion: called as `criterion(logits, masks)`; returns a 0-d tensor.

    Returns:
        dict of parameter name → float, in the order of `model.named_parameters()`; 0.0 where no gradient arrives.
        The `.grad` of every parameter is afterwards what it was before.
    """
    # TODO Task 2.4: forward, loss, gradients, norms. torch.autograd.grad leaves .grad alone.
    ### BEGIN SOLUTION
    trainable = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    loss = criterion(model(images), masks)
    gradients = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
    norms = {name: 0.0 for name, _ in model.named_parameters()}
    for name, gradient in zip(trainable, gradients):
        if gradient is not None:
            norms[name] = gradient.norm().item()
    return norms
    ### END SOLUTION


def analyze_skip_connections(models, images, masks, criterion):
    """Compare models on one batch: size, time, memory, and the gradient at both ends of the network.

    Args:
        models: dict of name → `nn.Module` with `encoders` and `decoders` (from the bottom up), such as `SkipUNet`.
        images, masks, criterion: as for `gradient_norms`.

    Returns:
        one dict a model, in their order, with the keys name, parameters (how many numbers it learns),
        forward_ms, backward_ms, peak_memory_mb (of the given `step_times_ms` and `step_memory_mb`), and
        first_encoder_grad, last_decoder_grad: the L2 norm over all parameters of `encoders[0]` and of `decoders[-1]`.
    """
    # TODO Task 2.4: fill one row a model. Which blocks does a name such as "encoders.0.…" belong to?
    ### BEGIN SOLUTION
    rows = []
    for name, model in models.items():
        norms = gradient_norms(model, images, masks, criterion)
        ends = {"first_encoder_grad": "encoders.0.", "last_decoder_grad": f"decoders.{len(model.decoders) - 1}."}
        forward_ms, backward_ms = step_times_ms(model, images, masks, criterion)
        row = {
            "name": name,
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "forward_ms": forward_ms,
            "backward_ms": backward_ms,
            "peak_memory_mb": step_memory_mb(model, images, masks, criterion),
        }
        for key, block in ends.items():
            row[key] = sum(norm**2 for parameter, norm in norms.items() if parameter.startswith(block)) ** 0.5
        rows.append(row)
    return rows
    ### END SOLUTION

# %% [markdown]
# Try the first function on a case that you can do by hand. A 1×1 convolution of two channels, which hold 3 and 4
# everywhere, computes logit = w₁ · 3 + w₂ · 4 + bias, and the "loss" is the mean of the logits.
# So the gradient of the weight is (3, 4), its L2 norm is √(3² + 4²) = 5, and the gradient of the bias is 1.
# You should see `{'weight': 5.0, 'bias': 1.0}`, then `None`: the `.grad` is untouched.

# %%
model = nn.Conv2d(2, 1, kernel_size=1)
three_and_four = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).repeat(1, 1, 4, 4)
nothing = torch.zeros(1, 1, 4, 4)
print(gradient_norms(model, three_and_four, nothing, lambda logits, masks: logits.mean()))
print(model.weight.grad)

# %% [markdown]
# Try the second one on two networks. You should see two rows, with 437,593 and 535,633 parameters.
# The times differ from machine to machine, and a little from run to run.

# %%
models = {mode: SkipUNet(features=(8, 16, 32, 64), skip=mode) for mode in ("none", "concat")}
some_images, some_masks = torch.rand(4, 3, 64, 64), (torch.rand(4, 1, 64, 64) > 0.5).float()
results_table(analyze_skip_connections(models, some_images, some_masks, F.binary_cross_entropy_with_logits))

# %% check="2.4"
check("2.4")

# %% [markdown]
# **What can go wrong**
#
# * *`loss.backward()` fills `.grad`*: it even *adds* to what is there. `zero_grad()` before or after does not help,
#   because then the old `.grad` is lost.
# * *"One of the differentiated Tensors appears to not have been used"*: `torch.autograd.grad` has an argument that
#   gives `None` for such a parameter.
# * *A frozen parameter* (`requires_grad=False`) cannot be differentiated. It still has its line, with 0.0.
# * *Tensors in place of floats*: `.item()` makes a number.
# * *`encoders.1` also catches `encoders.10`*: compare names up to the dot behind the number.
# * *The last decoder is not always `decoders.3`*: how many there are depends on `features`.

# %% [markdown]
# ## The experiments
#
# Four networks, equal but for their joins: the same pictures, the same order of batches, the same seed,
# the same number of steps. So what differs in the end comes from the joins, and from chance.
# A join's own parameters are part of it: `add` has exactly as many as `none`, `concat` and `attention` have more.
#
# Every number that decides a run stands in the next cell. `QUICK` is for machines without a GPU:
# small pictures, small networks, one to two minutes of training for all four.
# You may change all of it. Running the cell again forgets what was trained.
#
# **Before you train, write down what you expect.** Which of the four will find the animals best?
# Which will draw the best outline? Which costs most?

# %%
QUICK = device.type == "cpu"

SETTINGS = {
    "size": 64 if QUICK else 128,  # pixels a side
    "count": 400 if QUICK else 2000,  # pictures; a fifth of them is for validation
    "batch_size": 16 if QUICK else 32,
    "features": (8, 16, 32, 64) if QUICK else (32, 64, 128, 256),  # channels of the encoders
    "epochs": 12 if QUICK else 30,
    "lr": 1e-3,
    "seed": SEED,
}
MODES = ["none", "concat", "add", "attention"]  # take out what you have not written yet

criterion = F.binary_cross_entropy_with_logits
runs = {}  # what is trained: mode → weights and history

loaders = make_loaders(
    "synthetic", SETTINGS["size"], SETTINGS["batch_size"], count=SETTINGS["count"], seed=SETTINGS["seed"], device=device
)
images, masks = next(iter(loaders.test))  # one batch that no network learns from, to measure and to look at
print(f"{len(loaders.train.dataset)} pictures to learn from, {len(loaders.val.dataset)} to watch the training, "
      f"{len(loaders.test.dataset)} to judge the result")
show_pairs(images, masks, count=6)

# %% [markdown]
# Two helpers. Every network starts from the same seed. The training is plain: Adam and the cross-entropy of every pixel.
# In Part 3 you write your own training, with more to it.

# %%
def new_model(mode, settings, weights=None, batch_norm=True):
    """A `SkipUNet`: with random weights that the seed decides, or with those of a trained one."""
    torch.manual_seed(settings["seed"])
    model = SkipUNet(features=settings["features"], skip=mode, batch_norm=batch_norm)
    if weights is not None:
        model.load_state_dict(weights)
    return model


def short_training(model, train, val, settings, name):
    """Train a network; returns train_loss, val_iou and seconds (of training alone), one number an epoch each."""
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["lr"])
    history = {"train_loss": [], "val_iou": [], "seconds": []}
    bar = tqdm(range(settings["epochs"]), desc=f"{name:<9}", unit="epoch")
    for _ in bar:
        start = time.perf_counter()
        model.train()
        losses = []
        for batch_images, batch_masks in train:
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(model(batch_images), batch_masks)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        history["train_loss"].append(torch.stack(losses).mean().item())
        history["seconds"].append(time.perf_counter() - start)
        history["val_iou"].append(evaluate(model, val, val.device)["iou"])
        bar.set_postfix(loss=f"{history['train_loss'][-1]:.3f}", val_iou=f"{history['val_iou'][-1]:.3f}")
    return history

# %% [markdown]
# ### Gradient flow before training
#
# One batch, four networks with random weights. From left to right is the way of the *picture* through the network.
# The gradient goes the other way: it starts at the head, on the right.
# `ups` are the up-convolutions, `joins` are yours. `none` has no joins, and those of `add` have nothing to learn.
#
# Mind the axis: it is logarithmic. Each of its numbers is many times the one below it.

# %%
before = {mode: gradient_norms(new_model(mode, SETTINGS).to(device), images, masks, criterion) for mode in MODES}
plot_gradient_flow(before, title="before training")

# %% [markdown]
# Follow one line from right to left. Where does the gradient become weaker, and where does it come back?
# Which block gets the least? Is the first encoder reached better with skips than without?
#
# The U-Net of 2015 had no BatchNorm. Leave it out, and look again. Compare the numbers on the two axes.

# %%
without_norm = {
    mode: gradient_norms(new_model(mode, SETTINGS, batch_norm=False).to(device), images, masks, criterion)
    for mode in MODES
}
plot_gradient_flow(without_norm, title="before training, without BatchNorm")

# %% [markdown]
# What would the first encoder of `none` learn from such a gradient? Draw the way of the gradient into the U above:
# once through the bottleneck, and once across the top skip. How many layers are on each?

# %% [markdown]
# ### Train the four
#
# You may stop this cell at any time (■ above). What is finished is kept, and running the cell again goes on with the
# rest. If you change one of your classes later, run the cell with `SETTINGS` again first.

# %%
try:
    for mode in MODES:
        if mode not in runs:
            model = new_model(mode, SETTINGS).to(device)
            # A loader of its own: each network sees the same pictures in the same order.
            options = {"shuffle": True, "seed": SETTINGS["seed"], "device": device}
            train = DeviceLoader(loaders.train.dataset, SETTINGS["batch_size"], **options)
            history = short_training(model, train, loaders.val, SETTINGS, mode)
            runs[mode] = {"weights": model.state_dict(), "history": history}
except KeyboardInterrupt:
    print(f"Stopped. Kept: {', '.join(runs) or 'nothing yet'}. Run this cell again to go on.")

# %%
if runs:
    display(compare_histories({mode: run["history"] for mode, run in runs.items()}, key="val_iou"))
else:
    print("No network is trained yet.")

# %% [markdown]
# The curves go up and down from epoch to epoch. Remember how much they do: a difference between two
# networks that is not larger than this may be chance.
#
# ### What they see
#
# The same pictures, one network a column. Look at legs, ears and tails.

# %%
models = {mode: new_model(mode, SETTINGS, run["weights"]).to(device).eval() for mode, run in runs.items()}
with torch.no_grad():
    logits = {mode: model(images) for mode, model in models.items()}
if models:
    display(show_progress(logits, images, masks, count=4))
else:
    print("No network is trained yet.")

# %% [markdown]
# Now all test pictures. Two numbers, because they see different things:
#
# * **IoU** counts pixels. Most pixels of an animal lie inside it, so a blurred outline costs little.
# * **Boundary F1** looks at the outline alone: which share of the predicted outline lies on the true one
#   (at most one pixel off), and which share of the true one was found.

# %%
scores = {mode: evaluate(model, loaders.test, device) for mode, model in models.items()}
rows = [{"mode": mode, "IoU": score["iou"], "boundary F1": score["boundary_f1"]} for mode, score in scores.items()]
if rows:
    display(results_table(rows, best={"IoU": max, "boundary F1": max}))
else:
    print("No network is trained yet.")

# %% [markdown]
# ### Switch the skips off
#
# What did the trained networks use their skips for? Put zeros in their place and see what is left.
# Nothing is trained again. Compare it with the network `none`, which never had any
# (and which has fewer parameters than `concat` and `attention`).
#
# Before you run the cell: what will happen to the inside of the animal, and what to the outline?

# %%
class SkipsOff(nn.Module):
    """A network that gets zeros in place of every skip."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x, use_skips=False)


rows = []
for mode, model in models.items():
    states = {"never had any": scores[mode]}
    if mode != "none":
        states = {"on": scores[mode], "off": evaluate(SkipsOff(model), loaders.test, device)}
    for state, score in states.items():
        rows.append({"mode": mode, "skips": state, "IoU": score["iou"], "boundary F1": score["boundary_f1"]})
if rows:
    display(results_table(rows))
else:
    print("No network is trained yet.")

# %% [markdown]
# The same pictures and the same columns as above, but without the skips:

# %%
with torch.no_grad():
    without = {f"{mode}, off" if mode != "none" else mode: model(images, use_skips=False)
               for mode, model in models.items()}
if without:
    display(show_progress(without, images, masks, count=4))
else:
    print("No network is trained yet.")

# %% [markdown]
# Two things are different here, do not mix them up: a network that *never had* skips, and one that learnt to rely on
# them and has *lost* them.
#
# ### Gradient flow after training
#
# The same batch as before training. `gradient_norms` gets copies of the networks, because a forward pass in training
# mode moves the running averages of BatchNorm.

# %%
after = {
    mode: gradient_norms(new_model(mode, SETTINGS, run["weights"]).to(device), images, masks, criterion)
    for mode, run in runs.items()
}
if after:
    display(plot_gradient_flow(after, title="after training"))
else:
    print("No network is trained yet.")

# %% [markdown]
# Compare with the plot before training. A trained network has a smaller loss, so all gradients may have changed.
# Look at the *shape* of the lines: which part of the network still gets much to learn, and which one little?
#
# ### What the gates look at
#
# α of every level, laid over the picture. Level 1 is the top of the U, with the size of the picture.
# The first row of colours always goes from 0 to 1. In the second one each level has its own scale:
# it shows *where* α differs, even if it differs little. Read the numbers above the panels.

# %%
def attention_maps(model, pictures):
    """α of every gate after one forward pass, from the top level down: level → (B, 1, H, W)."""
    with torch.no_grad():
        model(pictures)
    alphas = [module.alpha for module in model.modules() if torch.is_tensor(getattr(module, "alpha", None))]
    return {f"level {level}": alpha for level, alpha in enumerate(reversed(alphas), start=1)}


if "attention" not in models:
    print("The mode attention is not trained yet.")
elif not (alphas := attention_maps(models["attention"], images[:1])):
    print("No gate keeps its α: step 5 of Task 2.3 asks for self.alpha.")
else:
    for own_scale in (False, True):
        display(show_attention(images[:1], alphas, own_scale=own_scale))

# %% [markdown]
# One picture can mislead. So here is the mean α over the whole batch, in three places:
# inside the animal, in the background, and in a band of two pixels on both sides of the outline.

# %%
def mean_alpha(alphas, masks):
    """One row a level: the mean of α inside the animals, in the background and along the outline."""
    grown, shrunk = F.max_pool2d(masks, 5, stride=1, padding=2), -F.max_pool2d(-masks, 5, stride=1, padding=2)
    places = {"inside": shrunk > 0, "outline": (grown > 0) & (shrunk == 0), "background": grown == 0}
    rows = []
    for level, alpha in alphas.items():
        large = F.interpolate(alpha, masks.shape[-2:], mode="bilinear", align_corners=False)
        size = "×".join(map(str, alpha.shape[-2:]))
        rows.append({"level": level, "size": size} | {name: large[place].mean() for name, place in places.items()})
    return rows


if "attention" not in models:
    print("The mode attention is not trained yet.")
elif not (alphas := attention_maps(models["attention"], images)):
    print("No gate keeps its α: step 5 of Task 2.3 asks for self.alpha.")
else:
    display(results_table(mean_alpha(alphas, masks)))

# %% [markdown]
# ### What it costs
#
# Your `analyze_skip_connections` on the four networks as they were before training.

# %%
untrained = {mode: new_model(mode, SETTINGS).to(device) for mode in runs}
if untrained:
    display(results_table(analyze_skip_connections(untrained, images, masks, criterion)))
else:
    print("No network is trained yet.")

# %% [markdown]
# A single time is a rough measure: any other program on the computer disturbs it. Run the cell twice and compare.
# Numbers of parameters and, on a CPU, of megabytes come out the same every time.
#
# ### All in one table
#
# | column | what it says |
# |---|---|
# | IoU, boundary F1 | on the test pictures, after training |
# | seconds an epoch | of training, the fastest epoch: other programs can only make it slower |
# | memory (MB) | one training step: on a GPU the peak, on a CPU what is kept for the backward pass |
# | first encoder, last decoder | L2 norm of the gradient there, before training |

# %%
rows = [
    {
        "mode": row["name"],
        "IoU": scores[row["name"]]["iou"],
        "boundary F1": scores[row["name"]]["boundary_f1"],
        "parameters": row["parameters"],
        "seconds an epoch": min(runs[row["name"]]["history"]["seconds"]),
        "memory (MB)": row["peak_memory_mb"],
        "first encoder": row["first_encoder_grad"],
        "last decoder": row["last_decoder_grad"],
    }
    for row in analyze_skip_connections(untrained, images, masks, criterion)
]
smaller = ("parameters", "seconds an epoch", "memory (MB)")
if rows:
    display(results_table(rows, best={"IoU": max, "boundary F1": max} | dict.fromkeys(smaller, min)))
else:
    print("No network is trained yet.")

# %% [markdown]
# **How sure is this?** Each row is *one* training from *one* seed. Change `seed` in `SETTINGS`, run everything from
# there on, and look which differences stay. Two or three seeds tell much more than one.
#
# Another seed also draws other pictures, those of the test included, and these may be easier or harder.
# So compare the modes within a seed, and only then look whether the order is the same in each.

# %% [markdown]
# ## Discussion
#
# Write 200 to 400 words in the cell below. Use the numbers of *your* tables and plots, and say which one you mean.
# An unexpected result that is well explained is worth as much as an expected one.
#
# | points | question | full points for |
# |---|---|---|
# | 2 | **Accuracy.** Which join is best, which is worst? | IoU and boundary F1 of all four modes compared; which differences may be chance, and which may come from more parameters, with a reason |
# | 2 | **Outline.** What do the skips carry? | IoU against boundary F1; skips on against skips off; why *off* and `none` are not the same |
# | 2 | **Gradient flow.** Who gets the gradient? | the plots with and without BatchNorm: what skips change for the first encoder and for the bottleneck, and why; what changes with training |
# | 2 | **Cost.** What does a join cost? | parameters, time and memory of each join, explained by how it is built |
# | 1 | **Attention.** What do the gates look at? | the maps and the table of α, level by level, and whether it is what you expected |
# | 1 | **Choice.** Which join would you take? | a choice for a purpose that you name, and that follows from what you wrote above |
#
# Half of a question's points: the observation is right, but the numbers or the reason are missing.

# %% [markdown] manual="skip_discussion"
# **Your answer** ({{points}} points)
#
# ### BEGIN SOLUTION
# *(What a good answer says for the quick settings on a CPU. A student's own numbers count, whatever they are.)*
#
# **Accuracy.** The three networks with skips are close together in the table, in IoU and in boundary F1. `none` is
# clearly behind in both. From epoch to epoch the validation IoU of one network jumps by several hundredths. The
# differences among `concat`, `add` and `attention` are not larger, and it is one seed and 100 test pictures. So I
# cannot say which of the three is best; more seeds would tell. The gap to `none` is larger than the jumps, so
# it is no chance. It is not the number of parameters either: `concat` and `attention` have more than `none`, but `add`
# has exactly as many as `none` and is as far ahead.
#
# **Outline.** `none` loses more in boundary F1 than in IoU: it finds the body, but its outline is smooth, and legs,
# ears and tail are missing. What passes through the 4×4 bottleneck is coarse, and only the skips know where exactly
# the edges are. With its skips switched off, a trained network falls *below* `none` in both numbers. That is no
# contradiction: `none` has learnt to make do with what comes from below. The others have learnt to count on
# the skip. Their decoders get inputs that they never saw in training, with wrong sizes of the
# features and so wrong BatchNorm averages.
#
# **Gradient flow.** Without BatchNorm the gradient of `none` becomes weaker with every layer on its way back. At the
# first encoder it is many powers of ten smaller than at the head, so this encoder would learn nothing. With skips the
# first encoder gets a gradient many millions of times stronger: the top skip leads there in a few layers and does not
# pass the bottleneck. The least gradient then arrives at the bottleneck. With BatchNorm the first encoder gets about
# the same in all four, because each norm rescales what passes through it. So here the skips do not rescue the
# gradient; they share it out differently, more to the top levels and less to the bottleneck.
# After training the lines lie closer together, and the bottleneck of the networks with skips gets more than before.
# It has become useful: it tells *what* is there.
#
# **Cost.** `add` has the parameters of `none`, because the channels are equal at every level; the sum keeps nothing for
# the backward pass, so the memory is the same too. `concat` has a 3×3 convolution over 2·D channels at every level,
# that is 18·D² + D parameters, and keeps the long concatenated tensor. `attention` has this and three small 1×1
# convolutions: hardly more parameters, but several more tensors of full size, so it needs the most memory and time.
#
# **Attention.** At the two lower levels (3 and 4) α is larger inside the animal than in the background: the gate opens
# where the decoder believes the animal to be. At level 1 and 2 α is nearly the same everywhere, so the gate does
# hardly anything there. I had expected the clearest picture at the top. With so short a training the gates of the
# upper levels have not learnt to choose, and the convolution after the gate can weight the skip itself.
#
# **Choice.** For a phone I would take `add`: the accuracy of the others within chance, no parameters, least memory.
# ### END SOLUTION

# %% [markdown]
# ## What you have now
#
# * Three ways to join a skip, each a small class of its own.
# * Measurements that work for every network: gradient by layer, time, memory.
# * A fair comparison: only the joins changed, all else equal, and a table that a program made.
#   The joins bring different numbers of parameters, and the table says so.
#
# **Before you go on:** restart the kernel, run all cells, look at the four checks once more, save.
# There is nothing to hand in yet: the last cell of `03_losses_and_training.ipynb` packs all three notebooks.
#
# **Next: Part 3, losses and training.** The training here was plain, and the loss counted every pixel alike.
# You will write losses that care more for small animals and hard pixels, and a training that you can trust.
