# %% [markdown]
# # Part 3 · Losses and training
#
# You have a network. Now it learns.
# In this part you write three losses and the training loop, train your own U-Net, and find out by experiment
# what made it good.
#
# | task | what you write | needs |
# |---|---|---|
# | 3.1 | `DiceLoss`, the overlap of two masks | |
# | 3.2 | `FocalLoss`, cross-entropy for hard pixels | |
# | 3.3 | `CombinedLoss`, a weighted sum | 3.1, 3.2 |
# | 3.4 | `calculate_iou`, `train_epoch`, `validate`, `train_model` | 3.3 |
# | 3.5 | nothing: your trained network is measured | 3.4 and your `UNet` |
# | loss analysis | a text about your own runs | 3.4 |
# | report | two to three pages about the whole lab | all parts |
#
# **How to work.** As in Parts 1 and 2: read a task, fill its `TODO`s, run the cell, run the *check* cell.
# Between the tasks are experiments. Their code is given; run them, look, and write down what you see.
#
# **What you need.** The notebooks `01_unet.ipynb` and `02_skip_connections.ipynb`, filled in and **saved**, in the same
# folder as this one. Your `UNet` and `SkipUNet` are read from there.
#
# **How long it runs.** Without a GPU, all experiments together take a few minutes: the pictures and the networks are
# small.
# With a GPU, they are larger, and the main training takes longer. With the optional parts of Task 3.4, you can stop it
# at any time and go on later.

# %% [markdown]
# ## Setup
#
# Run these cells first, every time you start the notebook.
# The first one finds the lab's files, the third one fixes the random seeds and says what your machine has.

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
import contextlib
import copy
import itertools
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm

# %%
import json
import os
import time

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torchvision

from data_utils import DeviceLoader, make_loaders
from grader import check
from grader.rubric import held_out
from metrics import evaluate
from viz import (
    compare_histories, plot_focal, plot_history, results_table, show_pairs, show_predictions, show_progress,
    threshold_slider,
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

if "google.colab" in sys.modules:  # on Colab, your notebooks and results stay in your Drive
    from google.colab import drive

    drive.mount("/content/drive")
    os.makedirs("/content/drive/MyDrive/Colab Notebooks", exist_ok=True)
    os.chdir("/content/drive/MyDrive/Colab Notebooks")

print(f"Python {sys.version.split()[0]}, torch {torch.__version__}, torchvision {torchvision.__version__}, "
      f"numpy {np.__version__}, matplotlib {matplotlib.__version__}")
print(f"seed {SEED}, device {device}")

# %% [markdown]
# Now your own networks. If you change Part 1 or 2 later, save that notebook and run this cell again.

# %%
from grader.mine import SkipUNet, UNet

# %% [markdown]
# ## All numbers in one place
#
# Every number that decides a run stands in this cell and nowhere else. Good habit: when you write
# "learning rate 0.001" in your report, you know where to look.
#
# `QUICK` is for machines without a GPU: 64 pixels, a small network.
# With a GPU you get the size of the handout, 200 pixels, and the widths of the paper.
# (A GPU but little time? `QUICK = True` works there too.)
# You may change all of it, within these limits: `size` from 32 to 256 (your network is measured at your size), at most
# 8 widths in `features`, each at most 1024, and a checkpoint below 200 MB. It is written down beside your results.

# %%
QUICK = device.type == "cpu"

DATA = "pets" if os.environ.get("UNETLAB_DATA") else "synthetic"

SETTINGS = {
    "data": DATA,
    "size": 64 if QUICK else 200,  # pixels a side
    "count": 2000,  # pictures, or all where there are fewer; a fifth of them is for validation
    "augment": DATA == "pets" or not QUICK,  # mirror, turn, bend and recolour them anew in each epoch: more epochs, better in the end
    "batch_size": 16,
    "features": [8, 16, 32, 64] if QUICK else [64, 128, 256, 512],  # channels of the encoders
    "epochs": 10 if QUICK else 40,
    "lr": 2e-3 if QUICK else 1e-3,
    "seed": SEED,
}

# The experiments after the main training need many runs, so each is short.
SHORT = {
    "count": 240 if QUICK else 500,
    "augment": False,  # in so few epochs no network learns the pictures by heart
    "batch_size": 8,
    "features": [8, 16, 32] if QUICK else [32, 64, 128, 256],
    "epochs": 8 if QUICK else 12,
    "lr": 3e-3 if QUICK else 1e-3,
}

print(f"You train on {DATA} pictures. Task 3.5 is measured on {held_out()['data']} ones.")
if DATA != held_out()["data"]:
    print("These are not the same: a network that learnt other pictures loses points in Task 3.5.")

# %% [markdown]
# ## Look at the data first
#
# Most trainings that fail do not fail in the network. They fail here.
# All of this was seen in hand-ins for this very lab:
#
# | what was done | what you see | what to do |
# |---|---|---|
# | the trimap went through `ToTensor` | mask values 0.0039, 0.0078, 0.0118: that is 1/255, 2/255, 3/255 | keep labels whole and compare them: `trimap != 2` (1 pet, 2 background, 3 border) |
# | the mask was resized like a picture (bilinear) | values between the labels, a false class along every outline | resize masks with `NEAREST` |
# | `OxfordIIITPet` without `target_types` | the target is one number, 0 to 36: the breed | `target_types="segmentation"` |
# | the mask holds 0 and 255 | a loss that is huge or negative | divide by 255 |
# | picture and mask were altered one after the other | the mask does not lie on the animal, the IoU stays low | one random draw for both |
# | normalised pictures were plotted as they are | strange colours, "Clipping input data" | undo it first: `images * std + mean` |
#
# The lab's loaders do it right. Check it all the same, as you should with every data set.

# %%
def check_batch(images, masks):
    """Print what a batch holds; AssertionError for what no loss of this lab can use."""
    values = masks.unique().tolist()
    print("images", tuple(images.shape), images.dtype, f"from {images.min():.2f} to {images.max():.2f}")
    print("masks ", tuple(masks.shape), masks.dtype, f"values {values[:4]}, pet {masks.float().mean():.0%}")
    assert images.ndim == 4 and masks.ndim == 4, "images are (B, 3, H, W) and masks (B, 1, H, W)"
    assert images.shape[0] == masks.shape[0] and images.shape[2:] == masks.shape[2:], "not the same pictures"
    assert set(values) <= {0.0, 1.0}, f"a mask holds 0 and 1, not {values[:4]}: see the table above"
    assert masks.any(), "no pet in the whole batch: is the right label compared?"


loaders = make_loaders(SETTINGS["data"], SETTINGS["size"], SETTINGS["batch_size"], count=SETTINGS["count"],
                       seed=SEED, augment=SETTINGS["augment"], device=device)
images, masks = next(iter(loaders.train))
check_batch(images, masks)
show_pairs(images, masks, count=6)

# %% [markdown]
# These are training pictures. With `augment` on, they come altered: mirrored, turned, bent, recoloured. Picture and mask
# always move together. With `augment` off, they come as they are.
# Validation and test pictures are never altered.
#
# **Three sets, three uses.** The network learns from *train*. You choose by *val*: the loss, the epoch, the threshold.
# You look at *test* once, at the end. A number that you chose by is no longer a fair one.

# %% [markdown]
# ## Task 3.1 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} points*
#
# **Objective.** Write a loss that asks for overlap. Cross-entropy counts pixels: with 5 % pet, it is already low when
# everything is background. Dice compares the areas: the many background pixels no longer drown the few of the animal.
#
# With *p* the probability (the sigmoid of the logit), *y* the mask and *s* the small number `smooth`,
# for each class *c*:
#
# $$\text{loss}_c = 1 - \frac{2\sum p\,y + s}{\sum p + \sum y + s}$$
#
# 1. Turn the logits into probabilities.
# 2. For each class, take the sums over **all pictures of the batch and all pixels together**.
# 3. The loss of each class by the formula.
# 4. One class: that is the loss. Many classes: their mean, or with `class_weights` the weighted mean
#    (Σ weight · loss) / (Σ weight).
#
# **The handout slips here.** Its Algorithm 8 adds up `dice_c` for many classes. That would be a loss that is
# highest when all is right. The loss of a class is `1 − dice_c`, as above, and this is what is graded.
#
# Source: Milletari, Navab, Ahmadi: *V-Net*, 3DV 2016, [arXiv:1606.04797](https://arxiv.org/abs/1606.04797).
#
# `checked`, the first line of every `forward` in this part, is given. It brings both tensors to float32 and stops at
# shapes and masks that cannot be right. Please run it now.

# %% export="true"
def checked(pred, target):
    """Logits and target as every loss needs them: of one shape, in float32 at least; given.

    Raises ValueError for shapes that differ, NaN logits, and targets outside 0 to 1.
    """
    if pred.shape != target.shape:
        raise ValueError(
            f"pred has the shape {tuple(pred.shape)}, target {tuple(target.shape)}; PyTorch would stretch one to the "
            "other without a word. Both are (B, C, H, W): target.unsqueeze(1) adds a missing channel."
        )
    pred = pred if pred.dtype == torch.float64 else pred.float()
    target = target.to(pred)
    if torch.isnan(pred).any():
        raise ValueError("The logits hold NaN: the training has diverged. Lower the learning rate or clip the gradients.")
    if target.numel() and (target.min() < 0 or target.max() > 1):
        raise ValueError(
            f"The target goes from {target.min():g} to {target.max():g}, but a mask holds 0 and 1. "
            "0 and 255: divide by 255. Labels 1, 2, 3: a trimap, compare it with its label (trimap != 2)."
        )
    return pred, target

# %% task="3.1"
class DiceLoss(nn.Module):
    """1 − Dice of the predicted probabilities, pooled over the batch (Algorithm 8 of the handout, with 1 − dice_c).

    Source: Milletari, Navab, Ahmadi: V-Net, 3DV 2016, arXiv:1606.04797.

    Args:
        smooth: added above and below the fraction, so that two empty masks give 0.
        class_weights: one weight a class, a list or a tensor; `None` weighs all alike.

    Shapes:
        pred: logits (B, C, H, W), target: (B, C, H, W) of 0 and 1; returns a 0-d tensor, at least float32
    """

    def __init__(self, smooth=1e-6, *, class_weights=None):
        super().__init__()
        # TODO Task 3.1: keep what forward needs.
        ### BEGIN SOLUTION
        self.smooth = smooth
        self.class_weights = class_weights
        ### END SOLUTION

    def forward(self, pred, target):
        # TODO Task 3.1: probabilities, sums over batch and pixels (one a class), the loss of each class, their mean.
        pred, target = checked(pred, target)
        ### BEGIN SOLUTION
        probability = torch.sigmoid(pred)
        overlap = (probability * target).sum(dim=(0, 2, 3))  # (C,)
        total = probability.sum(dim=(0, 2, 3)) + target.sum(dim=(0, 2, 3))  # (C,)
        loss = 1 - (2 * overlap + self.smooth) / (total + self.smooth)  # (C,)
        if self.class_weights is None:
            return loss.mean()
        weights = torch.as_tensor(self.class_weights, dtype=loss.dtype, device=loss.device)
        return (weights * loss).sum() / weights.sum()
        ### END SOLUTION

# %% [markdown]
# Try it on four pixels, two of them pet. You should see 0.000, 0.500 and 1.000.

# %%
mask = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])  # (1, 1, 2, 2)
right = 200 * mask - 100  # logits of 100 and −100
for name, logits in {"all right": right, "undecided": torch.zeros_like(mask), "all wrong": -right}.items():
    print(f"{name}: {DiceLoss()(logits, mask):.3f}")

