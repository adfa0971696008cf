"""Metrics of segmentation, for one batch or over a whole loader.

| you have | make it hard | then |
|---|---|---|
| logits `(B, 1, H, W)`, foreground or not | `binarize(logits)` | `iou`, `dice`, `pixel_accuracy`, `boundary_f1` |
| logits `(B, C, H, W)`, C classes | `labels_from(logits)` | `mean_iou`, `mean_boundary_f1` |
| a loader, either kind | either | `ConfusionMatrix`; `evaluate` for a network of two classes, `evaluate_classes` |

Nothing here guesses from values whether a tensor holds logits or labels: say it by the function you call.
Pooled metrics (the default) count pixels over all pictures first; per-image metrics count in every picture alone.
The two differ, by far on pictures with little foreground, so say which one you report.
Two empty masks agree perfectly (1); an empty mask against one that is not scores 0 in IoU, Dice and boundary F1.
A class that is neither in the prediction nor in the truth is left out of means over classes.
Pixels whose true label is ignore_index count nowhere. Counts are integers; ratios are float32.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# ---------------------------------------------------------------------------------------------- logits to hard labels


def binarize(logits: Tensor, threshold: float = 0.5) -> Tensor:
    """Turn raw logits into a mask: 1 where `sigmoid(logit) > threshold`, else 0.

    logits: any shape and floating type. threshold: a probability in [0, 1].
    Returns float32 of the same shape. Raises ValueError for a threshold outside [0, 1] and for NaN logits.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold} is no probability: take one in [0, 1]; 0.5 is the logit 0.")
    # In float32: half precision rounds a probability just above the threshold down to it.
    probabilities = torch.sigmoid(logits.float())
    _refuse_nan(probabilities)
    return (probabilities > threshold).float()


def labels_from(logits: Tensor) -> Tensor:
    """Turn raw logits of C classes into labels: the class with the largest logit, the first of equal ones.

    logits: `(B, C, H, W)` of a floating type, C of 2 or more. Returns int64 `(B, H, W)`.
    Raises ValueError for another shape, for one channel (its argmax is always 0), for integers and for NaN logits.
    """
    if logits.ndim != 4 or not logits.is_floating_point():
        raise ValueError(
            f"{logits.dtype} of shape {tuple(logits.shape)}: logits are floating numbers (B, C, H, W). "
            "Labels are hard already and need no labels_from."
        )
    if logits.shape[1] < 2:
        raise ValueError(
            f"Logits of shape {tuple(logits.shape)} have one channel, whose argmax is always 0: "
            "pass binarize(logits) for a network with one logit a pixel."
        )
    _refuse_nan(logits)
    return logits.argmax(1)


def _refuse_nan(logits: Tensor) -> None:
    if torch.isnan(logits).any():
        raise ValueError(
            "The logits hold NaN, so no mask can be read from them: the training has diverged. "
            "Look at the loss, lower the learning rate or clip the gradients."
        )


# ---------------------------------------------------------------------------------------------- two classes


def iou(pred_mask: Tensor, mask: Tensor, per_image: bool = False, ignore_index: int | None = None) -> Tensor:
    """Intersection over union (Jaccard index) of the foreground, TP / (TP + FP + FN).

    pred_mask, mask: `(B, 1, H, W)` of 0 and 1, any type; mask may hold ignore_index too. Returns a 0-d tensor pooled
    over the batch, or `(B,)` with per_image, float32. Raises ValueError for shapes that differ, for values other than
    0 and 1, and where ignore_index leaves no pixel to count.
    Source: Jaccard: The distribution of the flora in the alpine zone, New Phytologist 1912.
    """
    return _iou(_mask_areas(pred_mask, mask, per_image, ignore_index))[..., 1]


def dice(pred_mask: Tensor, mask: Tensor, per_image: bool = False, ignore_index: int | None = None) -> Tensor:
    """Dice coefficient (F1 over pixels) of the foreground, 2 TP / (2 TP + FP + FN).

    pred_mask, mask: `(B, 1, H, W)` of 0 and 1, any type; mask may hold ignore_index too. Returns a 0-d tensor pooled
    over the batch, or `(B,)` with per_image, float32. Raises ValueError for shapes that differ, for values other than
    0 and 1, and where ignore_index leaves no pixel to count.
    Source: Dice: Measures of the amount of ecologic association between species, Ecology 1945.
    """
    return _dice(_mask_areas(pred_mask, mask, per_image, ignore_index))[..., 1]


