"""Hidden checks of Task 3.4."""

from dataclasses import replace

import torch

from grader.checks.training import (
    TOLERANCE, Problem, batches, calls_of, counted_pixels, criterion, descend, device, history_of, iou_of, loader,
    pair_of, pixel_model, random_problem, train, validate, value_of, weights_of,
)
from grader.expect import Mismatch, expect, expect_close, expect_number, largest_difference, numbers
from grader.student import StudentError
from solutions.checks.training import EPOCHS, RISE, overfitted, peaked, shift_model, shift_of, solved, train_shift


def test_iou_is_pooled_and_averaged_over_classes(student):
    """Pixels are counted over the whole batch, each class for itself; the IoU is the mean over the classes.

    Hint: over which of the dimensions (B, C, H, W) does each sum run, and what is left for the mean?
    """
    two_pictures = [counted_pixels(1, 3, 0, 8), counted_pixels(9, 0, 0, 3)]
    _expect_iou(student, *(torch.cat(part, dim=0) for part in zip(*two_pictures)), 10 / 13)
    three_classes = [counted_pixels(2, 1, 1, 8), counted_pixels(1, 3, 0, 8), counted_pixels(9, 0, 1, 2)]
    pred, target = (torch.cat(part, dim=1) for part in zip(*three_classes))
    _expect_iou(student, pred, target, (1 / 2 + 1 / 4 + 9 / 10) / 3)


def test_accumulation_equals_one_big_batch(student):
    """With accumulation_steps=k, k batches make the step of one batch k times as large, and the loss returned is no other.

    Hint: backward() adds gradients up; what makes a mean of the sum of k means? Which loss do you report?
    """
    problem, forget = random_problem(batches=6), _zeroes(student)
    for steps in (3, 2):
        model = pixel_model(student, problem.weights)
        train(student, model, problem, accumulation_steps=steps)
        weights = descend(problem, group=steps, forget=forget)[0]
        expect_close(weights_of(student, model), weights.float(), "the vector of weights afterwards")
    resting = replace(problem, lr=0.0)
    alone, grouped = (
        pair_of(train(student, pixel_model(student, problem.weights), resting, **options))[0]
        for options in ({}, {"accumulation_steps": 3})
    )
    same = abs(alone - grouped) < TOLERANCE
    expect(same, came=f"a loss of {grouped:.4f}", expected=f"{alone:.4f}, as without accumulation")


def test_last_incomplete_group_is_stepped(student):
    """Where the number of batches is no multiple of accumulation_steps, those that are left over make a step, too.

    Hint: what happens to the gradients of the last batches when the loop ends before their group is complete?
    """
    for count, steps in [(5, 2), (4, 3), (2, 4)]:
        problem = random_problem(count)
        images = problem.images.clone()
        images[:-2, 1] = 0  # only the last batch has a second channel: its weight moves if that batch counts
        problem = Problem(images, problem.masks, problem.weights)
        model = pixel_model(student, problem.weights)
        train(student, model, problem, accumulation_steps=steps)
        came, right = weights_of(student, model)[1], descend(problem)[0][1]
        moved, towards = float(came) - problem.weights[1], float(right) - problem.weights[1]
        expect(
            abs(moved) > TOLERANCE and moved * towards > 0,
            came=f"the last of {count} batches changes the weights by {moved:.4f}", expected="a step with its gradient",
        )


def test_gradients_are_clipped(student):
    """Before each step, the norm of all gradients together is brought down to max_grad_norm if larger; None leaves it.

    Hint: at which moment are the gradients of a step complete, and not yet used?
    """
    forget = _zeroes(student)
    for limit, steps in [(0.05, 1), (0.1, 1), (100.0, 1), (None, 1), (0.05, 2)]:
        problem = random_problem(batches=2)
        model = pixel_model(student, problem.weights)
        train(student, model, problem, accumulation_steps=steps, max_grad_norm=limit)
        came, options = weights_of(student, model), {"forget": forget, **({"limit": limit} if limit else {})}
        # accumulation is judged elsewhere: without it, clipping may still be right
        right = [descend(problem, group=group, **options)[0].float() for group in {steps, 1}]
        if not any(largest_difference(came, weights) < TOLERANCE / 10 for weights in right):
            raise Mismatch(f"the weights are {numbers(came)} with max_grad_norm={limit}", numbers(right[0]))


