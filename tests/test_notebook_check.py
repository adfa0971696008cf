"""`check("1.1")` as a student meets it: in a notebook, a script and a terminal."""

import subprocess
import sys

import pytest
import torch

from grader.notebook import check_namespace
from solutions.reference import reference, reference_source
from tests.helpers import ROOT, replaced


def namespace(source: str) -> dict:
    names = {"__name__": "student"}
    exec(compile(source, "<cell 3>", "exec"), names)
    return names


@pytest.mark.parametrize("task", ["1.1", "1.2", "1.3", "1.4"])
def test_reference_passes_and_the_report_says_so(task):
    report = check_namespace(task, vars(reference()))
    assert report.passed and "hidden checks go further" in repr(report)
    assert "✗" not in report._repr_html_()


def test_a_failed_check_says_the_five_things_in_text_and_html():
    report = check_namespace("1.1", namespace(replaced(("padding=1", "padding=0"))))
    assert not report.passed
    for text in ("DoubleConv keeps height and width", "input: DoubleConv(3, 8)", "(2, 8, 28, 28)", "(2, 8, 32, 32)", "hint: "):
        assert text in repr(report)
    assert "<td>came</td>" in report._repr_html_()


def test_a_stub_is_a_todo_and_not_an_error():
    report = check_namespace("1.1", namespace((ROOT / "starter/lab04_student.py").read_text()))
    text = repr(report)
    assert text.count("to do: Need to implement for Task 1.1: ") == 2, "once for each class"
    assert text.count("the same as above") == 4 and "Traceback" not in text
    assert text.count("came:") == 0, "nothing came, so nothing is said to be wrong"


def test_an_exception_names_the_line_and_explains_itself():
    source = replaced(("up_channels + skip_channels", "up_channels"))
    text = repr(check_namespace("1.2", namespace(source)))
    assert "a layer built for 8 input channels got 16" in text and "line " in text


def test_student_text_is_escaped_in_html():
    source = replaced(("        return self.layers(x)", "        raise RuntimeError('<script>alert(1)</script>')"))
    page = check_namespace("1.1", namespace(source))._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_checking_leaves_random_numbers_and_modules_alone():
    names = namespace(reference_source())
    network = names["UNet"](3, 1, features=[4])
    before, state = [p.clone() for p in network.parameters()], torch.get_rng_state()
    check_namespace("1.4", names)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters())) and torch.equal(state, torch.get_rng_state())


def test_unknown_task_is_refused():
    with pytest.raises(ValueError, match="no task 7.1; there are 1.1"):
        check_namespace("7.1", {})


def terminal(*arguments: str):
    return subprocess.run([sys.executable, "-m", "grader", "check", *arguments], cwd=ROOT, capture_output=True, text=True)


def test_the_terminal_checks_a_file(tmp_path):
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(reference_source() + "\nprint('training')\nwhile True: pass\n")
    bad.write_text("import not_handed_in\nfrom helpers import DoubleConv\n")
    done = terminal("1.1", str(good))
    assert done.returncode == 0 and "6 of 6 checks passed" in done.stdout
    done = terminal("1.1", str(bad))
    assert done.returncode == 1 and "No module named 'helpers'" in done.stdout and "not_handed_in" in done.stderr
    done = terminal("1.1", str(tmp_path / "none.py"))
    assert done.returncode == 2 and "none.py: no such file" in done.stderr
