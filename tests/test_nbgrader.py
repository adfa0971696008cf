"""Hand-ins through real nbgrader, judged for real in Part 1: repairs, marks, comments, feedback, export."""

import ast
import copy
import csv
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch

pytest.importorskip("nbgrader")

from bs4 import BeautifulSoup
from nbgrader.api import Gradebook

from grader import course as courses
from grader import demo, marks
from grader.defuse import REMOTE_PICTURE
from grader.gradebook import marks_by_hand
from grader.handover import hand_over, names_defined, submission_in, submitted
from grader.journal import Journal
from grader.platforms import mark_of
from grader.repair import match, repair
from grader.rubric import load_manual, load_rubric, notebooks
from solutions.reference import reference, reference_source
from tests.madeup import made_up

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # nbgrader's own
KIT = Path(__file__).resolve().parent.parent
ONE, TWO, THREE, BONUS = sorted(notebooks())
PART_1 = sum(task.points for task in load_rubric().values() if task.notebook == ONE)
TOTAL = sum(task.counted for task in load_rubric().values())
MANUAL = sum(item.points for item in load_manual().values())
REAL = [task.id for task in load_rubric().values() if task.notebook == ONE or task.experiment]
SCRIPT = "<script>alert('gotcha')</script>"


# ---- the hand-ins ----


def cell_of(nb, grade_id):
    return next(cell for cell in nb.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == grade_id)


def lose_metadata(nb):
    for cell in nb.cells:
        cell.metadata.clear()
        cell.pop("id", None)
    nb.nbformat_minor = 4


def delete_cells(nb):
    nb.cells = [
        cell for cell in nb.cells if cell.metadata.get("nbgrader", {}).get("grade_id") not in ("check_1_1", "check_1_2")
    ]


def double_cells(nb):
    twin = nbformat.from_dict(cell_of(nb, "task_1_1"))
    twin.source = "print('an old try')"
    nb.cells.insert(0, twin)  # the same cell id and the same nbgrader id


def forge(nb):
    for cell in nb.cells:
        marks = cell.metadata.get("nbgrader", {})
        if marks.get("grade"):
            marks["points"] = 2000
            cell.source = "2000  # all passed"
            cell.outputs = [nbformat.v4.new_output("execute_result", data={"text/plain": "2000"}, execution_count=1)]


def attack_the_reader(nb):
    one = cell_of(nb, "task_1_1")
    one.source = demo.changed(
        one.source, "return features, pooled", f'raise ValueError("{SCRIPT} `code` [x](javascript:y)")'
    )
    svg = f'<svg xmlns="http://www.w3.org/2000/svg">{SCRIPT}</svg>'
    one.outputs = [
        nbformat.v4.new_output(
            "display_data", data={"text/html": f"<b>my table</b>{SCRIPT}<img src=x onerror=alert(1)>"}
        ),
        nbformat.v4.new_output("display_data", data={"image/svg+xml": svg}),
        nbformat.v4.new_output("display_data", data={"application/javascript": "alert('gotcha')"}),
        nbformat.v4.new_output("stream", name="stdout", text=f"printed {SCRIPT}"),
    ]
    nb.cells.append(nbformat.v4.new_markdown_cell(f"My *discussion* {SCRIPT}"))


def print_a_lot(nb):
    cell_of(nb, "task_1_2").outputs = [nbformat.v4.new_output("stream", name="stdout", text="x" * 1_500_000)]


def answer(nb, text="A short *answer*."):
    for cell in nb.cells:
        cell.source = cell.source.replace("YOUR ANSWER HERE", text)


def answer_beside(nb):
    place = nb.cells.index(cell_of(nb, "report")) + 1
    nb.cells.insert(place, nbformat.v4.new_markdown_cell("My report: all went well."))


def answer_without_a_trace(nb):
    """Write the answers over all that was handed out, and lose the metadata."""
    for item in load_manual():
        for cell in nb.cells:
            if cell.metadata.get("nbgrader", {}).get("grade_id") == item:
                cell.source = f"All of {item} in my own words."
    lose_metadata(nb)


FIRST_ONLY = {
    "deleted": delete_cells,
    "doubled": lambda nb: (double_cells(nb), print_a_lot(nb)),
    "hostile": attack_the_reader,
}


def checkpoint():
    file = io.BytesIO()
    torch.save(reference().UNet(features=[4, 8]).state_dict(), file)
    return file.getvalue()