# %% check="3.1"
check("3.1")

# %% [markdown]
# **What can go wrong**
#
# * *The loss falls while the pictures stay bad*, and "all wrong" gives 0 as well: the Dice of the prediction with
#   itself. Which two things does the overlap multiply?
# * *The loss is negative or above 1*: logits were used in place of probabilities.
# * *The loss rises while the pictures get better*: Dice itself was returned. It must go *down* when the overlap grows.
# * *A batch with one small animal gives a strange value*: the mean of each picture's own Dice is something else than
#   the Dice of the whole batch. Here all sums are pooled.
# * *`smooth` stands only above the fraction*, or only below: then two empty masks do not give 0.
# * *Thresholded probabilities*: `(p > 0.5)` has no gradient. The loss needs the probabilities themselves.
# * *Classes are mixed*: the sums leave the class dimension alone. Which dimensions are left to sum over?

# %% [markdown]
# ## Task 3.2 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} points*
#
# **Objective.** Write a cross-entropy that spends its effort on hard pixels. Most pixels of a picture are easy: sky,
# floor, the middle of the animal. Each adds little to the loss, but there are thousands of them.
#
# `p_t` is the probability that the network gives to the **right** answer, BCE = −log `p_t` the binary
# cross-entropy of the pixel:
#
# $$\text{FL} = \alpha_t\,(1 - p_t)^\gamma\,\text{BCE}$$
#
# | | where the mask is 1 | where the mask is 0 |
# |---|---|---|
# | `p_t` | p | 1 − p |
# | `α_t` | α | 1 − α |
#
# The loss is the mean over all elements.
#
# **The handout slips here.** Its Algorithm 9 takes `log(P + ε)`. At a logit of −100 on a pet pixel the loss should be
# about 100. But the probability is far smaller than ε there, so `log(P + ε)` stays at `log ε`, and the gradient
# vanishes just where the network is most wrong. Compute the cross-entropy **from the logits**. PyTorch has functions
# for that.
#
# Source: Lin et al.: *Focal Loss for Dense Object Detection*, ICCV 2017,
# [arXiv:1708.02002](https://arxiv.org/abs/1708.02002).
#
# What γ does: the right plot shows how much of the cross-entropy is left. With γ = 2, a pixel with 90 % for the right
# answer keeps one part in a hundred.

# %%
plot_focal(gammas=(0, 1, 2, 5))

# %% task="3.2"
class FocalLoss(nn.Module):
    """Binary cross-entropy that turns down pixels which are already right: mean of α_t (1 − p_t)^γ · BCE (Algorithm 9).

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, arXiv:1708.02002.

    Args:
        alpha: weight of the positive pixels; the negative ones get 1 − alpha.
        gamma: how strongly easy pixels are turned down; 0 leaves the weighted cross-entropy.

    Shapes:
        pred: logits (B, C, H, W), target: (B, C, H, W) of 0 and 1; returns a 0-d tensor, at least float32
    """

    def __init__(self, alpha=0.25, gamma=2.0):
        super().__init__()
        # TODO Task 3.2: keep what forward needs.
        ### BEGIN SOLUTION
        self.alpha = alpha
        self.gamma = gamma
        ### END SOLUTION

    def forward(self, pred, target):
        # TODO Task 3.2: cross-entropy of every pixel, straight from the logits; alpha_t; (1 − p_t)^gamma; the mean.
        # The gradient of x ** gamma at x = 0 is infinite for gamma < 1. torch.nn.functional.logsigmoid helps.
        pred, target = checked(pred, target)
        ### BEGIN SOLUTION
        cross_entropy = F.binary_cross_entropy_with_logits(pred, target, reduction="none")
        alpha_t = self.alpha * target + (1 - self.alpha) * (1 - target)
        towards_right = (2 * target - 1) * pred  # its sigmoid is p_t
        modulation = torch.exp(self.gamma * F.logsigmoid(-towards_right))  # (1 − p_t)^gamma, without a 0 to a power
        return (alpha_t * modulation * cross_entropy).mean()
        ### END SOLUTION

