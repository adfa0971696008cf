"""What the demo promises: honest work is paid, mistakes cost their own task, the cheat gets nothing.

`make test-long` runs it; of the way that a class takes, `make test` has test_nbgrader.py.
"""

import json
import os
import pickle
import sqlite3
from types import SimpleNamespace

import pytest

pytest.importorskip("nbgrader")

from grader import demo as demos
from grader.rubric import load_rubric

pytestmark = pytest.mark.skipif(not os.environ.get("UNETLAB_LONG"), reason="grades a class of ten: set UNETLAB_LONG=1, as make test-long does")

FULL = {id: task.counted for id, task in load_rubric().items()}
WITH_BONUS = {id: task.points for id, task in load_rubric().items()}
WITHOUT_NETWORK = {**FULL, "3.5": 0}


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    lines = []
    report = demos.demo(out, say=lines.append)
    return SimpleNamespace(
        out=out, text="\n".join(lines), report=report, results={r["student"]: r for r in report["submissions"]}
    )


def scores(shown, student):
    return {id: task["score"] for id, task in shown.results[student]["tasks"].items()}


def test_ten_students_and_where_things_lie(shown):
    assert len(shown.results) == 10
    course = shown.out / "course"
    for what, path in demos.where(course, shown.out / "handins").items():
        assert path.exists(), what
        assert str(path) in shown.text
    assert all(student in shown.text for student in shown.results)
    assert json.loads((course / "report.json").read_text())["isolation"] == shown.report["isolation"]
    zips = [path for path in (shown.out / "handins").iterdir() if path.suffix == ".zip"]
    assert len(zips) == 7, "most hand in what `unetlab pack` made"


@pytest.mark.parametrize("student, marks", [("ada_perfect", WITH_BONUS), ("blaise_other_style", WITHOUT_NETWORK)])
def test_right_work_has_full_marks(shown, student, marks):
    assert scores(shown, student) == marks


def test_the_untouched_release_has_nothing(shown):
    assert set(scores(shown, "emil_untouched").values()) == {0}


@pytest.mark.parametrize(
    "student, task, rest",
    [
        ("carla_swapped_return", "1.1", WITHOUT_NETWORK),
        ("deniz_odd_sizes", "1.2", FULL),
        ("fatma_syntax_error", "3.1", FULL),
        ("gus_endless_loop", "1.2", WITHOUT_NETWORK),
        ("jana_never_zeroes", "3.4", FULL),
    ],
)
def test_a_mistake_costs_its_own_task_only(shown, student, task, rest):
    got = scores(shown, student)
    assert got[task] < FULL[task]
    assert {id: got[id] for id in got if id != task} == {id: points for id, points in rest.items() if id != task}


def test_a_pickled_model_is_not_opened(shown):
    assert scores(shown, "ivo_pickled_model") == WITHOUT_NETWORK
    told = {check["name"]: check["message"] for check in shown.results["ivo_pickled_model"]["tasks"]["3.5"]["checks"]}
    assert "nothing in it was run" in told["checkpoint_loads_into_your_unet"]
    assert not (shown.out / "cheated.txt").exists()


def test_the_pickled_model_would_have_run_code(tmp_path):
    """Or the test above would prove nothing."""
    witness = tmp_path / "cheated.txt"
    pickle.loads(pickle.dumps(demos._Bomb(str(witness))))
    assert witness.exists()


def test_the_cheat_gets_nothing(shown):
    assert scores(shown, "heidi_cheat") == {id: FULL[id] if id == "1.1" else 0 for id in FULL}
    assert not (shown.out / "cheated.txt").exists()
    with sqlite3.connect(shown.out / "course" / "gradebook.db") as book:
        assert book.execute(
            "select count(*) from grade where manual_score is not null or auto_score > 100"
        ).fetchone() == (0,)


def test_the_attack_works_without_the_wall(shown, tmp_path):
    """Or the test above would prove nothing: the same cell, run as a kernel would, writes and reads."""
    notebook = (shown.out / "handins/heidi_cheat/01_unet.ipynb").read_text()
    source = next(
        "".join(cell["source"])
        for cell in json.loads(notebook)["cells"]
        if "class DoubleConv" in "".join(cell["source"])
    )
    here = SimpleNamespace(witness=tmp_path / "w.txt", gradebook=tmp_path / "g.db")
    with sqlite3.connect(here.gradebook) as book:
        book.execute("create table grade (auto_score, manual_score)")
        book.execute("insert into grade values (1, null)")
    source = source.replace(str(shown.out / "cheated.txt"), str(here.witness))
    source = source.replace(str(shown.out / "course" / "gradebook.db"), str(here.gradebook))
    from torch import nn

    names = {"nn": nn}
    exec(source, names)
    assert here.witness.exists() and "class UNet" in names["DoubleConv"].found
    with sqlite3.connect(here.gradebook) as book:
        assert book.execute("select auto_score from grade").fetchone() == (1000,)


def test_gradebook_says_what_the_report_says(shown):
    with sqlite3.connect(f"file:{shown.out / 'course' / 'gradebook.db'}?mode=ro", uri=True) as book:
        rows = book.execute(
            "select s.student_id, sum(g.auto_score) from grade g join submitted_notebook n on g.notebook_id = n.id"
            " join submitted_assignment s on n.assignment_id = s.id group by s.student_id"
        ).fetchall()
    assert {student: pytest.approx(score, abs=0.01) for student, score in rows} == {
        s: r["score"] + r["bonus"] for s, r in shown.results.items()
    }
    assert os.access(shown.out / "course" / "gradebook.db", os.W_OK)  # so only the wall kept the cheat off
