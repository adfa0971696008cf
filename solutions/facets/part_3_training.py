"""Facets of Task 3.4: the metric and the training, on tiny models whose numbers any style of writing reaches."""

from __future__ import annotations

from dataclasses import replace

import torch

from grader.checks.inputs import pictures
from grader.checks.losses import masks
from grader.checks.training import (
    KEYS, Problem, batches, calls_of, counted_pixels, counted_problem, criterion, device, loader, pixel_model, random_problem, train,
    validate,
)
from grader.student import Instrument, Student
from solutions.checks.training import EPOCHS, overfitted, peaked, shift_model, solved, train_shift
from solutions.facets.asking import Subject, attempt


def _plain(value: object) -> object:
    """Tensors of one element as numbers, and tuples as lists: either is a right answer."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value


def _history(value: object) -> object:
    """The lists of a history that the contract names; of the rates each once, since one may note them before a step or after."""
    if not isinstance(value, dict):
        return _plain(value)
    lists = {key: _plain(value[key]) for key in KEYS if key in value}
    return {**lists, "lr": list(dict.fromkeys(lists["lr"]))} if isinstance(lists.get("lr"), list) else lists


# ---- calculate_iou ----


def _ious(student: Student, *pairs: tuple[torch.Tensor, torch.Tensor], **options) -> list:
    return [attempt(lambda pair=pair: _plain(student.run("calculate_iou", *pair, **options))) for pair in pairs]


def iou_of_counts(student: Student) -> object:
    """The IoU of clear logits with known counts."""
    return _ious(student, *[counted_pixels(*counts) for counts in [(2, 1, 1, 4), (3, 0, 2, 1), (1, 3, 0, 8)]])


def iou_of_empty_masks(student: Student) -> object:
    """The IoU where prediction or target or both are empty."""
    return _ious(student, *[counted_pixels(*counts) for counts in [(0, 0, 0, 8), (0, 3, 0, 5), (0, 0, 3, 5)]])


def iou_at_thresholds(student: Student) -> object:
    """The IoU of unclear logits at several thresholds."""
    pred = torch.tensor([0.3, 0.3, -0.5, -0.5, -2.0, -2.0]).view(1, 1, 2, 3)
    target = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 3)
    return [_ious(student, (pred, target), threshold=threshold) for threshold in (0.5, 0.3, 0.1, 0.7)]


def iou_of_a_batch(student: Student) -> object:
    """The IoU of two pictures, and of three classes."""
    pictures_of_two = [counted_pixels(1, 3, 0, 8), counted_pixels(9, 0, 0, 3)]
    classes = [counted_pixels(2, 1, 1, 8), counted_pixels(1, 3, 0, 8), counted_pixels(9, 0, 1, 2)]
    return _ious(student, tuple(torch.cat(part, dim=0) for part in zip(*pictures_of_two)),
                 tuple(torch.cat(part, dim=1) for part in zip(*classes)), (2 * pictures(2, 3, 4, 5), masks(2, 3, 4, 5)))


# ---- train_epoch ----


def _weights(student: Student, model: Instrument) -> object:
    return student.state(model).values


def _trained(student: Student, problem: Problem, model: dict | None = None, loss=None, **options) -> object:
    """What one pass returns, and the values of the model afterwards."""
    network = pixel_model(student, problem.weights, **(model or {}))
    returned = attempt(lambda: _plain(train(student, network, problem, loss, **options)))
    return [returned, _weights(student, network)]


def steps(student: Student) -> object:
    """Three batches of plain gradient descent."""
    return _trained(student, random_problem(batches=3))


def means(student: Student) -> object:
    """What is returned where nothing is learnt."""
    return _trained(student, counted_problem())


def accumulated(student: Student) -> object:
    """Groups of batches, whole ones and a last smaller one."""
    return [_trained(student, random_problem(batches=count), accumulation_steps=k) for count, k in [(6, 3), (6, 2)]]


def last_group(student: Student) -> object:
    """Which weights move where only the batch of a last smaller group has a second channel."""
    problem = random_problem(5)
    images = problem.images.clone()
    images[:-2, 1] = 0
    value = _trained(student, Problem(images, problem.masks, problem.weights), accumulation_steps=2)[1]
    return abs(float(value["conv.weight"].flatten()[1]) - problem.weights[1]) > 1e-4


def clipped(student: Student) -> object:
    """Steps with limits of the gradient's norm, small and large."""
    problem = random_problem(batches=2)
    return [_trained(student, problem, max_grad_norm=limit)[1] for limit in (0.05, 1.5, 100.0)]