def pixel_accuracy(pred_mask: Tensor, mask: Tensor, per_image: bool = False, ignore_index: int | None = None) -> Tensor:
    """Share of pixels whose label is right, (TP + TN) / all; high for an empty prediction where pets are small.

    pred_mask, mask: `(B, 1, H, W)` of 0 and 1, any type; mask may hold ignore_index too. Returns a 0-d tensor pooled
    over the batch, or `(B,)` with per_image, float32. Raises ValueError for shapes that differ, for values other than
    0 and 1, and where ignore_index leaves no pixel to count. For C classes: `ConfusionMatrix.pixel_accuracy`.
    """
    return _accuracy(_mask_areas(pred_mask, mask, per_image, ignore_index))


def boundary_f1(
    pred_mask: Tensor,
    mask: Tensor,
    per_image: bool = False,
    tolerance: float | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    """F1 of the foreground's boundary pixels, each right where the other boundary is within the tolerance.

    A boundary is the mask less its 3×3 erosion; outside the picture lies background, so the frame cuts a boundary.
    Precision is the share of predicted boundary pixels with a true one no farther than tolerance (Euclidean), recall
    the share of true ones with a predicted one. Two empty boundaries score 1, one empty boundary 0.
    pred_mask, mask: `(B, 1, H, W)` of 0 and 1, any type. tolerance: pixels; max(1, 0.0075 · diagonal) unless said.
    ignore_index: boundary pixels that are or touch a pixel with this true label count on neither side.
    Returns the mean over the pictures (0-d, never pooled), or `(B,)` with per_image, float32. Raises ValueError for
    masks as in `iou`, a tolerance below 0, and a picture whose ignored pixels hide every boundary.
    Source: Csurka, Larlus, Perronnin: What is a good evaluation measure for semantic segmentation?, BMVC 2013.
    """
    counted = _check_masks(pred_mask, mask, ignore_index)
    pred, true = (pred_mask == 1) & counted, (mask == 1) & counted
    scores, found = _boundary_scores(pred, true, counted, tolerance)
    nothing_there = ~(pred | true).flatten(1).any(1) & counted.flatten(1).any(1)
    _check_found(found | nothing_there)
    return scores if per_image else scores.mean()


# ---------------------------------------------------------------------------------------------- C classes


def mean_iou(
    pred_labels: Tensor, labels: Tensor, num_classes: int, per_image: bool = False, ignore_index: int | None = None
) -> Tensor:
    """Mean intersection over union (mIoU): the IoU of each class that is predicted or true, averaged.

    pred_labels, labels: whole numbers 0 … num_classes - 1, `(B, H, W)` or `(B, 1, H, W)`; labels may hold ignore_index
    too, and where that is one of the classes, this class is not averaged. Background is a class like the others.
    Returns a 0-d tensor pooled over the batch, or `(B,)` with per_image (each picture averages its own classes),
    float32. Raises ValueError for shapes that differ, labels out of range, and where no pixel is left to count.
    Source: Long, Shelhamer, Darrell: Fully convolutional networks for semantic segmentation, CVPR 2015.
    """
    counted = _check_labels(pred_labels, labels, num_classes, ignore_index)
    areas = _areas(_count(pred_labels, labels, counted, num_classes), per_image)
    return _mean_of_present(_iou(areas), areas, ignore_index)


def mean_boundary_f1(
    pred_labels: Tensor,
    labels: Tensor,
    num_classes: int,
    per_image: bool = False,
    tolerance: float | None = None,
    ignore_index: int | None = None,
) -> Tensor:
    """Boundary F1 of each class of a picture (see `boundary_f1`), averaged over the classes, then over the pictures.

    pred_labels, labels, num_classes, ignore_index: as in `mean_iou`. tolerance: as in `boundary_f1`. A class without a
    boundary in prediction and truth is left out of its picture's mean; background is a class like the others.
    Returns the mean over the pictures (0-d, never pooled), or `(B,)` with per_image, float32. Raises ValueError for
    labels as in `mean_iou`, a tolerance below 0, and a picture whose ignored pixels hide every boundary.
    Source: Csurka, Larlus, Perronnin: What is a good evaluation measure for semantic segmentation?, BMVC 2013.
    """
    counted = _check_labels(pred_labels, labels, num_classes, ignore_index)
    pred_labels, labels, counted = (_flat(values)[:, None] for values in (pred_labels, labels, counted))
    total, classes = torch.zeros(2, len(labels), dtype=torch.float32, device=labels.device)
    for label in range(num_classes):
        if label == ignore_index:
            continue
        pred, true = (pred_labels == label) & counted, (labels == label) & counted
        scores, found = _boundary_scores(pred, true, counted, tolerance)
        total += scores * found
        classes += found
    _check_found(classes > 0)
    return total / classes if per_image else (total / classes).mean()


# ---------------------------------------------------------------------------------------------- a whole loader


class ConfusionMatrix:
    """Pixel counts over a whole loader, collected batch by batch, and the metrics they give.

    num_classes: 2 or more, background included. ignore_index: pixels with this true label count nowhere; where it is
    one of the classes, this class is not averaged.
    matrix: int64 `(C, C)` on the CPU, rows true, columns predicted (scikit-learn's order).
    Metrics are pooled over all pixels seen, or given for each picture with per_image, in the order they came.

        confusion = ConfusionMatrix(num_classes=3)
        for images, labels in loader:
            confusion.update(labels_from(model(images)), labels)
        confusion.mean_iou()                        # pooled mIoU
        confusion.mean_iou(per_image=True).mean()   # mean of the pictures' own

    Two classes with one logit a pixel are `ConfusionMatrix(2)`, updated with `binarize(model(images))` and the masks
    `(B, 1, H, W)` as they are; `confusion.iou()[1]` is the foreground's IoU.
    Raises ValueError for fewer than two classes, and on reading where no pixel was counted.
    """

    def __init__(self, num_classes: int, ignore_index: int | None = None):
        _check_num_classes(num_classes)
        self.num_classes, self.ignore_index = num_classes, ignore_index
        self.matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64, device="cpu")
        # The matrices of single pictures would fill the memory where classes are many; areas are all that is read.
        self._areas_per_image: list[Tensor] = []

    def update(self, pred_labels: Tensor, labels: Tensor) -> ConfusionMatrix:
        """Add a batch and return self.

        pred_labels, labels: whole numbers 0 … num_classes - 1 of any type and on any device, `(B, H, W)` or
        `(B, 1, H, W)`; labels may hold ignore_index too. Raises ValueError for other shapes and values, and then
        adds nothing.
        """
        counted = _check_labels(pred_labels, labels, self.num_classes, self.ignore_index)
        counts = _count(pred_labels, labels, counted, self.num_classes).cpu()
        self.matrix += counts.sum(0)
        self._areas_per_image.append(_areas_of(counts))
        return self

    def iou(self, per_image: bool = False) -> Tensor:
        """Intersection over union of each class, `(C,)` or `(N, C)`; 1 for a class neither predicted nor true."""
        return _iou(self._read(per_image))

    def dice(self, per_image: bool = False) -> Tensor:
        """Dice coefficient of each class, `(C,)` or `(N, C)`; 1 for a class neither predicted nor true."""
        return _dice(self._read(per_image))

    def mean_iou(self, per_image: bool = False) -> Tensor:
        """Mean IoU over the classes that are predicted or true, 0-d or `(N,)`."""
        areas = self._read(per_image)
        return _mean_of_present(_iou(areas), areas, self.ignore_index)

    def mean_dice(self, per_image: bool = False) -> Tensor:
        """Mean Dice coefficient over the classes that are predicted or true, 0-d or `(N,)`."""
        areas = self._read(per_image)
        return _mean_of_present(_dice(areas), areas, self.ignore_index)

    def pixel_accuracy(self, per_image: bool = False) -> Tensor:
        """Share of pixels whose label is right, 0-d or `(N,)`."""
        return _accuracy(self._read(per_image))

    def _read(self, per_image: bool) -> Tensor:
        if not self._areas_per_image:
            raise ValueError("Nothing was counted yet: call update(pred_labels, labels) with every batch, then read.")
        areas = torch.cat(self._areas_per_image) if per_image else _areas_of(self.matrix)
        _check_counted(areas)
        return areas


