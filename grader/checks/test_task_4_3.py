"""Public checks of Task 4.3: sliding_window_inference."""

import torch

from grader.checks.inputs import pictures
from grader.expect import Mismatch, expect, expect_close, expect_shape
from grader.student import Instrument, Student, StudentError, as_tuple

TO_TWO = [[0.5, -1.0, 2.0], [1.0, 0.25, -0.5]]  # three channels to two


def test_pixelwise_predictions_stay_exact(student):
    """Where predict looks at each pixel alone, the result is predict of the whole picture: any size, overlap and mode.

    Hint: is every pixel covered, up to the last row and column? Is the sum divided by the sum of the weights?
    """
    for height, width, overlaps in [(20, 31, (0.0, 0.3, 0.75)), (8, 11, (0.5, 0.9))]:
        image = pictures(2, 3, height, width)
        wanted = torch.einsum("kc,bchw->bkhw", torch.tensor(TO_TWO), image)
        for mode in ("constant", "gaussian"):
            for overlap in overlaps:
                came = inferred(student, predictor(student, "pixel"), image, window=8, overlap=overlap, mode=mode)
                expect_close(came, wanted, "the result")


def test_windows_have_the_size_asked_for(student):
    """predict gets windows of the size asked for, at most batch_size of them at a time; window is one number or (h, w).

    Hint: the last window of a row is moved back, not cut off; how many windows are in one call, over all pictures of the batch?
    """
    for window, size, batch_size in [(8, [8, 8], 4), (as_tuple([6, 9]), [6, 9], 1), (8, [8, 8], 3)]:
        model = predictor(student, "pixel")
        inferred(student, model, pictures(2, 3, 20, 23), window=window, overlap=0.25, batch_size=batch_size)
        calls = calls_of(student, model)
        odd = [call["size"] for call in calls if call["size"] != size]
        expect(not odd, came=f"a window of {odd[:1]}", expected=f"windows of {size}")
        largest = max(call["batch"] for call in calls)
        expect(largest <= batch_size, came=f"{largest} windows in one call", expected=f"at most {batch_size}")


def test_small_pictures_are_padded(student):
    """A picture smaller than the window is padded to its size with its own values, and the answer is cut back.

    Hint: reflect needs more pixels than it adds; replicate always works. Zeros are a border that no network has seen.
    """
    for height, width in [(5, 6), (5, 20), (2, 3), (1, 1)]:
        image = pictures(1, 3, height, width).abs() + 1
        model = predictor(student, "pixel")
        came = inferred(student, model, image, window=8, overlap=0.5)
        expect_close(came, torch.einsum("kc,bchw->bkhw", torch.tensor(TO_TWO), image), "the result")
        sizes = [call["size"] for call in calls_of(student, model)]
        expect(all(size == [8, 8] for size in sizes), came=f"windows of {sizes[:2]}", expected="windows of [8, 8]")
        for answers in ("lowest", "highest"):
            extremes = inferred(student, predictor(student, answers), image, window=8, overlap=0.5)
            expect_shape(extremes, (1, 1, height, width), "the result")
            off = max(float(image.min() - extremes.min()), float(extremes.max() - image.max()))
            came = float(extremes.min() if answers == "lowest" else extremes.max())
            expect(off < 1e-5, came=f"a window holds the value {came:.4g}",
                   expected=f"values from {float(image.min()):.4g} to {float(image.max()):.4g}, as in the picture")


def test_wrong_arguments_are_refused(student):
    """An overlap outside 0 ≤ overlap < 1 and an unknown mode raise ValueError.

    Hint: with an overlap of 1 the stride is 0; say so before anything is computed.
    """
    image = pictures(1, 3, 12, 12)
    inferred(student, predictor(student, "pixel"), image, window=8, overlap=0.0)
    for arguments in ({"overlap": 1.0}, {"overlap": -0.1}, {"overlap": 1.5}, {"mode": "median"}):
        came = "no exception"
        try:
            inferred(student, predictor(student, "pixel"), image, **{"window": 8, "overlap": 0.5, **arguments})
        except StudentError as error:
            came = str(error)
            if error.type == "ValueError":
                continue
        except Mismatch as mismatch:
            came = mismatch.came
        shown = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        expect(False, came=f"for {shown}: {came}", expected="ValueError")


def predictor(student: Student, answers: str) -> Instrument:
    """A predictor on the submission's side, see `WindowModel`."""
    texts = {"pixel": "a 1×1 convolution", "corner": "each window's first value", "lowest": "each window's least value",
             "highest": "each window's largest value", "third": "1/3 in float16"}
    weight = {"weight": TO_TWO} if answers == "pixel" else {}
    return student.build("WindowModel", texts[answers], answers=answers, **weight)


def inferred(student: Student, model: Instrument, image: torch.Tensor, **options) -> torch.Tensor:
    """What sliding_window_inference gives; Mismatch where it is no tensor of finite numbers."""
    came = student.run("sliding_window_inference", model, image, **options)
    if not isinstance(came, torch.Tensor) or not came.is_floating_point():
        shown = "nothing (None)" if came is None else repr(came)[:80]
        raise Mismatch(shown, "a tensor (B, K, H, W)", "is the return missing?" if came is None else "")
    expect(bool(torch.isfinite(came).all()), came="NaN or infinite values", expected="finite numbers: no pixel without a weight")
    return came


def calls_of(student: Student, model: Instrument) -> list[dict]:
    """The calls that the predictor remembers; Mismatch where there are none."""
    calls = student.state(model).calls
    usable = isinstance(calls, list) and bool(calls)
    expect(usable, came="predict was never called", expected="a call for each group of windows")
    return calls