def write_hand_ins(folder, course):
    good = demo.solution_cells(course)

    def notebook(name, change=lambda nb: None, cells=good):
        nb = nbformat.read(course / "release" / "lab04" / f"{name}.ipynb", as_version=4)
        demo.fill(nb, cells)
        change(nb)
        return json.dumps(nb)

    def write(path, content):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content if isinstance(content, bytes) else content.encode())

    folder.mkdir()
    with zipfile.ZipFile(folder / "perfect_lab04.zip", "w") as archive:  # as `unetlab pack` makes it
        for name in sorted(notebooks()):
            archive.writestr(f"{name}.ipynb", notebook(name, answer))
        archive.writestr("results/unet.pth", checkpoint())
        archive.writestr("results/training.json", '{"features": [4, 8]}')
        archive.writestr("../outside.py", "x = 1")
    for name in sorted(notebooks()):
        write(f"colab/{name}.ipynb", notebook(name, answer_without_a_trace))
        write(f"torn/{name}.ipynb", notebook(name) if name != TWO else '{"cells": [')
    write(f"beside/{ONE}.ipynb", notebook(ONE))
    write(f"beside/{THREE}.ipynb", notebook(THREE, answer_beside))
    for student, change in FIRST_ONLY.items():
        write(f"{student}_{ONE}.ipynb", notebook(ONE, change))
    write("forger.ipynb", notebook(ONE, forge, {}))
    write("broken.ipynb", '{"cells": [')
    write("moduleuser/lab04_student.py", reference_source())
    write("moduleuser/report [x](y).pdf", b"%PDF-1.4")
    write("moduleuser/README.md", (KIT / "README.md").read_bytes())
    write("moduleuser/evil.html", SCRIPT)
    write("Jörg & Söhne <b>/final.ipynb", notebook(ONE))
    write("Jörg & Söhne <b>/results/unet.pth", b"")
    os.truncate(folder / "Jörg & Söhne <b>" / "results" / "unet.pth", 201 * 2**20)
    write("hostile/report.txt", "sorry")  # a second hand-in of that name, without anything to grade


def judged_quickly(submissions, **options):
    """The judge on Part 1 and the checkpoint; another task has its points where all its names are written."""
    folders = {str(submission.path): submission for submission in submissions}
    for result in judged_quickly.real(submissions, only=REAL, **options):
        yield with_the_rest(result, folders[result["path"]])


def with_the_rest(result, submission):
    sources = submission.sources() if result["status"] != "ungraded" else []
    for source in sources:
        source.cells = [cell for cell in source.cells if "Need to implement" not in cell.source]
    written = names_defined(SimpleNamespace(sources=lambda: sources))
    tasks = {}
    for id, task in load_rubric().items():
        score = task.points if set(task.names) <= written else 0.0
        graded = {"status": "graded", "score": score, "max_score": task.points, "carried_forward": False, "checks": []}
        graded = {**graded, **marks.is_bonus(task)} if score or not task.bonus else marks.empty(task, marks.NOT_HANDED_IN, 0.0)
        tasks[id] = result["tasks"].get(id) or (graded if sources else marks.empty(task))
    return {**result, **marks.sums(tasks), "tasks": tasks}


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    root = tmp_path_factory.mktemp("class")
    course, handins = root / "course", root / "handins"
    courses.open_course(course)
    write_hand_ins(handins, course)
    before = digest(handins)
    judged_quickly.real = courses.grade_all
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(courses, "grade_all", judged_quickly)
        outcome = courses.grade_class(handins, course, jobs=2)
    results = {result["student"]: result for result in outcome["submissions"]}
    return SimpleNamespace(root=root, course=course, handins=handins, outcome=outcome, results=results, before=before)


def digest(folder):
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def gradebook(course):
    return Gradebook(f"sqlite:///{course / 'gradebook.db'}")


def of_all_notebooks(course, student, what):
    with gradebook(course) as book:
        return [entry for name in sorted(notebooks()) for entry in what(book.find_submission_notebook(name, "lab04", student))]


def grades(course, student):
    """Each grade by cell: (auto score, manual score, needs a person)."""

    def what(notebook):
        return [(g.name, g.auto_score, g.manual_score, g.needs_manual_grade) for g in notebook.grades]

    rows = of_all_notebooks(course, student, what)
    return {name: tuple(rest) for name, *rest in rows}


def comments(course, student):
    return dict(of_all_notebooks(course, student, lambda nb: [(c.name, c.auto_comment or "") for c in nb.comments]))


def autograded(course, student, notebook=ONE):
    return nbformat.read(course / "autograded" / student / "lab04" / f"{notebook}.ipynb", as_version=4)


def feedback(course, student, notebook=ONE):
    return (course / "feedback" / student / "lab04" / f"{notebook}.html").read_text()


def notes(graded, student):
    return " ".join(graded.results[student]["notes"])


# ---- the class ----


EVERYBODY = ["perfect", "colab", "torn", "beside", *FIRST_ONLY, "forger", "broken", "moduleuser", "Jörg_Söhne_b", "hostile_2"]


def test_everybody_is_there(graded):
    assert set(graded.results) == set(EVERYBODY)