def evaluate(
    model: nn.Module, loader: Iterable, device: torch.device | str, threshold: float = 0.5
) -> dict[str, float]:
    """Metrics of a network of two classes over a whole loader, without gradients and in eval mode.

    model: on device; gives logits `(B, 1, H, W)`. Its modules are in the modes they had when this returns or raises.
    loader: batches `(images, masks)`, masks `(B, 1, H, W)` of 0 and 1. threshold: a probability, see `binarize`.
    Returns iou, dice and pixel_accuracy pooled over all pixels; iou_per_image, dice_per_image and boundary_f1 as means
    over the pictures. They do not depend on the batch size.
    Raises ValueError for a loader that gives nothing, a model on another device, NaN logits and wrong masks.
    """
    _check_device(model, device)
    confusion, boundary = ConfusionMatrix(2), []
    with _evaluating(model):
        for images, masks in _pairs(loader):
            logits, masks = model(images.to(device)), masks.to(device)
            _check_one_logit(logits, masks)
            pred_masks = binarize(logits, threshold)
            boundary.append(boundary_f1(pred_masks, masks, per_image=True).cpu())
            confusion.update(pred_masks, masks)
    _check_any(boundary)
    return {
        "iou": confusion.iou()[1].item(),
        "iou_per_image": _mean(confusion.iou(per_image=True)[:, 1]),
        "dice": confusion.dice()[1].item(),
        "dice_per_image": _mean(confusion.dice(per_image=True)[:, 1]),
        "pixel_accuracy": confusion.pixel_accuracy().item(),
        "boundary_f1": _mean(torch.cat(boundary)),
    }