def clipped_groups(student: Student) -> object:
    """Steps of two batches with a limit of the gradient's norm."""
    return _trained(student, random_problem(batches=2), accumulation_steps=2, max_grad_norm=0.1)[1]


def other_loss(student: Student) -> object:
    """Training with another loss."""
    return _trained(student, random_problem(batches=2), loss=student.build("bce", "summed cross-entropy", reduction="sum"))


def modes(student: Student) -> object:
    """BatchNorm's statistics, and the calls of a model that comes in eval mode."""
    problem = random_problem(batches=3)
    problem = Problem(problem.images + 1, problem.masks, problem.weights, lr=0.1)
    model = pixel_model(student, problem.weights, batch_norm=True, evaluating=True)
    returned = attempt(lambda: _plain(train(student, model, problem)))
    return [returned, _weights(student, model), [call.get("training") for call in calls_of(student, model)]]


def modes_from_training(student: Student) -> object:
    """BatchNorm's statistics of a model that comes in train mode."""
    problem = random_problem(batches=2)
    problem = Problem(problem.images + 1, problem.masks, problem.weights, lr=0.1)
    return _trained(student, problem, {"batch_norm": True})[1]


# ---- validate ----


def validated(student: Student) -> object:
    """What validate returns."""
    problem = replace(random_problem(batches=3), lr=0.0)
    return _plain(validate(student, pixel_model(student, problem.weights), problem))


def validated_means(student: Student) -> object:
    """What validate returns for counted pixels."""
    return _plain(validate(student, pixel_model(student, counted_problem().weights), counted_problem()))


def after_validation(student: Student) -> object:
    """Values, gradients and calls of a model with BatchNorm afterwards."""
    problem = random_problem(batches=3)
    problem = Problem(problem.images + 1, problem.masks, problem.weights)
    model = pixel_model(student, problem.weights, batch_norm=True)
    returned = attempt(lambda: _plain(validate(student, model, problem)))
    state = student.state(model)
    calls = [[call.get("training"), call.get("grad")] for call in calls_of(student, model)]
    return [returned, state.values, state.gradients, calls]


# ---- train_model ----


def _run(student: Student, pixels, **options) -> tuple[object, Instrument]:
    """What train_model returns, and the model."""
    model = shift_model(student)
    return attempt(lambda: _history(train_shift(student, model, pixels, **options))), model


def history(student: Student) -> object:
    """The history of three epochs, on sets that differ."""
    training = counted_problem()
    validation = Problem(training.images, (training.images > 0).float(), training.weights)
    model = pixel_model(student, training.weights)
    loaders = batches(student, training), batches(student, validation)
    return _history(student.run("train_model", model, *loaders, epochs=3, criterion=criterion(student)))


def scheduled(student: Student) -> object:
    """The history where the validation loss rises and the IoU as well; which of two equal epochs is the best is free."""
    return _run(student, overfitted(), epochs=EPOCHS - 1)[0]


def scheduled_by_training(student: Student) -> object:
    """The learning rates where the training loss stays and the validation loss falls, as BatchNorm's statistics settle."""
    problem = random_problem(batches=4)
    problem = Problem(problem.images + 3, problem.masks, problem.weights)
    model = pixel_model(student, problem.weights, batch_norm=True)
    loaders = batches(student, problem), batches(student, problem)
    options = {"epochs": EPOCHS, "lr": 1e-6, "weight_decay": 0.0, "criterion": criterion(student)}
    return _history(student.run("train_model", model, *loaders, **options))["lr"]


def scheduled_late(student: Student) -> object:
    """The learning rates of so many epochs that a long patience ends as well."""
    return _history(train_shift(student, shift_model(student), overfitted(), epochs=EPOCHS + 6))["lr"]


