"""Facets of Part 4, the bonus."""

from __future__ import annotations

import torch

from grader.checks.inputs import pictures
from grader.checks.losses import masks
from grader.student import Student, StudentModule, as_tuple
from solutions.facets.asking import Subject, answer, attempt, build, derivatives, layers, norms, shapes

# ---- 4.1: UNet++ ----

FEATURES = [3, 4]
PICTURE = pictures(2, 3, 8, 12)


def _nested(student: Student, deep_supervision: bool) -> StudentModule:
    return build(student, "UNetPlusPlus", 3, 2, features=FEATURES, deep_supervision=deep_supervision)


def nested_layers(student: Student) -> object:
    """The layers with one head, with several, and without norms."""
    choices = [(False, True), (True, True), (True, False)]
    found = [student.make("UNetPlusPlus", 3, 2, features=FEATURES, deep_supervision=d, batch_norm=b) for d, b in choices]
    return [[layers(network), norms(network)] for network in found]


def nested_numbers(student: Student) -> object:
    """Output and gradients with one head."""
    return attempt(lambda: derivatives(_nested(student, False), PICTURE))


def nested_outputs(student: Student) -> object:
    """What comes in train mode with several heads, and in eval mode."""
    network = _nested(student, True)
    return [attempt(lambda: derivatives(network.train(), PICTURE)), attempt(lambda: answer(network.eval(), PICTURE))]


def nested_depths(student: Student) -> object:
    """The logits of each depth in train mode, and what comes for depths that are not there."""
    found = [attempt(lambda d=d: answer(_nested(student, True), PICTURE, d)) for d in (1, 2)]
    for deep_supervision, depths in ((True, (0, 3, -1)), (False, (1, 2, 3))):
        found += [attempt(lambda d=d, s=deep_supervision: answer(_nested(student, s), PICTURE, d)) for d in depths]
    return found


def nested_odd_sizes(student: Student) -> object:
    """The shapes of the logits of pictures of odd sizes."""
    return [attempt(lambda s=size: shapes(_nested(student, False), pictures(1, 3, *s))) for size in ((9, 15), (8, 12))]


def nested_work(student: Student) -> object:
    """How many running averages a pass of each depth moves, in parts of those of all."""
    moved = []
    for depth in (1, 2):
        network = student.make("UNetPlusPlus", 3, 1, features=FEATURES, deep_supervision=True).train()
        before = student.state(network).values
        answer(network, PICTURE, depth)
        after = student.state(network).values
        moved.append(sum(not torch.equal(before[name], after[name]) for name in before if name not in network.parameters))
    return [count / moved[-1] if moved[-1] else 0.0 for count in moved]


def nested_arguments(student: Student) -> object:
    """The list of features afterwards."""
    after = student.make("UNetPlusPlus", 3, 1, features=[3, 4]).arguments_after[1]
    return after.get("features") if isinstance(after, dict) else "no dict"


# ---- 4.2: the loss of several outputs ----

TARGET = masks(2, 1, 8, 12)
SIZES = ((8, 12), (4, 6), (2, 12))


def _outputs(count: int, size: tuple[int, int] = (8, 12)) -> list[torch.Tensor]:
    return [pictures(2, 1, *size, seed=30 + number) for number in range(count)]


def _loss(student: Student, weights: list[float] | None, reduction: str = "mean") -> StudentModule:
    return student.make("DeepSupervisionLoss", student.build("bce", "cross-entropy", reduction=reduction), weights=weights)


def _value(loss: StudentModule, outputs: object) -> object:
    came = answer(loss, outputs, TARGET)
    return came.item() if isinstance(came, torch.Tensor) and came.numel() == 1 else came


def deep_numbers(student: Student) -> object:
    """The loss of several outputs with and without weights."""
    choices = [[0.5, 1.0, 2.5], [4.0, 4.0, 4.0], [0.0, 1.0, 0.0], None]
    return [attempt(lambda w=w: _value(_loss(student, w and list(w)), _outputs(3))) for w in choices]


def deep_of_one(student: Student) -> object:
    """The loss of one tensor."""
    return [attempt(lambda w=w: _value(_loss(student, w), _outputs(1)[0])) for w in (None, [1.0, 2.0, 3.0])]


def deep_of_small_outputs(student: Student) -> object:
    """The loss of outputs that are smaller than the target."""
    outputs = [_outputs(1, size)[0] for size in SIZES]
    return attempt(lambda: _value(_loss(student, [1.0, 2.0, 3.0]), outputs))


