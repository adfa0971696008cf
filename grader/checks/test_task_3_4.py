"""Public checks of Task 3.4: calculate_iou, train_epoch, validate, train_model."""

import torch

from grader.checks.inputs import pictures
from grader.checks.training import (
    KEYS, TOLERANCE, Problem, batches, calls_of, counted_pixels, counted_problem, criterion, descend, device,
    expect_pair, history_of, iou_of, mean_loss, own_iou, pair_of, pixel_model, random_problem, train, validate, value_of,
    weights_of,
)
from grader.expect import Mismatch, expect, expect_close, largest_difference, numbers


def test_iou_by_hand(student):
    """The IoU is the number of pixels that are 1 in both masks, divided by the number that are 1 in at least one.

    Hint: a pixel that both masks have counts once in the union.
    """
    for tp, fp, fn, tn in [(2, 1, 1, 4), (3, 0, 2, 1), (1, 3, 0, 8)]:
        _expect_iou(student, counted_pixels(tp, fp, fn, tn), tp / (tp + fp + fn))


def test_iou_of_two_empty_masks_is_one(student):
    """Where nothing is predicted and nothing is there, the IoU is 1; where only one of the two is empty, it is 0.

    Hint: 0 / 0 has no value; where does a small ε have to stand so that it becomes 1?
    """
    _expect_iou(student, counted_pixels(0, 0, 0, 8), 1.0)
    _expect_iou(student, counted_pixels(0, 3, 0, 5), 0.0)
    _expect_iou(student, counted_pixels(0, 0, 3, 5), 0.0)


def test_iou_thresholds_probabilities(student):
    """A pixel is predicted where its probability, not its logit, is above the threshold.

    Hint: a logit of 0.3 is a probability of 0.57. Is the threshold that of the argument?
    """
    pred = torch.tensor([0.3, 0.3, -0.5, -0.5, -2.0, -2.0]).view(1, 1, 2, 3)  # probabilities 0.57, 0.38, 0.12
    target = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 3)
    for threshold, iou in [(0.5, 2 / 3), (0.3, 3 / 4), (0.1, 3 / 6), (0.7, 0.0)]:
        _expect_iou(student, (pred, target), iou, threshold=threshold)
    _expect_iou(student, (pred, target), 2 / 3)


def test_train_epoch_steps_once_a_batch(student):
    """Each batch makes one step of the optimizer, with the gradient of that batch alone.

    Hint: which calls turn a loss into new weights, in which order? What does backward() do with older gradients?
    """
    problem = random_problem(batches=3)
    model = pixel_model(student, problem.weights)
    train(student, model, problem)
    came, expected = weights_of(student, model), descend(problem)[0].float()
    wrong = {
        "as they were before the training": torch.tensor(problem.weights),
        "as after steps that also use the gradients of the batches before": descend(problem, forget=False)[0].float(),
        "as after one step for all the batches": descend(problem, group=3)[0].float(),
    }
    for words, weights in wrong.items():
        if largest_difference(came, weights) < TOLERANCE:
            raise Mismatch(f"the weights are {numbers(came)}, {words}", numbers(expected))
    expect_close(came, expected, "the vector of weights afterwards")


def test_train_epoch_returns_the_means(student):
    """train_epoch returns (loss, iou), each the mean over the batches, as floats.

    Hint: add up what every batch gives; by what is the sum divided, and after which batch?
    """
    problem = counted_problem()
    iou, model = own_iou(student, problem), pixel_model(student, problem.weights)
    expect_pair(train(student, model, problem), mean_loss(problem, problem.weights), iou)


def test_validate_changes_nothing(student):
    """validate leaves weights, BatchNorm's statistics and gradients as they are, and records no gradients.

    Hint: in which mode does BatchNorm keep its statistics? What tells PyTorch that no backward() will come?
    """
    problem = random_problem(batches=3)
    problem = Problem(problem.images + 1, problem.masks, problem.weights)
    model = pixel_model(student, problem.weights, batch_norm=True)
    before = student.state(model)
    validate(student, model, problem)
    after = student.state(model)
    for name in ("conv.weight", "conv.bias", "norm.weight", "norm.running_mean", "norm.running_var"):
        old, new = value_of(before, name), value_of(after, name)
        expect(torch.equal(old, new), came=f"{name} was {numbers(old)} and is {numbers(new)}", expected="no change")
    left = any(isinstance(gradient, torch.Tensor) for gradient in after.gradients.values())
    expect(not left, came="gradients at the weights", expected="none")
    calls = calls_of(student, model)
    expect(bool(calls), came="the model was never called", expected="a call for every batch")
    recorded = any(call.get("grad") for call in calls)
    expect(not recorded, came="the model was called with gradients switched on", expected="gradients switched off")


def test_validate_returns_the_means(student):
    """validate returns (loss, iou), each the mean over the batches, as floats.

    Hint: the same sums as in train_epoch; by what are they divided, and after which batch?
    """
    problem = counted_problem()
    iou, model = own_iou(student, problem), pixel_model(student, problem.weights)
    expect_pair(validate(student, model, problem), mean_loss(problem, problem.weights), iou)


def test_history_has_one_entry_an_epoch(student):
    """train_model returns a dict of the lists train_loss, train_iou, val_loss, val_iou and lr, a number for each epoch.

    Hint: which numbers of an epoch come from train_epoch, and which from validate? Do both get the caller's criterion?
    """
    training = counted_problem()
    validation = Problem(training.images, (training.images > 0).float(), training.weights)
    trained = pair_of(train(student, pixel_model(student, training.weights), training))
    validated = pair_of(validate(student, pixel_model(student, training.weights), validation))
    wanted = dict(zip(KEYS, (*trained, *validated, 1e-3)))
    for epochs in (1, 3):
        model = pixel_model(student, training.weights)
        loaders = batches(student, training), batches(student, validation)
        value = student.run("train_model", model, *loaders, epochs=epochs, criterion=criterion(student))
        history = history_of(value, epochs)
        for key, number in wanted.items():  # steps as small as the default's change next to nothing in one epoch
            came = history[key][0]
            expect(
                abs(came - number) <= 0.1 * abs(number),
                came=f"{came:.4g} in history[{key!r}]", expected=f"about {number:.4g} in the first epoch",
            )


def test_training_lowers_the_loss(student):
    """After train_model, the model's loss on pictures that can be learnt is lower than before.

    Hint: does the optimizer hold this model's parameters, and does every epoch train?
    """
    images = 20 * pictures(8, 2, 4, 4)
    problem = Problem(images, (images[:, :1] > 0).float(), (0.0, 0.0, -0.5))
    model = pixel_model(student, problem.weights)
    loaders = batches(student, problem), batches(student, problem)
    student.run("train_model", model, *loaders, epochs=15, criterion=criterion(student), device=device(student))
    before, after = mean_loss(problem, problem.weights), mean_loss(problem, weights_of(student, model).tolist())
    expect(after < 0.97 * before, came=f"a loss of {after:.4f} afterwards", expected=f"clearly less than {before:.4f}")


def _expect_iou(student, masks: tuple[torch.Tensor, torch.Tensor], iou: float, **options) -> None:
    """Mismatch unless calculate_iou gives this for logits and target; the message shows both."""
    came = iou_of(student, *masks, **options)
    pred, target = (", ".join(f"{value:g}" for value in tensor.flatten().tolist()) for tensor in masks)
    student.doing += f" holding the logits {pred} and the target {target}"
    expect(abs(came - iou) <= TOLERANCE, came=f"{came:.4f}", expected=f"{iou:.4f} (within {TOLERANCE:g})")