@pytest.mark.parametrize("student", ["perfect", "colab", "torn", "beside", "deleted", "doubled", "moduleuser", "Jörg_Söhne_b"])
def test_full_marks_in_part_1_whatever_state_the_file_is_in(graded, student):
    marks = {id: graded.results[student]["tasks"][id]["score"] for id in load_rubric() if load_rubric()[id].notebook == ONE}
    assert sum(marks.values()) == PART_1, graded.results[student]["notes"]


@pytest.mark.parametrize("student", EVERYBODY)
def test_gradebook_and_report_agree_in_every_mark(graded, student):
    result, book = graded.results[student], grades(graded.course, student)
    for task, outcome in result["tasks"].items():
        auto, _, needs_person = book["check_" + task.replace(".", "_")]
        assert auto == pytest.approx(outcome["score"]) if outcome["score"] is not None else auto is None
        assert needs_person == (outcome["score"] is None)
    with gradebook(graded.course) as opened:
        assert opened.find_submission("lab04", student).score == pytest.approx((result["score"] or 0) + result["bonus"])
        assert opened.find_submission("lab04", student).max_score == TOTAL + MANUAL
    assert set(result["manual"]) == set(load_manual())


@pytest.mark.parametrize("student", ["broken", "hostile_2"])
def test_what_cannot_be_read_is_ungraded_and_never_zero(graded, student):
    assert graded.results[student]["status"] == "ungraded"
    assert graded.results[student]["score"] is None
    assert set(grades(graded.course, student).values()) == {(None, None, True)}
    assert graded.results[student]["notes"]
    assert "could not be read" in autograded(graded.course, student).cells[0].source
    assert "not graded yet" in comments(graded.course, student)["task_1_1"]


def test_one_unreadable_notebook_leaves_its_own_tasks_open_and_no_others(graded):
    result = graded.results["torn"]
    assert result["status"] == "partly graded"
    for id, task in load_rubric().items():
        assert (result["tasks"][id]["score"] is None) == (task.notebook == TWO), id
    assert "not JSON" in comments(graded.course, "torn")["task_2_1"]
    assert "could not be read" in autograded(graded.course, "torn", TWO).cells[0].source
    marks = {item: mark["status"] for item, mark in result["manual"].items()}
    assert marks == {"skip_discussion": "to mark", "loss_analysis": "no response", "report": "no response"}


def test_a_notebook_that_was_not_handed_in_is_no_silent_zero(graded):
    note = f"{THREE}.ipynb was not handed in"
    assert note in notes(graded, "doubled") and note in comments(graded.course, "doubled")["task_1_1"]
    assert note in feedback(graded.course, "doubled", THREE) and note in comments(graded.course, "doubled")["report"]
    assert grades(graded.course, "doubled")["check_3_4"] == (0, None, False)
    assert note not in notes(graded, "beside") and f"{TWO}.ipynb was not handed in" in notes(graded, "beside")


def test_a_module_alone_has_its_marks_in_all_notebooks(graded):
    marks = graded.results["moduleuser"]["tasks"]
    for id, task in load_rubric().items():
        assert task.experiment or marks[id]["score"] == task.points, id
    for name in notebooks():
        assert "class DiceLoss" in feedback(graded.course, "moduleuser", name)
    assert not any("No response" in text for text in comments(graded.course, "moduleuser").values())


def test_a_checkpoint_is_judged_and_not_copied_on(graded):
    checks = graded.results["perfect"]["tasks"]["3.5"]["checks"]
    assert checks[0]["passed"] is True, checks[0]["message"]
    assert (graded.course / "submitted" / "perfect" / "lab04" / "results" / "unet.pth").exists()
    assert not list((graded.course / "autograded").rglob("*.pth")) + list((graded.course / "feedback").rglob("*.pth"))


def test_a_checkpoint_that_is_too_large_is_said_everywhere_and_stops_nothing(graded):
    student = "Jörg_Söhne_b"
    assert "results/unet.pth: 201 MB" in notes(graded, student)
    assert "201 MB" in graded.results[student]["tasks"]["3.5"]["checks"][0]["message"]
    assert "201 MB" in feedback(graded.course, student, THREE)
    assert not list((graded.course / "submitted" / student).rglob("*.pth"))


def test_nothing_that_a_browser_runs_comes_into_the_course(graded):
    assert not list(graded.course.rglob("evil.html"))


# ---- what a person marks ----


def test_answers_wait_for_a_person_and_missing_ones_are_zero_with_a_word(graded):
    for student in ("perfect", "colab"):
        assert {mark["status"] for mark in graded.results[student]["manual"].values()} == {"to mark"}, student
        assert not any("No response" in text for text in comments(graded.course, student).values())
        assert all(grades(graded.course, student)[item] == (None, None, True) for item in load_manual())
    marks = graded.results["beside"]["manual"]
    assert marks["loss_analysis"] == {"status": "no response", "score": 0, "max_score": load_manual()["loss_analysis"].points}
    assert "No response" in comments(graded.course, "beside")["loss_analysis"]
    assert marks["report"]["status"] == "to mark" and "beside it" in comments(graded.course, "beside")["report"]