# %% [markdown]
# Try it. You should see 0.0433 (undecided, pet), 0.1300 (undecided, background), 25.0000 (all wrong, pet) and 0.0000.
# Can you work out the first one on paper?
#
# The last line has two pet pixels in one picture: an easy one with 90 % for the right answer, a hard one with 10 %.
# Their cross-entropies are 0.105 and 2.303. So you should see 0.25 · (0.1² · 0.105 + 0.9² · 2.303) / 2 = 0.2333.
# If you see 0.1475, your `p_t` comes from the mean of the two.

# %%
pet = torch.ones(1, 1, 1, 1)
for name, logit, target in [("undecided, pet", 0, pet), ("undecided, background", 0, 0 * pet),
                            ("all wrong, pet", -100, pet), ("all right, pet", 100, pet)]:
    print(f"{name}: {FocalLoss(alpha=0.25, gamma=2.0)(logit * pet, target):.4f}")
both = torch.tensor([[[[0.9, 0.1]]]]).logit()
print(f"easy and hard together: {FocalLoss(alpha=0.25, gamma=2.0)(both, torch.ones_like(both)):.4f}")

# %% check="3.2"
check("3.2")

# %% [markdown]
# **What can go wrong**
#
# * *The loss is `inf` or NaN, or its gradient is*: a logarithm of a probability that rounded to 0.
# * *NaN in the gradient only for γ below 1*: the slope of √x at 0 is infinite. Logits of ±100 reach that 0.
# * *"grad can be implicitly created only for scalar outputs"*: the loss came back unreduced, one value a pixel.
# * *`alpha` multiplies every pixel alike*: that only scales the loss. It has to tell pet from background.
# * *`nn.CrossEntropyLoss` on one channel*: always 0. It compares channels with each other, and with one channel there
#   is nothing to compare. One logit a pixel needs the *binary* cross-entropy.
# * *`nn.CrossEntropyLoss(pred, target)`*: this builds a loss object and never calls it. `nn.…Loss()(pred, target)`
#   builds, then calls.
# * *`p_t` computed from the mean loss*: each pixel has its own `p_t`. Average at the very end.

# %% [markdown]
# ## Task 3.3 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} points*
#
# **Objective.** Join the losses: cross-entropy gives a clear gradient at every pixel from the start, Dice aims at what
# is measured in the end.
#
# $$\text{loss} = w_\text{ce}\,\text{BCE} + w_\text{dice}\,\text{Dice loss} + w_\text{focal}\,\text{FL}$$
#
# 1. `weights` names the terms: `"ce"` (binary cross-entropy from logits, the mean), `"dice"` and `"focal"`, each with
#    its own defaults.
# 2. A term that is not named, or whose weight is 0, is left out. It is not even computed.
# 3. The dict that you were given stays as it is.

# %% task="3.3"
class CombinedLoss(nn.Module):
    """Weighted sum of cross-entropy, Dice and focal loss.

    Args:
        weights: dict of "ce" (`binary_cross_entropy_with_logits`), "dice" and "focal" → weight;
            a term whose weight is zero or absent is left out. The dict stays as it is.

    Shapes:
        pred: logits (B, C, H, W), target: (B, C, H, W) of 0 and 1; returns a 0-d tensor, at least float32
    """

    def __init__(self, weights={"ce": 0.5, "dice": 0.5, "focal": 0.0}):
        super().__init__()
        # TODO Task 3.3: keep the weights and the losses that forward needs.
        ### BEGIN SOLUTION
        self.weights = dict(weights)
        self.dice = DiceLoss()
        self.focal = FocalLoss()
        ### END SOLUTION

    def forward(self, pred, target):
        # TODO Task 3.3: the weighted sum of the terms that have a weight.
        pred, target = checked(pred, target)
        ### BEGIN SOLUTION
        terms = {"ce": F.binary_cross_entropy_with_logits, "dice": self.dice, "focal": self.focal}
        return sum(weight * terms[name](pred, target) for name, weight in self.weights.items() if weight)
        ### END SOLUTION

# %% [markdown]
# Three recipes for the weights. They are starting points, not laws: the loss analysis below is the place to compare.

# %%
RECIPES = {
    "balanced": {"ce": 0.5, "dice": 0.5, "focal": 0.0},
    "small objects": {"ce": 0.2, "dice": 0.8, "focal": 0.0},
    "class imbalance": {"ce": 0.2, "dice": 0.5, "focal": 0.3},
}

# %% [markdown]
# Try it on the four undecided pixels. You should see 0.597, 0.539 and 0.415.
#
# The third is lower than the others, but not better: focal loss has smaller numbers by its definition.
# **Values of different losses cannot be compared.** Compare what the networks reach: IoU, Dice, boundary F1.

# %%
for name, weights in RECIPES.items():
    print(f"{name}: {CombinedLoss(weights)(torch.zeros_like(mask), mask):.3f}")

# %% check="3.3"
check("3.3")

# %% [markdown]
# **What can go wrong**
#
# * *A weight of 0 still costs time, or brings in a NaN*: 0 · NaN is NaN. Leave the term out.
# * *`KeyError: 'focal'`*: the dict does not have to name all three.
# * *`weights.setdefault(…)` or `weights.pop(…)`*: changes the caller's dict, and with it the default of every later
#   loss.
# * *The sigmoid twice*: all three terms want logits.
# * *The weights are divided by their sum*: they are used as they are.

# %% [markdown]
# ## Task 3.4 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} points*
#
# **Objective.** Write the training: a metric, one pass that learns, one pass that only measures, and the loop around
# them.
#
# **`calculate_iou`** (one number for a batch)
#
# 1. Logits → probabilities → mask: above `threshold` is 1.
# 2. For each class count over the whole batch: TP, FP, FN.
# 3. (TP + ε) / (TP + FP + FN + ε) with ε = 1e-6, then the mean over the classes.
#
# **`train_epoch`** (Algorithm 13 of the handout: gradient accumulation)
#
# `accumulation_steps = k` makes one optimizer step for every k batches. So k batches of 4 pictures can act like one
# batch of 4k that your GPU has no memory for.
#
# *Why the loss is scaled.* `backward()` **adds** to the gradients that are there. The loss of a batch is a mean over
# its pictures. Add up k such gradients and you get k times that of the one large batch: the same as a learning rate
# k times too high. Scale each loss so that the sum is a mean again.
#
# At the end of the epoch fewer than k batches may be left. They make a step too. How many batches does *that* mean
# have? (With BatchNorm or Dice the large batch is not exactly the sum of the small ones. The idea stays.)
#
# **`validate`** measures and changes nothing: no weight, no gradient, no running mean of a BatchNorm.
#
# **`train_model`**
#
# | part | what for |
# |---|---|
# | Adam with `lr` and `weight_decay` | takes the steps |
# | `ReduceLROnPlateau`, patience 5, fed the **validation loss** | lowers the learning rate when nothing improves |
# | clipping at `max_grad_norm` | one bad batch cannot throw the weights far away |
# | the best validation IoU so far | its weights are copied, saved to `checkpoint_path`, and restored at the end |
# | `history` | five lists, one entry an epoch |
#
# The last three arguments (`patience`, `progress_path`, `on_epoch`) give no points, but the experiments below need
# `on_epoch`, and `progress_path` saves you hours after a crash. The given `Progress` does the work: make it with its
# parts, `load` before the loop, `save` after each epoch.
#
# These helpers are given. Use them or leave them.

