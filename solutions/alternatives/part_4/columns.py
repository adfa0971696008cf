"""UNet++ column by column with shrinking lists; the loss as a function that makes a closure; one window at a time; a context manager for hooks."""

from contextlib import contextmanager

import numpy as np
import torch
import torch.nn as nn

from grader.mine import AttentionGate, DoubleConv


class Node(nn.Module):
    def __init__(self, own, count, below, batch_norm):
        super().__init__()
        self.up = nn.ConvTranspose2d(below, own, kernel_size=2, stride=2)
        self.conv = DoubleConv(own * count + own, own, batch_norm=batch_norm)

    def forward(self, row, below):
        up = self.up(below)
        h, w = row[0].shape[-2:]
        up = nn.functional.pad(up, (0, w - up.shape[-1], 0, h - up.shape[-2]))
        return self.conv(torch.cat((up, *row), dim=1))


class UNetPlusPlus(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=None, *, deep_supervision=False, batch_norm=True):
        super().__init__()
        features = tuple(features or (64, 128, 256, 512))
        widths = features + (2 * features[-1],)
        self.pool = nn.MaxPool2d(2)
        self.encoder = nn.ModuleList(DoubleConv(a, b, batch_norm=batch_norm) for a, b in zip((in_channels,) + features, widths))
        self.columns = nn.ModuleList(
            nn.ModuleList(Node(widths[i], j, widths[i + 1], batch_norm) for i in range(len(features) + 1 - j))
            for j in range(1, len(features) + 1)
        )
        first = 1 if deep_supervision else len(features)
        self.heads = nn.ModuleDict({f"depth{d}": nn.Conv2d(widths[0], out_channels, 1) for d in range(first, len(features) + 1)})

    def forward(self, x, depth=None):
        deepest = len(self.columns) if depth is None else depth
        if f"depth{deepest}" not in self.heads:
            raise ValueError(f"no depth {depth}")
        rows = [[self.encoder[0](x)]]
        for block in list(self.encoder)[1 : deepest + 1]:
            rows.append([block(self.pool(rows[-1][0]))])
        for column in list(self.columns)[:deepest]:
            fresh = [node(rows[i], rows[i + 1][-1]) for i, node in enumerate(column) if i + len(rows[0]) <= deepest]
            for row, value in zip(rows, fresh):
                row.append(value)
            rows = rows[: len(fresh) + 1] if len(fresh) > 1 else rows
        if depth is not None or len(self.heads) == 1 and "depth1" not in self.heads:
            return self.heads[f"depth{deepest}"](rows[0][deepest])
        logits = [head(rows[0][int(name[5:])]) for name, head in self.heads.items()]
        if self.training and "depth1" in self.heads:
            return logits if len(logits) > 1 or self.training else logits[0]
        return torch.mean(torch.stack(logits), 0)


class DeepSupervisionLoss(nn.Module):
    def __init__(self, criterion, weights=None):
        super().__init__()

        def loss(outputs, target):
            if torch.is_tensor(outputs):
                return criterion(outputs, target)
            chosen = np.ones(len(outputs)) if weights is None else np.asarray(weights, dtype=float)
            if len(chosen) != len(outputs):
                raise ValueError(f"{len(chosen)} != {len(outputs)}")
            shares = (chosen / chosen.sum()).tolist()
            enlarge = nn.Upsample(size=tuple(target.shape[-2:]), mode="bilinear")
            return sum(share * criterion(enlarge(o), target) for share, o in zip(shares, outputs))

        self.loss = loss

    def forward(self, outputs, target):
        return self.loss(outputs, target)


def places(length, side, overlap):
    stride = max(1, round(side * (1 - overlap)))
    last = length - side
    return sorted(set(range(0, last + 1, stride)) | {last})


def grow(x, dim, side):
    """Mirror or repeat along one axis, on both sides, until it is long enough."""
    missing = side - x.shape[dim]
    if missing <= 0:
        return x, 0
    before, after = missing // 2, missing - missing // 2
    pads = [0, 0, 0, 0]
    pads[2 * (3 - dim)], pads[2 * (3 - dim) + 1] = before, after
    mode = "reflect" if after < x.shape[dim] else "replicate"
    return nn.functional.pad(x, pads, mode=mode), before


def sliding_window_inference(predict, image, window=200, overlap=0.5, mode="gaussian", *, batch_size=4):
    if not (0.0 <= overlap < 1.0):
        raise ValueError("overlap")
    if mode not in {"constant", "gaussian"}:
        raise ValueError("mode")
    h, w = window if isinstance(window, tuple) else (window, window)
    large, top = grow(image.detach(), 2, h)
    large, left = grow(large, 3, w)
    bell = lambda n: torch.signal.windows.gaussian(n, std=n / 8, dtype=torch.float64)  # noqa: E731
    one = torch.ones if mode == "constant" else bell
    weight = (one(h)[:, None] * one(w)).to(large.device, torch.float64)
    pictures = []
    for picture in large.split(1):
        total, count = 0.0, torch.zeros(large.shape[2:], dtype=torch.float64, device=large.device)
        for y in places(large.shape[2], h, overlap):
            for x in places(large.shape[3], w, overlap):
                with torch.no_grad():
                    answer = predict(picture[:, :, y : y + h, x : x + w]).double()
                canvas = answer.new_zeros(1, answer.shape[1], *large.shape[2:])
                canvas[:, :, y : y + h, x : x + w] = answer * weight
                total = total + canvas
                count[y : y + h, x : x + w] += weight
        pictures.append(total / count)
    H, W = image.shape[2:]
    return torch.cat(pictures)[:, :, top : top + H, left : left + W].float()


@contextmanager
def looking(model):
    modes = [module.training for module in model.modules()]
    handles = []
    try:
        model.eval()
        yield handles
    finally:
        [handle.remove() for handle in handles]
        for module, mode in zip(model.modules(), modes):
            module.training = mode


def record_attention(model, pictures):
    maps = {}

    class Keep:
        def __init__(self, name):
            self.name = name

        def __call__(self, gate, args, output):
            maps[self.name] = nn.functional.interpolate(gate.alpha.detach().clone(), pictures.shape[-2:], mode="bilinear")

    with looking(model) as handles, torch.no_grad():
        for name, module in model.named_modules():
            if isinstance(module, AttentionGate):
                handles.append(module.register_forward_hook(Keep(name)))
        model(pictures)
    return maps
