"""The gate of much-copied code, with a BatchNorm after each of its convolutions; W_x, W_g and psi are Sequentials."""

import resource
import time
from collections import OrderedDict

import torch
from torch import nn
from torch.nn.functional import interpolate


class AttentionGate(nn.Module):
    def __init__(self, gate_channels, skip_channels):
        super().__init__()
        F_int = gate_channels // 2
        self.W_g = nn.Sequential(
            nn.Conv2d(gate_channels, F_int, kernel_size=1, stride=1, padding=0, bias=True), nn.BatchNorm2d(F_int)
        )
        self.W_x = nn.Sequential(
            nn.Conv2d(skip_channels, F_int, kernel_size=1, stride=1, padding=0, bias=True), nn.BatchNorm2d(F_int)
        )
        self.psi = nn.Sequential(
            nn.Conv2d(F_int, 1, kernel_size=1, stride=1, padding=0, bias=True), nn.BatchNorm2d(1), nn.Sigmoid()
        )
        self.relu = nn.ReLU(inplace=True)
        self.alpha = None

    def forward(self, gate, skip):
        g1 = interpolate(self.W_g(gate), size=skip.size()[2:], mode="bilinear", align_corners=False)
        x1 = self.W_x(skip)
        psi = self.psi(self.relu(g1 + x1))
        self.alpha = psi
        return skip * psi.expand_as(skip)


class Concat(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.fuse = nn.Conv2d(a + b, a, 3, 1, 1, bias=False)

    def forward(self, a, b):
        return self.fuse(torch.cat((a, b), 1))


class Add(nn.ModuleList):
    def __init__(self, a, b):
        super().__init__([] if a == b else [nn.Conv2d(b, a, 1)])

    def forward(self, a, b):
        for layer in self:
            b = layer(b)
        return torch.add(a, b)


class Attention(Concat):
    def __init__(self, a, b):
        super().__init__(a, b)
        self.attention = AttentionGate(gate_channels=a, skip_channels=b)

    def forward(self, a, b):
        return super().forward(a, self.attention(gate=a, skip=b))


class FlexibleSkipConnection(nn.Module):
    def __init__(self, decoder_channels, skip_channels, mode="concat"):
        super().__init__()
        kinds = {"concat": Concat, "add": Add, "attention": Attention}
        if mode not in kinds:
            raise ValueError(f"unknown mode {mode}")
        self.block = kinds[mode](decoder_channels, skip_channels)

    def forward(self, decoder_features, skip_features):
        return self.block(decoder_features, skip_features)


def gradient_norms(model, images, masks, criterion):
    names, parameters = zip(*model.named_parameters())
    used = [p for p in parameters if p.requires_grad]
    gradients = torch.autograd.grad(criterion(model(images), masks), used, allow_unused=True)
    by_id = {id(p): g for p, g in zip(used, gradients) if g is not None}
    return OrderedDict(
        (n, torch.linalg.vector_norm(by_id[id(p)]) if id(p) in by_id else torch.tensor(0.0)) for n, p in zip(names, parameters)
    )


def block_norm(norms, block):
    return torch.stack([norm for name, norm in norms.items() if name.split(".")[:2] == block]).norm()


def analyze_skip_connections(models, images, masks, criterion):
    rows = []
    for name, model in sorted(models.items()):
        start = time.perf_counter()
        loss = criterion(model(images), masks)
        middle = time.perf_counter()
        norms = gradient_norms(model, images, masks, criterion)
        end = time.perf_counter()
        rows.append(dict(
            name=name,
            parameters=float(sum(p.nelement() for p in model.parameters())),
            loss=loss.item(),
            forward_ms=1e3 * (middle - start),
            backward_ms=1e3 * (end - middle),
            peak_memory_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            first_encoder_grad=block_norm(norms, ["encoders", "0"]),
            last_decoder_grad=block_norm(norms, ["decoders", str(len(model.decoders) - 1)]),
        ))
    return rows
