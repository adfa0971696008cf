# %% [markdown]
# # Part 5 · Other networks: FCN, residual and attention U-Nets
#
# **Nothing here is handed in or marked, and there is no TODO.** It is a tour with experiments: run a cell, look, change a
# number, run it again. The questions are for a discussion.
#
# 1. **FCN.** The network before the U-Net: how it gets from a coarse map back to pixels, in three stages.
#    On street scenes with eleven classes where CamVid is at hand, else on drawn animals with five.
# 2. **Frozen or fine-tuned?** What a pretrained backbone is worth, and which part of it should learn.
# 3. **Residual blocks and gates.** Your U-Net, the same without skips, with residual blocks, and with both.
#
# **What you need.** Your `UNet`, `SkipUNet` and `gradient_norms`, in `01_unet.ipynb` and `02_skip_connections.ipynb`,
# filled in and **saved** in the same folder. The other networks are in the folder `networks/`, to be read: each is as
# long as yours.
#
# Without a GPU, all experiments together take about three minutes.

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

# %%
import os
import time

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from tqdm.auto import tqdm

from data_utils import CLASSES, DeviceLoader, make_loaders
from metrics import evaluate, evaluate_classes, labels_from, mean_iou
from networks import AttentionResidualUNet, FCN8s, FCN16s, FCN32s, ResidualUNet, bilinear_kernel
from viz import compare_histories, plot_gradient_flow, results_table, show_classes, show_predictions

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
# Every number that decides an experiment stands in the next cell. `QUICK` is for machines without a GPU: the networks are
# small and begin with random weights.
# Otherwise the FCNs begin with VGG16's ImageNet weights, which torchvision fetches once (528 MB).

# %%
QUICK = device.type == "cpu"

SETTINGS = {  # of the first two experiments
    "size": (60, 80) if QUICK else (180, 240),  # height and width of street scenes, in pixels; drawn animals are 96 × 96
    "count": 200 if QUICK else None,  # pictures to learn from and to validate on; None: all
    "batch_size": 8,
    "width": 12 if QUICK else 64,  # channels of VGG16's first layers; 64 is the original
    "hidden": 128 if QUICK else 4096,  # of its classifier
    "pretrained": not QUICK,
    "epochs": 8 if QUICK else 15,  # of each stage
    "lr": 2e-3 if QUICK else 1e-4,
    "seed": SEED,
}
UNETS = {  # of the third one
    "data": "pets" if os.environ.get("UNETLAB_DATA") else "synthetic",
    "size": 64 if QUICK else 128,
    "count": 240 if QUICK else 2000,
    "batch_size": 8 if QUICK else 16,
    "features": [8, 16, 32] if QUICK else [32, 64, 128, 256],
    "epochs": 6 if QUICK else 25,
    "lr": 4e-3 if QUICK else 1e-3,
    "seed": SEED,
}

# %% [markdown]
# CamVid is not fetched for you: set `UNETLAB_DATA` to a folder that holds it, before you start Jupyter.

# %%
def open_classes(settings):
    """Loaders with many classes, and the name of what they hold: CamVid where it is at hand, else drawn animals."""
    options = {"count": settings["count"], "seed": settings["seed"], "device": device}
    try:
        return make_loaders("camvid", settings["size"], settings["batch_size"], **options), "camvid"
    except FileNotFoundError as problem:
        print(f"No CamVid, so the classes are the parts of drawn animals. ({str(problem).splitlines()[0]})")
        return make_loaders("parts", 96, settings["batch_size"], **options), "parts"


streets, source = open_classes(SETTINGS)
NAMES, IGNORE = CLASSES[source]
pictures, labels = next(iter(streets.test))
print(f"{source}: {len(streets.train.dataset)} pictures to learn from, {len(streets.test.dataset)} to judge by, "
      f"{len(NAMES)} classes: {', '.join(NAMES)}")
show_classes(pictures, labels, {}, NAMES, IGNORE, count=3)

