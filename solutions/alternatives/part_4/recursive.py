"""UNet++ by recursion with a cache, nodes in one ModuleList by formula; losses zipped strictly; windows in place by index; hooks in an ExitStack."""

import contextlib
import functools
import itertools

import torch
import torch.nn as nn
import torch.nn.functional as F

from grader.mine import AttentionGate, DoubleConv


class UNetPlusPlus(nn.Module):
    def __init__(self, in_channels=3, out_channels=1, features=[64, 128, 256, 512], *, deep_supervision=False, batch_norm=True):
        super().__init__()
        self.w = list(features) + [features[-1] * 2]
        self.L, self.ds = len(features), deep_supervision
        self.blocks, self.ups, self.place = nn.ModuleList(), nn.ModuleList(), {}
        for i, j in itertools.product(range(self.L + 1), repeat=2):
            if i + j > self.L:
                continue
            self.place[i, j] = len(self.blocks)
            before = (self.w[i] * (j + 1)) if j else (in_channels if i == 0 else self.w[i - 1])
            self.blocks.append(DoubleConv(before, self.w[i], batch_norm=batch_norm))
            self.ups.append(nn.ConvTranspose2d(self.w[i + 1], self.w[i], 2, 2) if j else nn.Identity())
        self.outs = nn.ModuleList([nn.Conv2d(self.w[0], out_channels, 1) for _ in range(self.L if deep_supervision else 1)])

    def forward(self, x, depth=None):
        if depth is not None and (depth < 1 or depth > self.L or (not self.ds and depth != self.L)):
            raise ValueError("bad depth")

        @functools.lru_cache(None)
        def node(i, j):
            n = self.place[i, j]
            if j == 0:
                return self.blocks[n](x if i == 0 else F.max_pool2d(node(i - 1, 0), kernel_size=2))
            row = [node(i, k) for k in range(j)]
            up = F.interpolate(self.ups[n](node(i + 1, j - 1)), size=row[0].shape[2:], mode="nearest")
            return self.blocks[n](torch.cat([up] + row[::-1], 1))

        if not self.ds:
            return self.outs[0](node(0, self.L))
        if depth:
            return self.outs[depth - 1](node(0, depth))
        outputs = [out(node(0, d + 1)) for d, out in enumerate(self.outs)]
        return tuple(outputs) if self.training else sum(outputs) / len(outputs)


class DeepSupervisionLoss:
    def __init__(self, criterion, weights=None):
        self.criterion, self.weights = criterion, weights

    def __call__(self, outputs, target):
        if not isinstance(outputs, (list, tuple)):
            return self.criterion(outputs, target)
        weights = torch.ones(len(outputs)) if self.weights is None else torch.tensor(self.weights)
        size = target.shape[2:]
        losses = [self.criterion(F.interpolate(o, size=size, mode="bilinear", align_corners=True), target) for o in outputs]
        if len(weights) != len(losses):
            raise ValueError("weights")
        weights = weights.to(losses[0])
        return (torch.stack(losses) * weights).sum() / weights.sum()


@torch.no_grad()
def sliding_window_inference(predict, image, window=200, overlap=0.5, mode="gaussian", *, batch_size=4):
    if overlap < 0 or overlap >= 1 or mode not in ("constant", "gaussian"):
        raise ValueError("overlap or mode")
    h, w = window if not isinstance(window, int) else [window] * 2
    B, C, H, W = image.shape
    top, left = max(h - H, 0), max(w - W, 0)
    sides = (left // 2, left - left // 2, top // 2, top - top // 2)
    possible = max(sides[:2]) < W and max(sides[2:]) < H
    x = F.pad(image, sides, mode="reflect" if possible else "replicate")

    def starts(n, k):
        step = max(1, round(k * (1 - overlap)))
        return [min(s, n - k) for s in range(0, n - k + step, step)]

    def curve(k):
        if mode == "constant":
            return torch.ones(k)
        t = torch.arange(k, dtype=torch.float32) - (k - 1) / 2
        return (-(t**2) / (2 * (k / 8) ** 2)).exp()

    weight = torch.outer(curve(h), curve(w)).to(image.device)
    places = list(itertools.product(range(B), starts(x.shape[2], h), starts(x.shape[3], w)))
    out, norm = 0, 0
    while places:
        chosen, places = places[:batch_size], places[batch_size:]
        logits = predict(torch.cat([x[b : b + 1, :, i : i + h, j : j + w] for b, i, j in chosen])).float()
        if isinstance(out, int):
            out = torch.zeros(B, logits.shape[1], *x.shape[2:], device=x.device)
            norm = torch.zeros(B, 1, *x.shape[2:], device=x.device)
        for (b, i, j), y in zip(chosen, logits):
            out[b, :, i : i + h, j : j + w].add_(y * weight)
            norm[b, :, i : i + h, j : j + w].add_(weight)
    return out.div_(norm)[:, :, sides[2] : sides[2] + H, sides[0] : sides[0] + W]


def record_attention(model, pictures):
    found, before = {}, {m: m.training for m in model.modules()}
    with contextlib.ExitStack() as stack:
        for name, module in model.named_modules():
            if type(module) is AttentionGate:
                hook = lambda m, i, o, name=name: found.update({name: m.alpha})  # noqa: E731
                stack.callback(module.register_forward_hook(hook).remove)
        stack.callback(lambda: [setattr(m, "training", mode) for m, mode in before.items()])
        with torch.inference_mode():
            model.eval()(pictures)
    size = pictures.shape[2:]
    return {name: F.interpolate(a.detach(), size=size, mode="bilinear", align_corners=True) for name, a in found.items()}