def deep_lengths(student: Student) -> object:
    """What comes for more and fewer weights than outputs; and without weights, of one loss for two outputs and for three."""
    alike = _loss(student, None)
    found = [attempt(lambda n=n: _value(_loss(student, [0.5, 1.0, 2.5]), _outputs(n))) for n in (2, 4)]
    return found + [attempt(lambda n=n: _value(alike, _outputs(n))) for n in (2, 3)]


def deep_gradients(student: Student) -> object:
    """The gradient at each output."""
    loss = _loss(student, [0.5, 1.0, 2.5], "sum")
    reply = student.ask("vjp", handle=loss.handle, inputs=_outputs(3), constant=[TARGET], seed=0, listed=True)
    return reply["inputs"]


def deep_weights(student: Student) -> object:
    """The list of weights after a call."""
    loss = _loss(student, [0.5, 1.0, 2.5])
    attempt(lambda: _value(loss, _outputs(3)))
    after = loss.arguments_after[1]
    return after.get("weights") if isinstance(after, dict) else "no dict"


# ---- 4.3: sliding windows ----


def _windows(student: Student, answers: str, image: torch.Tensor, **options) -> object:
    """What is put together, and the calls of the predictor."""
    weight = {"weight": [[0.5, -1.0, 2.0], [1.0, 0.25, -0.5]]} if answers == "pixel" else {}
    model = student.build("WindowModel", "a predictor", answers=answers, **weight)
    came = attempt(lambda: student.run("sliding_window_inference", model, image, **options))
    return [came, student.state(model).calls]


def _numbered(height: int, width: int) -> torch.Tensor:
    return (100.0 * torch.arange(height)[:, None] + torch.arange(width)).expand(1, 3, -1, -1).contiguous()


def _blended(student: Student, mode: str) -> object:
    cases = [((20, 26), 8, 0.5), ((21, 19), 8, 0.25), ((17, 30), as_tuple([6, 10]), 0.6)]
    return [_windows(student, "corner", _numbered(*size), window=w, overlap=o, mode=mode)[0] for size, w, o in cases]


def windows_constant(student: Student) -> object:
    """What windows come to that answer with a number of their own, weighed alike."""
    return _blended(student, "constant")


def windows_gaussian(student: Student) -> object:
    """The same with Gaussian weights; the sum is looked at where it is large."""
    return _blended(student, "gaussian")


def windows_places(student: Student) -> object:
    """Where windows lie, in any order."""
    found = []
    for size, window, overlap in (((20, 21), 8, 0.5), ((9, 9), 8, 0.95), ((20, 26), 8, 0.3)):
        calls = attempt(lambda s=size, w=window, o=overlap: _windows(student, "pixel", _numbered(*s), window=w, overlap=o)[1])
        found.append(sorted(round(corner) for call in calls for corner in call["corners"]) if isinstance(calls, list) else calls)
    return found


def windows_exact(student: Student) -> object:
    """Where the predictor looks at each pixel alone; of two pictures and of a small one."""
    found = []
    for shape in ((2, 3, 20, 21), (1, 3, 5, 20), (1, 3, 2, 3)):
        found.append(_windows(student, "pixel", pictures(*shape), window=8, overlap=0.25)[0])
    return found


def windows_batches(student: Student) -> object:
    """The sizes of windows, and whether a batch is too large."""
    found = []
    for shape, window in (((2, 3, 20, 23), as_tuple([6, 9])), ((1, 3, 5, 6), 8)):
        calls = _windows(student, "pixel", pictures(*shape), window=window, overlap=0.25, batch_size=3)[1]
        found.append([sorted({tuple(call["size"]) for call in calls}), max((call["batch"] for call in calls), default=0) <= 3])
    return found


def windows_padding(student: Student) -> object:
    """Whether what small pictures are padded with is of their own values."""
    image = pictures(1, 3, 5, 6).abs() + 1
    lowest, highest = (_windows(student, answers, image, window=8, overlap=0.5)[0] for answers in ("lowest", "highest"))
    if not isinstance(lowest, torch.Tensor) or not isinstance(highest, torch.Tensor):
        return lowest
    return [bool((lowest >= image.min() - 1e-5).all()), bool((highest <= image.max() + 1e-5).all())]