# %% [markdown]
# ## 1 · From coarse to fine: FCN-32s, FCN-16s, FCN-8s
#
# A classifier such as VGG16 ends with *one* answer for a picture, from a map 32 times smaller than it. Long, Shelhamer
# and Darrell ([arXiv:1411.4038](https://arxiv.org/abs/1411.4038)) turned its last layers into convolutions. Now the map
# holds an answer for every 32nd pixel, and a *transposed convolution* enlarges it.
#
# | network | from | enlarged by |
# |---|---|---|
# | FCN-32s | scores at 1/32 | 32 |
# | FCN-16s | these, enlarged by 2, **plus** scores of the fourth pool | 16 |
# | FCN-8s | these, enlarged by 2, **plus** scores of the third pool | 8 |
#
# Compare with your U-Net: there are skips, too. But they carry one number a class, and they are *added*.
#
# **How much is lost by being coarse?** Take the true classes, shrink them by a factor, enlarge them bilinearly, and
# compare with the truth. A network that answers on so coarse a map will hardly do better on these pictures.

# %%
def coarse_and_back(labels, factor, classes):
    """Class numbers (B, H, W) after their shares were averaged over factor × factor pixels and enlarged again."""
    shares = F.one_hot(labels, classes + 1)[..., :classes]  # (B, H, W, classes); what is not labelled is none of them
    shares = shares.permute(0, 3, 1, 2).float()
    small = F.adaptive_avg_pool2d(shares, [max(1, round(side / factor)) for side in labels.shape[1:]])
    return F.interpolate(small, labels.shape[1:], mode="bilinear", align_corners=False).argmax(1)


for factor in (32, 16, 8, 4, 2):
    score = mean_iou(coarse_and_back(labels, factor, len(NAMES)), labels, len(NAMES), ignore_index=IGNORE)
    print(f"1/{factor:<3} mIoU of the truth itself {score:.3f}")

# %%
coarse = {f"1/{factor}": coarse_and_back(labels, factor, len(NAMES)) for factor in (32, 16, 8)}
show_classes(pictures, labels, coarse, NAMES, IGNORE, count=3)

# %% [markdown]
# **What a transposed convolution begins with.** Each number of the small map is spread over the large one, in the shape of
# the kernel, and what overlaps is added. With a tent as kernel this is bilinear enlargement; from there it may learn.
# Below: the kernels for the factors 2, 8 and 32, and the enlargement of one single 1.

# %%
figure, axes = plt.subplots(1, 4, figsize=(11, 2.8), layout="constrained")
for panel, factor in zip(axes, (2, 8, 32)):
    panel.imshow(bilinear_kernel(1, factor)[0, 0], vmin=0, vmax=1)
    panel.set_title(f"factor {factor}: {2 * factor}×{2 * factor}")
one = torch.zeros(1, 1, 5, 5)
one[..., 2, 2] = 1
large = F.conv_transpose2d(one, bilinear_kernel(1, 8), stride=8, padding=4)
axes[3].imshow(large[0, 0], vmin=0, vmax=1)
axes[3].set_title("one 1 in 5×5, enlarged by 8")
difference = (large - F.interpolate(one, scale_factor=8, mode="bilinear", align_corners=False)).abs().max()
print(f"largest difference from F.interpolate: {difference:.7f}")

# %% [markdown]
# **Three stages.** As in the paper: train FCN-32s; begin FCN-16s with its weights and train on; then FCN-8s with those.
# The new scores begin at 0, so each stage begins exactly where the last one ended, apart from the enlargement.
# The last row is an FCN-8s that was trained at once, for as many epochs as the three stages together.
# Before you run it: which classes will gain from 32s to 8s, which not?

# %%
def train_on(data, model, loss, settings, epochs, validate):
    """Train with Adam and one-cycle; returns the history: the mean loss and `validate(model)` of every epoch."""
    options = {"shuffle": True, "augment": "flip", "seed": settings["seed"], "device": device}
    batches = DeviceLoader(data.train.dataset, settings["batch_size"], **options)  # the same order for every network
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(learning, lr=settings["lr"])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings["lr"], epochs * len(batches))
    history = {"train_loss": [], "val_iou": []}
    for _ in tqdm(range(epochs), unit="epoch", leave=False):
        model.train()
        losses = []
        for batch, truth in batches:
            optimizer.zero_grad()
            error = loss(model(batch), truth)
            error.backward()
            optimizer.step()
            schedule.step()
            losses.append(error.detach())
        history["train_loss"].append(torch.stack(losses).mean().item())
        history["val_iou"].append(validate(model))
    model.eval()
    return history


def class_scores(model, part):
    """mIoU, IoU of each class and more, on one part of the pictures with classes."""
    return evaluate_classes(model, getattr(streets, part), device, len(NAMES), IGNORE)


