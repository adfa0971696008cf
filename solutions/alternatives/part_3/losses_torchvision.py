"""torchvision's focal loss, Dice with a buffer of weights, and a ModuleDict of the terms that have a weight."""


import torch
from torch import nn
from torchvision.ops import sigmoid_focal_loss


def finite(pred):
    """torchvision's gradient is 0 times infinity where a pixel is right and gamma below 1; its limit is 0."""
    pred = pred.float().clone()
    if pred.requires_grad:
        pred.register_hook(torch.nan_to_num)
    return pred


class DiceLoss(nn.Module):
    def __init__(self, smooth: float = 1e-6, *, class_weights=None):
        super().__init__()
        self.smooth = smooth
        weights = torch.ones(1) if class_weights is None else torch.as_tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights)

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        with torch.autocast(pred.device.type, enabled=False):
            probabilities = torch.sigmoid(pred.double())  # float64 on any device but MPS
            overlap, total = probabilities * target, probabilities + target
            overlap, total = (x.sum(dim=[0, *range(2, x.dim())]) for x in (overlap, total))
            dice = (2 * overlap + self.smooth) / (total + self.smooth)
            weights = self.class_weights.expand(len(dice)).double()
            return 1 - (weights * dice).sum() / weights.sum()


class FocalLoss(nn.Module):
    def __init__(self, alpha: float = 0.25, gamma: float = 2.0):
        super().__init__()
        self.alpha, self.gamma = alpha, gamma

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return sigmoid_focal_loss(finite(pred), target.float(), self.alpha, self.gamma, reduction="mean")


class CombinedLoss(nn.Module):
    def __init__(self, weights: dict = {"ce": 0.5, "dice": 0.5, "focal": 0.0}):
        super().__init__()
        kinds = {"ce": nn.BCEWithLogitsLoss, "dice": DiceLoss, "focal": FocalLoss}
        self.weights = {name: weight for name, weight in weights.items() if weight != 0}
        self.terms = nn.ModuleDict({name: kinds[name]() for name in self.weights})

    def forward(self, pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.stack([weight * self.terms[name](pred, target) for name, weight in self.weights.items()]).sum()
