"""Object style: a meter, a Trainer that the four functions share, type hints; zero_grad in front of every group."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader


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


@dataclass
class Meter:
    values: list[Tensor] = field(default_factory=list)

    def update(self, value: Tensor | float) -> None:
        self.values.append(torch.as_tensor(value).detach().cpu())

    @property
    def mean(self) -> float:
        return float(torch.stack(self.values).mean())


def calculate_iou(pred: Tensor, target: Tensor, threshold: float = 0.5) -> Tensor:
    mask = pred.sigmoid().gt(threshold).to(target.dtype)
    tp = (mask * target).sum((0, 2, 3))
    fp = (mask * (1 - target)).sum((0, 2, 3))
    fn = ((1 - mask) * target).sum((0, 2, 3))
    eps = 1e-6
    return ((tp + eps) / (tp + fp + fn + eps)).mean()


class Trainer:
    def __init__(self, model: nn.Module, criterion, device, optimizer=None, accumulation_steps=1, max_grad_norm=None):
        self.model, self.criterion, self.device, self.optimizer = model, criterion, device, optimizer
        self.accumulation_steps, self.max_grad_norm = accumulation_steps, max_grad_norm

    def forward(self, batch: tuple[Tensor, Tensor], loss_meter: Meter, iou_meter: Meter) -> Tensor:
        images, masks = (part.to(self.device, non_blocking=True) for part in batch)
        logits = self.model(images)
        loss = self.criterion(logits, masks)
        loss_meter.update(loss)
        iou_meter.update(calculate_iou(logits, masks))
        return loss

    def step(self) -> None:
        if self.max_grad_norm is not None:
            parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def fit(self, loader: DataLoader) -> tuple[float, float]:
        self.model.train()
        self.optimizer.zero_grad()
        losses, ious = Meter(), Meter()
        for number, batch in enumerate(loader, 1):
            (self.forward(batch, losses, ious) / self.accumulation_steps).backward()
            if number % self.accumulation_steps == 0:
                self.step()
        if number % self.accumulation_steps != 0:
            self.step()
        return losses.mean, ious.mean

    @torch.inference_mode()
    def evaluate(self, loader: DataLoader) -> tuple[float, float]:
        self.model.eval()
        losses, ious = Meter(), Meter()
        for batch in loader:
            self.forward(batch, losses, ious)
        return losses.mean, ious.mean


def train_epoch(model, dataloader, optimizer, criterion, device, *, accumulation_steps=1, max_grad_norm=None):
    return Trainer(model, criterion, device, optimizer, accumulation_steps, max_grad_norm).fit(dataloader)


def validate(model, dataloader, criterion, device):
    return Trainer(model, criterion, device).evaluate(dataloader)


@dataclass
class Best:
    iou: float = 0.0
    model: dict[str, Tensor] | None = None

    def offer(self, iou: float, model: nn.Module, path: str | Path | None) -> None:
        if self.model is None or iou > self.iou:
            self.iou = iou
            self.model = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
            if path is not None:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                torch.save(self.model, path)


def train_model(model, train_loader, val_loader, *, epochs=50, lr=1e-3, weight_decay=1e-4, criterion=None,
                accumulation_steps=1, max_grad_norm=1.0, device=None, checkpoint_path=None):
    device = torch.device(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device)
    optimizer = torch.optim.AdamW(params=model.parameters(), lr=lr, weight_decay=weight_decay, amsgrad=True)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=5, min_lr=1e-7)
    criterion = CombinedLoss() if criterion is None else criterion
    trainer = Trainer(model, criterion, device, optimizer, accumulation_steps, max_grad_norm)
    history: dict[str, list[float]] = {"train_loss": [], "train_iou": [], "val_loss": [], "val_iou": [], "lr": []}
    best = Best()
    for _ in range(epochs):
        values = (*trainer.fit(train_loader), *trainer.evaluate(val_loader), scheduler.get_last_lr()[0])
        for series, value in zip(history.values(), values):
            series.append(value)
        scheduler.step(metrics=history["val_loss"][-1])
        best.offer(history["val_iou"][-1], model, checkpoint_path)
    if best.model is not None:
        model.load_state_dict(best.model)
    return history