def test_answers_that_lost_all_marks_are_found_by_the_text_above_them(graded):
    for item in load_manual().values():
        assert cell_of(autograded(graded.course, "colab", item.notebook), item.id).source == f"All of {item.id} in my own words."


def test_a_document_keeps_untouched_answers_open_and_is_linked(graded):
    assert {mark["status"] for mark in graded.results["moduleuser"]["manual"].values()} == {"to mark"}
    assert "report (x)(y).pdf" in comments(graded.course, "moduleuser")["report"].translate(str.maketrans("[]", "()"))
    page = feedback(graded.course, "moduleuser", THREE)
    assert 'href="report%20%5Bx%5D%28y%29.pdf"' in page and "README.md" not in page
    assert (graded.course / "feedback" / "moduleuser" / "lab04" / "report [x](y).pdf").exists()


def test_feedback_says_what_is_not_marked_yet(graded):
    page = feedback(graded.course, "perfect", THREE)
    here = sum(item.notebook == THREE for item in load_manual().values())
    assert "Not final." in page and f"{MANUAL:g} points are still to be marked" in page
    assert page.count("Not marked yet") == len(load_manual()) + here  # in the table at the top, and at each answer
    assert "Not final." in feedback(graded.course, "perfect", ONE) and "Not final." not in feedback(graded.course, "forger", ONE)


# ---- what people read ----


def test_what_students_print_and_claim_earns_nothing(graded):
    assert graded.results["forger"]["score"] == 0
    assert {auto for auto, _, _ in grades(graded.course, "forger").values()} == {0}
    assert "points of check_1_1 had been changed" in notes(graded, "forger")
    assert "check_1_1 had been altered" in notes(graded, "forger")
    check = cell_of(autograded(graded.course, "forger"), "check_1_1")
    assert 'check("1.1")' in check.source and len(check.outputs) == 1


@pytest.mark.parametrize(
    "student, note",
    [
        ("colab", "metadata was lost on task_1_1, check_1_1"),
        ("colab", "loss_analysis, report"),
        ("deleted", "check_1_2 was missing"),
        ("doubled", "task_1_1 was there 2 times"),
        ("doubled", "id of another cell"),
        ("doubled", "1.5 MB of outputs"),
        ("moduleuser", "lab04_student.py, without a notebook"),
        ("broken", "not JSON"),
        ("hostile_2", "no notebook and no module"),
        ("hostile_2", "another hand-in is named hostile too"),
    ],
)
def test_every_repair_leaves_a_note(graded, student, note):
    assert note in notes(graded, student)


def test_notes_do_not_show_the_grading_machine(graded):
    for student, result in graded.results.items():
        assert str(graded.root) not in " ".join(result["notes"]), student
        assert str(graded.root) not in " ".join(comments(graded.course, student).values()), student


def test_deleted_check_cells_stand_behind_their_task_again(graded):
    names = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in autograded(graded.course, "deleted").cells]
    wanted = ["task_1_1", "check_1_1", "task_1_2", "check_1_2", "task_1_3_1_4", "check_1_3", "check_1_4"]
    assert [name for name in names if name] == wanted


def test_originals_are_untouched(graded):
    assert digest(graded.handins) == graded.before
    assert not (graded.course / "outside.py").exists() and not (graded.root / "outside.py").exists()


def test_comments_are_readable_and_harmless(graded):
    text = comments(graded.course, "hostile")["task_1_1"]
    assert "Task 1.1: " in text and "✗ failed" in text and "Hint:" in text
    assert "<" not in text and "gotcha" in text
    assert "No response" in comments(graded.course, "forger")["task_1_1"]


@pytest.mark.parametrize("student", ["hostile", "broken", "forger"])
def test_feedback_has_cards_and_no_script_of_the_students(graded, student):
    for notebook in notebooks():
        page = feedback(graded.course, student, notebook)
        assert page.count("border-left:6px solid") == sum(task.notebook == notebook for task in load_rubric().values())
        assert SCRIPT not in page and "alert(&#39;gotcha&#39;)</script>" not in page
        assert "onerror=" not in page.replace("onerror=&", "")


def test_students_outputs_stay_to_be_seen(graded):
    page = feedback(graded.course, "hostile")
    assert "<b>my table</b>" in page and "data:image/svg+xml;base64" in page and "My <em>discussion</em>" in page
    assert "printed &lt;script&gt;" in page


@pytest.mark.parametrize(
    "text, stays",
    [(text, False) for text in ("![a](https://x.y/z.png)", "![a]( //x.y/z)", "![a][b]", "![a[b]](http://x)", "![b]")]
    + [("![a](attachment:image.png)", True), ("![a](results/curve.png)", True), ("![a](data:image/png;base64,AAAA)", True)],
)
def test_only_pictures_that_came_along_are_shown(text, stays):
    assert (REMOTE_PICTURE.sub("", text) == text) == stays


