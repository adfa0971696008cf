"""Hidden checks of Task 4.3: where windows lie shows in a picture whose pixels are numbered, how they are weighed in what is blended."""

import torch

from grader.checks.inputs import pictures
from grader.checks.test_task_4_3 import calls_of, inferred, predictor
from grader.expect import expect, expect_close, largest_difference
from grader.student import as_tuple

CASES = [((20, 26), 8, 0.5), ((21, 19), 8, 0.25), ((17, 30), (6, 10), 0.6), ((16, 16), 8, 0.0)]


def test_windows_lie_a_stride_apart(student):
    """Along each axis windows begin every max(1, round(window · (1 − overlap))) pixels, and the last one ends with the picture.

    Hint: write down where windows of 8 begin on 20 and on 21 pixels; is one twice there, or one missing?
    """
    for (height, width), window, overlap in [*CASES, ((9, 9), 8, 0.95), ((20, 26), 8, 0.3)]:
        model = predictor(student, "pixel")
        inferred(student, model, _numbered(height, width), window=_as_given(window), overlap=overlap)
        corners = [corner for call in calls_of(student, model) for corner in call["corners"]]
        came = sorted(divmod(round(corner), 100) for corner in corners)
        wanted = sorted(_places((height, width), window, overlap))
        expect(
            came == wanted,
            came=f"{len(came)} windows, at rows {_list(came, 0)} and columns {_list(came, 1)}",
            expected=f"{len(wanted)}, at rows {_list(wanted, 0)} and columns {_list(wanted, 1)}",
        )


def test_constant_weighs_all_windows_alike(student):
    """With mode="constant", each pixel is the plain mean of the windows that lie over it.

    Hint: count for each pixel how many windows have written there.
    """
    for (height, width), window, overlap in CASES:
        came = inferred(student, predictor(student, "corner"), _numbered(height, width), window=_as_given(window), overlap=overlap, mode="constant")
        expect_close(came, _blended((height, width), window, overlap, lambda side: torch.ones(side)), "the blended corners")


def test_gaussian_weighs_the_middle_more(student):
    """With mode="gaussian", a window's pixels weigh exp(−½ ((k − c)/σ)²) along each axis, σ = window/8, also by default.

    Hint: one curve for the rows, one for the columns, and the product of both; the middle of 8 pixels is 3.5.
    """
    for number, ((height, width), window, overlap) in enumerate(CASES):
        mode = {"mode": "gaussian"} if number else {}
        came = inferred(student, predictor(student, "corner"), _numbered(height, width), window=_as_given(window), overlap=overlap, **mode)
        wanted = [_blended((height, width), window, overlap, lambda side, s=shift: _bell(side, s)) for shift in (-0.5, 0.0)]
        nearest = min(wanted, key=lambda blend: largest_difference(came, blend))  # nnU-Net's own middle is half a pixel further
        expect_close(came, nearest, "the blended corners")


def test_sums_are_float32_without_gradients(student):
    """predict runs without gradients, and float16 answers are summed up in float32.

    Hint: torch.no_grad, and a sum that is made with dtype=torch.float32 whatever predict gives.
    """
    model = predictor(student, "third")
    came = inferred(student, model, pictures(1, 3, 24, 24), window=8, overlap=0.9)
    recorded = any(call["grad"] for call in calls_of(student, model))
    expect(not recorded, came="predict called with gradients on", expected="gradients off")
    expect(came.dtype in (torch.float32, torch.float64), came=f"a result in {came.dtype}", expected="float32")
    third = float(torch.tensor(1 / 3, dtype=torch.float16))
    off = float((came.double() - third).abs().max())
    expect(off < 1e-5, came=f"a sum that is off by {off:.2g}", expected="at most 0.00001, as float32 gives it")


def _numbered(height: int, width: int) -> torch.Tensor:
    """(1, 3, H, W) whose every value is 100 · row + column."""
    return (100.0 * torch.arange(height)[:, None] + torch.arange(width)).expand(1, 3, -1, -1).contiguous()


def _pair(window) -> tuple[int, int]:
    return (window, window) if isinstance(window, int) else window


def _as_given(window):
    return as_tuple(window) if isinstance(window, tuple) else window


def _starts(length: int, window: int, overlap: float) -> list[int]:
    stride = max(1, round(window * (1 - overlap)))
    return sorted({*range(0, length - window + 1, stride), length - window})


def _places(size: tuple[int, int], window, overlap: float) -> list[tuple[int, int]]:
    rows, columns = (_starts(length, side, overlap) for length, side in zip(size, _pair(window)))
    return [(row, column) for row in rows for column in columns]


def _bell(side: int, shift: float) -> torch.Tensor:
    return torch.exp(-0.5 * ((torch.arange(side) - (side / 2 + shift)) / (side / 8)) ** 2)


def _blended(size: tuple[int, int], window, overlap: float, curve) -> torch.Tensor:
    """What each window's own first value comes to: (1, 1, H, W)."""
    h, w = _pair(window)
    weights = curve(h)[:, None].double() * curve(w)[None].double()
    total, weight = torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    for row, column in _places(size, window, overlap):
        total[row : row + h, column : column + w] += weights * (100 * row + column)
        weight[row : row + h, column : column + w] += weights
    return (total / weight)[None, None].float()


def _list(places: list[tuple[int, int]], axis: int) -> str:
    return ", ".join(map(str, sorted({place[axis] for place in places})[:12]))
