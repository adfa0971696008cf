"""The judge: limits, lost and broken answers, errors carried forward, and its JSON."""

import json
import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from grader import judge as judge_module
from grader import rubric, sandbox
from grader.judge import Judge
from grader.rubric import load_rubric
from grader.student import StudentError
from grader.submissions import find_submissions
from solutions.reference import reference_source
from tests.helpers import ROOT, TRAINED, failed, module, replaced, scores

FULL = {"1.1": 20.0, "1.2": 25.0, "1.3": 25.0, "1.4": 30.0}


@pytest.fixture
def short(monkeypatch):
    """Five seconds for an answer."""
    tasks = {id: replace(task, limits=replace(task.limits, answer_seconds=5)) for id, task in load_rubric().items()}
    for place in (judge_module, rubric):
        monkeypatch.setattr(place, "load_rubric", lambda: tasks)


def test_reference_gets_everything():
    with Judge() as judge:
        result = judge.grade(module(reference_source(), checkpoint=TRAINED))
    tasks = load_rubric()
    assert scores(result) == {id: task.points for id, task in tasks.items()} and result["status"] == "graded"
    assert result["score"] == result["max_score"] == sum(task.counted for task in tasks.values())
    assert result["bonus"] == sum(task.points for task in tasks.values() if task.bonus) > 0
    assert all("reaches an IoU of" in note for note in result["notes"]), "one note, on how good the network is"


def test_untouched_starter_gets_nothing_in_any_check():
    with Judge() as judge:
        result = judge.grade(module((ROOT / "starter/lab04_student.py").read_text()))
    assert scores(result) == dict.fromkeys(load_rubric(), 0.0) and result["status"] == "graded"
    assert not any(check["passed"] for mark in result["tasks"].values() for check in mark["checks"])
    assert all(mark["status"] == "not handed in" and not mark["checks"] for mark in result["tasks"].values() if mark.get("bonus"))
    written = [task.id for task in load_rubric().values() if not task.experiment]
    assert all("to do: " in message for task in written for message in failed(result, task).values())


def test_endless_loop_costs_its_own_task_only(judge, short):
    result = judge.grade(module(replaced(("        return self.head(x)", "        while True: pass"))))
    assert scores(result) == {**FULL, "1.4": pytest.approx(0, abs=0.01)} and result["status"] == "graded"
    assert "no answer within 5 s" in failed(result, "1.4")["logits_have_the_size_of_the_picture"]


def test_endless_loop_in_a_block_costs_its_own_task_only(judge, short):
    result = judge.grade(module(replaced(("        features = self.double_conv(x)", "        while True: pass"))))
    assert scores(result) == {**FULL, "1.1": scores(result)["1.1"]} and scores(result)["1.1"] < 20
    assert [task for task, mark in result["tasks"].items() if mark.get("late")] == ["1.1"], "waited for once, not in every task"