def test_hidden_checks_show_rule_and_hint_only(graded):
    page, shown = feedback(graded.course, "hostile"), comments(graded.course, "hostile")["task_1_1"]
    hidden = [check for check in graded.results["hostile"]["tasks"]["1.1"]["checks"] if check["hidden"] and not check["passed"]]
    assert hidden
    assert page.count("(hidden check)") >= len(hidden)
    for check in hidden:
        assert check["message"] not in page and check["message"] not in shown


def lines_of_hidden_checks():
    """Every line of code in the hidden checks that is long enough to be told from others; rules and hints are no code."""
    lines = set()
    for path in (KIT / "solutions" / "checks").glob("test_*.py"):
        text = path.read_text().splitlines()
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                body = function.body[1:] if ast.get_docstring(function) else function.body
                lines |= {line.strip() for each in body for line in text[each.lineno - 1 : each.end_lineno]}
    return {line for line in lines if len(line) > 30}


def lines_of_the_reference(course):
    """Every line that a student has to write."""
    released = [nbformat.read(path, as_version=4) for path in (course / "release").rglob("*.ipynb")]
    given = "\n".join(cell.source for nb in released for cell in nb.cells)
    return {line.strip() for line in reference_source().splitlines() if len(line.strip()) > 30 and line.strip() not in given}


def test_feedback_shows_no_line_of_the_hidden_checks_and_none_of_the_reference(graded):
    hidden, solution = lines_of_hidden_checks(), lines_of_the_reference(graded.course)
    assert len(hidden) > 200 and len(solution) > 50
    for student in ("forger", "broken", "hostile"):
        for notebook in notebooks():
            shown = BeautifulSoup(feedback(graded.course, student, notebook), "html5lib").get_text()
            shown += " ".join(comments(graded.course, student).values())
            assert not [line for line in hidden if line in shown]
            # the one with a slip handed in the reference's code for Part 1, and sees that
            assert student == "hostile" and notebook == ONE or not [line for line in solution if line in shown]
    perfect = BeautifulSoup(feedback(graded.course, "perfect"), "html5lib").get_text()
    assert [line for line in solution if line in perfect]  # such lines would be found


def test_exports(graded):
    ours = {row["student"]: row for row in csv.DictReader((graded.course / "grades.csv").open())}
    assert float(ours["perfect"]["score"]) == graded.results["perfect"]["score"] and ours["perfect"]["status"] == "graded"
    assert ours["perfect"]["report score"] == ours["perfect"]["total"] == "" and float(ours["perfect"]["left_to_mark"]) == MANUAL
    assert ours["broken"]["score"] == ours["broken"]["total"] == "" and ours["broken"]["status"] == "ungraded"
    assert float(ours["forger"]["score"]) == float(ours["forger"]["total"]) == float(ours["forger"]["left_to_mark"]) == 0
    theirs = {row["student_id"]: row for row in csv.DictReader((graded.course / "nbgrader_grades.csv").open())}
    assert theirs["perfect"]["score"] == theirs["torn"]["score"] == theirs["broken"]["score"] == ""  # something is left to mark
    assert float(theirs["hostile"]["score"]) == pytest.approx(graded.results["hostile"]["score"], abs=0.01)
    assert {float(row["max_score"]) for row in theirs.values()} == {TOTAL + MANUAL}


# ---- again, and by nbgrader's own command ----


def test_a_rerun_takes_the_journal_and_keeps_marks_given_by_hand(graded, monkeypatch):
    with gradebook(graded.course) as book:
        for name, notebook, mark in [("check_1_1", ONE, 3.5), *((item.id, item.notebook, 7) for item in load_manual().values())]:
            grade = book.find_grade(name, notebook, "lab04", "perfect")
            grade.manual_score, grade.needs_manual_grade = mark, False  # as formgrader does it
        book.db.commit()
    few = graded.root / "few"
    few.mkdir()
    shutil.copy(graded.handins / "perfect_lab04.zip", few)
    monkeypatch.setattr(courses, "grade_all", lambda *a, **k: pytest.fail("judged again"))
    outcome = courses.grade_class(few, graded.course)
    result = outcome["submissions"][0]
    assert result["score"] == graded.results["perfect"]["score"]
    assert grades(graded.course, "perfect")["check_1_1"] == (load_rubric()["1.1"].points, 3.5, False)
    assert {(mark["status"], mark["score"]) for mark in result["manual"].values()} == {("marked", 7)}
    rows = [row for row in csv.DictReader((graded.course / "grades.csv").open()) if row["student"] == "perfect"]
    total = result["score"] - load_rubric()["1.1"].points + 3.5 + 7 * len(load_manual())
    total += result["bonus"]
    assert float(rows[0]["total"]) == total and (rows[0]["left_to_mark"], rows[0]["corrected"]) == ("0", "1.1: 3.5")
    assert float(rows[0]["1.1 score"]) == load_rubric()["1.1"].points, "the judge's stays beside it"
    assert mark_of(result) == (total, "graded")
    assert "marked by a person; the judge: 20" in (graded.course / "class.html").read_text()
    theirs = {row["student_id"]: row for row in csv.DictReader((graded.course / "nbgrader_grades.csv").open())}
    assert float(theirs["perfect"]["score"]) == total
    assert "Not final." not in feedback(graded.course, "perfect", THREE)


