"""Bonus points come on top of the maximum; who leaves the bonus out loses nothing and hears nothing of it."""

import csv
import io
import json
from types import SimpleNamespace

import nbformat
import pytest

pytest.importorskip("nbgrader")

from bs4 import BeautifulSoup
from nbgrader.api import Gradebook

from grader import audit, cli, demo, gradescope, marks, platforms, report
from grader import course as courses
from grader.class_statistics import ENOUGH, check_rows, task_rows, total
from grader.executors import grade_all
from grader.handover import Handin, hand_over
from grader.pack import pack
from grader.rubric import bonus_notebooks, load_manual, load_rubric, notebooks
from grader.submissions import find_submissions
from solutions.reference import reference_source
from tests.helpers import ROOT, module
from tests.made_up_class import made_up_report
from tests.madeup import made_up

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # nbgrader's own
BONUS = {id: task for id, task in load_rubric().items() if task.bonus}
(PAGE,) = bonus_notebooks()
ALL = sum(task.counted for task in load_rubric().values())
MANUAL = sum(item.points for item in load_manual().values())
EXTRA = sum(task.points for task in BONUS.values())
WITHOUT = reference_source()[: reference_source().index("class UNetPlusPlus")]


def test_the_rubric_keeps_the_bonus_apart():
    assert list(BONUS) == ["4.1", "4.2", "4.3", "4.4"] and 20 <= EXTRA <= 30
    assert all(task.counted == 0 for task in BONUS.values())
    assert sum(task.points for task in load_rubric().values()) == ALL + EXTRA


def test_a_hand_in_without_the_bonus_is_marked_as_ever():
    """Mark for mark, check for check as if there were no Part 4, whether its stubs came along or not."""
    stubs = (ROOT / "starter/lab04_student.py").read_text()
    stubs = stubs[stubs.index("# ==== Bonus") :]
    tasks = ["1.1", "2.3", "4.1", "4.2", "4.3", "4.4"]
    broken = reference_source().replace("return features, pooled", "return pooled, features")
    broken = broken.replace("layers.append(nn.ReLU(inplace=True))", "pass").replace("return skip * self.alpha", "return gate")
    submissions = [module(WITHOUT, "without"), module(f"{WITHOUT}\n\n{stubs}", "stubs"), module("x = 1", "nothing")]
    results = {result["student"]: result for result in grade_all([*submissions, module(broken, "slips")], only=tasks)}
    slips = {id: mark["score"] for id, mark in results.pop("slips")["tasks"].items()}
    assert slips["1.1"] < 20 and slips["2.3"] < 20, "and what builds on them is marked with the reference's"
    assert {id: slips[id] for id in BONUS} == {id: task.points for id, task in BONUS.items()}
    ever = {result["student"]: result for result in grade_all(submissions, only=["1.1", "2.3"])}
    for student, result in results.items():
        assert [result[name] for name in ("score", "max_score", "status", "notes")] == [
            ever[student][name] for name in ("score", "max_score", "status", "notes")
        ]
        for task, mark in result["tasks"].items():
            if task in BONUS:
                assert (mark["status"], mark["score"], mark["checks"]) == (marks.NOT_HANDED_IN, 0.0, [])
            else:
                now, then = ([{**c, "seconds": 0} for c in r["tasks"][task]["checks"]] for r in (result, ever[student]))
                assert (now, mark["score"]) == (then, ever[student]["tasks"][task]["score"])
        assert result["bonus"] == 0


# ---- through nbgrader, with results that are made up ----


STUDENTS = ("bob", "eve", "untouched")
HALF = 6 + 3 + 4 + 3  # of eve's bonus, before a person gives 5 points in the place of the 3 of Task 4.2


