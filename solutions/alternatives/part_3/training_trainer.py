"""Object style: a meter, a Trainer that the four functions share, type hints; zero_grad in front of every group."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader


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
