# %% [markdown]
# # Part 4 · Bonus: more with the same blocks
#
# **This part is voluntary.** Its points come *on top* of the lab's. Whoever leaves it out loses nothing.
# You may do one task of it, or all four; each counts on its own.
#
# | task | what you write | needs |
# |---|---|---|
# | 4.1 | `UNet++`, a U-Net full of smaller U-Nets, that can be cut down after training | 1.1 |
# | 4.2 | `DeepSupervisionLoss`, a loss for all its outputs | |
# | 4.3 | `sliding_window_inference`, predictions for pictures of any size | |
# | 4.4 | `record_attention`, what the gates of a network look at | 2.3 |
#
# **How to work.** As in Parts 1 to 3: fill the `TODO`s of a task, run the cell, run the *check* cell.
# The text is shorter here, and you decide more yourself.
# The experiments between the tasks use your classes. Each says what it needs; skip those whose task you have not done.
#
# **What you need.** `01_unet.ipynb` and `02_skip_connections.ipynb`, filled in and **saved** in the same folder.
# Your `DoubleConv`, `UNet`, `AttentionGate` and `SkipUNet` are read from there.
#
# Without a GPU, all experiments together take a minute or two.

# %% [markdown]
# ## Setup
#
# Run these cells first, every time you start the notebook.

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
import os
import time

import matplotlib
import numpy as np
import torchvision
from tqdm.auto import tqdm

from data_utils import DeviceLoader, make_loaders
from grader import check
from metrics import boundary_f1, evaluate, iou
from viz import attention_viewer, draw_nested_unet, results_table, show_predictions, show_progress, show_seams

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
# Every number that decides an experiment stands in the next cell. `QUICK` is for machines without a GPU.

# %%
QUICK = device.type == "cpu"

SETTINGS = {
    "data": "pets" if os.environ.get("UNETLAB_DATA") else "synthetic",
    "size": 64 if QUICK else 128,  # pixels a side
    "count": 240 if QUICK else 2000,  # pictures; a fifth of them is for validation
    "batch_size": 8 if QUICK else 16,
    "features": [8, 16, 32] if QUICK else [32, 64, 128, 256],  # channels of the levels
    "epochs": 7 if QUICK else 25,
    "lr": 4e-3 if QUICK else 1e-3,
    "seed": SEED,
}

# %%
loaders = make_loaders(SETTINGS["data"], SETTINGS["size"], SETTINGS["batch_size"], count=SETTINGS["count"],
                       seed=SEED, device=device)
images, masks = next(iter(loaders.test))  # one batch to look at, which no network learns from
print(f"{SETTINGS['data']} pictures: {len(loaders.train.dataset)} to learn from, {len(loaders.test.dataset)} to judge by")

# %% [markdown]
# Your double convolution from Part 1. If you change it later, save that notebook and run this cell again.

# %%
from grader.mine import DoubleConv

# %% [markdown]
# ## Task 4.1 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} bonus points*
#
# **Objective.** In the U-Net a skip carries the encoder's features straight across. They know edges, but they have
# not seen much of the picture, and the decoder has to join them with features that have.
# UNet++ puts more nodes between the two, so that what is joined is more alike.
# Look at the triangle: it holds a U-Net of depth 1, one of depth 2, and so on, which share their encoder.
# So one training gives networks of several depths, and after it you may cut the deep part off.

# %%
draw_nested_unet(levels=4)

