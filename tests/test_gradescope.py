"""The autograder for Gradescope: unpacked, run as Gradescope runs it, and its results as Gradescope's documents ask for them."""

import json
import math
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jsonschema
import pytest
import torch

from grader import cli, gradescope, sandbox
from grader.rubric import load_rubric
from solutions.reference import reference_source
from tests.helpers import ROOT, replaced
from tests.madeup import outcome_of

TASK = "1.1"
POINTS = load_rubric()[TASK].points
WHEN = {"enum": ["hidden", "after_due_date", "after_published", "visible"]}
FORMAT = {"enum": ["text", "html", "simple_format", "md", "ansi"]}
# "Autograder Specifications" of Gradescope's documentation; a score stands on top or at every test, else the run has failed.
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "score": {"type": "number"},
        "execution_time": {"type": "integer"},
        "output": {"type": "string"},
        "output_format": FORMAT,
        "visibility": WHEN,
        "stdout_visibility": WHEN,
        "extra_data": {"type": "object"},
        "tests": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "score": {"type": "number"},
                    "max_score": {"type": "number"},
                    "status": {"enum": ["passed", "failed"]},
                    "name": {"type": "string"},
                    "name_format": FORMAT,
                    "number": {"type": "string"},
                    "output": {"type": "string"},
                    "output_format": FORMAT,
                    "visibility": WHEN,
                },
            },
        },
    },
}

# Tells by its exception what it could do where the kit, the results and other people's files are.
SEEKING = '''
def seek():
    done = []
    for path, mode in PLACES:
        try:
            with open(path, mode) as file:
                file.read() if mode == "r" else file.write("[]")
            done.append("REACHED " + path)
        except Exception as error:
            done.append(type(error).__name__)
    raise ValueError(", ".join(done))
'''


# ---- the real thing ----


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The folders of Gradescope's container, with the zip unpacked."""
    root = tmp_path_factory.mktemp("gradescope")
    assert cli.main(["gradescope", str(root / "autograder.zip"), "--only", TASK]) == 0
    with zipfile.ZipFile(root / "autograder.zip") as archive:
        archive.extractall(root / "autograder" / "source")
    shutil.copy(root / "autograder" / "source" / "run_autograder", root / "autograder")
    return root / "autograder"