def test_plain_nbgrader_autograde_works_by_itself(graded, tmp_path):
    course = tmp_path / "course"
    left_out = ("autograded", "feedback", "judge.jsonl", "submitted")
    shutil.copytree(graded.course, course, ignore=shutil.ignore_patterns(*left_out))
    shutil.copytree(graded.course / "submitted" / "broken", course / "submitted" / "broken")
    # collected by nbgrader itself: no slip, no stand-ins
    (course / "submitted" / "deleted" / "lab04").mkdir(parents=True)
    shutil.copy(graded.course / "submitted" / "deleted" / "lab04" / f"{ONE}.ipynb", course / "submitted" / "deleted" / "lab04")
    with gradebook(course) as book:
        book.remove_submission("lab04", "deleted")
    environment = {**os.environ, "PYTHONPATH": str(KIT)}
    command = [sys.executable, "-m", "nbgrader", "autograde", "lab04"]
    done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    marks = grades(course, "deleted")
    assert sum(marks[f"check_1_{number}"][0] for number in range(1, 5)) == PART_1
    assert marks["check_3_4"] == (0, None, False) and marks["report"] == (None, None, True)
    assert f"{THREE}.ipynb was not handed in" in comments(course, "deleted")["task_3_4"]
    assert set(grades(course, "broken").values()) == {(None, None, True)}


def test_the_rest_of_a_class_survives_a_fault_of_the_judge(graded, tmp_path, monkeypatch):
    course = tmp_path / "course"
    shutil.copytree(graded.course, course, ignore=shutil.ignore_patterns("judge.jsonl", "submitted"))
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(graded.handins / "doubled_01_unet.ipynb", few / "unlucky.ipynb")

    def fails(*_, **__):
        raise RuntimeError("no more processes")

    monkeypatch.setattr(courses, "grade_all", fails)
    result = courses.grade_class(few, course)["submissions"][0]
    assert result["status"] == "ungraded" and "no more processes" in " ".join(result["notes"])
    assert set(grades(course, "unlucky").values()) == {(None, None, True)}


def test_a_fault_of_the_judge_takes_no_mark_that_the_journal_has(tmp_path, monkeypatch):
    """One task was left ungraded; when the class is run again and the judge fails, the others keep their marks."""
    (tmp_path / "handins").mkdir()
    (tmp_path / "handins" / "ann.py").write_text("class DoubleConv: pass")
    (handin,) = courses.collect(tmp_path / "handins", tmp_path / "course")
    hand_over(handin, tmp_path / "course")

    def partly(submissions, **options):
        for result in made_up({})(submissions, **options):
            result["tasks"]["1.1"] |= {"status": "ungraded", "score": None}
            yield result

    def fails(*_, **__):
        raise RuntimeError("no more processes")

    for judge in (partly, fails):
        monkeypatch.setattr(courses, "grade_all", judge)
        result = courses.judge_class([handin], tmp_path / "course", 1, "cpu", False, None)["ann"]
    assert result["status"] == "partly graded" and result["score"] == TOTAL - 20
    assert any("no more processes" in note for note in result["notes"])


def test_a_student_whom_nbgrader_could_not_take_has_answers_left_to_mark(graded):
    """Or the sum would look final, and the answers would count as 0."""
    api = courses.open_course(graded.course)
    marks = marks_by_hand(api, {"student": "nobody", "tasks": {}})["manual"]
    assert set(marks) == set(load_manual()) and all(mark["score"] is None for mark in marks.values())


def test_nbgraders_collect_brings_the_checkpoints_along(tmp_path):
    courses.open_course(tmp_path / "course")
    inbound = tmp_path / "exchange" / "unet" / "inbound" / "ann+lab04+2026-11-26 10:00:00 UTC"
    (inbound / "results").mkdir(parents=True)
    (inbound / f"{ONE}.ipynb").write_text("{}")
    (inbound / "results" / "unet.pth").write_bytes(b"weights")
    options = [f"--Exchange.root={tmp_path / 'exchange'}", "--course=unet", "--CollectApp.check_owner=False", "--ExchangeCollect.check_owner=False"]
    command = [sys.executable, "-m", "nbgrader", "collect", "lab04", *options]
    environment = {**os.environ, "PYTHONPATH": str(KIT)}
    done = subprocess.run(command, cwd=tmp_path / "course", env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "course" / "submitted" / "ann" / "lab04" / "results" / "unet.pth").read_bytes() == b"weights"


