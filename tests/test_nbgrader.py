"""Hand-ins through real nbgrader, with the real judge: repairs, marks, comments, feedback, export."""

import csv
import hashlib
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

pytest.importorskip("nbgrader")

from nbgrader.api import Gradebook

from grader import course as courses
from grader import demo
from grader.nbgrader_glue import Journal, match, repair
from grader.rubric import load_rubric

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # nbgrader's own
KIT = Path(__file__).resolve().parent.parent
TOTAL = sum(task.points for task in load_rubric().values())
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
    cell_of(nb, "task_1_1").outputs = [nbformat.v4.new_output("stream", name="stdout", text="x" * 1_500_000)]


NOTEBOOKS = {
    "perfect": lambda nb: None,
    "colab": lose_metadata,
    "deleted": delete_cells,
    "doubled": double_cells,
    "hostile": attack_the_reader,
    "verbose": print_a_lot,
}


def write_hand_ins(folder, course):
    released = course / "release" / "lab04" / "01_unet.ipynb"
    good = demo.solution_cells(course)
    folder.mkdir()
    for student, change in NOTEBOOKS.items():
        nb = nbformat.read(released, as_version=4)
        demo.fill(nb, good)
        change(nb)
        (folder / f"{student}_01_unet.ipynb").write_text(json.dumps(nb))
    forged = nbformat.read(released, as_version=4)
    forge(forged)
    (folder / "forger.ipynb").write_text(json.dumps(forged))
    (folder / "broken.ipynb").write_text('{"cells": [')
    (folder / "empty.ipynb").write_text("")
    module = "\n\n\n".join(["import torch\nimport torch.nn.functional as F\nfrom torch import nn", *good.values()])
    (folder / "moduleuser.py").write_text(module)
    with zipfile.ZipFile(folder / "zipper.zip", "w") as archive:
        archive.write(folder / "perfect_01_unet.ipynb", "my work/01_unet (1).ipynb")
        archive.writestr("../outside.py", "x = 1")
    (folder / "Jörg & Söhne <b>").mkdir()
    shutil.copy(folder / "perfect_01_unet.ipynb", folder / "Jörg & Söhne <b>" / "final.ipynb")
    (folder / "perfect").mkdir()  # a second hand-in of that name, without anything to grade
    (folder / "perfect" / "report.txt").write_text("sorry")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    root = tmp_path_factory.mktemp("class")
    course, handins = root / "course", root / "handins"
    courses.open_course(course)
    write_hand_ins(handins, course)
    before = digest(handins)
    outcome = courses.grade_class(handins, course, jobs=2)
    results = {result["student"]: result for result in outcome["submissions"]}
    return SimpleNamespace(root=root, course=course, handins=handins, outcome=outcome, results=results, before=before)


def digest(folder):
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def gradebook(course):
    return Gradebook(f"sqlite:///{course / 'gradebook.db'}")


def grades(course, student):
    """Each grade by cell: (auto score, manual score, needs a person)."""
    with gradebook(course) as book:
        notebook = book.find_submission_notebook("01_unet", "lab04", student)
        return {g.name: (g.auto_score, g.manual_score, g.needs_manual_grade) for g in notebook.grades}


def comments(course, student):
    with gradebook(course) as book:
        notebook = book.find_submission_notebook("01_unet", "lab04", student)
        return {comment.name: comment.auto_comment or "" for comment in notebook.comments}


def autograded(course, student):
    return nbformat.read(course / "autograded" / student / "lab04" / "01_unet.ipynb", as_version=4)


def feedback(course, student):
    return (course / "feedback" / student / "lab04" / "01_unet.html").read_text()


def notes(graded, student):
    return " ".join(graded.results[student]["notes"])


# ---- the class ----


@pytest.mark.parametrize(
    "student", ["perfect", "colab", "deleted", "doubled", "verbose", "moduleuser", "zipper", "Jörg_Söhne_b"]
)
def test_full_marks_whatever_state_the_file_is_in(graded, student):
    assert graded.results[student]["score"] == TOTAL, graded.results[student]["notes"]
    assert {score for score, _, _ in grades(graded.course, student).values()} == {
        t.points for t in load_rubric().values()
    }
    assert not any(open_ for _, _, open_ in grades(graded.course, student).values())