def test_modes_follow_training_and_validation(student):
    """train_epoch switches to train mode itself, in every epoch; train_model validates in eval mode.

    Hint: in which mode has validate left the model when the next epoch begins?
    """
    problem = random_problem(batches=3)
    images, masks = problem.images + 1, problem.masks
    problem = Problem(images, masks, problem.weights, lr=0.1)
    model = pixel_model(student, problem.weights, batch_norm=True, evaluating=True)
    before = value_of(student.state(model), "norm.running_mean")
    train(student, model, problem)
    after = value_of(student.state(model), "norm.running_mean")
    expect(
        largest_difference(before, after) > TOLERANCE,
        came=f"BatchNorm's running mean is still {numbers(after)} after training", expected="one that training changes",
    )
    model = pixel_model(student, problem.weights, batch_norm=True)
    validate(student, model, problem)
    validates_well = not any(call.get("training") for call in calls_of(student, model))  # judged elsewhere
    model = pixel_model(student, problem.weights, batch_norm=True)
    loaders = loader(student, images, masks, 2), loader(student, images, masks, 3)
    try:
        student.run("train_model", model, *loaders, epochs=3, criterion=criterion(student))
    except StudentError:
        return  # an unfinished train_model costs its own checks
    for call in calls_of(student, model):
        training, batch = call.get("training") is True, call.get("batch")
        right = training or batch == 3 or not call.get("grad")
        expect(right, came="a training batch in eval mode", expected="train mode")
        if validates_well:
            expect(not training or batch == 2, came="a validation batch in train mode", expected="eval mode")


def test_scheduler_is_fed_the_validation_loss(student):
    """The learning rate falls where the validation loss has not improved for more than 5 epochs, and only there.

    Hint: which of the four numbers of an epoch does the scheduler get?
    """
    model = shift_model(student)
    rates = _rates(train_shift(student, model, overfitted(), epochs=EPOCHS, device=device(student)))
    kept, fell = all(rate == rates[0] for rate in rates[:6]), max(rates[7:]) < rates[0]
    came = f"the lr of the epochs is {', '.join(f'{rate:g}' for rate in rates)}"
    expect(kept and fell, came=came, expected="a lower one from epoch 7 or 8: the validation loss rises from epoch 1")
    limit = 0.9 * EPOCHS * 2 * rates[0]
    moved = shift_of(student, model)
    came = f"{EPOCHS} epochs move the weight by {moved:.4f}"
    expect(moved < limit, came=came, expected=f"less than {limit:.4f}, since lr fell")
    rates = _rates(train_shift(student, shift_model(student), solved(), epochs=EPOCHS))
    came = f"the lr of the epochs is {', '.join(f'{rate:g}' for rate in rates)}"
    expect(min(rates) == max(rates), came=came, expected="always the same: the validation loss falls in every epoch")


def test_best_weights_are_restored(student):
    """After train_model, the model has the weights and buffers of the epoch with the highest validation IoU.

    Hint: state_dict() shows the live weights; do yours still hold the values of the best epoch after more training?
    """
    for best in (3, 5):
        pixels, model = peaked(best), shift_model(student)
        train_shift(student, model, pixels, epochs=10, device=device(student))
        state = student.state(model)
        shift, seen = (float(value_of(state, name).sum()) for name in ("shift", "seen"))
        _expect_best(pixels, best, shift, "the model")
        expect(
            abs(shift - seen) < RISE / 10,
            came="a buffer of another epoch than the weights", expected="both of the best epoch, as BatchNorm needs",
        )


def test_checkpoint_holds_the_best_weights(student):
    """The file at checkpoint_path is the state_dict of the best epoch, and torch.load(…, weights_only=True) reads it.

    Hint: save what load_state_dict wants, and save it when the IoU is better than ever before.
    """
    for best in (3, 5):
        pixels, model = peaked(best), shift_model(student)
        scratch = student.build("Scratch", "a path", name="best.pth")
        train_shift(student, model, pixels, epochs=10, checkpoint_path=scratch)
        try:
            saved = student.saved(scratch)
        except StudentError as error:
            came = "no file" if error.type == "FileNotFoundError" else f"a file that cannot be loaded so ({error.type})"
            raise Mismatch(came, "a file that torch.load(path, weights_only=True) reads") from None
        if not isinstance(saved, dict) or set(saved) != {"shift", "seen"}:
            came = f"a dict of {', '.join(saved)}" if isinstance(saved, dict) else "no dict"
            raise Mismatch(came[:120], "the model's own state_dict, of shift, seen")
        _expect_best(pixels, best, expect_number(saved["shift"], "the shift that was saved"), "the checkpoint")