@pytest.mark.parametrize("name", ["m\udce8le.py", "WORK.PY"])
def test_modules_of_odd_names_reach_the_judge(tmp_path, name):
    (tmp_path / "handins" / "ann").mkdir(parents=True)
    (tmp_path / "handins" / "ann" / name).write_text("class DoubleConv: pass")
    (handin,) = courses.collect(tmp_path / "handins", tmp_path / "course")
    hand_over(handin, tmp_path / "course")
    assert handin.problem == "" and "\n".join(handin.notes).encode()
    assert "DoubleConv" in submission_in(submitted(tmp_path / "course", handin), "ann").sources()[0].cells[0].source


# ---- the pieces ----


def test_a_torn_line_in_the_journal_is_passed_over(tmp_path):
    journal = Journal(tmp_path / "judge.jsonl")
    journal.append("a", {"score": 1})
    with open(journal.path, "a") as file:
        file.write('{"key": "b", "resu')
    journal.append("c", {"score": 3})
    assert (journal.get("a"), journal.get("b"), journal.get("c")) == ({"score": 1}, None, {"score": 3})


def wanted_cells():
    def cell(name, source, **marks):
        marks = {"grade_id": name, "grade": False, "solution": False, "locked": False, **marks}
        return nbformat.v4.new_code_cell(source, metadata={"nbgrader": marks})

    one = cell("task_1_1", "class DoubleConv:\n    # TODO Task 1.1: build\n    pass", solution=True)
    return [one, cell("check_1_1", 'check("1.1")', grade=True, locked=True, points=4)]


@pytest.mark.parametrize(
    "sources, found",
    [
        (["class DoubleConv:\n    x = 1", "check('1.1')"], {"task_1_1": 0, "check_1_1": 1}),
        (["# TODO Task 1.1: build\nclass Renamed: pass"], {"task_1_1": 0}),
        (['raise NotImplementedError("Need to implement for Task 1.1: x")'], {"task_1_1": 0}),
        (['check("1.1")', "x = 1", "class DoubleConv: pass"], {"task_1_1": 2, "check_1_1": 0}),
        (["print(1)"], {}),
    ],
)
def test_cells_without_metadata_are_found_by_marker_and_name(sources, found):
    assert match([nbformat.v4.new_code_cell(source) for source in sources], wanted_cells())[0] == found


def test_work_in_a_check_cell_is_kept_as_a_plain_cell():
    one, check = (nbformat.from_dict(cell) for cell in wanted_cells())
    check.source = 'check("1.1")\nmy_own_work = 1'
    nb = nbformat.v4.new_notebook(cells=[one, check])
    assert "altered" in " ".join(repair(nb, wanted_cells()))
    assert [cell.source for cell in nb.cells[1:]] == ['check("1.1")\nmy_own_work = 1', 'check("1.1")']
    assert "nbgrader" not in nb.cells[1].metadata and nb.cells[2].metadata.nbgrader.points == 4


def test_hand_ins_come_as_they_come(tmp_path):
    course, handins = tmp_path / "course", tmp_path / "handins"
    notebook = nbformat.writes(nbformat.v4.new_notebook())
    files = ["alice_01_unet.ipynb", "bob.ipynb", "Carol-01_unet.ipynb"]
    for name in [*files, "dan/old/01_unet.ipynb", "dan/01_unet.ipynb", "dan/x.html"]:
        (handins / name).parent.mkdir(parents=True, exist_ok=True)
        (handins / name).write_text(notebook)
    (handins / "dan" / "helpers.py").write_text("x = 1")
    (handins / "dan" / "passwords").symlink_to("/etc/passwd")
    (handins / "erin.zip").write_bytes(b"PK not a zip")
    collected = {handin.student: handin for handin in courses.collect(handins, course)}
    assert set(collected) == {"alice", "bob", "Carol", "dan", "erin"}
    for handin in collected.values():
        courses.hand_over(handin, course)
    assert "not readable as a zip" in collected["erin"].problem and not collected["dan"].problem
    folder = courses.submitted(course, collected["dan"])
    there = [*(f"{name}.ipynb" for name in (ONE, TWO, THREE)), "helpers.py", "unetlab.json"]
    assert sorted(path.name for path in folder.iterdir()) == there
    assert [str(file.name) for file in submission_in(folder, "dan").files] == [f"{ONE}.ipynb", "helpers.py"]


@pytest.mark.parametrize(
    "inside, students",
    [(["01_unet.ipynb"], {"all"}), (["ann.ipynb", "ben/01_unet.ipynb"], {"ann", "ben"})],
)
def test_one_zip_is_a_class_or_a_student(tmp_path, inside, students):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in inside:
            archive.writestr(name, nbformat.writes(nbformat.v4.new_notebook()))
    assert {handin.student for handin in courses.collect(tmp_path / "all.zip", tmp_path / "course")} == students


