"""Losses with the gradient worked out by hand (autograd.Function), and Dice as a subclass of a common base."""

import copy

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function


class FocalFunction(Function):
    @staticmethod
    def forward(ctx, pred, target, alpha, gamma):
        sign = 2 * target - 1
        p_t = torch.sigmoid(sign * pred)
        log_p_t, log_rest = F.logsigmoid(sign * pred), F.logsigmoid(-sign * pred)
        scale = torch.where(target > 0.5, alpha, 1 - alpha) * torch.exp(gamma * log_rest) / pred.numel()
        ctx.save_for_backward(sign * scale * (gamma * p_t * log_p_t - torch.sigmoid(-sign * pred)))
        return -(scale * log_p_t).sum()

    @staticmethod
    def backward(ctx, upstream):
        return upstream * ctx.saved_tensors[0], None, None, None


class Loss(nn.Module):
    def forward(self, pred, target):
        if pred.dtype not in (torch.float32, torch.float64):
            pred = pred.to(torch.float32)
        return self.compute(pred, target.to(pred.dtype))


class DiceLoss(Loss):
    def __init__(self, smooth=1e-6, *, class_weights=None):
        super().__init__()
        self.smooth = smooth
        self.class_weights = class_weights

    def compute(self, pred, target):
        rows = [self.one_class(torch.sigmoid(p), t) for p, t in zip(pred.unbind(1), target.unbind(1))]
        weights = [1.0] * len(rows) if self.class_weights is None else list(self.class_weights)
        return sum(weight * row for weight, row in zip(weights, rows)) / sum(weights)

    def one_class(self, p, t):
        true_positives, false_positives, false_negatives = (p * t).sum(), (p * (1 - t)).sum(), ((1 - p) * t).sum()
        wrong = false_positives + false_negatives
        return wrong / (2 * true_positives + wrong + self.smooth)


class FocalLoss(Loss):
    def __init__(self, alpha=0.25, gamma=2.0):
        super().__init__()
        self.alpha = alpha
        self.gamma = gamma

    def compute(self, pred, target):
        return FocalFunction.apply(pred, target, self.alpha, self.gamma)


class CombinedLoss(Loss):
    def __init__(self, weights={"ce": 0.5, "dice": 0.5, "focal": 0.0}):
        super().__init__()
        self.weights = copy.deepcopy(weights)
        self.dice_loss, self.focal_loss = DiceLoss(), FocalLoss()

    def compute(self, pred, target):
        parts = {}
        if self.weights.get("ce", 0):
            parts["ce"] = F.binary_cross_entropy_with_logits(pred, target)
        if self.weights.get("dice", 0):
            parts["dice"] = self.dice_loss(pred, target)
        if self.weights.get("focal", 0):
            parts["focal"] = self.focal_loss(pred, target)
        return sum(self.weights[name] * part for name, part in parts.items())