@pytest.mark.parametrize(
    "statement, cause",
    [
        ("import os; os._exit(0)", "the process ended itself"),
        ("raise SystemExit", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("bytearray(16 * 2**30)", "MemoryError"),
        ("import os; os.closerange(0, 100)", "closed its connection"),
        ("import os; os.write(3, b'x' * 4096)", "too large"),
        ("return float('nan') * x[:, :1]", "NaN or infinite"),
        ("return False", "False"),
        ("return None", "None"),
        ("again = lambda: again(); return again()", "calls itself without an end"),
        ("return (x[:, :1] > 0)", "torch.bool"),
    ],
)
def test_a_forward_that_misbehaves_costs_its_own_task_only(judge, statement, cause):
    result = judge.grade(module(replaced(("        return self.head(x)", f"        {statement}"))))
    assert {**scores(result), "1.4": 0} == {**FULL, "1.4": 0}
    assert scores(result)["1.4"] < 3, failed(result, "1.4")
    assert any(cause in message for message in failed(result, "1.4").values()), failed(result, "1.4")


def test_printing_and_warning_costs_nothing(judge):
    noise = "import sys, warnings\nprint('hello', file=sys.stderr)\nwarnings.warn('careful')\n"
    text = replaced(("        skips = []", "        skips = []\n        import sys, warnings; warnings.warn('w'); print('e', file=sys.stderr)"))
    result = judge.grade(module(noise + text))
    assert scores(result) == FULL


def test_training_at_the_top_level_does_not_run(judge):
    text = reference_source() + "\nmodel = UNet()\nwhile True:\n    model = UNet()\nimport time; time.sleep(1000)\n"
    assert scores(judge.grade(module(text))) == FULL


def test_what_a_task_leaves_behind_costs_the_next_one_nothing(judge):
    """The decoder fails where the encoder ran before; 1.1 uses no decoder, 1.2 no encoder, the network both."""
    spoilt = replaced(
        ("        features = self.double_conv(x)", "        EncoderBlock.used = True\n        features = self.double_conv(x)"),
        ("        x = self.up(x)", "        assert not hasattr(EncoderBlock, 'used'), 'the encoder was here'\n        x = self.up(x)"),
    )
    result = judge.grade(module(spoilt))
    assert {**scores(result), "1.4": 0} == {**FULL, "1.4": 0} and scores(result)["1.4"] < 30
    assert any("the encoder was here" in message for message in failed(result, "1.4").values())


def test_a_right_submission_lives_in_one_process_and_only_a_failure_takes_another(judge, monkeypatch):
    served = []
    fresh = judge_module._Children.fresh
    monkeypatch.setattr(judge_module._Children, "fresh", lambda self, task, *names: served.append(task.id) or fresh(self, task, *names))
    judge.grade(module(reference_source()))
    assert served == ["1.1"]
    served.clear()
    judge.grade(module(replaced(('if upsampling == "transpose":', 'if upsampling == "transposed":'))))
    assert served == ["1.1", "1.2", "1.3", "1.4", "1.4"], "1.2 from scratch; 1.3 and 1.4 with the reference's decoder, which stays there"


def test_a_new_task_finds_its_time_whole_and_nothing_made_before(judge):
    with judge_module._Children(judge, judge.zygote, module("class Block(torch.nn.Identity): pass").sources()) as children:
        task = load_rubric()["1.1"]
        child, is_first = children.going_on(task)
        made = child.answer("make", {"name": "Block", "args": [], "kwargs": {}, "device": None, "dtype": None, "seed": 0})["handle"]
        child.deadline.at = child.late = 0.0
        again, is_first_again = children.going_on(task)
        assert again is child and (is_first, is_first_again) == (True, False)
        with pytest.raises(StudentError, match="KeyError"):
            child.answer("mode", {"handle": made, "training": True})


def test_a_slip_is_carried_forward_and_said(judge):
    result = judge.grade(module(replaced(("return features, pooled", "return pooled, features"))))
    assert scores(result)["1.1"] < 20 and scores(result)["1.4"] == 30
    assert result["tasks"]["1.4"]["carried_forward"] is True
    assert any("1.4 was marked with the reference's DoubleConv, EncoderBlock" in note for note in result["notes"])


def test_a_network_that_cannot_run_for_its_layers_leaves_the_forward_pass_to_a_human(judge):
    result = judge.grade(module(replaced(
        ("        self.bottleneck = DoubleConv(channels, 2 * channels, batch_norm=batch_norm)",
         "        self.bottleneck = DoubleConv(channels, channels, batch_norm=batch_norm)"),
    )))
    assert scores(result)["1.3"] < 25 and scores(result)["1.4"] is None and result["status"] == "partly graded"
    assert any("1.4 is ungraded" in note for note in result["notes"])


def test_an_unwritten_forward_is_no_excuse(judge):
    stub = '        raise NotImplementedError("Need to implement for Task 1.4: UNet.forward")'
    result = judge.grade(module(replaced(("        skips = []", stub), ("2 * channels, batch_norm", "channels, batch_norm"))))
    assert scores(result)["1.4"] == 0


def test_only_judges_what_is_asked_for():
    with Judge(only=["1.4"]) as judge:
        result = judge.grade(module(replaced(("return features, pooled", "return pooled, features"))))
    assert scores(result) == {"1.4": 30.0} and result["max_score"] == 30


def test_a_fault_of_a_check_is_ungraded_not_zero(judge, monkeypatch):
    def broken(student):
        raise ZeroDivisionError("the kit's own")

    check = judge.checks["1.2"][0]
    monkeypatch.setitem(judge.checks, "1.2", [replace(check, function=broken)])
    result = judge.grade(module(reference_source()))
    assert result["status"] == "partly graded" and result["tasks"]["1.2"]["score"] is None
    assert result["score"] == 75 and any("fault of the kit" in note for note in result["notes"])


def test_whatever_goes_wrong_with_one_submission_the_others_are_marked(judge, monkeypatch):
    real = judge._marks
    monkeypatch.setattr(judge, "_marks", lambda submission, *rest: 1 / 0 if submission.student == "b" else real(submission, *rest))
    results = {student: judge.grade(module(reference_source(), student)) for student in "abc"}
    assert [result["status"] for result in results.values()] == ["graded", "ungraded", "graded"]
    assert results["b"]["score"] is None and "by a fault of the judge: ZeroDivisionError" in results["b"]["notes"][0]


def test_a_number_that_no_float_holds_is_marked_and_has_no_name():
    with Judge(["3.4"]) as judge:
        result = judge.grade(module(reference_source() + "\n\ndef calculate_iou(*_, **__):\n    return 10**400\n"))
    assert result["status"] == "graded" and result["score"] < 45 and result["tasks"]["3.4"]["diagnoses"] == []


def test_a_lost_warm_process_is_ungraded_and_the_next_submission_is_not():
    with Judge(list(FULL)) as judge:
        judge.grade(module(reference_source()))  # bubblewrap killed while it starts may leave the warm process alive, and grading
        judge.zygote.process.kill()
        judge.zygote.process.wait()
        lost = judge.grade(module(reference_source()))
        assert lost["status"] == "ungraded" and lost["score"] is None
        assert scores(judge.grade(module(reference_source()))) == FULL


@pytest.mark.parametrize("when", ["before the fork", "before the checks of 1.3"])
def test_a_warm_process_that_is_gone_never_costs_a_mark(when, monkeypatch):
    """However far the death has come when the next request goes out: its control socket may be closed already."""
    with Judge(list(FULL)) as judge:
        judge.grade(module(reference_source()))

        def die():
            judge.zygote.process.kill()
            judge.zygote.process.wait()
            judge.zygote.control.shutdown(socket.SHUT_RDWR)  # as the kernel leaves it once all of the warm process is gone

        if when == "before the fork":
            die()
        else:
            mark = Judge._mark
            monkeypatch.setattr(Judge, "_mark", lambda self, task, *rest: (task.id == "1.3" and die(), mark(self, task, *rest))[1])
        lost = judge.grade(module(reference_source()))
        assert lost["status"] == "ungraded" and lost["score"] is None
        monkeypatch.undo()
        assert scores(judge.grade(module(reference_source()))) == FULL


def test_unknown_task_and_device_are_refused():
    with pytest.raises(ValueError, match="no task 9.9; there are 1.1"):
        Judge(only=["9.9"])
    with pytest.raises(ValueError, match="--device cpu"):
        Judge(device="cuda")


def test_isolation_ladder():
    every = {"bubblewrap": True, "landlock": True, "seccomp": True}
    assert sandbox.isolation(every).startswith("full: bubblewrap, landlock, seccomp")
    assert sandbox.isolation({**every, "bubblewrap": False}).startswith("strong: landlock, seccomp")
    assert sandbox.isolation({**every, "landlock": False}).startswith("strong: bubblewrap, seccomp")
    for lacking in ({**every, "seccomp": False}, {**every, "bubblewrap": False, "landlock": False}):
        with pytest.raises(sandbox.TooOpen, match="--insecure"):
            sandbox.isolation(lacking)
        assert sandbox.isolation(lacking, insecure=True).startswith("insecure")


def test_command_line_and_json(tmp_path):
    (tmp_path / "ada.py").write_text(reference_source())
    (tmp_path / "bob.ipynb").write_text("{")
    command = [sys.executable, "-m", "grader", "grade", str(tmp_path), "--json", str(tmp_path / "out.json"), "--jobs", "2", "--only", "1.1,1.2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out.json").read_text())
    ada, bob = report["submissions"]
    assert report["isolation"] == ada["isolation"]
    assert (ada["student"], ada["status"], ada["score"]) == ("ada", "graded", 45)
    assert (bob["student"], bob["status"], bob["score"]) == ("bob", "ungraded", None)
    assert "not JSON" in bob["notes"][0]
    check = ada["tasks"]["1.1"]["checks"][0]
    assert {"name", "hidden", "passed", "message"} <= check.keys()
    assert "2/2" in done.stderr, "a progress bar"