def evaluate_classes(
    model: nn.Module, loader: Iterable, device: torch.device | str, num_classes: int, ignore_index: int | None = None
) -> dict[str, float | list[float]]:
    """Metrics of a network of C classes over a whole loader, without gradients and in eval mode.

    model: on device; gives logits `(B, C, H, W)`. Its modules are in the modes they had when this returns or raises.
    loader: batches `(images, labels)`, labels `(B, H, W)` of 0 … num_classes - 1, or ignore_index.
    Returns mean_iou, mean_dice and pixel_accuracy pooled over all pixels, boundary_f1 as a mean over the pictures, and
    iou_per_class, a list; NaN there for a class that is neither predicted nor true.
    Raises ValueError for a loader that gives nothing, a model on another device, NaN logits and wrong labels.
    """
    _check_device(model, device)
    confusion, boundary = ConfusionMatrix(num_classes, ignore_index), []
    with _evaluating(model):
        for images, labels in _pairs(loader):
            logits, labels = model(images.to(device)), labels.to(device)
            _check_class_logits(logits, labels, num_classes)
            predicted = labels_from(logits)
            boundary.append(mean_boundary_f1(predicted, labels, num_classes, per_image=True, ignore_index=ignore_index).cpu())
            confusion.update(predicted, labels)
    _check_any(boundary)
    _, predicted, true = _areas_of(confusion.matrix).unbind(-2)
    present = predicted + true > 0
    return {
        "mean_iou": confusion.mean_iou().item(),
        "mean_dice": confusion.mean_dice().item(),
        "pixel_accuracy": confusion.pixel_accuracy().item(),
        "boundary_f1": _mean(torch.cat(boundary)),
        "iou_per_class": torch.where(present, confusion.iou(), math.nan).tolist(),
    }


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients; afterwards every module is in the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:  # one by one: frozen parts were in eval mode on purpose
            module.training = training


def _check_any(batches: list) -> None:
    if not batches:
        raise ValueError(
            "The loader gave no batch, so there is nothing to measure: its data set is empty, drop_last drops the only "
            "batch, or it is an iterator that was used up. Pass a DataLoader with at least one picture."
        )


