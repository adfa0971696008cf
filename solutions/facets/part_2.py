"""Facets of Tasks 2.1 to 2.4: skip connections."""

from __future__ import annotations

import torch

from grader.checks.inputs import pictures
from grader.student import Student, StudentModule
from solutions.facets.asking import Subject, answer, attempt, build, called, derivatives, inputs_after, layers, norms, places

WIDE, EQUAL = (6, 9), (6, 6)  # channels of decoder and skip


def _inputs(channels: tuple[int, int]) -> list[torch.Tensor]:
    return [pictures(2, channels[0], 7, 10), pictures(2, channels[1], 7, 10, seed=2)]


def _join(student: Student, mode: str, channels: tuple[int, int]) -> StudentModule:
    return build(student, "FlexibleSkipConnection", *channels, mode)


def _of_mode(mode: str, uses: tuple[str, ...] = ()) -> list[Subject]:
    """What is asked of a FlexibleSkipConnection of one mode."""

    def join_layers(student: Student) -> object:
        return [[layers(join), norms(join)] for join in (_join(student, mode, channels) for channels in (WIDE, EQUAL))]

    def wide_numbers(student: Student) -> object:
        return derivatives(_join(student, mode, WIDE), *_inputs(WIDE))

    def equal_numbers(student: Student) -> object:
        return derivatives(_join(student, mode, EQUAL), *_inputs(EQUAL))

    def evaluated(student: Student) -> object:
        return derivatives(_join(student, mode, WIDE).eval(), *_inputs(WIDE))

    def join_inputs(student: Student) -> object:
        return [inputs_after(_join(student, mode, channels), *_inputs(channels)) for channels in (WIDE, EQUAL)]

    def join_places(student: Student) -> object:
        return places(student, "FlexibleSkipConnection", (*WIDE, mode), _inputs(WIDE))

    return [
        Subject(mode, called([join_layers, wide_numbers, equal_numbers, evaluated], mode), uses),
        Subject(f"inputs of {mode}", called([join_inputs], mode), uses=(mode,)),
        Subject(f"{mode} elsewhere", called([join_places], mode), uses=(mode, *uses)),
    ]


# ---- 2.3: the gate ----


def _gate(student: Student) -> StudentModule:
    return build(student, "AttentionGate", 8, 5)


GATE_INPUTS = [pictures(2, 8, 6, 10), pictures(2, 5, 6, 10, seed=2)]
SMALL_GATE = pictures(2, 8, 3, 5)
ODD_GATE = pictures(2, 8, 4, 7)


def gate_layers(student: Student) -> object:
    """The layers of a gate, of even and odd channels."""
    return [[layers(gate), norms(gate)] for gate in (_gate(student), build(student, "AttentionGate", 4, 6))]


def gate_numbers(student: Student) -> object:
    """Output and gradients where gate and skip have one size."""
    return derivatives(_gate(student), *GATE_INPUTS)


def gate_enlarged(student: Student) -> object:
    """Output and gradients for a gate of half the size, and for one of another size."""
    return [attempt(lambda x=x: derivatives(_gate(student), x, GATE_INPUTS[1])) for x in (SMALL_GATE, ODD_GATE)]


def gate_alpha(student: Student) -> object:
    """The attribute alpha after one call and after another."""
    gate, found = _gate(student), []
    for seed in (1, 7):
        answer(gate, pictures(2, 8, 6, 10, seed=seed), GATE_INPUTS[1])
        found.append(attempt(lambda: gate.attribute("alpha")))
    return ["no such attribute" if "AttributeError" in str(alpha) else alpha for alpha in found]


def gate_inputs(student: Student) -> object:
    """Gate and skip after a call."""
    return inputs_after(_gate(student), *GATE_INPUTS)


def gate_places(student: Student) -> object:
    """A gate in float64 and on another device."""
    return places(student, "AttentionGate", (8, 5), [SMALL_GATE, GATE_INPUTS[1]])


