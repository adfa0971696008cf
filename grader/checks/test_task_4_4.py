"""Public checks of Task 4.4: record_attention."""

import torch
from torch.nn import functional as F

from grader.checks.inputs import pictures
from grader.expect import Mismatch, expect, expect_close, expect_shape
from grader.student import Instrument, Student, StudentModule

CHANNELS = [6, 4]  # of gate and skip
NAMES = ["levels.0.gate", "levels.1.gate", "levels.2.gate"]


def test_every_gate_by_its_name(student):
    """The result is a dict with an entry for each gate that ran, under its name in the model.

    Hint: model.named_modules() gives names and modules; isinstance tells which of them are gates.
    """
    for count in (1, 3):
        maps = recorded(student, network(student, gates(student, count)), pictures(2, 3, 16, 24))
        came = sorted(maps)
        expect(came == NAMES[:count], came=f"the names {came}", expected=f"{NAMES[:count]}")


def test_maps_are_alpha_at_the_size_of_the_picture(student):
    """Each entry is α of that gate for these pictures, resized bilinearly to their height and width: (B, 1, H, W).

    Hint: each hook is told which gate has run; F.interpolate takes a size and a mode.
    """
    for batch, height, width in [(2, 16, 24), (1, 13, 21)]:
        parts, x = gates(student, 3), pictures(batch, 3, height, width)
        model = network(student, parts)
        wanted = alphas(student, model, parts, x)
        maps = recorded(student, model, x)
        for name, alpha in zip(NAMES, wanted):
            came = maps.get(name)
            expect(isinstance(came, torch.Tensor), came=f"no map of {name}", expected=f"a map of {NAMES}")
            expect_shape(came, (batch, 1, height, width), f"the map of {name}")
            expect_resized(came, alpha, f"the map of {name}")


def test_model_stays_as_it_was(student):
    """Afterwards hooks, gradients and the mode of every module, a frozen one as well, are what they were before.

    Hint: register_forward_hook returns what removes the hook. model.train(…) sets all parts alike; who had which mode before?
    """
    for options, training in [({}, True), ({"frozen": True}, True), ({"hooked": True}, True), ({}, False)]:
        model = network(student, gates(student, 2), **options)
        if not training:
            student.ask("mode", handle=model.handle, training=False)
        before = found(student, model)
        recorded(student, model, pictures(2, 3, 16, 16))
        expect_as_before(student, model, before)


def gates(student: Student, count: int) -> list[StudentModule]:
    """So many of the submission's gates, with weights that let α vary."""
    made = [student.make("AttentionGate", *CHANNELS) for _ in range(count)]
    for number, gate in enumerate(made):
        gate.load({name: 1.5 * pictures(*shape, seed=20 + number) for name, shape in gate.parameters.items()})
    return made


def network(student: Student, parts: list[StudentModule], **options) -> Instrument:
    """A network with these gates at full size, half of it and so on."""
    return student.build("GatedNet", f"a network with {len(parts)} gates", gates=parts, channels=CHANNELS, **options)


def recorded(student: Student, model: Instrument, x: torch.Tensor) -> dict:
    """What record_attention gives; Mismatch where it is no dict."""
    came = student.run("record_attention", model, x)
    if not isinstance(came, dict):
        shown = "nothing (None)" if came is None else f"a {type(came).__name__}"
        raise Mismatch(shown, "a dict of name → α", "is the return missing?" if came is None else "")
    return came


def alphas(student: Student, model: Instrument, parts: list[StudentModule], x: torch.Tensor) -> list[torch.Tensor]:
    """α of each gate after a pass in eval mode, as the gate keeps it."""
    student.ask("mode", handle=model.handle, training=False)
    student.ask("call", handle=model.handle, inputs=[x], seed=0)
    return [gate.attribute("alpha") for gate in parts]


def expect_resized(came: torch.Tensor, alpha: torch.Tensor, what: str) -> None:
    """Mismatch unless `came` is α at its size; `align_corners` is free."""
    wanted = [F.interpolate(alpha.float(), came.shape[-2:], mode="bilinear", align_corners=corners) for corners in (False, True)]
    nearest = min(wanted, key=lambda large: float((large - came).abs().max()))
    expect_close(came.float(), nearest, what)


def found(student: Student, model: Instrument) -> dict:
    """What of a model must stay: how many hooks there are, who is in which mode, what learns."""
    about = {name: student.ask("attribute", handle=model.handle, name=name)["value"] for name in ("hooks", "modes", "learning")}
    expect(isinstance(about["modes"], dict) and isinstance(about["learning"], dict), came="a model that was tampered with", expected="one as it was")
    return about


def expect_as_before(student: Student, model: Instrument, before: dict) -> None:
    """Mismatch unless the model is as `found` before, and gradients are on."""
    after = found(student, model)
    expect(after["hooks"] == before["hooks"], came=f"{after['hooks']} hook(s) on the model afterwards",
           expected=f"{before['hooks'] or 'none'}, as before")
    changed = _changed(before["modes"], after["modes"])
    expect(not changed, came=f"another mode than before in {changed}", expected="train and eval mode as before")
    changed = _changed(before["learning"], after["learning"])
    expect(not changed, came=f"another requires_grad than before in {changed}", expected="what learnt before learns still")
    expect(student.gradients, came="gradients switched off for all that runs afterwards", expected="on, as before")


def _changed(before: dict, after: dict) -> str:
    return ", ".join(sorted(name or "the model" for name in before if after.get(name) != before[name])[:3])
