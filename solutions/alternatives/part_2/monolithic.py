"""As last year's starter: one class with if/elif in forward, and gradient_norms with backward() and the old .grad put back."""

import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class AttentionGate(nn.Module):
    def __init__(self, gate_channels, skip_channels):
        super(AttentionGate, self).__init__()
        inter = gate_channels // 2
        self.conv_g = nn.Conv2d(gate_channels, inter, 1)
        self.conv_x = nn.Conv2d(skip_channels, inter, 1)
        self.psi = nn.Conv2d(inter, 1, 1)
        self.relu = nn.ReLU(inplace=True)
        self.sigmoid = nn.Sigmoid()

    def forward(self, gate, skip):
        if gate.shape[2:] != skip.shape[2:]:
            gate = F.interpolate(gate, size=skip.shape[2:], mode='bilinear', align_corners=True)
        alpha = self.sigmoid(self.psi(self.relu(self.conv_g(gate) + self.conv_x(skip))))
        self.alpha = alpha.detach()
        return alpha * skip


class FlexibleSkipConnection(nn.Module):
    def __init__(self, decoder_channels, skip_channels, mode='concat'):
        super(FlexibleSkipConnection, self).__init__()
        self.mode = mode
        if mode == 'concat':
            self.conv = nn.Conv2d(decoder_channels + skip_channels, decoder_channels, 3, padding=1)
        elif mode == 'add':
            self.adjust = None
            if skip_channels != decoder_channels:
                self.adjust = nn.Conv2d(skip_channels, decoder_channels, 1, bias=False)
        elif mode == 'attention':
            self.attention = AttentionGate(decoder_channels, skip_channels)
            self.conv = nn.Conv2d(skip_channels + decoder_channels, decoder_channels, 3, padding=1, bias=False)

    def forward(self, decoder_features, skip_features):
        if self.mode == 'concat':
            return self.conv(torch.cat([skip_features, decoder_features], dim=1))
        elif self.mode == 'add':
            if self.adjust is not None:
                skip_features = self.adjust(skip_features)
            return decoder_features + skip_features
        elif self.mode == 'attention':
            attended = self.attention(decoder_features, skip_features)
            return self.conv(torch.cat([attended, decoder_features], dim=1))
        else:
            raise ValueError(f'Unknown mode {self.mode}')


def gradient_norms(model, images, masks, criterion):
    saved = [p.grad for p in model.parameters()]
    for p in model.parameters():
        p.grad = None

    output = model(images)
    loss = criterion(output, masks)
    loss.backward()

    result = {}
    for name, p in model.named_parameters():
        if p.grad is None:
            result[name] = 0.0
        else:
            result[name] = torch.sqrt(torch.sum(p.grad ** 2)).item()

    for p, old in zip(model.parameters(), saved):
        p.grad = old
    return result


def analyze_skip_connections(models, images, masks, criterion):
    table = []
    for name in models:
        model = models[name]
        result = {'name': name}
        result['parameters'] = sum(p.numel() for p in model.parameters() if p.requires_grad)

        t0 = time.time()
        loss = criterion(model(images), masks)
        t1 = time.time()
        torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])
        t2 = time.time()
        result['forward_ms'] = 1000 * (t1 - t0)
        result['backward_ms'] = 1000 * (t2 - t1)

        # weights, their gradients, and the batch
        numbers = 2 * result['parameters'] + images.numel() + masks.numel()
        result['peak_memory_mb'] = 4 * numbers / 2 ** 20

        norms = gradient_norms(model, images, masks, criterion)
        result['first_encoder_grad'] = norms['encoders.0.weight'] if 'encoders.0.weight' in norms else 0.0
        last = len(model.decoders) - 1
        result['last_decoder_grad'] = norms.get(f'decoders.{last}.weight', 0.0)
        table.append(result)
    return table
