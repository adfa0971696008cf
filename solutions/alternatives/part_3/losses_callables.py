"""Losses as plain classes with __call__, which only keep arguments; the arithmetic stands in functions."""

import copy
import itertools

import torch
import torch.nn.functional as F
from torch import nn


def wide(pred, target):
    dtype = torch.promote_types(pred.dtype, torch.float32)
    return pred.to(dtype), target.to(pred.device, dtype)


def dice_loss(pred, target, smooth=1e-6, class_weights=None):
    pred, target = wide(pred, target)
    p = pred.sigmoid()
    intersection, size = (p * target).sum((0, 2, 3)), (p + target).sum((0, 2, 3))
    losses = (size - 2 * intersection) / (size + smooth)
    if class_weights is None:
        class_weights = [1] * len(losses)
    shares = torch.tensor([float(weight) for weight in class_weights]).to(losses)
    return (losses * shares / shares.sum()).sum()


def focal_loss(pred, target, alpha=0.25, gamma=2.0):
    pred, target = wide(pred, target)
    right, wrong = F.logsigmoid(pred), F.logsigmoid(-pred)  # log p and log (1 - p)
    positive = -alpha * (gamma * wrong).exp() * right
    negative = -(1 - alpha) * (gamma * right).exp() * wrong
    return torch.mean(target * positive + (1 - target) * negative)


def binary_cross_entropy(pred, target):
    pred, target = wide(pred, target)
    return (F.softplus(pred) - pred * target).mean()


class DiceLoss:
    def __init__(self, smooth=1e-6, *, class_weights=None):
        self.options = {"smooth": smooth, "class_weights": class_weights}

    def __call__(self, pred, target):
        return dice_loss(pred, target, **self.options)


class FocalLoss:
    def __init__(self, alpha=0.25, gamma=2.0):
        self.options = {"alpha": alpha, "gamma": gamma}

    def __call__(self, pred, target):
        return focal_loss(pred, target, **self.options)


class CombinedLoss:
    TERMS = (("ce", binary_cross_entropy), ("dice", dice_loss), ("focal", focal_loss))

    def __init__(self, weights={"ce": 0.5, "dice": 0.5, "focal": 0.0}):
        self.terms = [(weights[name], term) for name, term in self.TERMS if weights.get(name)]

    def __call__(self, pred, target):
        total = 0.0
        for weight, term in self.terms:
            total = total + weight * term(pred, target)
        return total


def calculate_iou(pred, target, threshold=0.5):
    predicted, actual = torch.sigmoid(pred.float()) > threshold, target > 0.5
    shared, either = (predicted & actual).sum(dim=(0, 2, 3)), (predicted | actual).sum(dim=(0, 2, 3))
    return ((shared + 1e-6) / (either + 1e-6)).mean().item()


def train_epoch(model, dataloader, optimizer, criterion, device, *, accumulation_steps=1, max_grad_norm=None):
    model.train()
    losses, ious = [], []
    batches = iter(dataloader)
    while group := list(itertools.islice(batches, accumulation_steps)):
        optimizer.zero_grad()
        for images, masks in group:
            images, masks = images.to(device), masks.to(device)
            logits = model(images)
            loss = criterion(logits, masks)
            (loss / len(group)).backward()
            losses.append(loss.item())
            ious.append(calculate_iou(logits.detach(), masks))
        if max_grad_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
    return sum(losses) / len(losses), sum(ious) / len(ious)


@torch.no_grad()
def validate(model, dataloader, criterion, device):
    model.eval()
    losses, ious = [], []
    for images, masks in dataloader:
        images, masks = images.to(device), masks.to(device)
        logits = model(images)
        losses.append(criterion(logits, masks).item())
        ious.append(calculate_iou(logits, masks))
    return sum(losses) / len(losses), sum(ious) / len(ious)


def train_model(model, train_loader, val_loader, *, epochs=50, lr=1e-3, weight_decay=1e-4, criterion=None,
                accumulation_steps=1, max_grad_norm=1.0, device=None, checkpoint_path=None):
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    criterion = CombinedLoss() if criterion is None else criterion
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=5)
    history = {name: [] for name in ("train_loss", "train_iou", "val_loss", "val_iou", "lr")}
    best_iou, best = -1.0, copy.deepcopy(model.state_dict())
    options = {"accumulation_steps": accumulation_steps, "max_grad_norm": max_grad_norm}
    for _ in range(epochs):
        row = (*train_epoch(model, train_loader, optimizer, criterion, device, **options),
               *validate(model, val_loader, criterion, device), optimizer.param_groups[0]["lr"])
        for name, value in zip(history, row):
            history[name].append(value)
        scheduler.step(history["val_loss"][-1])
        if history["val_iou"][-1] > best_iou:
            best_iou, best = history["val_iou"][-1], copy.deepcopy(model.state_dict())
            if checkpoint_path is not None:
                torch.save(best, checkpoint_path)
    model.load_state_dict(best)
    return history