# %% [markdown]
# Each node is a `DoubleConv` of your Part 1. Call it X[i][j]: i is the level, from 0 at the top, j the place in its row.
# With L entries in `features`, the levels go from 0 to L. Level i has `features[i]` channels, and level L, the bottleneck,
# has twice the channels of the level above it, as in your `UNet`: four entries give five levels, of 64 to 1024 channels.
#
# 1. X[0][0] is a `DoubleConv` of the picture, X[i][0] one of the max-pooled X[i−1][0].
# 2. X[i][j] is a `DoubleConv` of *all* nodes before it in its row, X[i][0] to X[i][j−1], joined with the upsampled
#    X[i+1][j−1]. There is a node for every i + j ≤ L.
# 3. To upsample: a 2×2 transposed convolution with stride 2, from the channels of level i+1 to those of level i, one
#    for each node. Where sizes were odd, bring it to the size of the row.
# 4. A head is a 1×1 convolution. With `deep_supervision` there are L of them, on X[0][1] to X[0][L]; without, there is
#    one, on X[0][L].
#
# What `forward(x, depth=None)` gives:
#
# | | `depth=None` | `depth=d` |
# |---|---|---|
# | `deep_supervision=False` | logits of X[0][L] | the same for d = L, else `ValueError` |
# | `deep_supervision=True`, train mode | a list of L logits, the shallowest first | logits of X[0][d], 1 ≤ d ≤ L, else `ValueError` |
# | `deep_supervision=True`, eval mode | the mean of these L logits | logits of X[0][d], 1 ≤ d ≤ L, else `ValueError` |
#
# The logits of depth d need the nodes with i + j ≤ d and no others. Compute only those: that is what makes a cut network
# fast.
#
# **Channels** for `features=[64, 128, 256, 512]`:
#
# | node | sees | gives |
# |---|---|---|
# | X[4][0] | 512 | 1024 |
# | X[3][1] | 512 + 512 from X[4][0], upsampled | 512 |
# | X[0][1] | 64 + 64 from X[1][0], upsampled | 64 |
# | X[0][4] | 4 · 64 + 64 from X[1][3], upsampled | 64 |
#
# Source: Zhou et al., *UNet++*, 2018, [arXiv:1807.10165](https://arxiv.org/abs/1807.10165), and IEEE TMI 2020,
# [arXiv:1912.05074](https://arxiv.org/abs/1912.05074). The mean of all outputs is their *accurate mode*,
# one chosen depth their *fast mode*. They average probabilities, here it is the logits.

# %% task="4.1"
class UNetPlusPlus(nn.Module):
    """UNet++: a triangle of `DoubleConv` nodes, of which each sees all nodes before it in its row and the one below.

    Source: Zhou et al., UNet++, 2018, arXiv:1807.10165.

    Args:
        in_channels: channels of the picture.
        out_channels: channels of the logits.
        features: channels of the levels, from the top down, any length L ≥ 1; level L below them has twice the last one's.
        deep_supervision: one head on each of X[0][1] to X[0][L], in place of one on X[0][L].
        batch_norm: handed on to every node.

    Shapes:
        x: (B, in_channels, H, W), H and W ≥ 2 ** L
        logits: (B, out_channels, H, W); a list of L of them with deep supervision in train mode

    Raises:
        ValueError: `depth` is one that has no head.
    """

    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *,
                 deep_supervision=False, batch_norm=True):
        super().__init__()
        # TODO Task 4.1: build a node for every i + j ≤ L, the upsampling in front of it where j ≥ 1, and the heads.
        # A dict with a name for each node keeps them apart; which container do PyTorch's parameters need?
        ### BEGIN SOLUTION
        self.levels = len(features)
        self.deep_supervision = deep_supervision
        widths = [*features, 2 * features[-1]]
        self.nodes, self.ups = nn.ModuleDict(), nn.ModuleDict()
        for j in range(self.levels + 1):
            for i in range(self.levels + 1 - j):
                if j == 0:
                    joined = widths[i - 1] if i else in_channels
                else:
                    joined = (j + 1) * widths[i]  # j nodes of the row, and the upsampled one
                    self.ups[f"{i}_{j}"] = nn.ConvTranspose2d(widths[i + 1], widths[i], kernel_size=2, stride=2)
                self.nodes[f"{i}_{j}"] = DoubleConv(joined, widths[i], batch_norm=batch_norm)
        depths = range(1, self.levels + 1) if deep_supervision else [self.levels]
        self.heads = nn.ModuleDict({str(depth): nn.Conv2d(widths[0], out_channels, kernel_size=1) for depth in depths})
        ### END SOLUTION

    def forward(self, x, depth=None):
        # TODO Task 4.1: compute the nodes that depth needs, column by column, and give what the table says.
        # In which order can the nodes be computed?
        ### BEGIN SOLUTION
        deepest = self.levels if depth is None else depth
        if str(deepest) not in self.heads:
            raise ValueError(f"no head at depth {depth}; there are {', '.join(self.heads)}")
        rows = []  # rows[i][j] is X[i][j]
        for i in range(deepest + 1):
            x = self.nodes[f"{i}_0"](F.max_pool2d(x, 2) if i else x)
            rows.append([x])  # (B, widths[i], H / 2^i, W / 2^i)
        for j in range(1, deepest + 1):
            for i in range(deepest + 1 - j):
                rows[i].append(self._node(i, j, rows))
        if depth is not None or not self.deep_supervision:
            return self.heads[str(deepest)](rows[0][deepest])  # (B, out_channels, H, W)
        logits = [self.heads[str(d)](rows[0][d]) for d in range(1, deepest + 1)]
        return logits if self.training else torch.stack(logits).mean(dim=0)

    def _node(self, i, j, rows):
        """X[i][j] of the nodes before it."""
        up = self.ups[f"{i}_{j}"](rows[i + 1][j - 1])
        missing_rows, missing_columns = (rows[i][0].shape[side] - up.shape[side] for side in (-2, -1))
        up = F.pad(up, (0, missing_columns, 0, missing_rows), mode="replicate")  # one short where pooling rounded down
        return self.nodes[f"{i}_{j}"](torch.cat([*rows[i], up], dim=1))
        ### END SOLUTION