def test_options_are_used(student):
    """train_model uses lr, weight_decay, accumulation_steps, max_grad_norm, and CombinedLoss where criterion is None.

    Hint: follow each argument of train_model to the place where it is used; is there one for each?
    """
    _expect_step(student, 0.01)
    _expect_step(student, 0.003)
    _expect_step(student, 0.01, accumulation_steps=2)
    _expect_step(student, 0.01, max_grad_norm=1e-12)  # so small that Adam's ε outweighs the gradient
    _expect_decay(student)
    problem = random_problem(batches=1, lr=0.0)
    loaders = batches(student, problem), batches(student, problem)
    own = train(student, pixel_model(student, problem.weights), problem, student.make("CombinedLoss"))
    value = student.run("train_model", pixel_model(student, problem.weights), *loaders, epochs=1)
    came, wanted = history_of(value, 1, ("train_loss",))["train_loss"][0], pair_of(own)[0]
    same = abs(came - wanted) < TOLERANCE
    expect(same, came=f"a first loss of {came:.4f}", expected=f"{wanted:.4f}, that of CombinedLoss()")


def _zeroes(student) -> bool:
    """Whether train_epoch clears old gradients; if not, the public check of the steps says so, and no other."""
    problem = random_problem(batches=2)
    model = pixel_model(student, problem.weights)
    train(student, model, problem)
    return largest_difference(weights_of(student, model), descend(problem, forget=False)[0].float()) > TOLERANCE


def _expect_iou(student, pred: torch.Tensor, target: torch.Tensor, iou: float) -> None:
    came = iou_of(student, pred, target)
    expect(abs(came - iou) <= TOLERANCE, came=f"{came:.4f}", expected=f"{iou:.4f} (within {TOLERANCE:g})")


def _rates(value) -> list[float]:
    return history_of(value, EPOCHS, ("lr",))["lr"]


def _expect_best(pixels, best: int, shift: float, what: str) -> None:
    """Mismatch unless this shift has the highest IoU, which no other epoch has."""
    came, expected = pixels.iou(shift), pixels.iou(best * RISE)
    expect(
        abs(came - expected) < TOLERANCE,
        came=f"{what} has the validation IoU {came:.3f} and the weights of about epoch {shift / RISE:.0f} of 10",
        expected=f"{expected:.3f}, the best of them, of epoch {best}",
    )


def _expect_step(student, lr: float, **options) -> None:
    """Mismatch unless an epoch of train_model moves the shift as far as the submission's train_epoch does with Adam."""
    alone, images = shift_model(student), torch.full((4, 1, 2, 2), 0.6)
    adam = student.build("adam", f"Adam with lr {lr:g}", model=alone, lr=lr)
    batches = loader(student, images, torch.ones_like(images), 1)
    student.run("train_epoch", alone, batches, adam, criterion(student), device(student), **options)
    model, wanted = shift_model(student), shift_of(student, alone)
    options = {"lr": lr, "weight_decay": 0.0, "max_grad_norm": None, **options}
    train_shift(student, model, solved(), batches=4, epochs=1, **options)
    came = shift_of(student, model)
    expect(
        abs(came - wanted) <= 0.1 * lr,
        came=f"an epoch moves the weight by {came:.4f}", expected=f"{wanted:.4f}, as train_epoch with Adam and this lr",
    )


def _expect_decay(student) -> None:
    """Mismatch unless weight_decay, and nothing else, moves a weight whose gradient is zero."""
    problem = random_problem(batches=1)
    images = problem.images.clone()
    images[:, 1] = 0
    for weight_decay in (0.0, 0.5):
        model = pixel_model(student, (0.5, 2.0, 0.25))
        loaders = [loader(student, images, problem.masks, 2) for _ in range(2)]
        options = {"lr": 0.1, "weight_decay": weight_decay, "criterion": criterion(student)}
        student.run("train_model", model, *loaders, epochs=1, **options)
        came = float(weights_of(student, model)[1])
        expect(
            came < 2 - TOLERANCE if weight_decay else abs(came - 2) < TOLERANCE,
            came=f"a weight of 2 without a gradient is {came:.4f} afterwards",
            expected="a smaller one" if weight_decay else "no change",
        )
