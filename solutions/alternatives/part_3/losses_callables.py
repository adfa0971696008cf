"""Losses as plain classes with __call__, which only keep arguments; the arithmetic stands in functions."""


import torch
import torch.nn.functional as F


def wide(pred, target):
    dtype = torch.promote_types(pred.dtype, torch.float32)
    return pred.to(dtype), target.to(pred.device, dtype)


def dice_loss(pred, target, smooth=1e-6, class_weights=None):
    pred, target = wide(pred, target)
    p = pred.sigmoid()
    intersection, size = (p * target).sum((0, 2, 3)), (p + target).sum((0, 2, 3))
    losses = (size - 2 * intersection) / (size + smooth)
    if class_weights is None:
        class_weights = [1] * len(losses)
    shares = torch.tensor([float(weight) for weight in class_weights]).to(losses)
    return (losses * shares / shares.sum()).sum()


def focal_loss(pred, target, alpha=0.25, gamma=2.0):
    pred, target = wide(pred, target)
    right, wrong = F.logsigmoid(pred), F.logsigmoid(-pred)  # log p and log (1 - p)
    positive = -alpha * (gamma * wrong).exp() * right
    negative = -(1 - alpha) * (gamma * right).exp() * wrong
    return torch.mean(target * positive + (1 - target) * negative)


def binary_cross_entropy(pred, target):
    pred, target = wide(pred, target)
    return (F.softplus(pred) - pred * target).mean()


class DiceLoss:
    def __init__(self, smooth=1e-6, *, class_weights=None):
        self.options = {"smooth": smooth, "class_weights": class_weights}

    def __call__(self, pred, target):
        return dice_loss(pred, target, **self.options)


class FocalLoss:
    def __init__(self, alpha=0.25, gamma=2.0):
        self.options = {"alpha": alpha, "gamma": gamma}

    def __call__(self, pred, target):
        return focal_loss(pred, target, **self.options)


class CombinedLoss:
    TERMS = (("ce", binary_cross_entropy), ("dice", dice_loss), ("focal", focal_loss))

    def __init__(self, weights={"ce": 0.5, "dice": 0.5, "focal": 0.0}):
        self.terms = [(weights[name], term) for name, term in self.TERMS if weights.get(name)]

    def __call__(self, pred, target):
        total = 0.0
        for weight, term in self.terms:
            total = total + weight * term(pred, target)
        return total