# %% [markdown]
# Try it. You should see 9,041,601 parameters, for pictures of one channel: the paper says 9.04 million for its
# network of these widths, which has no BatchNorm. Then three lines with `(2, 1, 50, 70)`.

# %%
model = UNetPlusPlus(in_channels=1, features=[32, 64, 128, 256], batch_norm=False)
print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters")

model = UNetPlusPlus(features=[8, 16, 32], deep_supervision=True)
for depth, logits in enumerate(model(torch.rand(2, 3, 50, 70)), start=1):
    print(f"depth {depth}: logits {tuple(logits.shape)}")

# %% check="4.1"
check("4.1")

# %% [markdown]
# **What can go wrong**
#
# * *A `KeyError`, or a node that is not there yet*: X[i][j] needs X[i+1][j−1], so finish a column before the next one.
# * *"expected input[…] to have … channels"*: count what a node sees. j nodes of its own row, and one from below.
# * *Only the last node of the row is joined*: that is UNet+, which the authors of UNet++ compare it with. Here all nodes of the row are joined.
# * *Parameters that never learn*: without deep supervision there is one head, and no node is left out.
# * *The cut network is as slow as the full one*: all nodes were computed, and then one was chosen.
# * *A name with a dot*: `nn.ModuleDict` does not take "0.1" as a name.

# %% [markdown]
# ## Task 4.2 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} bonus points*
#
# **Objective.** A network with several outputs needs a loss for all of them. Every output is compared with the same mask.
# So the shallow nodes get a gradient straight from the mask, and each depth learns to stand on its own.
#
# With outputs $o_1 … o_L$, weights $w_1 … w_L$ and any loss ℓ:
#
# $$\text{loss} = \frac{\sum_k w_k\,\ell(o_k, y)}{\sum_k w_k}$$
#
# 1. One tensor in place of a list: that is `criterion(outputs, target)`, whatever the weights. Networks in eval mode
#    give this.
# 2. `weights=None` weighs all outputs alike. Other lengths than that of the list: `ValueError`.
# 3. Some networks give small outputs at deep levels. Where height and width differ from the target's, bring the *logits*
#    to the target's size, bilinear. Never shrink the mask: its thin legs would be gone.
# 4. The criterion's value for each output, times its weight, summed, divided by the sum of the weights.
#
# Source: Lee et al., *Deeply-Supervised Nets*, 2015, [arXiv:1409.5185](https://arxiv.org/abs/1409.5185).