# ---- 2.4: the gradient's flow ----


def _batch() -> tuple[torch.Tensor, torch.Tensor]:
    images = pictures(3, 3, 12, 16)
    return images, (images.sum(dim=1, keepdim=True) > 0).float()


def _norms(student: Student, model, reduction: str = "mean") -> object:
    return student.run("gradient_norms", model, *_batch(), student.build("bce", "cross-entropy", reduction=reduction))


def _tiny(student: Student, **fields):
    return student.build("TinyUNet", "a network", **{"seed": 5, "width": 2, **fields})


def norms_of_a_network(student: Student) -> object:
    """The norms of two networks with two losses."""
    return [_norms(student, _tiny(student)), _norms(student, _tiny(student, levels=3), "sum")]


def norms_without_gradient(student: Student) -> object:
    """The norms where a parameter is unused, and where some are frozen."""
    idle = student.build("PixelModel", "a model", weight=[0.5, -1.0, 2.0], idle=True)
    frozen = _tiny(student, frozen=True)
    found = [attempt(lambda model=model: _norms(student, model)) for model in (idle, frozen)]
    return [f"not expected: {answer}" if "not require grad" in str(answer) or "not have been used" in str(answer) else answer
            for answer in found]


def norms_with_old_gradients(student: Student) -> object:
    """Norms, weights and gradients afterwards, where .grad holds something from before."""
    model = _tiny(student, gradient=0.25)
    found = _norms(student, model)
    state = student.state(model)
    return [found, state.values, state.gradients]


def gradients_afterwards(student: Student) -> object:
    """Weights and gradients afterwards, where there were none."""
    model = _tiny(student)
    _norms(student, model)
    state = student.state(model)
    return [state.values, state.gradients]


def _rows(student: Student, **models) -> object:
    return student.run("analyze_skip_connections", models, *_batch(), student.build("bce", "cross-entropy"))


def rows_of_three(student: Student) -> object:
    """The rows of three networks, without what is measured."""
    rows = _rows(student, narrow=_tiny(student), wide=_tiny(student, width=3), deep=_tiny(student, levels=3))
    return _without_measurements(rows)


def measured(student: Student) -> object:
    """Whether time and memory are measured at all."""
    rows = _rows(student, narrow=_tiny(student, width=8))
    row = rows[0] if isinstance(rows, list) else next(iter(rows.values()))
    return {key: row[key] > 0 if isinstance(row[key], (int, float)) else str(row[key]) for key in MEASURED if key in row}


MEASURED = ("forward_ms", "backward_ms", "peak_memory_mb")


def _without_measurements(value: object) -> object:
    if isinstance(value, list):
        return [_without_measurements(item) for item in value]
    if isinstance(value, dict):
        return {key: "a number" if _is_measured(key, item) else _without_measurements(item) for key, item in value.items()}
    return value


def _is_measured(key: str, item: object) -> bool:
    known = ("name", "parameters", "first_encoder_grad", "last_decoder_grad", "narrow", "wide", "deep")
    return key not in known and isinstance(item, (int, float))


SUBJECTS = {
    "2.1": _of_mode("concat"),
    "2.2": _of_mode("add"),
    "2.3": [
        Subject("AttentionGate", (gate_layers, gate_numbers, gate_enlarged)),
        Subject("alpha", (gate_alpha,), uses=("AttentionGate",)),
        Subject("inputs of the gate", (gate_inputs,), uses=("AttentionGate",)),
        Subject("gate elsewhere", (gate_places,), uses=("AttentionGate",)),
        *_of_mode("attention", uses=("AttentionGate",)),
    ],
    "2.4": [
        Subject("gradient_norms", (norms_of_a_network, norms_without_gradient, norms_with_old_gradients, gradients_afterwards)),
        Subject("analyze_skip_connections", (rows_of_three, measured), uses=("gradient_norms",)),
    ],
}