def run(autograder: Path, files: dict[str, str], wall: list[str] = []) -> tuple[dict, str]:
    """Hand these files in; results.json and what was printed."""
    for name in ("submission", "results"):
        shutil.rmtree(autograder / name, ignore_errors=True)
        (autograder / name).mkdir()
    for name, text in files.items():
        (autograder / "submission" / name).parent.mkdir(parents=True, exist_ok=True)
        (autograder / "submission" / name).write_text(text)
    places = {"AUTOGRADER": str(autograder), "UNETLAB_PYTHON": sys.executable, "XDG_CACHE_HOME": str(autograder / "cache")}
    command = [*wall, "bash", str(autograder / "run_autograder")]
    done = subprocess.run(command, cwd=autograder, env={**os.environ, **places}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((autograder / "results" / "results.json").read_text())
    jsonschema.validate(document, SCHEMA)
    return document, done.stdout


def test_the_right_solution_has_full_marks(unpacked):
    document, printed = run(unpacked, {"ada_01.py": reference_source(), "bob/notes.txt": "two names, one student"})
    assert document["score"] == POINTS and sum(test["max_score"] for test in document["tests"]) == POINTS
    assert all(test["status"] == "passed" and test["score"] == test["max_score"] for test in document["tests"])
    assert {test["visibility"] for test in document["tests"]} == {"visible", "after_published"}
    assert document["stdout_visibility"] == "hidden" and "isolation: " in printed
    assert document["extra_data"]["isolation"] in printed


def test_a_submission_reaches_neither_the_solutions_nor_the_results(unpacked):
    if not shutil.which("bwrap"):
        pytest.skip("hostile submissions run only inside bubblewrap, which is not installed here")
    kit, results = unpacked / "source" / "kit", unpacked / "results" / "results.json"
    places = [(str(kit / "solutions" / "reference.py"), "r"), (str(kit / "solutions" / "checks" / "test_task_1_1.py"), "r")]
    places += [(str(results), "w"), (str(results), "r"), (str(kit / "grader" / "judge.py"), "a"), (str(unpacked / "submission" / "a.py"), "r")]
    wrong = replaced(("features = self.double_conv(x)", "seek()"), ("return features, pooled", "return pooled, features"))
    outer = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--bind", str(unpacked), str(unpacked)]
    document, printed = run(unpacked, {"a.py": f"PLACES = {places}\n{SEEKING}\n{wrong}"}, [*outer, "--unshare-net", "--"])
    shown = json.dumps(document)
    assert 0 < document["score"] < POINTS
    assert "REACHED" not in shown and "ValueError: " in shown and shown.count("Error, ") >= len(places) - 1
    hidden = [test for test in document["tests"] if test["visibility"] != "visible"]
    assert hidden and all(line.startswith("hint: ") for test in hidden for line in test["output"].splitlines() if line)


def here(folder: Path, name: str = "", text: str = "") -> dict:
    """The same without a container's folders: what is written of one file that is handed in, or of none."""
    (folder / "in").mkdir()
    if name:
        (folder / "in" / name).write_text(text)
    assert gradescope.main([str(folder / "in"), str(folder / "results.json")]) == 0
    document = json.loads((folder / "results.json").read_text())
    jsonschema.validate(document, SCHEMA)
    return document


def test_what_cannot_be_read_has_no_score_at_all(tmp_path):
    document = here(tmp_path, "01_unet.ipynb", '{"cells": [')
    assert "score" not in document and not document["tests"]
    assert "not a mark of 0" in document["output"] and "not JSON" in document["output"]
    assert str(tmp_path) not in json.dumps(document)


def test_an_empty_submission_has_no_score_at_all(tmp_path):
    document = here(tmp_path)
    assert "score" not in document and "no notebook" in document["output"]


def test_setup_is_a_script_that_bash_reads(unpacked):
    subprocess.run(["bash", "-n", unpacked / "source" / "setup.sh"], check=True)
    text = (unpacked / "source" / "setup.sh").read_text()
    assert "@" not in text.replace('"${pip[@]}"', "") and "constraints.txt" in text
    assert (unpacked / "source" / "kit" / "constraints.txt").exists()


def test_what_every_submission_would_wait_for_is_prepared_once(tmp_path):
    done = subprocess.run([sys.executable, "-m", "grader.gradescope", "--prepare", "--only", TASK], cwd=ROOT,
                          env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (kept,) = (tmp_path / "unetlab").iterdir()
    assert len(torch.load(kept, weights_only=True)) > 20


# ---- the zip ----


def test_the_zip_holds_what_marks_and_nothing_of_the_tests(tmp_path):
    first, second = (gradescope.write_zip(tmp_path / f"{name}.zip") for name in "ab")
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as archive:
        names = set(archive.namelist())
        modes = {info.filename: info.external_attr >> 16 & 0o777 for info in archive.infolist()}
    assert {"setup.sh", "run_autograder", "kit/grader/judge.py", "kit/solutions/checks/test_task_1_1.py"} <= names
    assert modes["run_autograder"] == modes["setup.sh"] == 0o755
    assert not [name for name in names if name.startswith(("kit/tests/", "kit/benchmarks/", "kit/.git/"))]


@pytest.mark.parametrize("arguments, cause", [
    (["x.tar"], "name a .zip"), (["gone/x.zip"], "a folder that exists"), (["x.zip", "--only", "9.9"], "no task 9.9"),
    (["x.zip", "--hidden", "never"], "never"),
])
def test_bad_arguments_are_named(arguments, cause, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["gradescope", *arguments]) == 2
    assert cause in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_an_address_is_no_command(tmp_path):
    gradescope.write_zip(tmp_path / "x.zip", torch_index="https://127.0.0.1/$(touch gone)'; touch gone #")
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        script = archive.read("setup.sh").decode()
    (line,) = [line for line in script.splitlines() if line.startswith("torch_index=")]
    subprocess.run(["bash", "-c", f"{line}\ntest -n \"$torch_index\""], cwd=tmp_path, check=True)
    assert not (tmp_path / "gone").exists()


# ---- results.json ----


def result(tasks: dict, **more) -> dict:
    known = [task["score"] for task in tasks.values() if task["score"] is not None]
    status = "graded" if len(known) == len(tasks) else "partly graded" if known else "ungraded"
    return {"student": "student", "status": status, "score": sum(known) if known else None, "notes": [], "tasks": tasks, "seconds": 1.0, **more}


def test_an_ungraded_task_has_no_score_and_says_so():
    rubric = load_rubric()
    ungraded = {**outcome_of(rubric["1.2"], None), "score": None, "status": "ungraded", "checks": []}
    document = gradescope.results(result({"1.1": outcome_of(rubric["1.1"], None), "1.2": ungraded}))
    jsonschema.validate(document, SCHEMA)
    (open_test,) = [test for test in document["tests"] if test["number"] == "1.2"]
    assert "score" not in open_test and "max_score" not in open_test and "not graded yet" in open_test["name"]
    assert document["score"] == rubric["1.1"].points and document["output"].startswith("NOT FINAL: 1.2 (25 points)")


@pytest.mark.parametrize("count", range(1, 12))
def test_scores_add_up_to_the_judges_mark(count):
    task = load_rubric()["1.1"]
    outcome = outcome_of(task, None)
    outcome["checks"] = outcome["checks"][:count]  # the others were left out, and their points go to these
    for check in outcome["checks"][1:3]:
        check["passed"] = False
    possible = sum(check["points"] for check in outcome["checks"])
    exact = [task.points * check["points"] / possible for check in outcome["checks"]]
    outcome["score"] = math.floor(100 * sum(p for p, c in zip(exact, outcome["checks"]) if c["passed"]) + 0.5) / 100
    tests = gradescope.results(result({"1.1": outcome}))["tests"]
    assert round(sum(test["score"] for test in tests), 2) == outcome["score"]
    assert round(sum(test["max_score"] for test in tests), 2) == task.points
    assert all(test["score"] in (0, test["max_score"]) for test in tests)
    assert [test["max_score"] for test in tests] == pytest.approx(exact, abs=0.0101)


@pytest.mark.parametrize("hidden", ["visible", "after_published"])
def test_what_a_note_tells_of_a_hidden_check_is_kept_back_as_the_check_is(hidden):
    secret = next(check["name"] for check in outcome_of(load_rubric()["1.1"], None)["checks"] if check["hidden"])
    notes = ["1.1: renamed", "3.5: the trained network reaches an IoU of 0.8", f"{secret}: what came could not be read"]
    document = gradescope.results(result({"1.1": outcome_of(load_rubric()["1.1"], None)}, notes=notes), hidden)
    jsonschema.validate(document, SCHEMA)
    told = [test for test in document["tests"] if test.get("name") == "Notes on hidden checks"]
    assert [test["visibility"] for test in told] == ([] if hidden == "visible" else ["after_published"])
    shown = [note in document["output"] for note in notes]
    assert shown == [True, hidden == "visible", hidden == "visible"]
    assert all(note in document["output"] or note in told[0]["output"] for note in notes)


def test_of_a_hidden_check_only_rule_and_hint_are_shown():
    document = gradescope.results(result({"1.1": outcome_of(load_rubric()["1.1"], "SECRET")}), hidden="visible")
    public = [test for test in document["tests"] if "(hidden check)" not in test["name"]]
    hidden = [test for test in document["tests"] if "(hidden check)" in test["name"]]
    assert all("yours: SECRET" in test["output"] for test in public)
    assert hidden and not any("SECRET" in test["output"] for test in hidden)
    assert {test["visibility"] for test in hidden} == {"visible"}
    assert sum("Likely cause" in test["output"] for test in document["tests"]) == 1


def test_a_machine_without_isolation_gives_no_score_and_tells_the_instructor_why(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sandbox, "rungs", lambda device: {"bubblewrap": False, "landlock": False, "seccomp": False})
    document = here(tmp_path, "a.py", reference_source())
    assert "score" not in document and not document["tests"] and "fault of the autograder" in document["output"]
    assert "this machine lacks bubblewrap, landlock, seccomp" in capsys.readouterr().out