def test_a_path_that_is_not_there_is_an_error(tmp_path):
    command = [sys.executable, "-m", "grader", "grade", str(tmp_path / "nothing")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "no such file" in done.stderr


LOADED_WARM = """
import json, sys
from grader import zygote
from grader.definitions import Cell, Source, load
zygote.warm_up()
known = set(sys.modules)
load([Source(name, [Cell(label, text) for label, text in cells]) for name, cells in json.load(sys.stdin)])
print(sorted(name for name in set(sys.modules) - known if not name.startswith("handin.")))
"""


def test_the_labs_notebooks_import_nothing_that_is_not_warm():
    """What they import after the fork, every child pays for: one such line once cost seconds a task."""
    (submission,) = find_submissions([ROOT / "labs"])
    sources = [(source.name, [(cell.label, cell.source) for cell in source.cells]) for source in submission.sources()]
    assert any("grader.pack" in text for _, cells in sources for _, text in cells)
    command = [sys.executable, "-c", LOADED_WARM]
    done = subprocess.run(command, input=json.dumps(sources), capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_a_submission_cannot_take_the_kits_networks(judge):
    """A student's copy holds `networks/`, whose blocks are near to answers; where submissions are judged it is not there."""
    source = replaced(("class DoubleConv(nn.Module)", "class Unused(nn.Module)"))
    result = judge.grade(module(source + "\nfrom networks.unets import plain_block as DoubleConv\n"))
    assert scores(result)["1.1"] == 0 and "DoubleConv" in " ".join(failed(result, "1.1").values())
    assert any("plain_block as DoubleConv` failed: ModuleNotFoundError" in note for note in result["notes"])
