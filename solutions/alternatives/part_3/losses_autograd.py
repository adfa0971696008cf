"""Losses with the gradient worked out by hand (autograd.Function), and Dice as a subclass of a common base."""

import copy
import itertools

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function


class FocalFunction(Function):
    @staticmethod
    def forward(ctx, pred, target, alpha, gamma):
        sign = 2 * target - 1
        p_t = torch.sigmoid(sign * pred)
        log_p_t, log_rest = F.logsigmoid(sign * pred), F.logsigmoid(-sign * pred)
        scale = torch.where(target > 0.5, alpha, 1 - alpha) * torch.exp(gamma * log_rest) / pred.numel()
        ctx.save_for_backward(sign * scale * (gamma * p_t * log_p_t - torch.sigmoid(-sign * pred)))
        return -(scale * log_p_t).sum()

    @staticmethod
    def backward(ctx, upstream):
        return upstream * ctx.saved_tensors[0], None, None, None


class Loss(nn.Module):
    def forward(self, pred, target):
        if pred.dtype not in (torch.float32, torch.float64):
            pred = pred.to(torch.float32)
        return self.compute(pred, target.to(pred.dtype))


class DiceLoss(Loss):
    def __init__(self, smooth=1e-6, *, class_weights=None):
        super().__init__()
        self.smooth = smooth
        self.class_weights = class_weights

    def compute(self, pred, target):
        rows = [self.one_class(torch.sigmoid(p), t) for p, t in zip(pred.unbind(1), target.unbind(1))]
        weights = [1.0] * len(rows) if self.class_weights is None else list(self.class_weights)
        return sum(weight * row for weight, row in zip(weights, rows)) / sum(weights)

    def one_class(self, p, t):
        true_positives, false_positives, false_negatives = (p * t).sum(), (p * (1 - t)).sum(), ((1 - p) * t).sum()
        wrong = false_positives + false_negatives
        return wrong / (2 * true_positives + wrong + self.smooth)


class FocalLoss(Loss):
    def __init__(self, alpha=0.25, gamma=2.0):
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma

    def compute(self, pred, target):
        return FocalFunction.apply(pred, target, self.alpha, self.gamma)


class CombinedLoss(Loss):
    def __init__(self, weights={"ce": 0.5, "dice": 0.5, "focal": 0.0}):
        super().__init__()
        self.weights = copy.deepcopy(weights)
        self.dice_loss, self.focal_loss = DiceLoss(), FocalLoss()

    def compute(self, pred, target):
        parts = {}
        if self.weights.get("ce", 0):
            parts["ce"] = F.binary_cross_entropy_with_logits(pred, target)
        if self.weights.get("dice", 0):
            parts["dice"] = self.dice_loss(pred, target)
        if self.weights.get("focal", 0):
            parts["focal"] = self.focal_loss(pred, target)
        return sum(self.weights[name] * part for name, part in parts.items())


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
