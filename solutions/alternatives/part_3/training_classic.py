"""The usual script: running sums, enumerate, len(dataloader), zero_grad after the step, AdamW, best weights on the CPU."""

import copy

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm import tqdm


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
