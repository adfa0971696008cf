"""Hidden checks of Task 3.5: the trained network on pictures that nobody has seen."""

import weakref

from grader.checks.trained import trained_network
from grader.expect import Mismatch, expect, expect_shape
from grader.student import Student
from metrics import binarize
from solutions.held_out import held_out_pictures

BATCH_PIXELS = 25 * 64**2  # of the pictures for one answer
_measured: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # a submission's process → its IoU: one forward pass for all bands


def test_iou_at_least_60(student):
    """On pictures that nobody has seen, the trained network reaches an IoU of 0.60.

    Hint: the notebook's training reaches more in its quick mode; did the loss fall, and is it the best checkpoint?
    """
    _expect_iou(student, 0.60)


def test_iou_at_least_70(student):
    """On pictures that nobody has seen, the trained network reaches an IoU of 0.70.

    Hint: train for more epochs, as long as the validation IoU still rises.
    """
    _expect_iou(student, 0.70)


def test_iou_at_least_80(student):
    """On pictures that nobody has seen, the trained network reaches an IoU of 0.80.

    Hint: compare training and validation curves: is it still learning, or does it overfit?
    """
    _expect_iou(student, 0.80)


def test_iou_at_least_85(student):
    """On pictures that nobody has seen, the trained network reaches an IoU of 0.85.

    Hint: more epochs, augmentation, a wider network: what does your ablation say?
    """
    _expect_iou(student, 0.85)


def _expect_iou(student: Student, wanted: float) -> None:
    if student.transport not in _measured:
        _measured[student.transport] = _measure(student)
    came = _measured[student.transport]
    if isinstance(came, Mismatch):
        raise came
    student.note(f"3.5: the trained network reaches an IoU of {came:.3f} on the held-out pictures")
    expect(came >= wanted, came=f"an IoU of {came:.3f}", expected=f"{wanted:.2f} or more")


def _measure(student: Student) -> float | Mismatch:
    """IoU pooled over all held-out pictures; the Mismatch where the network cannot be had, which every band then tells."""
    images, masks = held_out_pictures(student.experiment.size)
    batch_size = max(1, BATCH_PIXELS // images[0, 0].numel())
    shared = either = 0  # counts only: a submission decides how large its answers are
    try:
        network = trained_network(student)
        for batch, actual in zip(images.split(batch_size), masks.split(batch_size)):
            logits = network(batch)
            expect_shape(logits, tuple(actual.shape), "the logits")
            predicted, actual = binarize(logits).bool(), actual.bool()
            shared += int((predicted & actual).sum())
            either += int((predicted | actual).sum())
    except Mismatch as mismatch:
        return mismatch
    return shared / either
