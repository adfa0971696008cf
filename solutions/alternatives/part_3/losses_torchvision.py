"""torchvision's focal loss, Dice with a buffer of weights, and a ModuleDict of the terms that have a weight."""

import copy
import itertools

import torch
from torch import nn
from torchvision.ops import sigmoid_focal_loss


def finite(pred):
    """torchvision's gradient is 0 times infinity where a pixel is right and gamma below 1; its limit is 0."""
    pred = pred.float().clone()
    if pred.requires_grad:
        pred.register_hook(torch.nan_to_num)
    return pred


class DiceLoss(nn.Module):
    def __init__(self, smooth: float = 1e-6, *, class_weights=None):
        super().__init__()
        self.smooth = smooth
        weights = torch.ones(1) if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights)

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        with torch.autocast(pred.device.type, enabled=False):
            probabilities = torch.sigmoid(pred.double())  # float64 on any device but MPS
            overlap, total = probabilities * target, probabilities + target
            overlap, total = (x.sum(dim=[0, *range(2, x.dim())]) for x in (overlap, total))
            dice = (2 * overlap + self.smooth) / (total + self.smooth)
            weights = self.class_weights.expand(len(dice)).double()
            return 1 - (weights * dice).sum() / weights.sum()


class FocalLoss(nn.Module):
    def __init__(self, alpha: float = 0.25, gamma: float = 2.0):
        super().__init__()
        self.alpha, self.gamma = alpha, gamma

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return sigmoid_focal_loss(finite(pred), target.float(), self.alpha, self.gamma, reduction="mean")


class CombinedLoss(nn.Module):
    def __init__(self, weights: dict = {"ce": 0.5, "dice": 0.5, "focal": 0.0}):
        super().__init__()
        kinds = {"ce": nn.BCEWithLogitsLoss, "dice": DiceLoss, "focal": FocalLoss}
        self.weights = {name: weight for name, weight in weights.items() if weight != 0}
        self.terms = nn.ModuleDict({name: kinds[name]() for name in self.weights})

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.stack([weight * self.terms[name](pred, target) for name, weight in self.weights.items()]).sum()


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
