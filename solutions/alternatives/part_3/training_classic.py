"""The usual script: running sums, enumerate, len(dataloader), zero_grad after the step, AdamW, best weights on the CPU."""

import copy

import torch
import torch.nn.functional as F
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm import tqdm


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
    pred = (torch.sigmoid(pred) > threshold).float()
    ious = []
    for c in range(pred.shape[1]):
        p, t = pred[:, c].reshape(-1), target[:, c].reshape(-1)
        intersection = (p * t).sum()
        union = p.sum() + t.sum() - intersection
        ious.append((intersection + 1e-6) / (union + 1e-6))
    return torch.stack(ious).mean().item()


def train_epoch(model, dataloader, optimizer, criterion, device, *, accumulation_steps=1, max_grad_norm=None):
    model.train()
    running_loss = 0.0
    running_iou = 0.0
    optimizer.zero_grad()
    for i, (images, masks) in enumerate(tqdm(dataloader, leave=False)):
        images, masks = images.to(device), masks.to(device)
        outputs = model(images)
        loss = criterion(outputs, masks)
        (loss / accumulation_steps).backward()
        if (i + 1) % accumulation_steps == 0 or (i + 1) == len(dataloader):
            if max_grad_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        running_loss += loss.item()
        running_iou += calculate_iou(outputs, masks)
    return running_loss / len(dataloader), running_iou / len(dataloader)


def validate(model, dataloader, criterion, device):
    model.eval()
    running_loss = 0.0
    running_iou = 0.0
    with torch.no_grad():
        for images, masks in tqdm(dataloader, leave=False):
            images, masks = images.to(device), masks.to(device)
            outputs = model(images)
            running_loss += criterion(outputs, masks).item()
            running_iou += calculate_iou(outputs, masks)
    return running_loss / len(dataloader), running_iou / len(dataloader)


def train_model(model, train_loader, val_loader, *, epochs=50, lr=1e-3, weight_decay=1e-4, criterion=None,
                accumulation_steps=1, max_grad_norm=1.0, device=None, checkpoint_path=None):
    if device is None:
        device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if criterion is None:
        criterion = CombinedLoss()
    model = model.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    scheduler = ReduceLROnPlateau(optimizer, mode='min', factor=0.5, patience=5)
    history = {'train_loss': [], 'train_iou': [], 'val_loss': [], 'val_iou': [], 'lr': []}
    best_iou = 0.0
    best_weights = None
    for epoch in range(epochs):
        train_loss, train_iou = train_epoch(model, train_loader, optimizer, criterion, device,
                                            accumulation_steps=accumulation_steps, max_grad_norm=max_grad_norm)
        val_loss, val_iou = validate(model, val_loader, criterion, device)
        scheduler.step(val_loss)
        history['train_loss'].append(train_loss)
        history['train_iou'].append(train_iou)
        history['val_loss'].append(val_loss)
        history['val_iou'].append(val_iou)
        history['lr'].append(optimizer.param_groups[0]['lr'])
        print(f"Epoch {epoch + 1}/{epochs}  train {train_loss:.4f} {train_iou:.4f}  val {val_loss:.4f} {val_iou:.4f}")
        if val_iou > best_iou:
            best_iou = val_iou
            best_weights = copy.deepcopy({name: value.cpu() for name, value in model.state_dict().items()})
            if checkpoint_path is not None:
                torch.save(model.state_dict(), checkpoint_path)
    if best_weights is not None:
        model.load_state_dict(best_weights)
    return history