def test_nothing_to_grade_says_so(tmp_path):
    with pytest.raises(courses.CourseError, match="no notebook"):
        courses.collect(tmp_path, tmp_path / "course")
    with pytest.raises(courses.CourseError, match="no such"):
        courses.collect(tmp_path / "nowhere", tmp_path / "course")
    (tmp_path / "course" / "submitted").mkdir(parents=True)
    with pytest.raises(courses.CourseError, match="inside the course"):
        courses.collect(tmp_path / "course" / "submitted", tmp_path / "course")


def test_a_hand_in_of_another_kind_is_named(tmp_path):
    from grader.submissions import find_submissions, passed_over

    (tmp_path / "liam.docx").write_bytes(b"PK")
    (tmp_path / "mia.py").write_text("x = 1")
    (tmp_path / "noah").mkdir()
    (tmp_path / "noah" / "lab04_student.py").write_text("x = 1")
    (tmp_path / "noah" / "report.pdf").write_bytes(b"%PDF")
    assert passed_over(tmp_path, find_submissions([tmp_path])) == ["liam.docx"]


# ---- which file is which ----


def of_part(part, extra=""):
    """A notebook in its student's own style that speaks of one part only."""
    tasks = [task for task in load_rubric().values() if task.id.startswith(part) and not task.experiment]
    cells = [f"class {name}: pass" for task in tasks for name in task.names] + [extra]
    return nbformat.writes(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells]))


@pytest.mark.parametrize(
    "files, chosen",
    [
        ({"a.ipynb": "1", "b.ipynb": "2", "c.ipynb": "3"}, {ONE: "a", TWO: "b", THREE: "c"}),
        ({f"{THREE} (2).ipynb": "3", "mine.ipynb": "2"}, {THREE: f"{THREE} (2)", TWO: "mine"}),
        ({"whole.ipynb": "3"}, {THREE: "whole"}),
        ({f"{ONE}.ipynb": "1", f"old {ONE}.ipynb": "1"}, {ONE: ONE}),
    ],
)
def test_renamed_notebooks_are_known_by_what_is_in_them(tmp_path, files, chosen):
    from grader.handover import Handin, choose_notebooks
    from grader.submissions import find_submissions

    for student in ("ann", "bob"):
        (tmp_path / student).mkdir()
        for name, part in files.items():
            (tmp_path / student / name).write_text(of_part(part))
    submission, _ = find_submissions([tmp_path])
    assert {name: file.name.stem for name, file in choose_notebooks(Handin(submission)).items()} == chosen


def test_answers_without_metadata_are_found_by_what_was_handed_out():
    def answer_cell(name, source, prompt=""):
        marks = {"grade_id": name, "grade": True, "solution": True, "locked": False, "points": 5}
        return nbformat.v4.new_markdown_cell(source, metadata={"nbgrader": marks, "prompt": prompt})

    one = answer_cell("one", "**First**\n\nYOUR ANSWER HERE", "about one")
    wanted = [one, answer_cell("two", "**Second**\n\nYOUR ANSWER HERE", "about two")]
    made = [nbformat.v4.new_markdown_cell(text) for text in ("about one", "all my own", "about two", "x", "**Second**\nmine")]
    assert match(made, wanted)[0] == {"two": 4, "one": 1}
    untouched = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("  **First** \n"), copy.deepcopy(wanted[1])])
    repair(untouched, wanted)
    assert [cell.source for cell in untouched.cells] == [cell.source for cell in wanted]


def test_a_student_cannot_write_the_slip(tmp_path):
    forged = {"problem": "", "stand_ins": {}, "left_out": {}, "notes": ["forged"]}
    (tmp_path / "in" / "eve").mkdir(parents=True)
    (tmp_path / "in" / "eve" / f"{ONE}.ipynb").write_text(of_part("1"))
    (tmp_path / "in" / "eve" / "unetlab.json").write_text(json.dumps(forged))
    (handin,) = courses.collect(tmp_path / "in", tmp_path / "course")
    courses.hand_over(handin, tmp_path / "course")
    assert "forged" not in (courses.submitted(tmp_path / "course", handin) / "unetlab.json").read_text()


def test_names_that_a_disk_cannot_take_stop_nothing(tmp_path):
    with zipfile.ZipFile(tmp_path / "eve.zip", "w") as archive:
        archive.writestr(f"{ONE}.ipynb", of_part("1"))
        archive.writestr("data.csv", "a")
        archive.writestr("data.csv/inner.csv", "b")
        archive.writestr(f"{'x' * 300}.csv", "c")
    (handin,) = courses.collect(tmp_path / "eve.zip", tmp_path / "course")
    courses.hand_over(handin, tmp_path / "course")
    assert "passed over" in " ".join(handin.notes)