# %% export="true"
class Progress:
    """What a training run needs to go on after an interruption, in one file; given.

    Args:
        path: the file; `None` keeps nothing.
        parts: objects with `state_dict` and `load_state_dict`, by name: model, optimizer, scheduler.
    """

    def __init__(self, path, **parts):
        self.path = Path(path) if path else None
        self.parts = parts

    def load(self, history, best):
        """The (history, best) of the saved run, whose parts go on where they were; those given where none is saved.

        history: dict of lists of numbers. best: dict of numbers and tensors, the best weights among them.
        """
        if self.path is None or not self.path.exists():
            return history, best
        try:
            saved = torch.load(self.path, map_location="cpu", weights_only=True)
            for name, part in self.parts.items():
                part.load_state_dict(saved[name])
        except Exception as error:  # no checkpoint, one of another network, or with more than tensors in it: torch raises many kinds
            cause = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"{self.path} cannot be gone on from ({cause}). Delete it to start anew.") from None
        print(f"going on after epoch {len(saved['history']['lr'])} from {self.path}; delete the file to start anew")
        return saved["history"], saved["best"]

    def save(self, history, best):
        """Keep the run as it is now; history and best as in `load`."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            states = {name: part.state_dict() for name, part in self.parts.items()}
            torch.save({"history": history, "best": best, **states}, self.path.with_suffix(".part"))
            self.path.with_suffix(".part").replace(self.path)  # an interruption never leaves half a file


@contextlib.contextmanager
def interruptible():
    """Let Jupyter's stop button end a `with` block early without losing what was done in it; given."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted; the best weights so far are kept")


def mean(values):
    """The mean of the numbers that the batches gave; ValueError where there was no batch; given."""
    if not values:
        raise ValueError("The loader gave no batch: is its data set empty, or smaller than one batch with drop_last=True?")
    return sum(values) / len(values)


def half_precision(device):
    """Mixed precision for the forward pass: (autocast context, gradient scaler); both do nothing on a CPU; given.

    Older GPUs, such as Colab's T4, compute in float16, whose small gradients need scaling; newer ones in bfloat16.
    """
    on_gpu = torch.device(device).type == "cuda"
    dtype = torch.bfloat16 if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    context = torch.autocast("cuda", dtype=dtype, enabled=on_gpu)
    return context, torch.amp.GradScaler("cuda", enabled=on_gpu and dtype == torch.float16)

# %% task="3.4"
def calculate_iou(pred, target, threshold=0.5):
    """Intersection over union of the predicted mask, counted over the whole batch, mean over the classes.

    Args:
        pred: logits (B, C, H, W).
        target: (B, C, H, W) of 0 and 1.
        threshold: probabilities above it count as 1.

    Returns:
        float; (TP + ε) / (TP + FP + FN + ε) with ε = 1e-6, so two empty masks give 1
    """
    # TODO Task 3.4: probabilities, mask, counts a class, ratio, mean.
    ### BEGIN SOLUTION
    predicted = torch.sigmoid(pred.float()) > threshold
    actual = target > 0.5
    shared = (predicted & actual).sum(dim=(0, 2, 3))  # (C,)
    either = (predicted | actual).sum(dim=(0, 2, 3))  # (C,)
    return ((shared + 1e-6) / (either + 1e-6)).mean().item()
    ### END SOLUTION


def train_epoch(model, dataloader, optimizer, criterion, device, *, accumulation_steps=1, max_grad_norm=None, scaler=None):
    """Train for one pass over the loader (Algorithm 13 of the handout: gradient accumulation).

    Args:
        dataloader: gives (images, masks) batches.
        accumulation_steps: batches whose gradients make one optimizer step; a last smaller group makes one as well.
        max_grad_norm: limit of the norm of all gradients together before each step; `None` leaves them.
        scaler: the gradient scaler of `half_precision` on a GPU; you may leave it out.

    Returns:
        (loss, iou), floats: means over the batches
    """
    # TODO Task 3.4: for each batch: to the device, forward, loss, backward; a step when its group is complete.
    # A group of k batches must give the gradient of one batch k times as large.
    ### BEGIN SOLUTION
    model.train()
    context, _ = half_precision(device)
    scaler = scaler or torch.amp.GradScaler("cuda", enabled=False)
    losses, ious = [], []
    batches = iter(dataloader)
    while group := list(itertools.islice(batches, accumulation_steps)):
        optimizer.zero_grad()
        for images, masks in group:
            images, masks = images.to(device), masks.to(device)
            with context:
                logits = model(images)
            loss = criterion(logits, masks)
            scaler.scale(loss / len(group)).backward()
            losses.append(loss.item())
            ious.append(calculate_iou(logits.detach(), masks))
        scaler.unscale_(optimizer)
        if max_grad_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        scaler.step(optimizer)
        scaler.update()
    return mean(losses), mean(ious)
    ### END SOLUTION


@torch.no_grad()
def validate(model, dataloader, criterion, device):
    """Measure loss and IoU without training: the model computes as it will in use, and nothing of it changes.

    Returns:
        (loss, iou), floats: means over the batches
    """
    # TODO Task 3.4: which mode does BatchNorm need here?
    ### BEGIN SOLUTION
    model.eval()
    losses, ious = [], []
    for images, masks in dataloader:
        images, masks = images.to(device), masks.to(device)
        logits = model(images)
        losses.append(criterion(logits, masks).item())
        ious.append(calculate_iou(logits, masks))
    return mean(losses), mean(ious)
    ### END SOLUTION


def train_model(model, train_loader, val_loader, *, epochs=50, lr=1e-3, weight_decay=1e-4, criterion=None,
                accumulation_steps=1, max_grad_norm=1.0, device=None, checkpoint_path=None,
                patience=None, progress_path=None, on_epoch=None):
    """Train a model and leave it with the weights of its best validation IoU.

    Args (the last three are optional work):
        criterion, device: `CombinedLoss()`, and CUDA where there is one, when `None`.
        checkpoint_path: file for the best weights, a plain `state_dict`.
        patience: epochs without a better IoU before it stops early. progress_path: file that `Progress` goes on from.
        on_epoch: called as `on_epoch(epoch, model, history)` after each epoch (counted from 1).

    Returns a dict of the lists train_loss, train_iou, val_loss, val_iou, lr (that of the epoch), one entry an epoch.
    """
    # TODO Task 3.4: Adam with weight decay; ReduceLROnPlateau (patience 5) that is fed the validation loss;
    # one train_epoch and one validate an epoch; the best weights kept, saved, and restored at the end.
    # Does your copy of the best weights change when training goes on?
    ### BEGIN SOLUTION
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    criterion = CombinedLoss() if criterion is None else criterion
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=5)
    _, scaler = half_precision(device)
    progress = Progress(progress_path, model=model, optimizer=optimizer, scheduler=scheduler)
    history = {name: [] for name in ("train_loss", "train_iou", "val_loss", "val_iou", "lr")}
    history, best = progress.load(history, {"iou": -1.0, "epoch": 0, "weights": copy.deepcopy(model.state_dict())})
    options = {"accumulation_steps": accumulation_steps, "max_grad_norm": max_grad_norm, "scaler": scaler}
    with interruptible():
        for epoch in tqdm(range(len(history["lr"]) + 1, epochs + 1), unit="epoch"):
            row = (*train_epoch(model, train_loader, optimizer, criterion, device, **options),
                   *validate(model, val_loader, criterion, device), optimizer.param_groups[0]["lr"])
            for name, value in zip(history, row):
                history[name].append(value)
            scheduler.step(history["val_loss"][-1])
            if history["val_iou"][-1] > best["iou"]:
                best = {"iou": history["val_iou"][-1], "epoch": epoch, "weights": copy.deepcopy(model.state_dict())}
                if checkpoint_path is not None:
                    torch.save(best["weights"], checkpoint_path)
            progress.save(history, best)
            if on_epoch is not None:
                on_epoch(epoch, model, history)
            if patience is not None and epoch - best["epoch"] >= patience:
                break
    model.load_state_dict(best["weights"])
    return history
    ### END SOLUTION

