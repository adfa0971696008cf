"""Functional style: weights are plain parameters; norms follow the two inner convolutions only; gradients by torch.func."""

import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


def weight(out_channels, in_channels, size=1):
    return nn.Parameter(torch.randn(out_channels, in_channels, size, size) * (in_channels * size * size) ** -0.5)


class AttentionGate(nn.Module):
    def __init__(self, gate_channels, skip_channels):
        super().__init__()
        inner = gate_channels // 2
        self.wg, self.wx, self.wa = weight(inner, gate_channels), weight(inner, skip_channels), weight(1, inner)
        self.norms = nn.ModuleList([nn.BatchNorm2d(inner), nn.BatchNorm2d(inner)])

    def forward(self, gate, skip):
        H, W = skip.shape[-2:]
        g = self.norms[0](F.conv2d(F.interpolate(gate, (H, W), mode="bilinear"), self.wg))
        x = self.norms[1](F.conv2d(skip, self.wx))
        self.alpha = 1 / (1 + torch.exp(-F.conv2d(F.relu(g + x), self.wa)))
        return torch.einsum("bchw,bihw->bchw", skip, self.alpha)


class FlexibleSkipConnection(nn.Module):
    def __init__(self, decoder_channels, skip_channels, mode="concat"):
        super().__init__()
        if mode not in ("concat", "add", "attention"):
            raise ValueError("mode: concat, add or attention")
        self.mode = mode
        if mode == "attention":
            self.gate = AttentionGate(decoder_channels, skip_channels)
        if mode != "add":
            self.w = weight(decoder_channels, decoder_channels + skip_channels, 3)
            self.b = nn.Parameter(torch.zeros(decoder_channels))
        elif decoder_channels != skip_channels:
            self.w = weight(decoder_channels, skip_channels)

    def forward(self, decoder_features, skip_features):
        if self.mode == "add":
            return decoder_features + (F.conv2d(skip_features, self.w) if hasattr(self, "w") else skip_features)
        if self.mode == "attention":
            skip_features = self.gate(decoder_features, skip_features)
        return F.conv2d(torch.cat([decoder_features, skip_features], 1), self.w, self.b, padding=1)


def gradient_norms(model, images, masks, criterion):
    values = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(values):
        return criterion(torch.func.functional_call(model, values, (images,)), masks)

    gradients = torch.func.grad(loss)(values)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    norms = {name: np.sqrt(np.sum(gradient.cpu().numpy().astype(np.float64) ** 2)) for name, gradient in gradients.items()}
    return {name: norm if name in learning else 0 for name, norm in norms.items()}


def analyze_skip_connections(models, images, masks, criterion):
    rows = []
    for name, model in models.items():
        start = time.process_time_ns()
        while time.process_time_ns() == start:  # until the clock has moved
            model(images)
        forward = (time.process_time_ns() - start) / 1e6
        norms = gradient_norms(model, images, masks, criterion)
        both = (time.process_time_ns() - start) / 1e6
        first = [norm for key, norm in norms.items() if key.startswith("encoders.0.")]
        last = [norm for key, norm in norms.items() if key.startswith("decoders." + str(len(list(model.decoders)) - 1))]
        rows += [{
            "name": name, "parameters": sum(np.prod(p.shape) for p in model.parameters()), "forward_ms": forward,
            "backward_ms": both, "peak_memory_mb": images.nbytes / 1e6,
            "first_encoder_grad": np.linalg.norm(first), "last_decoder_grad": np.linalg.norm(last),
        }]
    return rows
