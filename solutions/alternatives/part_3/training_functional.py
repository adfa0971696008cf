"""Gradients from torch.autograd.grad, own clipping, means over pictures, tensors for numbers, the file at the end."""

import collections

import torch
import torch.nn.functional as F
from torch import nn


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
    level = torch.logit(torch.tensor(threshold, dtype=torch.float64)).to(pred.device)
    yes, true = (pred.double() > level).transpose(0, 1).flatten(1), target.bool().transpose(0, 1).flatten(1)  # (C, B*H*W)
    tp, fp, fn = ((a & b).sum(1) for a, b in ((yes, true), (yes, ~true), (~yes, true)))
    return ((tp + 1e-6) / (tp + fp + fn + 1e-6)).mean()  # a 0-d tensor


def groups(batches, size):
    group = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def clipped(gradients, limit):
    norm = torch.sqrt(sum((g ** 2).sum() for g in gradients if g is not None))
    factor = 1.0 if limit is None or norm <= limit else limit / norm
    return [None if g is None else g * factor for g in gradients]


def train_epoch(model, dataloader, optimizer, criterion, device, *, accumulation_steps=1, max_grad_norm=None):
    model.train(True)
    parameters = [p for p in model.parameters() if p.requires_grad]
    seen, loss_sum, iou_sum = 0, torch.zeros(()), torch.zeros(())
    for group in groups(dataloader, accumulation_steps):
        total = 0
        for x, y in group:
            x, y = x.to(device), y.to(device)
            logits = model(x)
            loss = criterion(logits, y)
            total = total + loss / len(group)
            seen += len(x)
            loss_sum = loss_sum + loss.detach().cpu() * len(x)
            iou_sum = iou_sum + calculate_iou(logits.detach(), y).cpu() * len(x)
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
        for p, g in zip(parameters, clipped(gradients, max_grad_norm)):
            p.grad = g
        optimizer.step()
    return loss_sum / seen, iou_sum / seen


def validate(model, dataloader, criterion, device):
    was_training = model.training
    model.eval()
    rows = []
    with torch.inference_mode():
        for x, y in dataloader:
            logits = model(x.to(device))
            rows.append([criterion(logits, y.to(device)).item(), calculate_iou(logits, y.to(device)).item()])
    model.train(was_training)
    return tuple(torch.tensor(rows).mean(0))


def train_model(model, train_loader, val_loader, *, epochs=50, lr=1e-3, weight_decay=1e-4, criterion=None,
                accumulation_steps=1, max_grad_norm=1.0, device=None, checkpoint_path=None):
    device = device or torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    criterion = criterion or CombinedLoss()
    optimizer = torch.optim.Adam(model.to(device).parameters(), lr, weight_decay=weight_decay)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "min", patience=5)
    history, snapshots = collections.defaultdict(list), {}
    for epoch in range(epochs):
        history["lr"] += [optimizer.param_groups[0]["lr"]]
        for name, loader in (("train", train_loader), ("val", val_loader)):
            if name == "train":
                loss, iou = train_epoch(model, loader, optimizer, criterion, device,
                                        accumulation_steps=accumulation_steps, max_grad_norm=max_grad_norm)
            else:
                loss, iou = validate(model, loader, criterion, device)
            history[f"{name}_loss"] += [float(loss)]
            history[f"{name}_iou"] += [float(iou)]
        plateau.step(history["val_loss"][-1])
        if epoch == max(range(epoch + 1), key=history["val_iou"].__getitem__):  # the first one of the highest
            snapshots = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(snapshots)
    if checkpoint_path:
        torch.save(snapshots, checkpoint_path)
    return dict(history)