def _check_class_logits(logits: Tensor, labels: Tensor, num_classes: int) -> None:
    expected = (labels.shape[0], num_classes, *labels.shape[1:]) if labels.ndim == 3 else None
    if not torch.is_tensor(logits) or logits.shape != expected:
        got = tuple(logits.shape) if torch.is_tensor(logits) else type(logits).__name__
        raise ValueError(
            f"The model gave {got} for labels {tuple(labels.shape)}; evaluate_classes needs logits (B, {num_classes}, H, W) and "
            "labels (B, H, W). For one logit a pixel use evaluate; resize logits of another H × W to the labels."
        )


def _mean(values: Tensor) -> float:
    return values.double().mean().item()


def _pairs(loader: Iterable) -> Iterable[tuple[Tensor, Tensor]]:
    for batch in loader:
        if not (isinstance(batch, (tuple, list)) and len(batch) == 2 and all(map(torch.is_tensor, batch))):
            raise ValueError(
                f"The loader gave a batch of type {type(batch).__name__} where (images, masks) is expected, two "
                "tensors: wrap it, for example ((b['image'], b['mask']) for b in loader)."
            )
        yield tuple(batch)


def _check_one_logit(logits: Tensor, masks: Tensor) -> None:
    if not torch.is_tensor(logits) or logits.shape != masks.shape:
        got = tuple(logits.shape) if torch.is_tensor(logits) else type(logits).__name__
        raise ValueError(
            f"The model gave {got} for masks {tuple(masks.shape)}; evaluate needs logits (B, 1, H, W) and masks alike. "
            "For C classes use ConfusionMatrix with labels_from(logits); resize logits of another H × W to the masks."
        )


def _check_device(model: nn.Module, device: torch.device | str) -> None:
    first = next(model.parameters(), None)
    if first is not None and first.device.type != torch.device(device).type:
        raise ValueError(f"The model is on {first.device}, the device asked for is {device}: call model.to(device).")


# ---------------------------------------------------------------------------------------------- counting


def _count(pred: Tensor, labels: Tensor, counted: Tensor, num_classes: int) -> Tensor:
    """Counted pixels by picture, true label and predicted label, int64 `(B, C, C)`."""
    pred, labels, counted = _flat(pred).long(), _flat(labels).long(), _flat(counted)
    pictures = torch.arange(len(labels), device=labels.device)[:, None, None]
    cells = (pictures * num_classes + labels) * num_classes + pred
    # Counted as integers: sums of float16 masks end at 65504, and of float32 ones lose single pixels above 2^24.
    counts = torch.bincount(cells[counted], minlength=len(labels) * num_classes**2)
    return counts.view(-1, num_classes, num_classes)


def _flat(values: Tensor) -> Tensor:
    """`(B, 1, H, W)` or `(B, H, W)` as `(B, H, W)`."""
    return values.squeeze(1) if values.ndim == 4 else values


def _mask_areas(pred_mask: Tensor, mask: Tensor, per_image: bool, ignore_index: int | None) -> Tensor:
    counted = _check_masks(pred_mask, mask, ignore_index)
    return _areas(_count(pred_mask, mask, counted, 2), per_image)


def _areas(counts: Tensor, per_image: bool) -> Tensor:
    areas = _areas_of(counts if per_image else counts.sum(0))
    _check_counted(areas)
    return areas


def _areas_of(counts: Tensor) -> Tensor:
    """Of counts `(..., C, C)`, pixels of each class in the intersection, predicted, and true: `(..., 3, C)`."""
    return torch.stack([counts.diagonal(dim1=-2, dim2=-1), counts.sum(-2), counts.sum(-1)], -2)


def _iou(areas: Tensor) -> Tensor:
    both, pred, true = areas.unbind(-2)
    return _ratio(both, pred + true - both)


def _dice(areas: Tensor) -> Tensor:
    both, pred, true = areas.unbind(-2)
    return _ratio(2 * both, pred + true)


def _accuracy(areas: Tensor) -> Tensor:
    both, _, true = areas.unbind(-2)
    return _ratio(both.sum(-1), true.sum(-1))


