"""Dice on flattened views, focal loss in probabilities with clamps, and a combined loss that has all three written out."""

import copy
import itertools

import torch
import torch.nn as nn
import torch.nn.functional as F


class DiceLoss(nn.Module):
    def __init__(self, smooth=1e-6, *, class_weights=None):
        super(DiceLoss, self).__init__()
        self.smooth = smooth
        self.weights = class_weights

    def forward(self, pred, target):
        num_classes = pred.shape[1]
        pred = torch.sigmoid(pred.float())
        target = target.float()
        total, norm = 0, 0
        for c in range(num_classes):
            weight = 1.0 if self.weights is None else float(self.weights[c])
            p = pred[:, c].contiguous().view(-1)
            t = target[:, c].contiguous().view(-1)
            intersection = (p * t).sum()
            dice = (2.0 * intersection + self.smooth) / (p.sum() + t.sum() + self.smooth)
            total = total + weight * (1 - dice)
            norm = norm + weight
        return total / norm


class FocalLoss(nn.Module):
    def __init__(self, alpha=0.25, gamma=2.0):
        super(FocalLoss, self).__init__()
        self.alpha = alpha
        self.gamma = gamma

    def forward(self, pred, target):
        pred, target = pred.float(), target.float()
        bce = nn.BCEWithLogitsLoss(reduction="none")(pred, target)
        p = torch.sigmoid(pred)
        p_t = torch.where(target > 0.5, p, 1 - p)
        alpha_t = torch.where(target > 0.5, self.alpha, 1 - self.alpha)
        focal = alpha_t * (1 - p_t).clamp(min=1e-7) ** self.gamma * bce
        return focal.mean()


class CombinedLoss(nn.Module):
    def __init__(self, weights={"ce": 0.5, "dice": 0.5, "focal": 0.0}):
        super(CombinedLoss, self).__init__()
        self.w_ce = weights.get("ce", 0.0)
        self.w_dice = weights.get("dice", 0.0)
        self.w_focal = weights.get("focal", 0.0)
        self.bce = nn.BCEWithLogitsLoss()

    def forward(self, pred, target):
        pred, target = pred.float(), target.float()
        loss = torch.zeros((), device=pred.device)
        if self.w_ce > 0:
            loss = loss + self.w_ce * self.bce(pred, target)
        if self.w_dice > 0:
            p = torch.sigmoid(pred).transpose(0, 1).flatten(1)
            t = target.transpose(0, 1).flatten(1)
            dice = (2 * (p * t).sum(1) + 1e-6) / (p.sum(1) + t.sum(1) + 1e-6)
            loss = loss + self.w_dice * (1 - dice).mean()
        if self.w_focal > 0:
            bce = F.binary_cross_entropy_with_logits(pred, target, reduction="none")
            p_t = torch.exp(-bce)
            alpha_t = 0.25 * target + 0.75 * (1 - target)
            loss = loss + self.w_focal * (alpha_t * (1 - p_t) ** 2 * bce).mean()
        return loss


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