# %% [markdown]
# Try the metric. The second logit is 0.3, a probability of 0.57, so it counts as pet. You should see 1.000, 0.500 and
# 1.000.

# %%
target = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
for name, logits, truth in [("found both", [[2.0, 0.3], [-2.0, -2.0]], target),
                            ("found one", [[2.0, -2.0], [-2.0, -2.0]], target),
                            ("nothing there, nothing found", [[-2.0, -2.0], [-2.0, -2.0]], 0 * target)]:
    print(f"{name}: {calculate_iou(torch.tensor([[logits]]), truth):.3f}")

# %% [markdown]
# Now the loop, on eight pictures only. A network that cannot learn eight pictures by heart has a bug somewhere, and
# you find it in seconds instead of hours. You should see a training loss that falls, and a best IoU above 0.7.
#
# Then a copy of the network trains with a minus before the loss, so it gets worse, and its best epoch is an early one.
# The second line measures what `train_model` left. Its two numbers must be equal. If they differ, you do not have the
# weights of the best epoch.

# %%
torch.manual_seed(SEED)
images, masks = (part[:8] for part in next(iter(loaders.val)))
eight = [(images, masks)]  # one batch: a list is a loader too
model = UNet(features=[8, 16])
history = train_model(model, eight, eight, epochs=60, lr=5e-3, device=device)
print(f"loss {history['train_loss'][0]:.3f} → {history['train_loss'][-1]:.3f}, best IoU {max(history['val_iou']):.3f}")

spoilt = copy.deepcopy(model)
worse = train_model(spoilt, eight, eight, epochs=10, lr=5e-3, device=device,
                    criterion=lambda pred, target: -CombinedLoss()(pred, target))
left = validate(spoilt, eight, CombinedLoss(), device)[1]
print(f"last IoU {worse['val_iou'][-1]:.3f}; best IoU {max(worse['val_iou']):.3f}, IoU of what is left {left:.3f}")
show_predictions(images, masks, model(images).detach(), count=6)

# %% check="3.4"
check("3.4")

# %% [markdown]
# **What can go wrong**
#
# * *The IoU is far too low although the pictures look right*: raw logits were compared with 0.5. That is a probability
#   of 0.62.
# * *The IoU is near the right one, but not equal*: the mean of each picture's own IoU instead of the pooled one. Count
#   over the whole batch first, divide once.
# * *Two empty masks give 0*: where does ε have to stand?
# * *`zero_grad` never*: all gradients since the start add up. *`zero_grad` after `backward`*: nothing is learnt.
# * *The last batches of an epoch are lost*: a step only when `(i + 1) % k == 0`.
# * *Training is fine, validation is poor*: BatchNorm in the wrong mode. `validate` sets one mode; who sets the other
#   one again?
# * *The gradients are clipped before `backward`*, or with a scaler before they are unscaled.
# * *The "best" weights are those of the last epoch*: `state_dict()` gives references, and training goes on writing into
#   them.
# * *The scheduler is fed the IoU*: it waits for a number that *falls*.
# * *Memory grows from batch to batch*: losses are collected with their graph. `.item()` gives the number alone.

# %% [markdown]
# ## Training your U-Net
#
# Now the real run: your `UNet`, your loss, your loop.
#
# The next cell is given. `Watch` is called after each epoch. It keeps what the learning curves do not show: the
# predictions for the same four validation pictures, Dice and boundary F1, time and memory.
# `finished_run` looks into the folder `results/`, so that nothing is trained twice.