# %% task="4.2"
class DeepSupervisionLoss(nn.Module):
    """The weighted mean of a loss over all outputs of a network.

    Args:
        criterion: called as `criterion(logits, target)`; returns a 0-d tensor.
        weights: one number an output, a list or tuple that is not changed; `None` weighs all alike.

    Shapes:
        outputs: a list or tuple of logits (B, C, h, w), resized bilinearly to the target's H and W, or one such tensor
        target: (B, C, H, W); returns a 0-d tensor

    Raises:
        ValueError: there are not as many weights as outputs.
    """

    def __init__(self, criterion, weights=None):
        super().__init__()
        # TODO Task 4.2: keep what forward needs.
        ### BEGIN SOLUTION
        self.loss = criterion
        self.weights = weights
        ### END SOLUTION

    def forward(self, outputs, target):
        # TODO Task 4.2: one tensor or many? Then sizes, losses, weighted mean.
        ### BEGIN SOLUTION
        if isinstance(outputs, torch.Tensor):
            return self.loss(outputs, target)
        weights = [1.0] * len(outputs) if self.weights is None else self.weights
        if len(outputs) != len(weights):
            raise ValueError(f"{len(weights)} weights for {len(outputs)} outputs")
        total = 0.0
        for weight, logits in zip(weights, outputs):
            if logits.shape[-2:] != target.shape[-2:]:
                logits = F.interpolate(logits, size=target.shape[-2:], mode="bilinear", align_corners=False)
            total = total + weight * self.loss(logits, target)
        return total / sum(weights)
        ### END SOLUTION

# %% [markdown]
# Try it. Logits of 0 have a cross-entropy of log 2 = 0.693, right and sure ones about 0. You should see 0.693, 0.347 and
# 0.173.

# %%
mask = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])  # (1, 1, 2, 2)
undecided, right = torch.zeros_like(mask), 200 * mask - 100
print(f"one tensor:    {DeepSupervisionLoss(nn.BCEWithLogitsLoss())(undecided, mask):.3f}")
print(f"all alike:     {DeepSupervisionLoss(nn.BCEWithLogitsLoss())([undecided, right], mask):.3f}")
print(f"weights 1, 3:  {DeepSupervisionLoss(nn.BCEWithLogitsLoss(), weights=[1, 3])([undecided, right], mask):.3f}")

# %% check="4.2"
check("4.2")

# %% [markdown]
# **What can go wrong**
#
# * *`isinstance(outputs, list)`*: a tuple is a list of outputs, too.
# * *The sum in place of the mean*: with four outputs the loss, and each step of the training, is four times as large.
# * *`zip` stops at the shorter one*: a forgotten weight goes unnoticed, unless you compare the lengths.
# * *The mask is resized to the logits*: the loss then asks for a mask that nobody has drawn.
# * *The criterion is called on probabilities*: it wants logits, as they come.

# %% [markdown]
# ### Experiment: does deep supervision help?
#
# *Needs 4.1 and 4.2, and `UNet` from Part 1.* Three networks, the same pictures, the same seed, a plain training.
# UNet++ has more parameters than the U-Net of the same widths, so compare the first row with care.
# Before you run it: what do you expect of the shallow depths, and which row needs most time?

# %%
from grader.mine import UNet


