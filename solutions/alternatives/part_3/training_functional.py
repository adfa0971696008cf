"""Gradients from torch.autograd.grad, own clipping, means over pictures, tensors for numbers, the file at the end."""

import collections

import torch


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