# %%
def memory_mb(device):
    """Most memory so far: on a GPU that of all tensors, else that of this whole process (unknown on Windows)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        import resource
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # macOS counts in bytes, Linux in kilobytes


def predict(model, loader, device):
    """(images, masks, logits) of the first batch of a loader, on the CPU, in eval mode."""
    images, masks = next(iter(loader))
    model.eval()
    with torch.no_grad():
        logits = model(images.to(device)).float()
    return images.cpu(), masks.cpu(), logits.cpu()


class Watch:
    """What `train_model` calls after each epoch as `on_epoch`; keeps its notes in a file, so that a run can go on.

    Args:
        loader: validation pictures; the predictions of the first four are kept every `every` epochs.
        path: file of the notes.

    Attributes: logits (epoch → (4, 1, H, W)), scores (one dict for each of these epochs), seconds, memory (by epoch).
    """

    def __init__(self, loader, device, path, every=5):
        self.loader, self.device, self.path, self.every = loader, device, Path(path), every
        self.images, self.masks = (part[:4].cpu() for part in next(iter(loader)))
        notes = torch.load(self.path, weights_only=True) if self.path.exists() else ({}, [], {}, {})
        self.logits, self.scores, self.seconds, self.memory = notes
        self.clock = time.perf_counter()

    def __call__(self, epoch, model, history):
        if epoch == 1:
            self.logits, self.scores, self.seconds, self.memory = {}, [], {}, {}
        self.seconds[epoch] = time.perf_counter() - self.clock
        self.memory[epoch] = memory_mb(self.device)
        if epoch == 1 or epoch % self.every == 0:
            measured = evaluate(model, self.loader, self.device)
            chosen = {name: measured[name] for name in ("iou", "dice", "boundary_f1", "pixel_accuracy")}
            self.scores = [row for row in self.scores if row["epoch"] < epoch] + [{"epoch": epoch, **chosen}]
            self.logits[epoch] = predict(model, [(self.images, self.masks)], self.device)[2]
        torch.save((self.logits, self.scores, self.seconds, self.memory), self.path)
        self.clock = time.perf_counter()

    def by_epoch(self, epochs):
        """Seconds and memory as lists for `plot_history`; what is unknown is left out."""
        notes = {"seconds": self.seconds, "memory_mb": self.memory}
        lists = {name: [values.get(epoch, float("nan")) for epoch in range(1, epochs + 1)]
                 for name, values in notes.items()}
        return {name: values for name, values in lists.items() if np.isfinite(values).any()}


def finished_run(folder, settings, start_anew):
    """The history of a finished run in `folder`, and its settings; (None, settings) where there is training to do.

    Raises ValueError where training would overwrite weights that cannot be made again by going on.
    """
    folder.mkdir(exist_ok=True)
    if start_anew:
        for name in ("unet.pth", "history.json", "training.json", "progress.pth", "progress_watch.pth"):
            (folder / name).unlink(missing_ok=True)
    trained, begun = ((folder / name).exists() for name in ("unet.pth", "progress.pth"))
    if not trained and not begun:
        return None, settings
    record, history = (json.loads((folder / name).read_text()) if (folder / name).exists() else None
                       for name in ("training.json", "history.json"))
    done = len(history["lr"]) if history else 0
    changed = {name: record.get(name) for name in settings
               if record and name != "epochs" and record.get(name) != settings[name]}
    if trained and record and history and done >= (record if changed else settings)["epochs"]:
        print(f"{folder}/ holds a finished run of {done} epochs. START_ANEW = True trains again.")
        if changed:
            print(f"It was made with other settings than those above: {changed}")
        return history, {**record, "epochs": done}
    if not begun:
        keep = f' To keep it as it is, write "epochs": {done} in SETTINGS.' if record and done and not changed else ""
        raise ValueError(f"{folder}/unet.pth holds weights, but not of a finished run with these settings, and without "
                         f"{folder}/progress.pth there is nothing to go on from. Training would overwrite them. Set "
                         f"START_ANEW = True to begin again, or rename the folder {folder}/ first to keep them.{keep}")
    if changed:
        raise ValueError(f"{folder}/ holds the beginning of a run with {changed}. "
                         "Set START_ANEW = True to begin again, or change SETTINGS back to go on with that run.")
    return None, settings

# %% [markdown]
# **The training.**
#
# * You can stop it with Jupyter's stop button (■). The best weights so far are in `results/unet.pth` at any time.
# * If your `train_model` has the optional parts (`Progress` and `interruptible`), run the cell again and it goes on where
#   it was. **Without them, stopping loses the run**: you begin again with `START_ANEW = True`.
# * When it is finished, running the cell again only loads the results. So with *Run All*, the main training is not
#   repeated.
# * To start anew, for example after a change in your `UNet`, set `START_ANEW = True`, run the cell, and set it back.
#
# | file in `results/` | what it is | hand it in? |
# |---|---|---|
# | `unet.pth` | the weights of the best epoch | yes, it is Task 3.5 |
# | `training.json` | your settings; the widths in it are needed to load the weights | yes |
# | `history.json` | the learning curves | yes |
# | `progress.pth`, `progress_watch.pth` | what a run needs to go on | no |

# %%
START_ANEW = False

RESULTS = Path("results")
history, record = finished_run(RESULTS, SETTINGS, START_ANEW)
torch.manual_seed(SEED)
model = UNet(features=record["features"]).to(memory_format=torch.channels_last)  # faster, the values stay the same
watch = Watch(loaders.val, device, RESULTS / "progress_watch.pth")
if history:
    model.load_state_dict(torch.load(RESULTS / "unet.pth", map_location="cpu", weights_only=True))
    model.to(device)
else:
    (RESULTS / "training.json").write_text(json.dumps(record))
    history = train_model(
        model, loaders.train, loaders.val, epochs=record["epochs"], lr=record["lr"],
        criterion=CombinedLoss(RECIPES["balanced"]), max_grad_norm=1.0, device=device,
        checkpoint_path=RESULTS / "unet.pth", progress_path=RESULTS / "progress.pth", on_epoch=watch,
    )
    history = {name: [float(value) for value in values] for name, values in history.items()}
    (RESULTS / "history.json").write_text(json.dumps(history))
done = len(history["lr"])
go_on = done < record["epochs"] and (RESULTS / "progress.pth").exists()
print(f"{done} of {record['epochs']} epochs" + (". Run this cell again to go on." if go_on else ""))

# %% [markdown]
# **Learning curves.** Three questions to ask of every such picture:
#
# * Do both losses still fall? Then more epochs would help.
# * Does the training loss fall while the validation loss rises? Then the network learns the pictures by heart
#   (*overfitting*): more data, more augmentation, a smaller network, or stop earlier.
# * Does the learning rate go down in steps? That is `ReduceLROnPlateau`.
#
# With augmentation the training pictures are harder than the validation pictures, so the training IoU may be the
# *lower* one.

# %%
plot_history({**history, **watch.by_epoch(done)})

# %% [markdown]
# **How good is it?** The star marks the epoch whose weights you have now. Measured over whole loaders:
#
# * *iou*, *dice*, *pixel_accuracy*: **pooled**, all pixels of all pictures are counted together. Large animals count
#   more.
# * *iou_per_image*, *dice_per_image*: each picture counts the same.
# * *boundary_f1*: how much of the outline is where it should be, within a pixel or so.
#
# The IoU of the history is a third kind, the mean over batches. In your report, say which one you mean.

# %%
rows = [{"pictures": name, **evaluate(model, loader, device)}
        for name, loader in [("validation", loaders.val), ("test", loaders.test)]]
results_table(rows)

# %% [markdown]
# Now the same pictures over the epochs; the last column is the network that you have now.
# What does it learn first, the place or the outline?

# %%
if watch.scores:
    best = predict(model, [(watch.images, watch.masks)], device)[2]
    display(results_table(watch.scores), show_progress({**watch.logits, "best": best}, watch.images, watch.masks))
else:
    print("Nothing to show: train_model did not call on_epoch.")

# %% [markdown]
# **The threshold.** 0.5 is a habit, not a law. Move the slider: which pixels come and go?
# If you choose another one for your report, choose it on validation pictures, never on test pictures.

# %%
threshold_slider(*predict(model, loaders.val, device))

# %% [markdown]
# Test pictures. Do not pick only the nice ones for your report: failures tell more.

# %%
def visualize_predictions(model, dataloader, device, num_samples=4):
    """Picture, mask and prediction of the first pictures of a loader, as a figure."""
    return show_predictions(*predict(model, dataloader, device), count=num_samples)


visualize_predictions(model, loaders.test, device, num_samples=6)

# %% [markdown]
# ## Task 3.5 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} points*
#
# **Objective.** Hand in a trained network. There is nothing to write: `results/unet.pth` is loaded into the `UNet` of
# your notebook 01 and measured on pictures that nobody has seen, neither you nor your network.
#
# | what is measured | |
# |---|---|
# | the weights load into your `UNet`, with the `features` of `results/training.json` | the check below |
# | IoU of at least **0.60**, **0.70**, **0.80** and **0.85**, pooled over all pictures, threshold 0.5 | after you hand in |
#
# Each of the four steps gives a part of the points. Your own test IoU from above tells you about where you will be.
#
# **Which pictures?** They have the size in your `SETTINGS`, and they are of the kind that `[held_out]` in
# `grader/rubric.toml` names: drawn ones (`synthetic`), unless your course says otherwise. The settings cell near the top
# prints it. Train on the same kind, or you lose steps.
#
# The settings above reach the last step with correct code. If yours do not: look at the learning curves, then at the
# debugging list near the end.

# %% check="3.5"
check("3.5")

# %% [markdown]
# **What can go wrong**
#
# * *"there is no results/unet.pth yet"*: the training cell did not run, or in another folder than this notebook's.
# * *"weights of other layers"*: `UNet` was changed after the training. Train again with `START_ANEW = True`.
# * *"no checkpoint of tensors alone"*: `torch.save(model)` saves the whole object. Save `model.state_dict()`.
# * *A good IoU here, a poor one after handing in*: trained on other pictures, or chosen by the test pictures.

# %% [markdown]
# ## Loss analysis
#
# Does the loss matter? Train the same network, from the same weights, on the same pictures in the same order,
# and change the loss only.
#
# The runs are short and the network is small, so look at the differences and not at the height.

# %%
def same_start(build, loader, seed):
    """A new network and the training loader from its start, so that two runs differ in nothing but what you change."""
    torch.manual_seed(seed)
    again = {"shuffle": True, "augment": loader.augment, "seed": seed, "device": loader.device}
    return build().to(memory_format=torch.channels_last), DeviceLoader(loader.dataset, loader.batch_size, **again)


short = make_loaders(SETTINGS["data"], SETTINGS["size"], SHORT["batch_size"], count=SHORT["count"],
                     seed=SEED, augment=SHORT["augment"], device=device)


def small_unet():
    """The network of the short runs, with new weights."""
    return UNet(features=SHORT["features"])

# %%
losses = {
    "cross-entropy": nn.BCEWithLogitsLoss(),
    "Dice": DiceLoss(),
    "focal": FocalLoss(),
    "combined": CombinedLoss(RECIPES["balanced"]),
}
histories, rows, predictions = {}, [], {}
for name, criterion in losses.items():
    print(name)
    model, train = same_start(small_unet, short.train, SEED)
    start = time.perf_counter()
    histories[name] = train_model(model, train, short.val, epochs=SHORT["epochs"], lr=SHORT["lr"],
                                  criterion=criterion, device=device)
    rows.append({"loss": name, **evaluate(model, short.val, device), "seconds": time.perf_counter() - start})
    images, masks, predictions[name] = predict(model, short.val, device)

# %% [markdown]
# The validation IoU of all runs. Not the loss: its values mean something else in each run.

# %%
compare_histories(histories, key="val_iou")

# %%
results_table(rows, best={"iou": max, "iou_per_image": max, "dice": max, "dice_per_image": max,
                          "pixel_accuracy": max, "boundary_f1": max})

# %% [markdown]
# The same pictures, one column a loss. How sure the networks are differs too: change the threshold and look again.

# %%
show_progress(predictions, images, masks, threshold=0.5, count=4)

# %% [markdown]
# ### Your analysis
#
# Answer in the cell below, in 150 to 300 words, with the numbers of *your* runs.
#
# | what you write | points |
# |---|---|
# | **What you saw.** Which loss learns fastest, which is best in the end, and by how much? Name IoU and boundary F1. | 2 |
# | **Why.** Explain one difference by the formulas: which pixels have a large gradient in one loss and a small one in the other? | 3 |
# | **Where.** Look at the pictures: at which places do the predictions differ (legs, tails, outlines, holes, clutter)? | 2 |
# | **How sure.** What do these runs not show? Think of the seed, the number of epochs, the number of pictures. A second seed for two of the losses counts as an answer. | 2 |
# | **Your choice.** Which loss or which weights would you take where the animal fills 2 % of the picture, and why? | 1 |

# %% [markdown] manual="loss_analysis"
# **Your answer** ({{points}} points)
#
# ### BEGIN SOLUTION
# *What you saw.* With the settings of the quick mode, cross-entropy, Dice and their combination end close together, and
# focal loss needs more epochs. The figures have to be those of the student's own table, with the gap stated and not
# only the order. Full points also when the order is another one and the table says so.
#
# *Why.* The gradient of the cross-entropy with respect to a logit is p − y: bounded, never zero where a pixel is wrong,
# and each pixel counts the same, so with few pet pixels the background decides. Dice divides by the two areas, so
# its gradient grows when the animal is small, and it carries the factor p(1 − p) of the sigmoid: a pixel that is
# wrong and sure gets almost no gradient, which makes the beginning unsteady and the probabilities extreme. Focal loss
# multiplies by (1 − p)^γ, so pixels that are already right hardly count; with α = 0.25 the pet pixels weigh
# less than the background, so predictions are careful and the probabilities stay near 0.5.
#
# *Where.* The middle of the body is right with every loss. Differences lie at the outline, at legs and tails, and at
# clutter of the colour of the animal. Dice tends to closed shapes with hard edges, focal loss leaves out thin parts at
# the threshold 0.5, which come back at a lower threshold.
#
# *How sure.* One seed, few epochs, a small validation set: a gap of one or two hundredths is within the noise. The
# learning rate suits one loss better than another because their gradients differ in size. A second seed shows how
# large the noise is.
#
# *Choice.* With 2 % pet, a high weight on Dice, with some cross-entropy for a steady start, or focal loss with a higher
# α; a reason that follows from the formulas is what counts.
# ### END SOLUTION

# %% [markdown]
# ## Extension: a boundary term, and weights that change
#
# No points here, but good material for your report.
#
# **A boundary term.** Most wrong pixels lie along the outline, and these are few. `BoundaryLoss` looks at them alone.
# It finds the band by max pooling: the maximum over a small window makes the mask grow by a few pixels, the
# minimum makes it shrink, and the band is what lies between. The cross-entropy is then averaged over the band only.
# Below, all but the band is darkened.

# %%
class BoundaryLoss(nn.Module):
    """Mean cross-entropy over a band around the outline of the mask.

    Args:
        width: how far the band reaches to either side, in pixels.

    Shapes:
        pred: logits (B, C, H, W), target: (B, C, H, W) of 0 and 1; returns a 0-d tensor
    """

    def __init__(self, width=2):
        super().__init__()
        self.width = width

    def band(self, target):
        """1 within `width` pixels of the outline, else 0; (B, C, H, W)."""
        window = {"kernel_size": 2 * self.width + 1, "stride": 1, "padding": self.width}
        grown, shrunk = F.max_pool2d(target, **window), -F.max_pool2d(-target, **window)
        return grown - shrunk

    def forward(self, pred, target):
        pred, target = checked(pred, target)
        band = self.band(target)
        total = F.binary_cross_entropy_with_logits(pred, target, weight=band, reduction="sum")
        return total / band.sum().clamp_min(1)  # no outline at all: 0


band = BoundaryLoss(width=2).band(masks)
strip = torchvision.utils.make_grid(images[:6] * (0.25 + 0.75 * band[:6]), nrow=6, padding=2)
figure, axes = plt.subplots(figsize=(10, 1.9), layout="constrained")
axes.imshow(strip.permute(1, 2, 0))
axes.set_axis_off()

# %% [markdown]
# **Weights that change.** Cross-entropy is steady at the start, Dice is what counts at the end. So begin with the one
# and end with the other. The weights depend on the epoch, so this run needs a loop of its own, out of your
# `train_epoch` and `validate`.
#
# Both runs start like those of the loss analysis and join its curves. But the second one differs in more than its loss:
# it has no weight decay and no plateau scheduler, and it ends with the weights of its last epoch, not of its best.
# Look at the boundary F1 too: that is what the boundary term is for.

# %%
def weights_at(epoch, epochs):
    """Weights for `CombinedLoss`: cross-entropy alone in the first epoch, Dice alone in the last."""
    share = (epoch - 1) / max(epochs - 1, 1)
    return {"ce": 1 - share, "dice": share}


print("combined + boundary")
model, train = same_start(small_unet, short.train, SEED)
histories["combined + boundary"] = train_model(
    model, train, short.val, epochs=SHORT["epochs"], lr=SHORT["lr"], device=device,
    criterion=lambda pred, target: losses["combined"](pred, target) + 0.5 * BoundaryLoss()(pred, target),
)
extra_rows = [{"loss": "combined + boundary", **evaluate(model, short.val, device)}]

print("cross-entropy, then Dice")
model, train = same_start(small_unet, short.train, SEED)
model.to(device)
optimizer = torch.optim.Adam(model.parameters(), lr=SHORT["lr"])
scheduled = []
for epoch in tqdm(range(1, SHORT["epochs"] + 1), unit="epoch"):
    criterion = CombinedLoss(weights_at(epoch, SHORT["epochs"]))
    train_epoch(model, train, optimizer, criterion, device, max_grad_norm=1.0)
    scheduled.append(validate(model, short.val, losses["combined"], device)[1])
histories["cross-entropy, then Dice"] = {"val_iou": scheduled}
extra_rows.append({"loss": "cross-entropy, then Dice", **evaluate(model, short.val, device)})

display(compare_histories({name: history for name, history in histories.items() if name != "focal"}, key="val_iou"))
results_table(rows + extra_rows, columns=["loss", "iou", "dice", "boundary_f1"],
              best={"iou": max, "dice": max, "boundary_f1": max})

# %% [markdown]
# ## Ablation: which part does the work?
#
# Take away one thing at a time and train again: that is an *ablation* (Algorithm 14 of the handout). What the score
# loses is what the part was worth.
#
# Rules for a fair one: the same data, seed, loss and epochs for all; **one** change at a time; more than one number.
#
# The study below is one loop. A configuration is the arguments of your `SkipUNet` from Part 2.
# **Add one of your own** and say before you run it what you expect.

# %%
def ablation_study(configurations, loaders, device, epochs, seed=42, lr=1e-3):
    """Train a `SkipUNet` for each configuration from the same seed, on the same batches; one row each.

    Args:
        configurations: name → arguments of `SkipUNet`; the first one is what the others are compared with.
        loaders: as from `make_loaders`.

    Returns:
        list of dicts: configuration, parameters, iou, change (of the IoU against the first), dice, boundary_f1,
        best_epoch, seconds; the scores are those of the validation pictures
    """
    rows = []
    for name, options in configurations.items():
        print(name)
        model, train = same_start(lambda: SkipUNet(**options), loaders.train, seed)
        start = time.perf_counter()
        history = train_model(model, train, loaders.val, epochs=epochs, lr=lr, device=device)
        seconds = time.perf_counter() - start
        scores = evaluate(model, loaders.val, device)
        rows.append({
            "configuration": name,
            "parameters": sum(weights.numel() for weights in model.parameters()),
            "iou": scores["iou"],
            "change": scores["iou"] - (rows[0]["iou"] if rows else scores["iou"]),
            "dice": scores["dice"],
            "boundary_f1": scores["boundary_f1"],
            "best_epoch": 1 + history["val_iou"].index(max(history["val_iou"])),
            "seconds": seconds,
        })
    return rows


full = {"features": SHORT["features"], "skip": "concat", "batch_norm": True}
configurations = {  # take out the configurations whose join you have not written
    "full": full,
    "no skips": {**full, "skip": "none"},
    "add": {**full, "skip": "add"},
    "attention": {**full, "skip": "attention"},
    "no BatchNorm": {**full, "batch_norm": False},
    "one level less": {**full, "features": SHORT["features"][:-1]},
    # "yours": {**full, ...},
}
ablation = ablation_study(configurations, short, device, epochs=SHORT["epochs"], seed=SEED, lr=SHORT["lr"])
results_table(ablation, best={"iou": max, "dice": max, "boundary_f1": max})

# %% [markdown]
# Before you believe the table: run one configuration with another seed. How much does its IoU move?
# A change smaller than that says nothing.

# %% [markdown]
# ## When training does not work
#
# Look first, change later, and change one thing at a time.
#
# | symptom | look at | usual cause |
# |---|---|---|
# | the loss does not move at all | the gradient norms (`gradient_norms`, Part 2) | `zero_grad` after `backward`; a loss without a gradient; an optimizer with other parameters |
# | the loss falls, but stays too high | the names in `gradient_norms`: is a block missing? | blocks in a plain list: they are not registered and never learn, only the rest does |
# | the loss is exactly 0 | which loss it is | `CrossEntropyLoss` on one channel |
# | the loss falls, the IoU stays 0 | the probabilities: `logits.sigmoid().mean()` | all is background; try Dice, or compare the mask's labels again |
# | the IoU stays at the share of pet pixels | the predictions | all is pet; the loss or the mask is upside down |
# | the loss is NaN | the epoch before | learning rate too high; a logarithm of 0; no clipping |
# | the loss jumps up and down | the learning rate, the batch size | learning rate too high, batch too small |
# | training good, validation poor from the start | `model.training` in `validate` | BatchNorm in the wrong mode |
# | training good, validation getting worse | both curves | overfitting: more data, augmentation, fewer epochs |
# | eight pictures cannot be learnt by heart | everything above | a bug; do not start a long run |
# | the masks do not lie on the animals | `show_pairs` of a batch | picture and mask were altered or resized apart |
# | "CUDA out of memory" | batch size, picture size | halve the batch, set `accumulation_steps=2` |
# | another result in each run | the seed | the seed is set once, not before each run |

# %% [markdown]
# ## The report
#
# Two to three pages about the whole lab. Write it for another student of this course, who knows what a convolution
# is but has not done this lab. Write it in the cell below, or put `report.pdf` beside the notebooks.
#
# | section | what belongs in it | points |
# |---|---|---|
# | **Method** | your network, loss and training in a few sentences: enough to repeat it. Settings, data, seed. | 3 |
# | **Results** | test IoU, Dice and boundary F1 of your best network, pooled or per image, with the learning curves | 3 |
# | **Skips and losses** | what Part 2 and the loss analysis showed, each in one table or figure, and what you conclude | 3 |
# | **Ablation** | the table, your own configuration with what you expected, and which differences you believe | 3 |
# | **Failures and limits** | two pictures that fail and why; what you would try next and what it would cost | 2 |
# | **Form** | every figure has a caption, every number says on which pictures; sources are named | 1 |
#
# A good report has few figures, and each one answers a question. A result that is poor but understood is worth
# more than a good one without a reason.

# %% [markdown] manual="report"
# **Your answer** ({{points}} points)
#
# ### BEGIN SOLUTION
# What a full report holds; the figures are the student's own.
#
# *Method.* A U-Net with the widths of `SETTINGS`, BatchNorm, transposed convolutions, one logit a pixel. Loss: half
# cross-entropy, half Dice. Adam, weight decay, ReduceLROnPlateau on the validation loss, clipping at norm 1, the
# weights of the best validation IoU kept. Kind, size and number of pictures, the 80/20 split, augmentation, seed.
#
# *Results.* One table with test values, pooled and per image, and one figure with the curves. The text says whether
# the network still improves or overfits, and that the epoch was chosen on validation pictures.
#
# *Skips and losses.* Without skips the outlines blur while the place is still right: boundary F1 falls more than IoU.
# The modes with skips lie close together; attention costs time. Losses: as in the loss analysis, and the values of
# different losses are not compared.
#
# *Ablation.* Each row is one change. An expectation was written down before. Differences are weighed against the spread
# of two seeds, and a change with fewer parameters is not only the effect of the missing part.
#
# *Failures and limits.* Typical: thin legs and tails, animals of the colour of the ground, animals cut by the frame.
# Next steps with their price: more pictures, longer training, a wider network, real pets in place of drawn ones.
# ### END SOLUTION

# %% [markdown]
# ## Hand in
#
# 1. Make sure that the training cell says `START_ANEW = False`. With `True`, the next step deletes your trained network.
# 2. Restart the kernel, run all cells, **save** all three notebooks.
# 3. Write your name between the quotes and run the cell. It puts notebooks, results and report into one zip
#    and says what is missing.
# 4. Hand in this zip, nothing else, on your course's platform.

# %%
from grader.pack import pack

NAME = ""  # for example "Ada Lovelace"

pack(NAME) if NAME else print("Write your name between the quotes above to make the zip.")
