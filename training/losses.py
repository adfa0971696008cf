"""Losses of `unetlab train`: a weighted sum of cross-entropy, Dice and focal loss.

One logit a pixel, `logits (B, 1, H, W)`, is asked against `target (B, 1, H, W)` of 0 and 1; C logits `(B, C, H, W)` against
class numbers `(B, H, W)`. Sums run over the batch and all processes in float32. Pixels of `ignore_index` count nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.distributed import total
from training.settings import _near

SMOOTH = 1.0  # pixels; makes the Dice of small areas steady
GAMMA = 2.0  # of the focal loss


class SegmentationLoss(nn.Module):
    """Weighted sum of losses; `weights` maps ce, dice and focal to numbers, and what is absent is not computed.

    ignore_index: class number of pixels that do not count; for C logits only.
    Raises ValueError for an unknown name and for weights that are all 0.
    """

    def __init__(self, weights: dict[str, float], ignore_index: int | None = None):
        super().__init__()
        unknown = [name for name in weights if name not in TERMS]
        if unknown or not any(weights.values()):
            raise ValueError(f"loss {weights}: weights above 0 for some of {', '.join(TERMS)} are needed.{_near(unknown, TERMS)}")
        self.weights, self.ignore_index = dict(weights), ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        log_probability, truth, counted = _prepared(logits, target, self.ignore_index)
        values = [weight * TERMS[name](log_probability, truth, counted) for name, weight in self.weights.items() if weight]
        return torch.stack(values).sum()


def _prepared(logits: Tensor, target: Tensor, ignore_index: int | None) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities `(B, K, H, W)`, one-hot truth alike, and which pixels count `(B, 1, H, W)`, all float32.

    One logit x is a choice among two classes with the logits 0 and x: K = 2.
    """
    logits = logits.float()
    if logits.shape[1] == 1:
        log_probability = torch.cat([F.logsigmoid(-logits), F.logsigmoid(logits)], 1)
        truth = torch.cat([1 - target, target], 1).float()
        return log_probability, truth, torch.ones_like(target, dtype=torch.float32)
    counted = torch.ones_like(target, dtype=torch.bool) if ignore_index is None else target != ignore_index
    labels = torch.where(counted, target, 0)
    truth = torch.zeros_like(logits).scatter_(1, labels[:, None], 1.0)
    return logits.log_softmax(1), truth, counted[:, None].float()


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    return total((values * counted).sum()) / total(counted.sum()).clamp_min(1)


def _cross_entropy(log_probability: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    return _mean(-(truth * log_probability).sum(1, keepdim=True), counted)


def _focal(log_probability: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """Source: Lin et al.: Focal Loss for Dense Object Detection, ICCV 2017, equation 4."""
    log_true = (truth * log_probability).sum(1, keepdim=True)
    return _mean(-((1 - log_true.exp()) ** GAMMA) * log_true, counted)


def _dice(log_probability: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """1 - soft Dice, the mean over the classes that the batch holds; of two classes the second alone.

    Source: Milletari, Navab, Ahmadi: V-Net, 3DV 2016; many classes as Sudre et al., DLMIA 2017, without their weights.
    """
    probability, truth = log_probability.exp() * counted, truth * counted
    if probability.shape[1] == 2:
        probability, truth = probability[:, 1:], truth[:, 1:]
    areas = torch.stack([(probability * truth).sum((0, 2, 3)), probability.sum((0, 2, 3)), truth.sum((0, 2, 3))])
    both, predicted, true = total(areas)  # (K,) each
    loss = 1 - (2 * both + SMOOTH) / (predicted + true + SMOOTH)
    present = (true > 0).float() if len(true) > 1 else torch.ones_like(true)
    return (loss * present).sum() / present.sum().clamp_min(1)


TERMS = {"ce": _cross_entropy, "dice": _dice, "focal": _focal}


def make_loss(text: str, ignore_index: int | None = None) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss that `--loss` says: `ce+dice`, `0.3*ce+0.7*dice`, or `FILE:CLASS`, which is called without arguments.

    Raises ValueError for a text that is none of these.
    """
    if ":" in text:
        from training.models import from_file

        try:
            return from_file(text)()
        except TypeError as error:
            raise ValueError(f"loss {text}: it is called without arguments ({error}); give each a default.") from None
    weights: dict[str, float] = {}
    for term in text.split("+"):
        found = re.fullmatch(r"\s*(?:([0-9]+\.?[0-9]*|\.[0-9]+)\s*\*\s*)?([a-z]+)\s*", term)
        if not found or found[2] not in TERMS:
            raise ValueError(f"loss {text!r}: a sum such as ce+dice or 0.3*ce+0.7*dice of {', '.join(TERMS)}, or FILE:CLASS.")
        weights[found[2]] = weights.get(found[2], 0.0) + (float(found[1]) if found[1] else 1.0)
    return SegmentationLoss(weights, ignore_index)