def scheduled_without_need(student: Student) -> object:
    """The history where the loss falls and the IoU stays."""
    return _run(student, solved(), epochs=EPOCHS)[0]


def restored(student: Student) -> object:
    """Weights and buffers after ten epochs of which the fourth is the best."""
    returned, model = _run(student, peaked(4), epochs=10)
    return [returned, _weights(student, model)]


def restored_early(student: Student) -> object:
    """The same after six epochs: then the lowest IoU is that of the first, and no longer that of the last."""
    return _weights(student, _run(student, peaked(4), epochs=6)[1])


def saved(student: Student) -> object:
    """What the file holds after ten epochs of which the fourth is the best."""
    scratch = student.build("Scratch", "a path", name="best.pth")
    attempt(lambda: train_shift(student, shift_model(student), peaked(4), epochs=10, checkpoint_path=scratch))
    content = attempt(lambda: student.saved(scratch))
    return _outline(content)


def _outline(content: object) -> object:
    """A checkpoint's values; of one with other things in it only what they are, since names are free there."""
    if not isinstance(content, dict):
        return "no file" if "FileNotFound" in str(content) else "not what can be loaded"
    if set(content) == {"shift", "seen"}:
        return content
    return "another dict, with the weights in it" if _holds_weights(content) else "another dict"


def _holds_weights(content: dict) -> bool:
    return any(isinstance(value, dict) and ({"shift", "seen"} <= set(value)) for value in content.values())


def options_handed_on(student: Student) -> object:
    """The shift after one epoch with a learning rate, with groups, with a limit of the gradient."""
    choices = [{"lr": 0.01}, {"lr": 0.003}, {"lr": 0.01, "accumulation_steps": 2}, {"lr": 0.01, "max_grad_norm": 1e-12}]
    plain = {"weight_decay": 0.0, "max_grad_norm": None, "epochs": 1, "batches": 4}
    return [_weights(student, _run(student, solved(), **{**plain, **choice})[1]) for choice in choices]


def decayed(student: Student) -> object:
    """Whether weight_decay moves a weight without a gradient."""
    problem = random_problem(batches=1)
    images = problem.images.clone()
    images[:, 1] = 0
    moved = []
    for weight_decay in (0.0, 0.5):
        model = pixel_model(student, (0.5, 2.0, 0.25))
        loaders = [loader(student, images, problem.masks, 2) for _ in range(2)]
        options = {"lr": 0.1, "weight_decay": weight_decay, "criterion": criterion(student)}
        attempt(lambda: student.run("train_model", model, *loaders, epochs=1, **options))
        moved.append(abs(float(_weights(student, model)["conv.weight"].flatten()[1]) - 2) > 1e-4)
    return moved


def learnt(student: Student) -> object:
    """The history of some epochs of learning."""
    images = 20 * pictures(8, 2, 4, 4)
    problem = Problem(images, (images[:, :1] > 0).float(), (0.0, 0.0, -0.5))
    model = pixel_model(student, problem.weights)
    loaders = batches(student, problem), batches(student, problem)
    options = {"epochs": 5, "lr": 0.01, "weight_decay": 0.0, "criterion": criterion(student), "device": device(student)}
    return _history(student.run("train_model", model, *loaders, **options))


def default_loss(student: Student) -> object:
    """The first loss where no criterion is given."""
    problem = random_problem(batches=1, lr=0.0)
    loaders = batches(student, problem), batches(student, problem)
    return _history(student.run("train_model", pixel_model(student, problem.weights), *loaders, epochs=1))


SUBJECTS = {
    "3.4": [
        Subject("calculate_iou", (iou_of_counts, iou_of_empty_masks, iou_at_thresholds, iou_of_a_batch)),
        Subject("train_epoch", (means, steps, accumulated, last_group, clipped, clipped_groups, other_loss, modes,
                                modes_from_training), uses=("calculate_iou",)),
        Subject("validate", (validated, validated_means, after_validation), uses=("calculate_iou",)),
        Subject("train_model", (history, scheduled, scheduled_by_training, scheduled_late, scheduled_without_need, restored, restored_early, saved,
                                options_handed_on, decayed, learnt, default_loss), uses=("calculate_iou", "train_epoch", "validate")),
    ],
}