def _mean_of_present(values: Tensor, areas: Tensor, ignore_index: int | None) -> Tensor:
    """Mean of values `(..., C)` over the classes that are predicted or true; never empty where a pixel counts."""
    _, pred, true = areas.unbind(-2)
    present = pred + true > 0
    if ignore_index is not None and 0 <= ignore_index < present.shape[-1]:
        present[..., ignore_index] = False  # it may be predicted, but can never be found true
    return (values * present).sum(-1) / present.sum(-1)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    # An empty whole means that nothing was there and nothing was found: full agreement.
    return torch.where(whole == 0, 1.0, part.float() / whole.clamp_min(1).float())


# ---------------------------------------------------------------------------------------------- boundaries


def _boundary_scores(pred: Tensor, true: Tensor, counted: Tensor, tolerance: float | None) -> tuple[Tensor, Tensor]:
    """F1 and whether either side has a boundary pixel to judge, both `(B,)`; inputs bool `(B, 1, H, W)`."""
    height, width = true.shape[2:]
    tolerance = max(1.0, 0.0075 * math.hypot(height, width)) if tolerance is None else tolerance
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"tolerance={tolerance} is no distance in pixels: take 0 or more, or None for the usual one.")
    # Beside an ignored pixel nobody knows whether the truth has a boundary.
    judged = ~_grow(~counted, outside=0.0)
    pred, true = _boundary(pred) & judged, _boundary(true) & judged
    found_pred, found_true = pred & _within(true, tolerance), true & _within(pred, tolerance)
    found_pred, found_true, pred, true = (region.sum((1, 2, 3)) for region in (found_pred, found_true, pred, true))
    precision, recall = found_pred.float() / pred.clamp_min(1), found_true.float() / true.clamp_min(1)
    f1 = 2 * precision * recall / (precision + recall).clamp_min(torch.finfo(torch.float32).tiny)
    found = pred + true > 0
    return torch.where(found, f1, 1.0), found


def _boundary(mask: Tensor) -> Tensor:
    """The mask less its 3×3 erosion: its pixels with background, or the picture's outside, among the 8 around them."""
    return mask & _grow(~mask, outside=1.0)


def _grow(region: Tensor, outside: float) -> Tensor:
    """Dilation with a 3×3 square; outside: 1 where what lies beyond the frame belongs to the region."""
    return F.max_pool2d(F.pad(region.float(), (1, 1, 1, 1), value=outside), 3, stride=1) > 0


def _within(region: Tensor, tolerance: float) -> Tensor:
    """Pixels no farther than tolerance from the region: dilation with a disk, row by row of the disk."""
    height, width = region.shape[2:]
    # Squared distances are integers, so the largest one within the tolerance decides, free of rounding.
    tolerance = min(tolerance, height + width)
    squared = math.floor(tolerance**2) + 1
    while math.sqrt(squared) > tolerance:
        squared -= 1
    radius = min(math.isqrt(squared), height - 1)
    across = F.pad(_distance_in_row(region), (0, 0, radius, radius), value=2 * (height + width))
    near = torch.zeros_like(region)
    for step in range(-radius, radius + 1):
        start = radius + step
        near |= across[:, :, start : start + height] <= math.isqrt(squared - step**2)
    return near


def _distance_in_row(region: Tensor) -> Tensor:
    """Columns to the nearest pixel of the region in the same row, int32; more than any tolerance where none is."""
    height, width = region.shape[2:]
    far = 2 * (height + width)
    columns = torch.arange(width, dtype=torch.int32, device=region.device)
    left = torch.where(region, columns, -far).cummax(-1).values
    right = torch.where(region, columns, width + far).flip(-1).cummin(-1).values.flip(-1)
    return torch.minimum(columns - left, right - columns)


# ---------------------------------------------------------------------------------------------- checks


