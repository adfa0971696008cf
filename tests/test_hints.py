"""Which hint stands beside a failed check: the one that fits what came."""

from pathlib import Path, PurePosixPath

import nbformat
import pytest

from grader.rubric import load_rubric
from grader.runner import checks_of, run_check
from grader.student import Student
from grader.submissions import File, Submission
from tests.helpers import replaced


def outcomes(task: str, *edits: tuple[str, str]) -> dict:
    """Check → outcome of the public checks on the reference with these edits."""
    names: dict = {}
    exec(compile(replaced(*edits), "<student>", "exec"), names)
    return {check.name: run_check(check, Student.in_process(names)) for check in checks_of(load_rubric()[task])}


def test_a_clash_of_sizes_says_what_torch_means_and_what_the_check_asks():
    sizes = ("missing_rows = skip_features.shape[-2] - x.shape[-2]", "missing_columns = skip_features.shape[-1] - x.shape[-1]")
    found = outcomes("1.2", *((line, line.split(" = ")[0] + " = 0") for line in sizes))
    odd, gradient = found["odd_sizes_are_aligned"], found["gradient_reaches_every_parameter"]
    assert "torch.cat along the channels needs equal heights and widths" in odd.hint
    assert "one short" in odd.hint  # the check's own
    assert gradient.passed is False and "never called" not in gradient.hint  # that one would mislead
    assert "DecoderBlock(16, 8, 8)" in odd.input and "Sizes of tensors" in odd.came and odd.expected == "no exception"
    assert f"came: {odd.came}" in odd.message


@pytest.mark.parametrize("function", ["train_epoch", "validate"])
def test_a_pair_in_the_other_order_has_a_hint_of_its_own(function):
    source = replaced()
    start = source.index("return mean(losses), mean(ious)", source.index(f"def {function}("))
    swapped = source[:start] + source[start:].replace("mean(losses), mean(ious)", "mean(ious), mean(losses)", 1)
    found = outcomes("3.4", (source, swapped))
    hints = [outcome.hint for outcome in found.values() if outcome.passed is False]
    assert any("in which order" in hint for hint in hints)
    right = outcomes("3.4")
    assert all(outcome.passed for outcome in right.values())


def test_a_place_names_the_task_since_jupyter_shows_no_number_of_a_cell():
    cells = [nbformat.v4.new_code_cell("import torch"), nbformat.v4.new_code_cell("# TODO Task 1.1: the layers\nclass DoubleConv: pass")]
    text = nbformat.writes(nbformat.v4.new_notebook(cells=cells)).encode()
    file = File("01_unet.ipynb", PurePosixPath("01_unet.ipynb"), lambda: text)
    (source,) = Submission(Path("x"), "x", [file]).sources()
    assert [cell.label for cell in source.cells] == ["cell 1 of 01_unet.ipynb", "cell 2 (Task 1.1) of 01_unet.ipynb"]