def short_training(model, loss, settings):
    """Train on `loaders.train` with Adam and any loss of (outputs, masks); returns the seconds an epoch took at least."""
    options = {"shuffle": True, "augment": False, "seed": settings["seed"], "device": device}
    train = DeviceLoader(loaders.train.dataset, settings["batch_size"], **options)  # the same order for every network
    optimizer = torch.optim.Adam(model.parameters(), lr=settings["lr"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings["lr"], settings["epochs"] * len(train))
    seconds = []
    for _ in tqdm(range(settings["epochs"]), unit="epoch", leave=False):
        start = time.perf_counter()
        model.train()
        for pictures, truth in train:
            optimizer.zero_grad()
            loss(model(pictures), truth).backward()
            optimizer.step()
            schedule.step()
        seconds.append(time.perf_counter() - start)
    model.eval()
    return min(seconds)


plain, deep = nn.BCEWithLogitsLoss(), DeepSupervisionLoss(nn.BCEWithLogitsLoss())
recipes = {
    "U-Net": (lambda: UNet(features=SETTINGS["features"]), plain),
    "UNet++": (lambda: UNetPlusPlus(features=SETTINGS["features"]), plain),
    "UNet++, deep supervision": (lambda: UNetPlusPlus(features=SETTINGS["features"], deep_supervision=True), deep),
}
trained, rows = {}, []
for name, (build, loss) in recipes.items():
    torch.manual_seed(SEED)
    trained[name] = build().to(device)
    seconds = short_training(trained[name], loss, SETTINGS)
    scores = evaluate(trained[name], loaders.test, device)
    parameters = sum(parameter.numel() for parameter in trained[name].parameters())
    rows.append({"network": name, "IoU": scores["iou"], "boundary F1": scores["boundary_f1"],
                 "parameters": parameters, "seconds an epoch": seconds})
results_table(rows, best={"IoU": max, "boundary F1": max, "parameters": min, "seconds an epoch": min})

# %% [markdown]
# ### Experiment: cut the network down
#
# *Needs the experiment above.* One trained network, several depths, and nothing is trained again.
# The last row is the mean of all outputs.

# %%
class AtDepth(nn.Module):
    """A UNet++ that is cut down to one depth; `None` keeps all of it."""

    def __init__(self, model, depth):
        super().__init__()
        self.model, self.depth = model, depth

    def forward(self, x):
        return self.model(x, self.depth)


def milliseconds(model, pictures, repeats=8):
    """Time of one forward pass, the fastest of some: other programs can only make it slower."""
    times = []
    with torch.no_grad():
        for _ in range(repeats):
            start = time.perf_counter()
            model(pictures).sum().item()  # .item() waits for the GPU
            times.append(time.perf_counter() - start)
    return 1000 * min(times)


nested = trained["UNet++, deep supervision"]
cut = {f"depth {depth}": AtDepth(nested, depth).eval() for depth in range(1, len(SETTINGS["features"]) + 1)}
cut["mean of all"] = AtDepth(nested, None).eval()
rows = []
for name, model in cut.items():
    scores = evaluate(model, loaders.test, device)
    rows.append({"output": name, "IoU": scores["iou"], "boundary F1": scores["boundary_f1"],
                 "ms a batch": milliseconds(model, images)})
results_table(rows, best={"IoU": max, "boundary F1": max, "ms a batch": min})

# %%
with torch.no_grad():
    logits = {name: model(images) for name, model in cut.items()}
show_progress(logits, images, masks, count=3)

# %% [markdown]
# What does depth 1 see of the picture, and what does it miss? From which depth on is more not worth its time?

# %% [markdown]
# ## Task 4.3 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} bonus points*
#
# **Objective.** A satellite picture or a slide under a microscope has 10,000 pixels a side and fits into no GPU.
# So the network sees one window at a time, and the answers are put together. The U-Net paper calls it *overlap-tile*.
#
# At the border of a window the network sees only half of what surrounds a pixel, so its answers are poor there.
# Windows that overlap, and weights that trust the middle of a window more, hide the seams.
#
# 1. **Where windows begin**, along each axis: every `stride` pixels, stride = `max(1, round(window · (1 − overlap)))`.
#    The last one would stick out, so it is moved back until it ends with the picture.
# 2. **Weights** of a window, all greater than 0: `"constant"`, all 1. `"gaussian"`: along each axis
#    exp(−½ ((k − c) / σ)²) with c = (window − 1) / 2 and σ = window / 8; the weight of a pixel is that of its row
#    times that of its column.
# 3. A picture that is smaller than the window is padded to its size: mirrored (`reflect`) where that is possible, else with
#    its border repeated (`replicate`). In the end the answer is cut back.
# 4. Cut out the windows, of all pictures of the batch. Give at most `batch_size` of them at a time to `predict`.
# 5. Add up weight · answer, and the weights, where each window lies. Divide at the end. Add in float32 at least.
# 6. This is inference: no gradients are recorded.
#
# | tensor | shape |
# |---|---|
# | image | (B, C, H, W) |
# | what `predict` gets | (at most `batch_size`, C, h, w) |
# | what `predict` gives | (as many, K, h, w) |
# | result | (B, K, H, W) |
#
# For a side of 20 pixels, a window of 8 and an overlap of 0.5, windows begin at 0, 4, 8 and 12. With a side of 21,
# there is a last one at 13.
#
# Sources: Ronneberger et al. 2015, [arXiv:1505.04597](https://arxiv.org/abs/1505.04597), Figure 2; the Gaussian weights
# are those of Isensee et al., *nnU-Net*, 2021, [arXiv:1904.08128](https://arxiv.org/abs/1904.08128).

# %% task="4.3"
def window_starts(length, window, overlap):
    """Where windows begin along an axis of `length` ≥ `window` pixels, the last one flush with the end; a list of ints."""
    # TODO Task 4.3: every stride pixels, as long as a window fits; is the end of the axis covered?
    ### BEGIN SOLUTION
    stride = max(1, round(window * (1 - overlap)))
    starts = list(range(0, length - window + 1, stride))
    return starts if starts[-1] == length - window else [*starts, length - window]
    ### END SOLUTION


def window_weights(height, width, mode):
    """The weights (height, width) of a window's pixels: 1 for "constant", a bell for "gaussian"; ValueError for another mode."""
    # TODO Task 4.3: one curve for the rows, one for the columns, and their product.
    ### BEGIN SOLUTION
    if mode == "constant":
        return torch.ones(height, width)
    if mode != "gaussian":
        raise ValueError(f'mode is "constant" or "gaussian", not {mode!r}')

    def bell(side):
        return torch.exp(-0.5 * ((torch.arange(side) - (side - 1) / 2) / (side / 8)) ** 2)

    return bell(height)[:, None] * bell(width)[None, :]  # at least exp(-16), so never 0
    ### END SOLUTION


def padded(image, height, width):
    """The picture with at least this height and width, more to the right and below: mirrored where possible, else repeated."""
    # TODO Task 4.3: torch.nn.functional.pad with mode="reflect" needs a picture with more pixels than it adds on a side.
    ### BEGIN SOLUTION
    rows, columns = max(0, height - image.shape[-2]), max(0, width - image.shape[-1])
    fits = rows < image.shape[-2] and columns < image.shape[-1]
    return F.pad(image, (0, columns, 0, rows), mode="reflect" if fits else "replicate")
    ### END SOLUTION


def sliding_window_inference(predict, image, window=200, overlap=0.5, mode="gaussian", *, batch_size=4):
    """Predictions for pictures of any size, put together from windows.

    Sources: Ronneberger et al. 2015 (overlap-tile); Isensee et al., nnU-Net, 2021 (Gaussian weights).

    Args:
        predict: any callable, such as a network in eval mode: (n, C, h, w) → (n, K, h, w).
        image: (B, C, H, W), any H and W.
        window: height and width of the windows in pixels, one int or a pair (h, w).
        overlap: share of a window that the next one covers too, 0 ≤ overlap < 1.
        mode: "constant" or "gaussian", how much each pixel of a window counts.
        batch_size: windows that go to `predict` at a time.

    Returns:
        (B, K, H, W), at least float32, without gradients

    Raises:
        ValueError: overlap outside [0, 1), or an unknown mode.
    """
    # TODO Task 4.3: check the arguments, pad, cut, predict in groups, add up, divide, cut back.
    ### BEGIN SOLUTION
    if not 0 <= overlap < 1:
        raise ValueError(f"0 ≤ overlap < 1 is needed, not {overlap}")
    h, w = (window, window) if isinstance(window, int) else window
    weights = window_weights(h, w, mode).to(image.device)
    large = padded(image, h, w)
    rows, columns = window_starts(large.shape[-2], h, overlap), window_starts(large.shape[-1], w, overlap)
    places = [(n, top, left) for n in range(len(image)) for top in rows for left in columns]
    total, weight_sum = None, None
    for first in range(0, len(places), batch_size):
        group = places[first : first + batch_size]
        with torch.no_grad():
            answers = predict(torch.stack([large[n, :, top : top + h, left : left + w] for n, top, left in group]))
        if total is None:
            dtype = torch.promote_types(answers.dtype, torch.float32)
            total = answers.new_zeros(len(large), answers.shape[1], *large.shape[-2:], dtype=dtype)
            weight_sum = torch.zeros_like(total[:, :1])
        for (n, top, left), answer in zip(group, answers):
            total[n, :, top : top + h, left : left + w] += weights * answer
            weight_sum[n, :, top : top + h, left : left + w] += weights
    return (total / weight_sum)[..., : image.shape[-2], : image.shape[-1]]
    ### END SOLUTION

# %% [markdown]
# Try it. `predict` is here a function that doubles each pixel, so the windows must not show: you should see
# `(1, 3, 50, 70)`, and a largest difference of about 0.0000005. Then the number of windows for three overlaps: 4, 6, 8.

# %%
picture = torch.rand(1, 3, 50, 70)
doubled = sliding_window_inference(lambda windows: 2 * windows, picture, window=32, overlap=0.5)
print("result", tuple(doubled.shape), f"largest difference {(doubled - 2 * picture).abs().max():.7f}")
for overlap in (0, 0.5, 0.75):
    windows = len(window_starts(50, 40, overlap)) * len(window_starts(70, 40, overlap))
    print(f"overlap {overlap}: {windows} windows of 40×40")

# %% check="4.3"
check("4.3")

# %% [markdown]
# **What can go wrong**
#
# * *The right or lower border stays 0, or NaN*: no window ends there. The last one is moved back, not left out.
# * *One window too many*: where a window ends with the picture by itself, it is not taken twice.
# * *The result is right for one window only*: the weights have to be summed up, too, and divided by.
# * *A strange frame around small pictures*: zeros were padded. A network has never seen black borders.
# * *Memory grows with the picture*: all windows in one batch, or a graph that nobody needs. Where do gradients begin?
# * *float16 answers*: many small numbers are added up. float16 keeps three digits.

# %% [markdown]
# ### Experiment: a large picture
#
# *Needs 4.3 and a trained network of the experiments above.* One large picture, put together from test pictures and cut
# so that no window meets one of them exactly. The network has learnt pictures of the size of one window.
#
# * **whole picture**: the network sees all of it at once. This one still fits into memory.
# * **windows**: without overlap, and with half of it, with both kinds of weights.
#
# Before you run it: the whole picture has no seams. Will it be the best?

# %%
model = trained["U-Net"]  # or another one of yours, in eval mode
size, across = SETTINGS["size"], 4
pictures, truths = (torch.cat(parts) for parts in zip(*loaders.test))


def sheet(tiles):
    """12 pictures as one large one: (12, C, H, W) → (1, C, 3·H, 4·W)."""
    lines = [torch.cat(list(tiles[first : first + across]), dim=-1) for first in range(0, 12, across)]
    return torch.cat(lines, dim=-2)[None]


window, cut_off = size, size // 3
large, truth = (sheet(tiles[:12])[..., cut_off:, cut_off:] for tiles in (pictures, truths))
ways = {
    "whole picture": lambda: model(large),
    "no overlap": lambda: sliding_window_inference(model, large, window, 0.0, "constant"),
    "half, constant": lambda: sliding_window_inference(model, large, window, 0.5, "constant"),
    "half, gaussian": lambda: sliding_window_inference(model, large, window, 0.5, "gaussian"),
}
answers, rows = {}, []
for name, way in ways.items():
    start = time.perf_counter()
    with torch.no_grad():
        answers[name] = way()
    seconds = time.perf_counter() - start
    predicted = (answers[name] > 0).float()
    rows.append({"prediction": name, "IoU": float(iou(predicted, truth)),
                 "boundary F1": float(boundary_f1(predicted, truth)), "seconds": seconds})
results_table(rows, best={"IoU": max, "boundary F1": max, "seconds": min})

# %%
show_seams(large, answers, window=window)

# %% [markdown]
# The lower row shows how far each one is from the whole picture's answer. Where do you see the windows' borders, and what
# do the Gaussian weights change? What does the overlap cost?
# And why may the whole picture be worse than its windows? Think of what the network has seen in training, and of the
# border, where the convolutions meet zeros: in a picture of the training's size, no pixel is far from it.

# %% [markdown]
# ## Task 4.4 · {{title}}
#
# *Difficulty: {{difficulty}} · about {{minutes}} minutes · {{points}} bonus points*
#
# **Objective.** Find out what the gates of a network look at, without changing a line of the network.
# PyTorch calls a *forward hook* each time a module has run: `module.register_forward_hook(hook)`, with
# `hook(module, inputs, output)`. It returns a handle, and `handle.remove()` takes the hook away.
#
# 1. Hook every `AttentionGate` in the model. When a gate has run, keep its α (`module.alpha`), right then.
# 2. Run the model once on the pictures, in eval mode, without gradients.
# 3. Return a dict: name of the gate in the model (as in `model.named_modules()`) → its α, resized bilinearly to the
#    height and width of the pictures, (B, 1, H, W). In the order in which the gates ran. A gate that did not run is
#    not in it.
# 4. Leave all as it was, **even if the model's forward raises an error**: no hook of yours stays, those of others do, every
#    module is in the mode, train or eval, that it had, and gradients are on again. (A part may be frozen in eval mode
#    while the rest trains.)
#
# In Part 2, `attention_maps` only read `.alpha` after a forward pass. It could not see that a gate had not run at all,
# and that its α was that of an older picture.

# %% task="4.4"
def record_attention(model, pictures):
    """α of every `AttentionGate` that runs when the model sees the pictures; the model stays as it was.

    Args:
        model: any `nn.Module` with `AttentionGate`s somewhere in it.
        pictures: (B, C, H, W).

    Returns:
        dict of gate's name in the model → (B, 1, H, W) in [0, 1], without gradients, in the order in which they ran
    """
    # TODO Task 4.4: names, hooks, modes; run; and what must happen whatever the run does?
    ### BEGIN SOLUTION
    gates = {module: name for name, module in model.named_modules() if isinstance(module, AttentionGate)}
    before = [(part, part.training) for part in model.modules()]
    size, maps = pictures.shape[-2:], {}

    def keep(gate, inputs, output):
        alpha = gate.alpha.detach()
        maps[gates[gate]] = F.interpolate(alpha, size=size, mode="bilinear", align_corners=False)

    hooks = [gate.register_forward_hook(keep) for gate in gates]
    try:
        with torch.set_grad_enabled(False):
            model.eval()(pictures)
    finally:
        for hook in hooks:
            hook.remove()
        for part, mode in before:
            part.training = mode
    return maps
    ### END SOLUTION

# %% [markdown]
# Try it on an untrained network of your Part 2. You should see three gates from the bottom up, each with `(2, 1, 50, 70)`,
# and then `True 0`: the network is in train mode as before, and there are no hooks.

# %%
from grader.mine import AttentionGate, SkipUNet

model = SkipUNet(features=(8, 16, 32), skip="attention")
for name, alpha in record_attention(model, torch.rand(2, 3, 50, 70)).items():
    print(name, tuple(alpha.shape), f"from {alpha.min():.2f} to {alpha.max():.2f}")
print(model.training, sum(len(module._forward_hooks) for module in model.modules()))

# %% check="4.4"
check("4.4")

# %% [markdown]
# **What can go wrong**
#
# * *Nothing is recorded*: the hook was registered after the forward pass, or on the class in place of the module.
# * *The network is slower and slower*: each call leaves its hooks behind.
# * *An error on the way, and the next training is poor*: the lines that clean up were never reached. Python has a word for
#   "whatever happens".
# * *`model.train(was_training)` at the end*: it sets every part of the model, frozen ones as well.
# * *The same map for all gates*: the hooks share a variable of the loop, and see its last value.

# %% [markdown]
# ### Experiment: watch the gates
#
# *Needs 4.4 and Part 2.* A short training of the network with gates, then the maps. Move the sliders: which level looks at what?
# The threshold hides what a gate lets through less than that.

# %%
torch.manual_seed(SEED)
gated = SkipUNet(features=SETTINGS["features"], skip="attention").to(device)
short_training(gated, nn.BCEWithLogitsLoss(), SETTINGS)
maps = record_attention(gated, images)
attention_viewer(images, maps)

# %% [markdown]
# ## Hand in
#
# Save this notebook beside the other three. The last cell of `03_losses_and_training.ipynb` packs it with them.
# What is not filled in costs nothing.