def train_fcn(kind, epochs, begin_with=None, *, pretrained=False, frozen=False):
    """An FCN of this kind, trained; it begins with a coarser one's weights, with ImageNet's, or with random ones."""
    torch.manual_seed(SEED)
    sizes = {"width": SETTINGS["width"], "hidden": SETTINGS["hidden"]}
    model = kind(out_channels=len(NAMES), pretrained=pretrained, frozen=frozen, **sizes)
    if begin_with is not None:
        model.load_coarser(begin_with)
    loss = nn.CrossEntropyLoss(ignore_index=-100 if IGNORE is None else IGNORE)
    start = time.perf_counter()
    history = train_on(streets, model.to(device), loss, SETTINGS, epochs, lambda m: class_scores(m, "val")["mean_iou"])
    return model, history, time.perf_counter() - start


fcns, curves, seconds, epochs = {}, {}, {}, SETTINGS["epochs"]
for name, kind, before, length in [
    ("FCN-32s", FCN32s, None, epochs),
    ("FCN-16s", FCN16s, "FCN-32s", epochs),
    ("FCN-8s", FCN8s, "FCN-16s", epochs),
    ("FCN-8s, at once", FCN8s, None, 3 * epochs),
]:
    fetched = SETTINGS["pretrained"] and before is None
    fcns[name], curves[name], seconds[name] = train_fcn(kind, length, fcns.get(before), pretrained=fetched)

# %%
def class_table(models, taken):
    """One row a network: mIoU over all classes, the IoU of each class, and seconds of training."""
    rows = []
    for name, network in models.items():
        found = class_scores(network, "test")
        per_class = dict(zip(NAMES, found["iou_per_class"]))
        rows.append({"network": name, "mIoU": found["mean_iou"], **per_class, "seconds": taken[name]})
    return results_table(rows, precision=2, best={"mIoU": max, **{name: max for name in NAMES}})


class_table(fcns, seconds)

# %%
with torch.no_grad():
    answers = {name: labels_from(model(pictures)) for name, model in fcns.items()}
show_classes(pictures, labels, answers, NAMES, IGNORE, count=3)

# %%
compare_histories(curves, "val_iou", "Validation mIoU, stage by stage")

# %% [markdown]
# Did the enlargement learn? How far each network's last kernel is from the bilinear one it began with, and how much of
# that is *between* classes, where bilinear kernels are 0:

# %%
for name, model in fcns.items():
    kernel = getattr(model, f"enlarge_{model.stride}").weight.detach().cpu()
    moved = kernel - bilinear_kernel(len(NAMES), model.stride)
    between = moved * (1 - torch.eye(len(NAMES)))[:, :, None, None]
    share = between.norm() ** 2 / moved.norm() ** 2
    print(f"{name:<16} moved by {moved.norm() / (kernel - moved).norm():.1%}, {share:.0%} of it between classes")

# %% [markdown]
# ## 2 · Frozen or fine-tuned?
#
# A *frozen* backbone keeps its weights; only scores and enlargements learn. That is quicker, needs less memory, and cannot
# forget. A *fine-tuned* one learns as a whole, at a low rate.
# The backbone here is VGG16's of ImageNet where `pretrained` is set. Else it is that of your FCN-32s above: it has learnt
# the same classes, but for coarse answers. All three FCN-8s see the same pictures, equally long; but a backbone of FCN-32s
# has seen them in that training already.

# %%
backbone = {"pretrained": True} if SETTINGS["pretrained"] else {"begin_with": fcns["FCN-32s"]}
tuned = {
    "frozen": train_fcn(FCN8s, epochs, **backbone, frozen=True),
    "fine-tuned": train_fcn(FCN8s, epochs, **backbone),
    "from scratch": train_fcn(FCN8s, epochs),
}

for name, (model, _, _) in tuned.items():
    learning = sum(each.numel() for each in model.parameters() if each.requires_grad)
    print(f"{name:<13} {learning:>11,} of {sum(each.numel() for each in model.parameters()):,} parameters learn")
class_table({name: model for name, (model, _, _) in tuned.items()}, {name: each[2] for name, each in tuned.items()})

# %%
compare_histories({name: history for name, (_, history, _) in tuned.items()}, "val_iou", "Validation mIoU")

