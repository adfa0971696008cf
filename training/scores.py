"""Scores of a network while it trains and at the end, and the threshold that suits it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from training.distributed import total

LANES = 64  # of each count: a GPU adds to one number one pixel after the other
BINS = 1000  # of the probability; thresholds are chosen among hundredths


class Counts:
    """Pixels by true and predicted class, added up on the device without waiting for it; two classes for one logit."""

    def __init__(self, classes: int, device: torch.device, ignore_index: int | None = None):
        self.classes, self.ignore_index = max(2, classes), ignore_index
        self.matrix = torch.zeros(self.classes**2 * LANES, dtype=torch.int64, device=device)

    @torch.no_grad()
    def add(self, logits: Tensor, target: Tensor) -> None:
        """Count a batch: `logits (B, C, H, W)`, target as the losses take it."""
        if logits.shape[1] == 1:
            predicted, true = (logits > 0).long(), target.long()
        else:
            predicted, true = logits.argmax(1), target
        counted = torch.ones_like(true) if self.ignore_index is None else (true != self.ignore_index).long()
        cells = (torch.where(counted.bool(), true, 0) * self.classes + predicted).flatten()
        lanes = torch.arange(len(cells), device=cells.device) % LANES
        self.matrix.scatter_add_(0, cells * LANES + lanes, counted.flatten())

    def scores(self) -> dict[str, float]:
        """Pooled `iou` and `dice` over all processes: of the foreground, or the mean over the classes that occur."""
        matrix = total(self.matrix.double()).view(self.classes, self.classes, LANES).sum(2)
        both, true, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        union = true + predicted - both
        iou = torch.where(union > 0, both / union.clamp_min(1), torch.ones_like(both))
        dice = torch.where(union > 0, 2 * both / (true + predicted).clamp_min(1), torch.ones_like(both))
        chosen = union > 0 if self.classes > 2 else torch.tensor([False, True], device=matrix.device)
        return {"iou": iou[chosen].mean().item(), "dice": dice[chosen].mean().item()}


@torch.no_grad()
def mirrored(predict: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A network's logits, averaged with those of the mirrored picture mirrored back (test-time augmentation)."""
    return lambda images: (predict(images) + predict(images.flip(-1)).flip(-1)) / 2


@torch.no_grad()
def best_threshold(predict: Callable[[Tensor], Tensor], loader: Iterable, device: torch.device) -> tuple[float, float]:
    """The probability above which a pixel is best taken for foreground, and the pooled IoU that it gives.

    predict: logits `(B, 1, H, W)` of pictures, in eval mode. Thresholds are hundredths; of equal ones the nearest to 0.5.
    """
    held = torch.zeros(2, BINS, dtype=torch.float64)  # pixels by class and probability
    for images, masks in loader:
        probability = predict(images.to(device)).float().sigmoid().cpu()
        bins = (probability * BINS).long().clamp_max(BINS - 1)
        for label in (0, 1):
            held[label] += torch.bincount(bins[masks.cpu() == label], minlength=BINS)
    above = held.flip(1).cumsum(1).flip(1)  # pixels at or above each bin
    thresholds = torch.arange(1, 100)
    found, wrong = above[1, thresholds * BINS // 100], above[0, thresholds * BINS // 100]
    iou = found / (wrong + held[1].sum()).clamp_min(1)
    nearest = -(thresholds - 50).abs() * 1e-9  # equal scores: the plainest
    best = int((iou + nearest).argmax())
    return thresholds[best].item() / 100, iou[best].item()


def parameters(network: nn.Module) -> int:
    """How many numbers the network learns."""
    return sum(each.numel() for each in network.parameters() if each.requires_grad)