def windows_refused(student: Student) -> object:
    """What comes of wrong arguments: whether ValueError."""
    image, found = pictures(1, 3, 12, 12), []
    for options in ({"overlap": 1.0}, {"overlap": -0.1}, {"mode": "median"}):
        came = _windows(student, "pixel", image, **{"window": 8, "overlap": 0.5, **options})[0]
        found.append(isinstance(came, str) and came.startswith("raised ValueError"))
    return found


def windows_precision(student: Student) -> object:
    """Whether gradients were on, and whether float16 answers are put together in something finer."""
    came, calls = _windows(student, "third", pictures(1, 3, 24, 24), window=8, overlap=0.9)
    finer = came.dtype in (torch.float32, torch.float64) if isinstance(came, torch.Tensor) else came
    return [any(call["grad"] for call in calls), finer]


# ---- 4.4: attention recorded ----

CHANNELS = [6, 4]
SEEN = pictures(2, 3, 16, 24)


def _gates(student: Student, count: int) -> list[StudentModule]:
    return [build(student, "AttentionGate", *CHANNELS) for _ in range(count)]


def _network(student: Student, count: int = 2, **options):
    spare = {"spare": _gates(student, 1)[0]} if options.pop("spare", False) else {}
    if spare:
        answer(spare["spare"], pictures(2, 6, 4, 4), pictures(2, 4, 8, 8))
    return student.build("GatedNet", "a network", gates=_gates(student, count), channels=CHANNELS, **spare, **options)


def attention_maps(student: Student) -> object:
    """The maps of three gates."""
    return attempt(lambda: student.run("record_attention", _network(student, 3), SEEN))


def attention_names(student: Student) -> object:
    """The names where one gate does not run, and where the last one runs first."""
    found = []
    for options in ({"spare": True}, {"upwards": True}):
        came = attempt(lambda given=options: student.run("record_attention", _network(student, **given), SEEN))
        found.append(list(came) if isinstance(came, dict) else came)
    return found


def attention_left_behind(student: Student) -> object:
    """Hooks, modes and gradients afterwards: with a frozen part, with a hook that was there before, and after an error."""
    found = []
    for options in ({}, {"frozen": True}, {"hooked": True}, {"fails": True, "frozen": True}):
        model = _network(student, **options)
        learning = _about(student, model, "learning")
        came = attempt(lambda m=model: student.run("record_attention", m, SEEN))
        modes = {name: mode for name, mode in _about(student, model, "modes").items() if "gate." not in name}  # how a gate is built is free
        learns = [learning == _about(student, model, "learning"), student.gradients]
        found.append([_about(student, model, "hooks"), modes, learns, isinstance(came, str)])
    return found


def _about(student: Student, model, name: str):
    return student.ask("attribute", handle=model.handle, name=name)["value"]


def attention_run(student: Student) -> object:
    """How the model ran: how often, in which mode, with or without gradients; and whether its averages moved."""
    model = _network(student)
    before = student.state(model).values["norm.running_mean"]
    attempt(lambda: student.run("record_attention", model, SEEN))
    state = student.state(model)
    return [[call["training"], call["grad"]] for call in state.calls] + [torch.equal(before, state.values["norm.running_mean"])]


SUBJECTS = {
    "4.1": [
        Subject("UNetPlusPlus", (nested_layers, nested_numbers, nested_outputs, nested_depths, nested_odd_sizes)),
        Subject("work of a depth", (nested_work,), uses=("UNetPlusPlus",)),
        Subject("features", (nested_arguments,), uses=("UNetPlusPlus",)),
    ],
    "4.2": [
        Subject("DeepSupervisionLoss", (deep_numbers, deep_of_one, deep_of_small_outputs, deep_lengths, deep_gradients)),
        Subject("weights", (deep_weights,), uses=("DeepSupervisionLoss",)),
    ],
    "4.3": [
        Subject("sliding_window_inference", (windows_constant, windows_gaussian, windows_places, windows_exact, windows_batches)),
        Subject("small pictures", (windows_padding,), uses=("sliding_window_inference",)),
        Subject("arguments", (windows_refused,), uses=("sliding_window_inference",)),
        Subject("precision", (windows_precision,), uses=("sliding_window_inference",)),
    ],
    "4.4": [
        Subject("record_attention", (attention_maps, attention_names)),
        Subject("left behind", (attention_left_behind,), uses=("record_attention",)),
        Subject("run", (attention_run,), uses=("record_attention",)),
    ],
}