@pytest.mark.parametrize("student", ["broken", "empty", "perfect_2"])
def test_what_cannot_be_read_is_ungraded_and_never_zero(graded, student):
    assert graded.results[student]["status"] == "ungraded"
    assert graded.results[student]["score"] is None
    assert set(grades(graded.course, student).values()) == {(None, None, True)}
    assert graded.results[student]["notes"]
    assert "could not be read" in autograded(graded.course, student).cells[0].source
    assert "not graded yet" in comments(graded.course, student)["task_1_1"]


def test_what_students_print_and_claim_earns_nothing(graded):
    assert graded.results["forger"]["score"] == 0
    assert set(grades(graded.course, "forger").values()) == {(0, None, False)}
    with gradebook(graded.course) as book:
        assert book.find_submission("lab04", "forger").max_score == TOTAL
    assert "points of check_1_1 had been changed" in notes(graded, "forger")
    assert "check_1_1 had been altered" in notes(graded, "forger")
    check = cell_of(autograded(graded.course, "forger"), "check_1_1")
    assert 'check("1.1")' in check.source and len(check.outputs) == 1


@pytest.mark.parametrize(
    "student, note",
    [
        ("colab", "metadata was lost on task_1_1, check_1_1"),
        ("deleted", "check_1_2 was missing"),
        ("doubled", "task_1_1 was there 2 times"),
        ("doubled", "id of another cell"),
        ("verbose", "1.5 MB of outputs"),
        ("moduleuser", "moduleuser.py, without a notebook"),
        ("broken", "not JSON"),
        ("empty", "empty"),
        ("perfect_2", "no notebook and no module"),
        ("perfect_2", "another hand-in is named perfect too"),
    ],
)
def test_every_repair_leaves_a_note(graded, student, note):
    assert note in notes(graded, student)


def test_notes_do_not_show_the_grading_machine(graded):
    for student, result in graded.results.items():
        assert str(graded.course) not in " ".join(result["notes"]), student


def test_deleted_check_cells_stand_behind_their_task_again(graded):
    names = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in autograded(graded.course, "deleted").cells]
    assert [name for name in names if name] == [
        "task_1_1",
        "check_1_1",
        "task_1_2",
        "check_1_2",
        "task_1_3_1_4",
        "check_1_3",
        "check_1_4",
    ]


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
    page = feedback(graded.course, student)
    assert page.count("border-left:6px solid") == len(load_rubric())
    assert SCRIPT not in page and "alert(&#39;gotcha&#39;)</script>" not in page
    assert "onerror=" not in page.replace("onerror=&", "")


def test_students_outputs_stay_to_be_seen(graded):
    page = feedback(graded.course, "hostile")
    assert "<b>my table</b>" in page and "data:image/svg+xml;base64" in page and "My <em>discussion</em>" in page
    assert "printed &lt;script&gt;" in page


def test_hidden_checks_show_rule_and_hint_only(graded):
    page, shown = feedback(graded.course, "hostile"), comments(graded.course, "hostile")["task_1_1"]
    hidden = [
        check
        for check in graded.results["hostile"]["tasks"]["1.1"]["checks"]
        if check["hidden"] and not check["passed"]
    ]
    assert hidden
    assert page.count("(hidden check)") >= len(hidden)
    for check in hidden:
        assert check["message"] not in page and check["message"] not in shown


def test_exports(graded):
    ours = {row["student"]: row for row in csv.DictReader((graded.course / "grades.csv").open())}
    assert float(ours["perfect"]["score"]) == TOTAL and ours["perfect"]["status"] == "graded"
    assert ours["broken"]["score"] == "" and ours["broken"]["status"] == "ungraded"
    assert float(ours["forger"]["score"]) == 0
    theirs = {row["student_id"]: row for row in csv.DictReader((graded.course / "nbgrader_grades.csv").open())}
    assert float(theirs["perfect"]["score"]) == TOTAL == float(theirs["perfect"]["max_score"])
    assert float(theirs["hostile"]["score"]) == pytest.approx(graded.results["hostile"]["score"], abs=0.01)


# ---- again, and by nbgrader's own command ----