def judged(submissions, **options):
    """Eve loses half of her bonus, bob and who has not touched it have none."""
    for result in made_up({})(submissions, **options):
        for id, task in BONUS.items():
            mark = result["tasks"][id]
            if result["student"] in ("bob", "untouched"):
                result["tasks"][id] = marks.empty(task, marks.NOT_HANDED_IN, 0.0)
            elif result["student"] == "eve":
                mark["checks"] = [{**check, "passed": number % 2 == 0} for number, check in enumerate(mark["checks"])]
                mark["score"] = sum(check["points"] for check in mark["checks"] if check["passed"])
        yield {**result, **marks.sums(result["tasks"])}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    root = tmp_path_factory.mktemp("bonus")
    course, handins = root / "course", root / "handins"
    courses.open_course(course)
    for student in STUDENTS:
        (handins / student).mkdir(parents=True)
        for name in sorted(notebooks() - (bonus_notebooks() if student == "bob" else set())):
            nb = nbformat.read(course / "release" / "lab04" / f"{name}.ipynb", as_version=4)
            cells = demo.solution_cells(course)
            demo.fill(nb, {} if student == "untouched" and name == PAGE else cells)
            for cell in nb.cells:
                cell.source = cell.source.replace("YOUR ANSWER HERE", f"An answer of {student}.")  # no two alike in every byte
            nbformat.write(nb, handins / student / f"{name}.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(courses, "grade_all", judged)
        courses.grade_class(handins, course)
        with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:  # a person marks, as formgrader does it
            for student in STUDENTS:
                for item in load_manual().values():
                    grade = book.find_grade(item.id, item.notebook, "lab04", student)
                    grade.manual_score, grade.needs_manual_grade = item.points, False
            grade = book.find_grade("check_4_2", PAGE, "lab04", "eve")
            grade.manual_score, grade.needs_manual_grade = 5.0, False
            book.find_submission_notebook(sorted(notebooks())[0], "lab04", "untouched").late_submission_penalty = 4.0
            book.db.commit()
        outcome = courses.grade_class(handins, course)
    return SimpleNamespace(course=course, handins=handins, outcome=outcome, results={r["student"]: r for r in outcome["submissions"]})


def page(graded, student, notebook=PAGE):
    html = (graded.course / "feedback" / student / "lab04" / f"{notebook}.html").read_text()
    return " ".join(BeautifulSoup(html, "html5lib").get_text(" ").split())


def test_gradebook_holds_points_above_its_maximum(graded):
    with Gradebook(f"sqlite:///{graded.course / 'gradebook.db'}") as book:
        found = {s.student_id: (s.score, s.max_score) for s in book.assignment_submissions("lab04")}
        cells = {cell.name: cell.max_score for cell in book.find_notebook(PAGE, "lab04").grade_cells}
    assert cells == {f"check_{id.replace('.', '_')}": 0 for id in BONUS}
    assert found == {"bob": (ALL + MANUAL, ALL + MANUAL), "eve": (ALL + MANUAL + HALF + 2, ALL + MANUAL),
                     "untouched": (ALL + MANUAL, ALL + MANUAL)}


def test_feedback_says_what_comes_on_top(graded):
    assert f"{ALL + MANUAL:g} of {ALL + MANUAL:g} points + {HALF + 2:g} bonus" in page(graded, "eve")
    assert "+6 bonus points" in page(graded, "eve") and "6 of 10 bonus points" in page(graded, "eve")
    assert "Marked by a person, instead of the 3" in page(graded, "eve")
    assert "failed (−" not in page(graded, "eve"), "a failed check of a bonus takes nothing away"


@pytest.mark.parametrize("student", ["bob", "untouched"])
def test_who_has_no_bonus_hears_nothing_of_it(graded, student):
    result = graded.results[student]
    assert result["notes"] == [] and result["status"] == "graded" and result["bonus"] == 0
    penalty = 4 * (student == "untouched")
    assert f"{ALL + MANUAL - penalty:g} of {ALL + MANUAL:g} points" in page(graded, student, sorted(notebooks())[0])
    for notebook in sorted(notebooks()):
        shown = page(graded, student, notebook)
        assert "+0 bonus" not in shown and "+ 0 bonus" not in shown and "Notes on this hand-in" not in shown and "Not final" not in shown
    assert "no bonus" in page(graded, student) and "No response" not in page(graded, student)
    assert ("voluntary" in page(graded, "bob")) and "costs nothing" in page(graded, student)


def test_tables_show_it_beside_the_marks(graded):
    rows = {row["student"]: row for row in csv.DictReader((graded.course / "grades.csv").open())}
    assert {row["max_score"] for row in rows.values()} == {str(float(ALL))} and {row["total_max"] for row in rows.values()} == {str(ALL + MANUAL)}
    assert (rows["eve"]["score"], rows["eve"]["bonus"], rows["eve"]["total"]) == (f"{ALL:g}", f"{HALF:g}", f"{ALL + MANUAL + HALF + 2:g}")
    assert (rows["bob"]["bonus"], rows["bob"]["total"], rows["bob"]["left_to_mark"]) == ("0", f"{ALL + MANUAL:g}", "0")
    assert (rows["bob"]["4.1 score"], rows["bob"]["4.1 status"]) == ("0", "not handed in")
    assert rows["untouched"]["total"] == f"{ALL + MANUAL - 4:g}" and "4.2: 5" in rows["eve"]["corrected"]
    checks = [row for row in csv.DictReader((graded.course / "checks.csv").open()) if row["task"] in BONUS]
    assert {(row["check"], row["status"]) for row in checks if row["student"] == "bob"} == {("", "not handed in")}
    shown = report.summary_table(graded.outcome)
    assert f"+{HALF:g}" in shown and "bonus" in shown.splitlines()[0]
    text = " ".join(BeautifulSoup((graded.course / "class.html").read_text(), "html5lib").get_text(" ").split())
    assert f"{ALL + MANUAL:g} / {ALL + MANUAL:g} + {HALF + 2:g} bonus" in text and "bonus, handed in by 1" in text
    assert f"of {ALL:g} + {HALF:g} bonus" in audit.audit_text(graded.course, "eve")


def test_platforms_take_it_as_far_as_they_can(graded):
    ours = list(csv.DictReader(io.StringIO(platforms.canvas(graded.outcome).text)))
    assert {row["Student"]: row["lab04"] for row in ours}["eve"] == f"{ALL + MANUAL + HALF + 2:g}"
    assert ours[0]["lab04"] == f"{ALL + MANUAL:g}", "the points that are possible"
    merged = platforms.moodle(graded.outcome)
    theirs = {row["Full name"]: row for row in csv.DictReader(io.StringIO(merged.text))}
    assert theirs["eve"]["Grade"] == theirs["eve"]["Maximum Grade"] == f"{ALL + MANUAL:g}"
    assert f"{ALL + MANUAL + HALF + 2:g} with bonus" in theirs["eve"]["lab04 status"] and theirs["bob"]["lab04 status"] == "graded"
    assert any("cut to the maximum" in line and "eve" in line for line in merged.said())


def test_a_rerun_finds_everything_as_it_was(graded, monkeypatch):
    monkeypatch.setattr(courses, "grade_all", lambda *a, **k: pytest.fail("judged again"))
    monkeypatch.setattr(courses, "_autograde", lambda *a: pytest.fail("booked again"))
    again = courses.grade_class(graded.handins, graded.course)
    assert {r["student"]: total(r) for r in again["submissions"]} == {s: total(r) for s, r in graded.results.items()}


def test_a_course_from_before_the_bonus_expects_none(tmp_path, monkeypatch):
    """A course that was set up with three notebooks goes on as it was: no stand-in, nothing booked twice."""
    course = tmp_path / "course"
    write = courses._write_source

    def three(course, source):
        write(course, source)
        (source / f"{PAGE}.ipynb").unlink()

    monkeypatch.setattr(courses, "_write_source", three)
    monkeypatch.setattr(courses, "grade_all", judged)
    courses.open_course(course)
    for student, names in {"bob": notebooks() - bonus_notebooks(), "eve": notebooks()}.items():
        (tmp_path / "handins" / student).mkdir(parents=True)
        for name in names:
            (tmp_path / "handins" / student / f"{name}.ipynb").write_text((ROOT / "labs" / f"{name}.ipynb").read_text())
    first = courses.grade_class(tmp_path / "handins", course)
    assert all(result["notes"] == [] for result in first["submissions"])
    assert not (course / "submitted" / "bob" / "lab04" / f"{PAGE}.ipynb").exists()
    monkeypatch.setattr(courses, "_autograde", lambda *a: pytest.fail("booked again"))
    courses.grade_class(tmp_path / "handins", course)


# ---- elsewhere ----


def test_a_penalty_takes_the_bonus_last():
    tasks = {"1.1": {"score": 5.0, "max_score": 20.0}, "4.1": {"score": 8.0, "max_score": 10.0, "bonus": True}}
    sums = total({"tasks": tasks, "late_penalty": 7.0})
    assert (sums["score"], sums["bonus"], sums["sum"], sums["max_score"]) == (0.0, 6.0, 6.0, 20.0)
    assert total({"tasks": {"1.1": tasks["1.1"], "4.1": {**tasks["4.1"], "score": None}}})["open"] == 10
    assert total({"tasks": {id: {**task, "score": None} for id, task in tasks.items()}})["open"] == 20, "of which none is known"


def test_statistics_are_of_those_who_handed_it_in():
    class_report = made_up_report(60, seed=2)
    handed_in = [r for r in class_report["submissions"] if r["tasks"]["4.1"]["status"] == "graded"]
    row = next(row for row in task_rows(class_report) if row["task"] == "4.1")
    assert row["count"] == len(handed_in) and row["left_out"] >= 60 - len(handed_in) - 3 and row["bonus"]
    checks = [row for row in check_rows(class_report) if row["task"] == "4.1"]
    assert {check["judged"] for check in checks} == {len(handed_in)} and len(handed_in) >= ENOUGH


def test_gradescope_counts_it_above_the_points_of_the_tests():
    tasks = {id: {**outcome, "kit": ""} for id, outcome in next(made_up({})(find_submissions([ROOT / "labs"]))) ["tasks"].items() if id in ("1.1", "4.2")}
    document = gradescope.results({**marks.sums(tasks), "tasks": tasks, "notes": [], "seconds": 1.0})
    assert document["score"] == 20 + BONUS["4.2"].points
    assert sum(test["max_score"] for test in document["tests"]) == 20
    bonus = [test for test in document["tests"] if "(bonus)" in test["name"]]
    assert sum(test["score"] for test in bonus) == BONUS["4.2"].points
    tasks["4.2"] = marks.empty(BONUS["4.2"], marks.NOT_HANDED_IN, 0.0)
    document = gradescope.results({**marks.sums(tasks), "tasks": tasks, "notes": [], "seconds": 1.0})
    assert document["score"] == 20 and not [test for test in document["tests"] if "4.2" in test["name"]]


def test_gradescope_expects_no_bonus_notebook(tmp_path):
    (tmp_path / "in").mkdir()
    for name in notebooks() - bonus_notebooks():
        (tmp_path / "in" / f"{name}.ipynb").write_text((ROOT / "labs" / f"{name}.ipynb").read_text())
    (submission,) = find_submissions([tmp_path / "in"])
    handin = Handin(submission)
    hand_over(handin, tmp_path / "work")
    assert handin.notes == [] and handin.problem == "" and handin.slip.stand_ins == {}


def test_pack_asks_only_for_a_bonus_that_was_begun(tmp_path):
    for name in notebooks() - bonus_notebooks():
        (tmp_path / f"{name}.ipynb").write_text((ROOT / "labs" / f"{name}.ipynb").read_text())
    said = "\n".join(pack("ann", tmp_path, tmp_path).findings)
    assert PAGE not in said and "Task 4" not in said
    text = (ROOT / "labs" / f"{PAGE}.ipynb").read_text()
    (tmp_path / f"{PAGE}.ipynb").write_text(text)
    assert PAGE not in "\n".join(pack("ann", tmp_path, tmp_path).findings)
    nb = nbformat.reads(text, as_version=4)
    for cell in nb.cells:
        cell.source = cell.source.replace('raise NotImplementedError("Need to implement for Task 4.2: DeepSupervisionLoss.__init__")', "pass")
    nbformat.write(nb, tmp_path / f"{PAGE}.ipynb")
    said = "\n".join(pack("ann", tmp_path, tmp_path).findings)
    assert "Task 4.2 is not written (DeepSupervisionLoss.forward)" in said and "check of Task 4.2 was never run" in said
    assert "4.1" not in said and "4.3" not in said


def test_check_of_a_whole_module_passes_over_what_is_not_written(tmp_path, capsys):
    (tmp_path / "student.py").write_text(WITHOUT)
    cli.main(["check", str(tmp_path / "student.py")])
    out = capsys.readouterr().out
    assert "Bonus, of which nothing is written: Task 4.1, 4.2, 4.3, 4.4" in out and "UNetPlusPlus" not in out
    assert cli.main(["check", "4.2", str(tmp_path / "student.py")]) == 1
    assert "DeepSupervisionLoss is not defined" in capsys.readouterr().out


def test_results_stay_plain_json(graded):
    assert json.loads((graded.course / "report.json").read_text())["submissions"][0]["tasks"]["4.1"]["bonus"] is True
