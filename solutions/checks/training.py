"""Problems for `train_model` on one number, the shift of a `ShiftModel`, and what a right run makes of them.

Adam moves the shift by its learning rate a step while the gradient keeps its sign, and lr keeps its default (whether
it is used is one check's business alone). So it is known after which epoch a validation pixel crosses the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from grader.checks.training import criterion, loader, value_of
from grader.student import Instrument, Student

EPOCHS = 12
RISE = 2e-3  # of the shift in an epoch: two steps of the default lr


@dataclass(frozen=True)
class Pixels:
    """Validation pixels by their logit at shift 0: those that are 1 in the mask, and those that are 0."""

    ones: list[float]
    zeros: list[float]

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(images, masks) of one picture, both (1, 1, 1, N)."""
        masks = [1.0] * len(self.ones) + [0.0] * len(self.zeros)
        return torch.tensor(self.ones + self.zeros).view(1, 1, 1, -1), torch.tensor(masks).view(1, 1, 1, -1)

    def iou(self, shift: float) -> float:
        """The IoU at this shift."""
        tp = sum(value + shift > 0 for value in self.ones)
        return tp / (len(self.ones) + sum(value + shift > 0 for value in self.zeros))


def crossing(first: int, last: int, threshold: float = 0.0) -> list[float]:
    """Logits that pass `threshold` in the middle of each of the epochs from `first` to `last`."""
    return [threshold - RISE * (epoch - 0.5) for epoch in range(first, last + 1)]


def peaked(best: int) -> Pixels:
    """Pixels whose IoU is highest after epoch `best`, while the validation loss falls all the time.

    The same with a threshold of 0.5 on the logits: that mistake is another check's business.
    """
    ones, zeros = [0.6] * 20, []
    for threshold in (0.0, 0.5):
        ones += crossing(1, best, threshold)
        zeros += crossing(best + 1, EPOCHS, threshold)
    return Pixels(ones, zeros)


def overfitted() -> Pixels:
    """Pixels whose loss rises all the time, while their IoU rises as well."""
    return Pixels(ones=crossing(1, EPOCHS), zeros=[5.0] * EPOCHS)


def solved() -> Pixels:
    """Pixels whose loss falls all the time, while their IoU stays at 1."""
    return Pixels(ones=[3.0] * 4, zeros=[-30.0] * 4)


def shift_model(student: Student) -> Instrument:
    """A model that learns one number."""
    return student.build("ShiftModel", "a model that adds one number to the picture")


def train_shift(student: Student, model: Instrument, pixels: Pixels, batches: int = 2, **options):
    """What train_model returns; every training pixel is 1, so that the shift only rises."""
    images = torch.full((batches, 1, 2, 2), 0.6)
    loaders = loader(student, images, torch.ones_like(images), 1), loader(student, *pixels.tensors(), 1)
    options = {"criterion": criterion(student), **options}
    return student.run("train_model", model, *loaders, **options)


def shift_of(student: Student, model: Instrument) -> float:
    """The shift as it is now."""
    return float(value_of(student.state(model), "shift").sum())
