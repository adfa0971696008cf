"""train_model is one long loop without train_epoch and validate; IoU in numpy; the best weights lie in memory as a file."""

import io
import math

import numpy as np
import torch
from torch import nn, optim


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
