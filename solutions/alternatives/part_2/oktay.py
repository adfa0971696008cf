"""The gate as its authors published it: no bias on the skip's side, the gate's convolution before the resize, corners aligned.

FlexibleSkipConnection is a function that returns one of three modules; gradient_norms works on a copy of the model.
"""

import copy
import time

import torch
from torch import nn
from torch.nn import functional as F


class AttentionGate(nn.Module):
    def __init__(self, gate_channels, skip_channels):
        super().__init__()
        self.theta = nn.Conv2d(skip_channels, gate_channels // 2, 1, bias=False)
        self.phi = nn.Conv2d(gate_channels, gate_channels // 2, 1, bias=True)
        self.psi = nn.Conv2d(gate_channels // 2, 1, 1, bias=True)

    def forward(self, gate, skip):
        phi = F.interpolate(self.phi(gate), size=skip.shape[-2:], mode="bilinear", align_corners=True)
        self.alpha = self.psi((self.theta(skip) + phi).clamp(min=0)).sigmoid()
        return self.alpha * skip


class Join(nn.Conv2d):
    """A convolution that concatenates what it gets."""

    def forward(self, *features):
        return super().forward(torch.hstack(features))


class GatedJoin(nn.Module):
    def __init__(self, decoder_channels, skip_channels):
        super().__init__()
        self.layers = nn.ModuleDict({
            "join": Join(decoder_channels + skip_channels, decoder_channels, 3, padding="same"),
            "gate": AttentionGate(decoder_channels, skip_channels),
        })

    def forward(self, decoder_features, skip_features):
        return self.layers["join"](self.layers["gate"](decoder_features, skip_features), decoder_features)


class Sum(nn.Module):
    def forward(self, decoder_features, skip_features):
        return sum([skip_features, decoder_features])


class ProjectedSum(nn.Conv2d):
    def forward(self, decoder_features, skip_features):
        return super().forward(skip_features).add_(decoder_features)


def FlexibleSkipConnection(decoder_channels, skip_channels, mode="concat"):
    if mode == "concat":
        return Join(decoder_channels + skip_channels, decoder_channels, 3, padding="same")
    if mode == "add":
        return Sum() if decoder_channels == skip_channels else ProjectedSum(skip_channels, decoder_channels, 1)
    if mode == "attention":
        return GatedJoin(decoder_channels, skip_channels)
    raise ValueError(mode)


def gradient_norms(model, images, masks, criterion):
    twin = copy.deepcopy(model)
    twin.zero_grad(set_to_none=True)
    criterion(twin(images), masks).backward()
    return {name: 0.0 if p.grad is None else float(p.grad.norm(2)) for name, p in twin.named_parameters()}


def analyze_skip_connections(models, images, masks, criterion):
    return [row(name, copy.deepcopy(model), images, masks, criterion) for name, model in models.items()]


def row(name, model, images, masks, criterion):
    model.zero_grad()
    times = [time.perf_counter_ns()]
    loss = criterion(model(images), masks)
    times.append(time.perf_counter_ns())
    loss.backward()
    times.append(time.perf_counter_ns())
    forward, backward = (later - earlier for earlier, later in zip(times, times[1:]))

    def end(block):
        return torch.cat([p.grad.flatten() for p in block.parameters()]).norm().item()

    return {
        "name": name,
        "parameters": torch.nn.utils.parameters_to_vector(model.parameters()).numel(),
        "forward_ms": forward / 1e6,
        "backward_ms": backward / 1e6,
        "peak_memory_mb": sum(2 * p.numel() * p.element_size() for p in model.parameters()) / 1e6,
        "first_encoder_grad": end(model.encoders[0]),
        "last_decoder_grad": end(model.decoders[-1]),
    }