# %% [markdown]
# ## 3 · Skips, residual blocks, gates
#
# Four networks of the same widths, on the lab's own task, pet or not:
#
# | network | what is in it |
# |---|---|
# | standard | your `UNet` |
# | no skips | your `SkipUNet(skip="none")`: the decoder sees the level below and nothing else |
# | residual | `ResidualUNet`: x + f(x) in every block ([arXiv:1711.10684](https://arxiv.org/abs/1711.10684)) |
# | attention residual | the same, with a gate on every skip ([arXiv:1804.03999](https://arxiv.org/abs/1804.03999)) |
#
# Residual blocks and skip connections are different things, though both are called skips: one jumps over two
# convolutions, the other over the whole depth of the network.

# %%
from grader.mine import SkipUNet, UNet, gradient_norms

pets = make_loaders(UNETS["data"], UNETS["size"], UNETS["batch_size"], count=UNETS["count"], seed=SEED, device=device)
photos, masks = next(iter(pets.test))
RECIPES = {
    "standard": lambda: UNet(features=UNETS["features"]),
    "no skips": lambda: SkipUNet(features=UNETS["features"], skip="none"),
    "residual": lambda: ResidualUNet(features=UNETS["features"]),
    "attention residual": lambda: AttentionResidualUNet(features=UNETS["features"]),
}
bce = nn.BCEWithLogitsLoss()
unets, runs, before, rows = {}, {}, {}, []
for name, make in RECIPES.items():
    torch.manual_seed(SEED)
    unets[name] = make().to(device)
    before[name] = gradient_norms(unets[name], photos, masks, bce)
    start = time.perf_counter()
    runs[name] = train_on(pets, unets[name], bce, UNETS, UNETS["epochs"], lambda m: evaluate(m, pets.val, device)["iou"])
    took = time.perf_counter() - start
    scores = evaluate(unets[name], pets.test, device)
    size = sum(parameter.numel() for parameter in unets[name].parameters())
    rows.append({"network": name, "IoU": scores["iou"], "Dice": scores["dice"], "boundary F1": scores["boundary_f1"],
                 "parameters": size, "seconds": took})
results_table(rows, best={"IoU": max, "Dice": max, "boundary F1": max, "parameters": min})

# %%
compare_histories(runs, "val_iou", "Validation IoU")

# %%
compare_histories(runs, "train_loss", "Training loss")

# %%
with torch.no_grad():
    logits = {name: model(photos) for name, model in unets.items()}
show_predictions(photos, masks, logits["no skips"], count=4)

# %%
show_predictions(photos, masks, logits["attention residual"], count=4)

# %% [markdown]
# **Where does the gradient arrive?** Before training, then after it. Your `gradient_norms` of Task 2.4.

# %%
plot_gradient_flow(before, "Before training")

# %%
after = {name: gradient_norms(model, photos, masks, bce) for name, model in unets.items()}
plot_gradient_flow(after, "After training")

# %% [markdown]
# ## Questions to discuss
#
# 1. The truth itself, shrunk to 1/32 and enlarged, keeps some classes and loses others. Which, and why? Is your FCN-32s
#    near that bound, or does something else hold it back?
# 2. FCN-16s and FCN-8s *add* scores, your U-Net *concatenates* features. What can the one do that the other cannot?
#    Which is cheaper, and by how much, for 11 classes at full width?
# 3. The scores of the pools begin at 0. What would change if they began at random, as other layers do?
# 4. In stages or at once: which was better here after equally many epochs? What does each stage's learning rate change
#    about that comparison?
# 5. Frozen against fine-tuned: with how few pictures would you freeze? What if your pictures are X-rays and the backbone
#    has seen photographs? Try `SETTINGS["count"] = 40`.
# 6. The pixel accuracy of a network that answers "background" (or "road") everywhere: compute it. Why is mIoU lower, and
#    which weight would the rarest class need in the loss to count as much as the most frequent one?
# 7. Without skips the IoU falls by less than the boundary F1. What does each of them measure? Which would you report to a
#    surgeon, which to someone who counts cars?
# 8. Compare the gradients of the first encoder, before training, with and without skips, with residual blocks. Why does
#    BatchNorm make the differences smaller than the usual story tells? Take it out (`UNet(batch_norm=False)`) and look.
# 9. One seed decides nothing. Which differences in your tables would you believe? Run the third experiment with two more
#    seeds, and say what you would write in a paper.
#
# For longer runs, larger pictures and all options: `unetlab train --help`, and `unetlab compare` for tables over seeds.
# What the kit's authors measured is in `docs/results.md`.
