"""Public checks of Task 2.4: gradient_norms and analyze_skip_connections."""

import math

import torch

from grader.checks.inputs import pictures
from grader.expect import expect, expect_number, largest_difference
from grader.instruments import TinyUNet
from grader.student import Instrument, Student

KEYS = ["name", "parameters", "forward_ms", "backward_ms", "peak_memory_mb", "first_encoder_grad", "last_decoder_grad"]


def test_one_norm_a_parameter(student):
    """gradient_norms returns a dict with one number, not negative, for every named parameter of the model.

    Hint: model.named_parameters() gives names and parameters; parameter.grad has as many numbers as the parameter, a norm is one.
    """
    for levels in (1, 3):
        came = norms(student, tiny_unet(student, levels=levels))
        with torch.random.fork_rng(devices=[]):  # the notebook's random numbers are the student's
            names = [name for name, _ in TinyUNet(levels=levels).named_parameters()]
        missing = [name for name in names if name not in came]
        extra = [name for name in came if name not in names]
        expect(
            not missing and not extra,
            came=f"{len(came)} names; missing: {missing or 'none'}; too many: {extra or 'none'}"[:400],
            expected=f"the {len(names)} names of model.named_parameters()",
        )


def test_unused_parameters_give_zero(student):
    """Parameters that get no gradient, unused or frozen ones, are in the dict with 0.0.

    Hint: for them the gradient is None, which has no norm.
    """
    idle = student.build("PixelModel", "a model with an unused parameter", weight=[0.5, -1.0, 2.0], idle=True)
    frozen = tiny_unet(student, "a network with a frozen bottleneck", frozen=True)
    for model, name, other in [(idle, "idle", "conv.weight"), (frozen, "bottleneck.weight", "head.weight")]:
        came = norms(student, model)
        for wanted in (name, other):
            expect(wanted in came, came=f"no {wanted!r} among {list(came)}"[:400], expected="every named parameter")
        expect(came[name] == 0, came=f"{came[name]:.4g} for {name}", expected="0.0")
        expect(came[other] > 0, came=f"{came[other]:.4g} for {other}", expected="more than 0")


def test_gradients_stay_as_they_were(student):
    """Weights and every .grad are afterwards what they were before, None or not; and an old .grad changes no norm.

    Hint: loss.backward() adds to every .grad. Is there a way to get gradients without it, or to put back what was there?
    """
    clean = tiny_unet(student, "a network without gradients yet")
    used = tiny_unet(student, "a network whose every .grad holds 0.25", gradient=0.25)
    results = []
    for model in (clean, used):
        before = student.state(model)
        results.append(norms(student, model))
        after = student.state(model)
        for name, old in before.gradients.items():
            _expect_same(after.gradients.get(name), old, f"the .grad of {name}")
        for name, old in before.values.items():
            _expect_same(after.values.get(name), old, name)
    expect(max(results[0].values(), default=0.0) > 0, came="no norm above 0", expected="norms of the gradients")
    for name, norm in results[0].items():
        other = results[1].get(name, math.nan)
        expect(close(other, norm), came=f"{other:.4g} for {name} where .grad held 0.25", expected=f"{norm:.4g} as without")


def test_one_row_a_model(student):
    """analyze_skip_connections returns a list with one dict for every model, and each dict has the seven keys.

    Hint: how many rows, and when does the function return?
    """
    models = {"narrow": tiny_unet(student), "wide": tiny_unet(student, width=3), "deep": tiny_unet(student, levels=3)}
    came = rows(student, models)
    names = [row.get("name") if isinstance(row.get("name"), str) else "(none)" for row in came]
    expect(
        len(names) == len(models) and set(names) == set(models),
        came=f"{len(came)} row(s), of the names {names}"[:400],
        expected=f"{len(models)} rows, of the names {list(models)}",
    )
    for row in came:
        missing = [key for key in KEYS if key not in row]
        expect(not missing, came=f"a row without {', '.join(missing)}", expected=f"the keys {', '.join(KEYS)}")


def test_rows_hold_measured_numbers(student):
    """forward_ms, backward_ms and peak_memory_mb are measured: positive numbers, also where there is no GPU.

    Hint: step_times_ms and step_memory_mb are given; torch.cuda measures nothing on the CPU.
    """
    came = rows(student, {"narrow": tiny_unet(student), "wide": tiny_unet(student, width=8)})
    expect(bool(came), came="no rows", expected="one a model")
    for row in came:
        present = [key for key in ("forward_ms", "backward_ms", "peak_memory_mb") if key in row]
        expect(bool(present), came="a row without times and memory", expected="forward_ms, backward_ms and peak_memory_mb")
        for key in present:  # one that is missing is another check's business
            number = expect_number(row.get(key), f"row[{key!r}]")
            expect(0 < number < math.inf, came=f"{key} is {number:g}", expected="a positive number")


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures and masks."""
    images = pictures(3, 3, 12, 16)
    return images, (images.sum(dim=1, keepdim=True) > 0).float()


def tiny_unet(student: Student, text: str = "a small network", **fields) -> Instrument:
    """A TinyUNet on the submission's side."""
    return student.build("TinyUNet", text, **{"seed": 5, "width": 2, **fields})


def norms(student: Student, model: Instrument, **options) -> dict[str, float]:
    """What gradient_norms returns for `model`: finite numbers by name; Mismatch for anything else."""
    criterion = student.build("bce", "binary cross-entropy", **options)
    value = student.run("gradient_norms", model, *batch(), criterion)
    expect(isinstance(value, dict), came=_text(value), expected="a dict of parameter name → number")
    came = {name: expect_number(norm, f"the norm of {name[:80]}") for name, norm in value.items()}
    for name, norm in came.items():
        expect(0 <= norm < math.inf, came=f"{norm:.4g} for {name[:80]}", expected="a finite number, not negative")
    return came


def rows(student: Student, models: dict[str, Instrument]) -> list[dict]:
    """What analyze_skip_connections returns: a list of dicts; Mismatch for anything else."""
    value = student.run("analyze_skip_connections", models, *batch(), student.build("bce", "binary cross-entropy"))
    expect(
        isinstance(value, list) and all(isinstance(row, dict) for row in value),
        came=_text(value), expected="a list of dicts, one a model",
    )
    return value


def close(came: float, wanted: float) -> bool:
    """Whether two norms agree to half a percent, which float32 keeps, and TF32 on a GPU too."""
    return abs(came - wanted) <= 5e-3 * abs(wanted) + 1e-7


def _expect_same(came: torch.Tensor | None, before: torch.Tensor | None, what: str) -> None:
    if isinstance(before, torch.Tensor) and isinstance(came, torch.Tensor):
        difference = largest_difference(came, before)
        expect(difference <= 1e-6, came=f"{what} has changed by {difference:.3g}", expected="the values as before")
    else:
        text, wanted = ("None" if value is None else "a tensor" for value in (came, before))
        expect(came is before, came=f"{what} is {text} afterwards", expected=f"{wanted}, as before")


def _text(value) -> str:
    if value is None:
        return "None: is the return missing?"
    return value[:120] if isinstance(value, str) else f"{type(value).__name__}: {repr(value)[:120]}"
