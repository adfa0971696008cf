"""train_model is one long loop without train_epoch and validate; IoU in numpy; the best weights lie in memory as a file."""

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn, optim


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
        self.smooth = smooth
        self.class_weights = class_weights

    def forward(self, pred, target):
        # TODO Task 3.1: probabilities, sums over batch and pixels (one a class), the loss of each class, their mean.
        pred, target = checked(pred, target)
        probability = torch.sigmoid(pred)
        overlap = (probability * target).sum(dim=(0, 2, 3))  # (C,)
        total = probability.sum(dim=(0, 2, 3)) + target.sum(dim=(0, 2, 3))  # (C,)
        loss = 1 - (2 * overlap + self.smooth) / (total + self.smooth)  # (C,)
        if self.class_weights is None:
            return loss.mean()
        weights = torch.as_tensor(self.class_weights, dtype=loss.dtype, device=loss.device)
        return (weights * loss).sum() / weights.sum()


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
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, pred, target):
        # TODO Task 3.2: cross-entropy of every pixel, straight from the logits; alpha_t; (1 − p_t)^gamma; the mean.
        # The gradient of x ** gamma at x = 0 is infinite for gamma < 1. torch.nn.functional.logsigmoid helps.
        pred, target = checked(pred, target)
        cross_entropy = F.binary_cross_entropy_with_logits(pred, target, reduction="none")
        alpha_t = self.alpha * target + (1 - self.alpha) * (1 - target)
        towards_right = (2 * target - 1) * pred  # its sigmoid is p_t
        modulation = torch.exp(self.gamma * F.logsigmoid(-towards_right))  # (1 − p_t)^gamma, without a 0 to a power
        return (alpha_t * modulation * cross_entropy).mean()


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
        self.weights = dict(weights)
        self.dice = DiceLoss()
        self.focal = FocalLoss()

    def forward(self, pred, target):
        # TODO Task 3.3: the weighted sum of the terms that have a weight.
        pred, target = checked(pred, target)
        terms = {"ce": F.binary_cross_entropy_with_logits, "dice": self.dice, "focal": self.focal}
        return sum(weight * terms[name](pred, target) for name, weight in self.weights.items() if weight)


def calculate_iou(pred, target, threshold=0.5):
    p = (1 / (1 + np.exp(-pred.detach().cpu().numpy().astype(np.float64)))) > threshold
    t = target.detach().cpu().numpy() == 1
    both, any_ = np.logical_and(p, t).sum((0, 2, 3)), np.logical_or(p, t).sum((0, 2, 3))
    return np.where(any_ == 0, 1.0, both / np.maximum(any_, 1)).mean()


def train_epoch(model, dataloader, optimizer, criterion, device, *, accumulation_steps=1, max_grad_norm=None):
    model.train()
    n, losses, ious = len(dataloader), np.zeros(len(dataloader)), np.zeros(len(dataloader))
    left = n % accumulation_steps
    for i, batch in enumerate(dataloader, start=1):
        image, mask = (t.to(device) for t in batch)
        if (i - 1) % accumulation_steps == 0:
            optimizer.zero_grad(set_to_none=False)
        out = model(image)
        loss = criterion(out, mask)
        share = left if i > n - left else accumulation_steps
        loss.backward(gradient=torch.ones_like(loss) / share)
        losses[i - 1], ious[i - 1] = loss.item(), calculate_iou(out, mask)
        if i % accumulation_steps and i < n:
            continue
        if max_grad_norm:
            nn.utils.clip_grad_norm_(model.parameters(), max_norm=max_grad_norm)
        optimizer.step()
    return losses.mean(), ious.mean()


def validate(model, dataloader, criterion, device):
    model.train(False)
    previous = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    try:
        values = [(criterion(z, y).item(), calculate_iou(z, y))
                  for z, y in ((model(x.to(device)), y.to(device)) for x, y in dataloader)]
    finally:
        torch.set_grad_enabled(previous)
    return [sum(column) / len(values) for column in zip(*values)]


def train_model(model, train_loader, val_loader, *, epochs=50, lr=1e-3, weight_decay=1e-4, criterion=None,
                accumulation_steps=1, max_grad_norm=1.0, device=None, checkpoint_path=None):
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if criterion is None:
        criterion = CombinedLoss()
    model.to(device)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = optim.AdamW([g for g in groups if g["params"]], lr=lr, betas=(0.9, 0.99))
    scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=5, factor=0.2, threshold=1e-6)
    history = {k: [] for k in ["train_loss", "train_iou", "val_loss", "val_iou", "lr", "epoch"]}
    best, best_iou = io.BytesIO(), -math.inf
    torch.save(model.state_dict(), best)
    for epoch in range(1, epochs + 1):
        model.train()
        sum_loss = sum_iou = 0
        pending = 0
        for x, y in train_loader:
            x, y = x.to(device), y.to(device)
            z = model(x)
            loss = criterion(z, y)
            (loss / accumulation_steps).backward()
            pending += 1
            if pending == accumulation_steps:
                if max_grad_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
                optimizer.step()
                optimizer.zero_grad()
                pending = 0
            sum_loss += loss.item()
            sum_iou += calculate_iou(z, y)
        if pending:
            if max_grad_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        history["train_loss"].append(sum_loss / len(train_loader))
        history["train_iou"].append(sum_iou / len(train_loader))
        model.eval()
        sum_loss = sum_iou = 0
        with torch.no_grad():
            for x, y in val_loader:
                x, y = x.to(device), y.to(device)
                z = model(x)
                sum_loss += criterion(z, y).item()
                sum_iou += calculate_iou(z, y)
        val_loss, val_iou = sum_loss / len(val_loader), sum_iou / len(val_loader)
        history["val_loss"].append(val_loss)
        history["val_iou"].append(val_iou)
        history["epoch"].append(epoch)
        scheduler.step(val_loss)
        history["lr"].append(scheduler.get_last_lr()[0])
        if val_iou >= best_iou:
            best_iou, best = val_iou, io.BytesIO()
            torch.save(model.state_dict(), best)
    best.seek(0)
    model.load_state_dict(torch.load(best, weights_only=True))
    if checkpoint_path is not None:
        with open(checkpoint_path, "wb") as file:
            file.write(best.getvalue())
    return history
