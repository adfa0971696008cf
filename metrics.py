"""Metrics of binary segmentation on hard masks `(B, 1, H, W)` of 0 and 1.

Pooled metrics (the default) count pixels over the whole batch first; per-image metrics count in every picture alone.
The two differ, by far on pictures with little foreground, so say which one you report.
Two empty masks agree perfectly (1); an empty mask against one that is not scores 0 in IoU and Dice.
"""

from __future__ import annotations

import torch
from torch import Tensor


def binarize(logits: Tensor, threshold: float = 0.5) -> Tensor:
    """Turn raw logits into a mask: 1 where `sigmoid(logit) > threshold`, else 0.

    logits: any shape and floating type. threshold: a probability in [0, 1].
    Returns float32 of the same shape. Raises ValueError for a threshold outside [0, 1] and for NaN logits.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold} is no probability: take one in [0, 1]; 0.5 is the logit 0.")
    # In float32: half precision rounds a probability just above the threshold down to it.
    probabilities = torch.sigmoid(logits.float())
    if torch.isnan(probabilities).any():
        raise ValueError(
            "The logits hold NaN, so no mask can be read from them: the training has diverged. "
            "Look at the loss, lower the learning rate or clip the gradients."
        )
    return (probabilities > threshold).float()


def iou(pred_mask: Tensor, mask: Tensor, per_image: bool = False) -> Tensor:
    """Intersection over union (Jaccard index), TP / (TP + FP + FN).

    pred_mask, mask: `(B, 1, H, W)` of 0 and 1, any type. Returns a 0-d tensor pooled over the batch, or `(B,)`
    with per_image, float32. Raises ValueError for shapes that differ and for values other than 0 and 1.
    """
    tp, fp, fn, _ = _counts(pred_mask, mask, per_image)
    return _ratio(tp, tp + fp + fn)


def dice(pred_mask: Tensor, mask: Tensor, per_image: bool = False) -> Tensor:
    """Dice coefficient (F1 over pixels), 2 TP / (2 TP + FP + FN).

    pred_mask, mask: `(B, 1, H, W)` of 0 and 1, any type. Returns a 0-d tensor pooled over the batch, or `(B,)`
    with per_image, float32. Raises ValueError for shapes that differ and for values other than 0 and 1.
    """
    tp, fp, fn, _ = _counts(pred_mask, mask, per_image)
    return _ratio(2 * tp, 2 * tp + fp + fn)


def pixel_accuracy(pred_mask: Tensor, mask: Tensor, per_image: bool = False) -> Tensor:
    """Share of pixels whose label is right, (TP + TN) / all; high for an empty prediction where pets are small.

    pred_mask, mask: `(B, 1, H, W)` of 0 and 1, any type. Returns a 0-d tensor pooled over the batch, or `(B,)`
    with per_image, float32. Raises ValueError for shapes that differ and for values other than 0 and 1.
    """
    tp, fp, fn, tn = _counts(pred_mask, mask, per_image)
    return _ratio(tp + tn, tp + fp + fn + tn)


def _counts(pred_mask: Tensor, mask: Tensor, per_image: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """True and false positives, false and true negatives, int64: `(B,)` per image, else 0-d."""
    _check_masks(pred_mask, mask)
    pred, true = pred_mask.bool(), mask.bool()
    axes = (1, 2, 3) if per_image else (0, 1, 2, 3)
    # Counted as integers: sums of float16 masks end at 65504, and of float32 ones lose single pixels above 2^24.
    return tuple(cells.sum(axes) for cells in (pred & true, pred & ~true, ~pred & true, ~pred & ~true))


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    # An empty whole means that nothing was there and nothing was found: full agreement.
    return torch.where(whole == 0, 1.0, part.float() / whole.clamp_min(1).float())


def _check_masks(pred_mask: Tensor, mask: Tensor) -> None:
    if pred_mask.shape != mask.shape:
        raise ValueError(
            f"Shapes differ: pred_mask {tuple(pred_mask.shape)}, mask {tuple(mask.shape)}. Both are (B, 1, H, W); "
            "unsqueeze(1) adds a missing channel."
        )
    if mask.ndim != 4 or mask.shape[1] != 1 or mask.numel() == 0:
        raise ValueError(
            f"Masks of shape {tuple(mask.shape)}: (B, 1, H, W) with at least one pixel is expected. "
            "unsqueeze(1) adds a missing channel, unsqueeze(0) a missing batch."
        )
    for name, values in (("pred_mask", pred_mask), ("mask", mask)):
        wrong = (values != 0) & (values != 1)  # true for NaN too
        if wrong.any():
            raise ValueError(
                f"{name} holds {values[wrong][0].item():g} where only 0 and 1 may stand. Logits: pass binarize(logits). "
                "A mask of 0 and 255: divide it by 255. Fractions: a mask was resized with blending or read through "
                "ToTensor; resize with NEAREST and compare labels (trimap != 2) instead."
            )