def _check_masks(pred_mask: Tensor, mask: Tensor, ignore_index: int | None) -> Tensor:
    """Which pixels count, bool of the same shape."""
    _check_pair("pred_mask", pred_mask, "mask", mask, "(B, 1, H, W)")
    if mask.ndim != 4 or mask.shape[1] != 1 or mask.numel() == 0:
        raise ValueError(
            f"Masks of shape {tuple(mask.shape)}: (B, 1, H, W) with at least one pixel is expected. "
            "unsqueeze(1) adds a missing channel, unsqueeze(0) a missing batch."
        )
    if ignore_index in (0, 1):
        raise ValueError(
            f"ignore_index={ignore_index} is a label of the mask itself: mark ignored pixels with another, such as 255."
        )
    counted = _counted(mask, ignore_index)
    for name, values, checked in (("pred_mask", pred_mask, True), ("mask", mask, counted)):
        wrong = (values != 0) & (values != 1) & checked  # true for NaN too
        if wrong.any():
            raise ValueError(
                f"{name} holds {values[wrong][0].item():g} where only 0 and 1 may stand. Logits: binarize(logits). "
                "A mask of 0 and 255: divide it by 255, or pass ignore_index=255 if it marks what is not to count. "
                "Fractions: a mask was resized with blending or read through ToTensor; resize with NEAREST and compare "
                "labels (trimap != 2) instead."
            )
    return counted


def _check_labels(pred_labels: Tensor, labels: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """Which pixels count, bool of the same shape."""
    _check_num_classes(num_classes)
    _check_pair("pred_labels", pred_labels, "labels", labels, "(B, H, W), or both (B, 1, H, W)")
    if not (labels.ndim == 3 or labels.ndim == 4 and labels.shape[1] == 1) or labels.numel() == 0:
        raise ValueError(
            f"Labels of shape {tuple(labels.shape)}: (B, H, W) or (B, 1, H, W) with at least one pixel is expected. "
            "Logits (B, C, H, W): pass labels_from(logits). One-hot: argmax(1). unsqueeze(0) adds a missing batch."
        )
    counted = _counted(labels, ignore_index)
    for name, values, checked in (("pred_labels", pred_labels, True), ("labels", labels, counted)):
        right = (values >= 0) & (values < num_classes) & (values == values.long())  # false for NaN too
        wrong = ~right & checked
        if wrong.any():
            raise ValueError(
                f"{name} holds {values[wrong][0].item():g} where only whole numbers 0 to {num_classes - 1} may stand. "
                "Logits: pass labels_from(logits), or binarize(logits) for one logit a pixel. More classes: raise "
                "num_classes. A label for pixels that are not to count, often 255: pass it as ignore_index. Labels "
                "that start at 1: subtract 1. A mask of 0 and 255: divide it by 255."
            )
    return counted


def _check_pair(pred_name: str, pred: Tensor, name: str, true: Tensor, expected: str) -> None:
    for each, values in ((pred_name, pred), (name, true)):
        if not torch.is_tensor(values):
            raise TypeError(f"{each} is a {type(values).__name__}, no tensor: torch.as_tensor(...) makes one of it.")
    if pred.shape != true.shape:
        raise ValueError(
            f"Shapes differ: {pred_name} {tuple(pred.shape)}, {name} {tuple(true.shape)}. Both are {expected}; "
            "unsqueeze(1) adds a missing channel, squeeze(1) drops one."
        )


def _check_num_classes(num_classes: int) -> None:
    if num_classes < 2:
        raise ValueError(f"num_classes={num_classes}: background is a class too, so take 2 or more.")


def _counted(labels: Tensor, ignore_index: int | None) -> Tensor:
    if ignore_index is None:
        return torch.ones_like(labels, dtype=torch.bool)
    return labels != ignore_index


def _check_counted(areas: Tensor) -> None:
    *_, true = areas.unbind(-2)
    empty = true.sum(-1) == 0
    if empty.any():
        where = f"picture {empty.nonzero()[0].item()}" if empty.ndim else "any picture"
        raise ValueError(
            f"No pixel of {where} counts: all hold ignore_index. Leave such pictures out, or look at the labels."
        )


def _check_found(found: Tensor) -> None:
    if not found.all():
        raise ValueError(
            f"Picture {(~found).nonzero()[0].item()} has no boundary to judge: ignored pixels lie on or beside all of "
            "it, as where the border of every object is ignored. Give those pixels a label, or leave the picture out."
        )
