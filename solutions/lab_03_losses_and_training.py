# %% [markdown]
# # Part 3 · Losses and training

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
from grader.mine import SkipUNet, UNet

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

# %% [markdown]
# ## Task 3.1 · {{title}}

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

# %% check="3.1"
check("3.1")

# %% [markdown]
# ## Task 3.2 · {{title}}

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

# %% check="3.2"
check("3.2")

# %% [markdown]
# ## Task 3.3 · {{title}}

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

# %% check="3.3"
check("3.3")

# %% [markdown]
# ## Task 3.4 · {{title}}

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
        """The (history, best) of the saved run, whose parts go on where they were; those given where none is saved."""
        if self.path is None or not self.path.exists():
            return history, best
        saved = torch.load(self.path, map_location="cpu", weights_only=True)
        for name, part in self.parts.items():
            part.load_state_dict(saved[name])
        print(f"going on after epoch {len(saved['history']['lr'])} from {self.path}; delete the file to start anew")
        return saved["history"], saved["best"]

    def save(self, history, best):
        """Keep the run as it is now."""
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

# %% check="3.4"
check("3.4")

# %% [markdown]
# ## Task 3.5 · {{title}}

# %% check="3.5"
check("3.5")

# %% [markdown] manual="loss_analysis"
# **Your answer** ({{points}} points)
#
# ### BEGIN SOLUTION
# Model answer.
# ### END SOLUTION

# %% [markdown] manual="report"
# **Your answer** ({{points}} points)
#
# ### BEGIN SOLUTION
# Model answer.
# ### END SOLUTION