def test_a_rerun_takes_the_journal_and_keeps_marks_given_by_hand(graded, monkeypatch):
    with gradebook(graded.course) as book:
        grade = book.find_grade("check_1_1", "01_unet", "lab04", "hostile")
        grade.manual_score = 3.5
        book.db.commit()
    few = graded.root / "few"
    few.mkdir()
    shutil.copy(graded.handins / "hostile_01_unet.ipynb", few)
    monkeypatch.setattr(courses, "grade_all", lambda *a, **k: pytest.fail("judged again"))
    outcome = courses.grade_class(few, graded.course)
    assert outcome["submissions"][0]["score"] == graded.results["hostile"]["score"]
    auto, manual, open_ = grades(graded.course, "hostile")["check_1_1"]
    assert (manual, open_) == (3.5, True) and auto is not None


def test_plain_nbgrader_autograde_works_by_itself(graded, tmp_path):
    course = tmp_path / "course"
    shutil.copytree(
        graded.course,
        course,
        ignore=shutil.ignore_patterns("autograded", "feedback", "judge.jsonl", "unpacked", "submitted"),
    )
    for student in ("colab", "broken"):
        shutil.copytree(graded.course / "submitted" / student, course / "submitted" / student)
    with gradebook(course) as book:
        book.remove_submission("lab04", "colab")
    environment = {**os.environ, "PYTHONPATH": str(KIT)}
    command = [sys.executable, "-m", "nbgrader", "autograde", "lab04"]
    done = subprocess.run(
        command, cwd=course, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sum(score for score, _, _ in grades(course, "colab").values()) == TOTAL
    assert set(grades(course, "broken").values()) == {(None, None, True)}


def test_the_rest_of_a_class_survives_a_fault_of_the_judge(graded, tmp_path, monkeypatch):
    course = tmp_path / "course"
    shutil.copytree(graded.course, course, ignore=shutil.ignore_patterns("judge.jsonl", "submitted"))
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(graded.handins / "perfect_01_unet.ipynb", few / "unlucky.ipynb")

    def fails(*_, **__):
        raise RuntimeError("no more processes")

    monkeypatch.setattr(courses, "grade_all", fails)
    result = courses.grade_class(few, course)["submissions"][0]
    assert result["status"] == "ungraded" and "no more processes" in " ".join(result["notes"])
    assert set(grades(course, "unlucky").values()) == {(None, None, True)}


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
    assert sorted(path.name for path in folder.iterdir()) == ["01_unet.ipynb", "helpers.py"]


@pytest.mark.parametrize(
    "inside, students",
    [(["01_unet.ipynb"], {"all"}), (["ann.ipynb", "ben/01_unet.ipynb"], {"ann", "ben"})],
)
def test_one_zip_is_a_class_or_a_student(tmp_path, inside, students):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in inside:
            archive.writestr(name, nbformat.writes(nbformat.v4.new_notebook()))
    assert {handin.student for handin in courses.collect(tmp_path / "all.zip", tmp_path / "course")} == students


def test_a_notebook_that_was_not_handed_in_is_no_silent_zero(tmp_path, monkeypatch):
    from grader import nbgrader_glue

    api = courses.open_course(tmp_path)
    source = nbformat.read(tmp_path / "source" / "lab04" / "01_unet.ipynb", as_version=4)
    nbformat.write(source, tmp_path / "source" / "lab04" / "02_more.ipynb")
    assert api.generate_assignment("lab04")["success"]
    (tmp_path / "submitted" / "ann" / "lab04").mkdir(parents=True)
    shutil.copy(tmp_path / "release" / "lab04" / "01_unet.ipynb", tmp_path / "submitted" / "ann" / "lab04")
    monkeypatch.setattr(nbgrader_glue, "judge_once", lambda *_: nbgrader_glue.ungraded("ann", "asleep"))
    assert api.autograde("lab04", "ann")["success"]
    with gradebook(tmp_path) as book:
        notebook = book.find_submission_notebook("02_more", "lab04", "ann")
        assert {(grade.auto_score, grade.needs_manual_grade) for grade in notebook.grades} == {(None, True)}
        assert {comment.auto_comment for comment in notebook.comments} == {"02_more.ipynb was not handed in."}


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
