"""Regrading touches what changed and nothing else, says who gains or loses and why, and every mark can be traced."""

import csv
import json
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("nbgrader")

from nbgrader.api import Gradebook

from grader import audit, cli, fingerprint, journal, sandbox
from grader import course as courses
from grader import regrade as regrades
from grader.changes import changes_of, changes_table
from grader.durable import CourseError
from grader.journal import Journal
from grader.judge import Judge
from grader.marks import is_bonus, sums
from grader.rubric import load_rubric, notebooks
from tests.helpers import ROOT, module
from solutions.reference import reference_source

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # nbgrader's own
ONE, TWO, THREE, BONUS = sorted(notebooks())
BILINEAR = ("1.2", "bilinear_gives_the_same_shapes")
THEN = {"ann": [BILINEAR], "bob": [BILINEAR, ("3.1", next(iter(load_rubric()["3.1"].checks)))]}  # who failed what at first
ON_1_2 = ["1.2", "1.3", "1.4"]  # the task, and those of Part 1 that build on it


def mark(id, failed=(), message="came: shape (2, 4)\nexpected: shape (2, 8)"):
    """One task's result in which these checks fail, stamped with the checks of now."""
    task = load_rubric()[id]
    checks = [{"name": name, "hidden": False, "passed": (id, name) not in failed, "message": message if (id, name) in failed else "",
               "rule": "a rule", "hint": "", "points": points, "seconds": 0.01} for name, points in task.checks.items()]
    score = sum(check["points"] for check in checks if check["passed"])
    return {"status": "graded", "score": score, "max_score": task.points, **is_bonus(task), "carried_forward": False, "left_out": [], "checks": checks,
            "kit": journal.task_digests()[id]}


def result(tasks=None, failed=(), **fields):
    marks = {id: mark(id, failed) for id in tasks or load_rubric()}
    return {"student": "", "path": "", **sums(marks), "notes": [], "tasks": marks, "seconds": 0.5, **fields}


class Bench:
    """A judge whose verdicts the test decides: student → failed checks; `asked` has the tasks and students of each call."""

    def __init__(self):
        self.failed, self.asked, self.broken = {}, [], False

    def __call__(self, submissions, only=None, **_):
        self.asked.append((only, sorted(submission.student for submission in submissions)))
        for submission in submissions:
            if self.broken:
                raise RuntimeError("no more processes")
            yield {**result(only, self.failed.get(submission.student, ())), "student": submission.student, "path": str(submission.path)}


@pytest.fixture(scope="module")
def graded_once(tmp_path_factory):
    """A class of four: ann and bob fail a check of 1.2, cyd none; dan handed in what bob did; ann's report is marked by hand."""
    root = tmp_path_factory.mktemp("class")
    course, handins, bench = root / "course", root / "handins", Bench()
    handins.mkdir()
    for student, text in {"ann": "a = 1", "cyd": "c = 1"}.items():
        (handins / f"{student}.py").write_text(text)
    for student in ("bob", "dan"):
        (handins / student).mkdir()
        (handins / student / "lab04_student.py").write_text(reference_source())
    bench.failed = dict(THEN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(courses, "grade_all", bench)
        courses.grade_class(handins, course)
    with gradebook(course) as book:
        for name, notebook, score in (("report", THREE, 12), ("check_1_2", ONE, 5), ("check_2_1", TWO, 7)):
            grade = book.find_grade(name, notebook, "lab04", "ann")
            grade.manual_score, grade.needs_manual_grade = score, False
        book.find_grade("report", THREE, "lab04", "ann").extra_credit = 2
        book.find_comment("report", THREE, "lab04", "ann").manual_comment = "clear and short"
        book.db.commit()
    return SimpleNamespace(course=course, handins=handins)


@pytest.fixture
def graded(graded_once, tmp_path, monkeypatch):
    """A copy of that class, and a bench that would now say what it said then; pages are not written, which takes long."""
    course, bench = tmp_path / "course", Bench()
    shutil.copytree(graded_once.course, course)
    bench.failed = dict(THEN)
    monkeypatch.setattr(courses, "write_feedback", lambda *_: {"success": True})
    monkeypatch.setattr(courses, "grade_all", bench)
    monkeypatch.setattr(regrades, "grade_all", bench)
    return SimpleNamespace(course=course, handins=graded_once.handins, bench=bench)


def mend(monkeypatch, *tasks):
    """From now on these tasks, and what builds on them, have other digests."""
    now = dict(journal.task_digests())
    touched = [id for id, task in load_rubric().items() if id in tasks or {*task.builds_on, *task.layout} & {*tasks}]
    monkeypatch.setattr(journal, "task_digests", lambda: {**now, **{id: f"mended {now[id]}" for id in touched}})
    return touched


def gradebook(course):
    return Gradebook(f"sqlite:///{course / 'gradebook.db'}")


def grades(course, student):
    """Cell → (auto score, manual score, extra credit, needs a person)."""
    with gradebook(course) as book:
        found = book.find_submission("lab04", student).notebooks
        return {g.name: (g.auto_score, g.manual_score, g.extra_credit, g.needs_manual_grade) for n in found for g in n.grades}


def everything(course):
    return {path: path.read_bytes() for path in sorted(course.rglob("*")) if path.is_file() and path.name != ".unetlab.lock"}


def reported(course):
    return {r["student"]: r for r in json.loads((course / "report.json").read_text())["submissions"]}


# ---- what is judged again ----


def test_nothing_changed_so_nothing_is_judged(graded):
    before = grades(graded.course, "ann")
    outcome = regrades.regrade(graded.course)
    assert (outcome["changes"], outcome["judged"], graded.bench.asked) == ([], 0, [])
    assert changes_table(outcome) == "No mark changes." and grades(graded.course, "ann") == before


def test_a_mended_check_touches_its_task_and_what_builds_on_it(graded, monkeypatch):
    touched = mend(monkeypatch, "1.2")
    assert touched == ON_1_2
    graded.bench.failed = {}  # the check of 1.2 passes all now; and 3.1, which nobody asks for
    before = {student: grades(graded.course, student) for student in ("ann", "bob", "cyd", "dan")}
    outcome = regrades.regrade(graded.course)
    assert graded.bench.asked == [(ON_1_2, ["ann", "bob", "cyd"])]  # dan handed in what bob did
    points = load_rubric()["1.2"].checks[BILINEAR[1]]
    assert [(row["student"], row["task"], row["change"]) for row in outcome["changes"]] == [
        (student, "1.2", points) for student in ("ann", "bob", "dan")
    ]
    after = {student: grades(graded.course, student) for student in before}
    assert after["cyd"] == before["cyd"]
    for student in ("bob", "dan"):
        assert {name for name in after[student] if after[student][name] != before[student][name]} == {"check_1_2"}
        assert after[student]["check_1_2"] == (load_rubric()["1.2"].points, None, None, False)
    assert after["ann"]["report"] == before["ann"]["report"] == (0, 12, 2, False)
    assert after["ann"]["check_2_1"] == before["ann"]["check_2_1"]  # corrected by hand, and the judge says what it said
    assert after["ann"]["check_1_2"] == (load_rubric()["1.2"].points, 5, None, True)  # corrected by hand, but the judge's mark is another
    bob, dan = (reported(graded.course)[student] for student in ("bob", "dan"))
    assert bob["score"] == dan["score"] == outcome["changes"][1]["total_after"] - bob["bonus"]
    assert regrades.regrade(graded.course)["changes"] == [] and len(graded.bench.asked) == 1


def test_changes_are_written_with_their_reasons(graded, monkeypatch):
    mend(monkeypatch, "1.2")
    graded.bench.failed = {"ann": [], "cyd": [BILINEAR], "bob": THEN["bob"]}
    outcome = regrades.regrade(graded.course)
    rows = list(csv.DictReader((graded.course / "changes.csv").open(encoding="utf-8")))
    assert [(row["student"], row["task"]) for row in rows] == [("ann", "1.2"), ("cyd", "1.2")]
    points = load_rubric()["1.2"].points
    assert (rows[1]["before"], rows[1]["after"], rows[1]["change"]) == (str(points), str(points - 2), "-2.0")
    assert rows[1]["why"] == "bilinear_gives_the_same_shapes: passed → failed (2 points): came: shape (2, 4); expected: shape (2, 8)"
    assert "failed → passed" in rows[0]["why"]
    table = changes_table(outcome)
    assert "1 gain, 1 lose" in table and "passed → failed" in table and f"1.2: {points:g} → {points - 2:g} of {points:g} (-2)" in table
    mend(monkeypatch, "1.1")
    graded.bench.failed = {"bob": THEN["bob"]}
    regrades.regrade(graded.course)
    more = list(csv.DictReader((graded.course / "changes.csv").open(encoding="utf-8")))
    assert more[:2] == rows and [(row["student"], row["change"]) for row in more[2:]] == [("cyd", "2.0")]


def test_a_dry_run_shows_the_same_and_writes_nothing(graded, monkeypatch):
    mend(monkeypatch, "1.2")
    graded.bench.failed = {**THEN, "cyd": [BILINEAR]}
    before = everything(graded.course)
    shown = regrades.regrade(graded.course, dry_run=True)
    assert everything(graded.course) == before
    assert regrades.regrade(graded.course)["changes"] == shown["changes"] != []
    assert everything(graded.course) != before


def test_one_student_and_who_handed_in_the_same(graded, monkeypatch):
    mend(monkeypatch, "1.2")
    graded.bench.failed = {}
    outcome = regrades.regrade(graded.course, ["bob"])
    assert graded.bench.asked == [(ON_1_2, ["bob"])] and {row["student"] for row in outcome["changes"]} == {"bob", "dan"}
    assert set(reported(graded.course)) == {"ann", "bob", "cyd", "dan"}
    with pytest.raises(CourseError, match="no hand-in of eve; there are ann, bob, cyd, dan"):
        regrades.regrade(graded.course, ["eve"])


@pytest.mark.parametrize("broken", ["judge", "task"])
def test_a_fault_of_the_judge_takes_no_mark_away(graded, monkeypatch, broken):
    mend(monkeypatch, "1.2")
    graded.bench.broken = broken == "judge"
    if broken == "task":
        real = graded.bench.__call__

        def ungraded(submissions, **options):
            for one in real(submissions, **options):
                one["tasks"]["1.2"] |= {"status": "ungraded", "score": None, "checks": []}
                yield one

        monkeypatch.setattr(regrades, "grade_all", ungraded)
    before = grades(graded.course, "bob")
    outcome = regrades.regrade(graded.course)
    assert outcome["changes"] == [] and {row["student"] for row in outcome["kept"]} == {"ann", "bob", "cyd", "dan"}
    assert "keeps its mark" in changes_table(outcome) and grades(graded.course, "bob") == before
    monkeypatch.setattr(regrades, "grade_all", graded.bench)
    graded.bench.broken, graded.bench.failed = False, {}
    assert regrades.regrade(graded.course, dry_run=True)["changes"]  # still to be judged again


def test_a_run_that_was_killed_after_judging_says_what_it_changes_the_next_time(graded, monkeypatch):
    mend(monkeypatch, "1.2")
    graded.bench.failed = {"ann": [BILINEAR]}

    class Killed(BaseException):
        pass

    def killed(*_):
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(regrades, "_publish", killed)
        regrades.regrade(graded.course)
    outcome = regrades.regrade(graded.course)
    assert outcome["judged"] == 0 and {row["student"] for row in outcome["changes"]} == {"bob", "dan"}
    assert grades(graded.course, "bob")["check_1_2"][0] == load_rubric()["1.2"].points


def test_a_person_is_not_asked_again_when_a_run_dies_in_nbgrader(graded, monkeypatch):
    mend(monkeypatch, "1.2")
    graded.bench.failed = {"bob": THEN["bob"]}
    real = courses._autograde

    def dies(api, student):
        real(api, student)
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(courses, "_autograde", dies)
        regrades.regrade(graded.course)
    assert grades(graded.course, "ann")["report"][3]  # as nbgrader leaves it
    shutil.rmtree(graded.course / "autograded" / "ann")
    regrades.regrade(graded.course)
    courses.grade_class(graded.handins, graded.course)
    assert grades(graded.course, "ann")["report"] == (0, 12, 2, False)


def test_the_class_command_leaves_marks_and_says_what_is_to_do(graded, monkeypatch):
    mend(monkeypatch, "1.2")
    graded.bench.failed, before, said = {}, grades(graded.course, "bob"), []
    courses.grade_class(graded.handins, graded.course, say=said.append)
    assert graded.bench.asked == [] and grades(graded.course, "bob") == before
    assert any("judged before the checks changed, marks left as they were: 4" in line and "unetlab regrade" in line for line in said)


def test_other_points_reach_gradebook_and_source(graded, monkeypatch):
    from dataclasses import replace

    mend(monkeypatch, "1.2")
    rubric = dict(load_rubric())
    rubric["1.2"] = replace(rubric["1.2"], checks={**rubric["1.2"].checks, BILINEAR[1]: 7.0})
    for place in (journal, regrades, sys.modules["grader.changes"], sys.modules[__name__]):
        monkeypatch.setattr(place, "load_rubric", lambda: rubric)
    outcome = regrades.regrade(graded.course)
    assert {(row["student"], row["task"], row["change"]) for row in outcome["changes"]} == {
        ("ann", "1.2", 0), ("bob", "1.2", 0), ("cyd", "1.2", 5), ("dan", "1.2", 0)
    }
    with gradebook(graded.course) as book:
        assert book.find_grade("check_1_2", ONE, "lab04", "cyd").max_score == rubric["1.2"].points
    assert grades(graded.course, "cyd")["check_1_2"][0] == rubric["1.2"].points
    assert grades(graded.course, "bob")["check_1_2"][0] == rubric["1.2"].points - 7
    source = json.loads((graded.course / "source" / "lab04" / f"{ONE}.ipynb").read_text())
    (cell,) = (c for c in source["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == "check_1_2")
    assert cell["metadata"]["nbgrader"]["points"] == rubric["1.2"].points


def test_points_that_the_gradebook_lacks_are_given_though_no_check_changed(graded):
    """After the instructor gave a cell other points by nbgrader's own means, who had all of them would keep the old number."""
    path = graded.course / "source" / "lab04" / f"{ONE}.ipynb"
    notebook = json.loads(path.read_text())
    for cell in notebook["cells"]:
        if cell["metadata"].get("nbgrader", {}).get("grade_id") == "check_1_2":
            cell["metadata"]["nbgrader"]["points"] = 35
    path.write_text(json.dumps(notebook))
    assert courses.open_course(graded.course).generate_assignment("lab04", force=True)["success"]
    assert grades(graded.course, "cyd")["check_1_2"][0] == load_rubric()["1.2"].points
    outcome = regrades.regrade(graded.course)
    assert not graded.bench.asked and not outcome["changes"]
    assert grades(graded.course, "cyd")["check_1_2"][0] == 35
    assert grades(graded.course, "bob")["check_1_2"][0] == pytest.approx(35 * (load_rubric()["1.2"].points - 2) / load_rubric()["1.2"].points)


def test_what_nbgrader_could_not_do_is_said(graded, monkeypatch, capsys):
    mend(monkeypatch, "1.2")
    graded.bench.failed = {}
    monkeypatch.setattr(courses, "_autograde", lambda api, student: {"success": student != "bob", "log": "the cell has gone"})
    monkeypatch.setattr(courses, "settle", lambda *_: None)
    assert cli.main(["regrade", str(graded.course)]) == 1
    assert "bob: nbgrader could not take this hand-in: the cell has gone" in capsys.readouterr().out


def test_late_ones_out_of_a_folder_of_their_own_drop_nobody(graded, tmp_path):
    late = tmp_path / "late"
    late.mkdir()
    (late / "eve.py").write_text("e = 1")
    before = reported(graded.course)
    outcome = courses.grade_class(late, graded.course)
    assert [r["student"] for r in outcome["submissions"]] == ["eve"]
    after = reported(graded.course)
    assert set(after) == {*before, "eve"} and all(after[student]["tasks"] == before[student]["tasks"] for student in before)
    assert after["ann"]["manual"]["report"]["status"] == "marked", "as the gradebook has it by now"
    rows = {row["student"] for row in csv.DictReader((graded.course / "grades.csv").open())}
    assert rows == set(after)


def test_a_gradebook_that_is_none_is_named(graded):
    (graded.course / "gradebook.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(CourseError, match="gradebook.db"):
        regrades.regrade(graded.course)


def test_an_interrupted_grade_shows_what_was_judged(tmp_path, monkeypatch, capsys):
    from grader import executors

    def half(submissions, *_, **__):
        yield {**result(), "student": submissions[0].student, "path": str(submissions[0].path), "isolation": "none"}
        raise KeyboardInterrupt

    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text("x = 1")
    monkeypatch.setattr(executors, "grade_all", half)
    cli.main(["grade", str(tmp_path / "a.py"), str(tmp_path / "b.py")])
    told = capsys.readouterr()
    assert "stopped: 1 of 2 were judged" in told.err and "graded" in told.out


def test_no_course_and_an_empty_one_are_named(tmp_path):
    with pytest.raises(CourseError, match="no gradebook.db in it"):
        regrades.regrade(tmp_path)


# ---- the real thing ----


def test_a_check_is_mended_for_real(graded_once, tmp_path):
    """The command, from a copy of the kit with one check changed: the sandboxed judge runs 1.2 and what builds on it."""
    course, kit = tmp_path / "course", tmp_path / "kit"
    shutil.copytree(graded_once.course, course)
    copy_kit(kit)
    checks = kit / "grader" / "checks" / "test_task_1_2.py"
    checks.write_text(checks.read_text() + "\n# mended\n")
    command = [sys.executable, "-m", "grader", "regrade", str(course), "--student", "bob"]
    done = subprocess.run(command, cwd=kit, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "judging again: Task 1.2, 1.3, 1.4 of 1 hand-ins" in done.stdout
    assert f"{BILINEAR[1]}: failed → passed (2 points)" in done.stdout and "2 gain, 0 lose" in done.stdout
    full = {id: load_rubric()[id].points for id in ON_1_2}
    lines = Journal(course / "judge.jsonl").history("bob")
    first, last = (line["result"] for line in [line for line in lines if "result" in line])
    assert {id: last["tasks"][id]["score"] for id in ON_1_2} == full
    rest = set(load_rubric()) - set(ON_1_2)
    assert all(last["tasks"][id] == first["tasks"][id] for id in rest)
    assert grades(course, "bob")["check_1_2"][0] == grades(course, "dan")["check_1_2"][0] == full["1.2"]


# ---- which files count ----


def copy_kit(folder):
    folder.mkdir(exist_ok=True)
    for name in ["grader", "solutions", "training", "data_utils.py", "drawn_pets.py", "metrics.py", "viz.py"]:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)


def files_of(names, root=ROOT):
    return {path.relative_to(root).as_posix() for path in names}


def test_what_marks_depend_on_and_what_not():
    names = files_of(fingerprint.marking_files())
    assert {"grader/rubric.toml", "solutions/held_out.py", "solutions/lab_03_losses_and_training.py", "grader/judge.py"} <= names
    assert {"solutions/checks/test_task_3_4.py", "grader/checks/test_task_2_1.py", "drawn_pets.py", "grader/servant.py"} <= names
    told = ("solutions/wrong/", "solutions/facets/", "solutions/alternatives/", "solutions/diagnosis")
    assert not [name for name in names if name.startswith(told)]
    shown = {f"grader/{name}.py" for name in ("report", "cards", "course", "defuse", "regrade", "audit", "changes", "cli", "fingerprint")}
    assert not names & shown


@pytest.fixture
def kit(tmp_path, monkeypatch):
    """A copy of the kit whose files a test may change; returns what task digests change by writing to one of them."""
    copy_kit(tmp_path)
    monkeypatch.setattr(fingerprint, "KIT", tmp_path)
    forget()
    before = fingerprint.task_digests()

    def changed(name, old="", new="\n# changed\n"):
        path = tmp_path / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1) if old else text + new)
        forget()
        now = fingerprint.task_digests()
        path.write_text(text)
        return [id for id in now if now[id] != before[id]]

    yield changed
    forget()


def forget():
    for cached in (fingerprint.task_digests, fingerprint.kit_digest, fingerprint.shared_files, fingerprint.check_files):
        cached.cache_clear()


ALL = list(load_rubric())


@pytest.mark.parametrize(
    "name, old, new, tasks",
    [
        ("grader/checks/test_task_1_2.py", "", "\n# changed\n", ["1.2", "1.3", "1.4"]),
        ("solutions/checks/test_task_2_1.py", "", "\n# changed\n", ["2.1"]),
        ("solutions/held_out.py", "", "\n# changed\n", ["3.5"]),
        ("grader/checks/inputs.py", "", "\n# changed\n", ALL),
        ("grader/judge.py", "", "\n# changed\n", ALL),
        ("grader/servant.py", "", "\n# changed\n", ALL),
        ("metrics.py", "", "\n# changed\n", ALL),
        ("solutions/lab_02_skip_connections.py", "# %% [markdown]", "# %% [markdown]\n# More text.", []),
        ("grader/report.py", "", "\n# changed\n", []),
        ("grader/course.py", "", "\n# changed\n", []),
    ],
)
def test_a_changed_file_touches_these_tasks(kit, name, old, new, tasks):
    assert kit(name, old, new) == tasks


def test_a_new_file_that_shows_marks_touches_none(kit, tmp_path):
    (tmp_path / "grader" / "new_page.py").write_text("from .judge import Judge\n")
    assert kit("grader/report.py", "from __future__", "from . import new_page\nfrom __future__") == []


def test_the_reference_touches_all(kit):
    line = next(line for line in reference_source().splitlines() if line.startswith("class DoubleConv"))
    assert kit("solutions/lab_01_unet.py", line, line + "  # changed") == ALL


# ---- audit ----


def test_each_result_says_how_it_came_about():
    with Judge(["1.1"]) as judge:
        said = judge.grade(module(reference_source()))
    found = said["audit"]
    assert set(found) == {"seed", "kit", "versions", "graded_at", "isolation", "device", "seconds"}
    assert set(found["versions"]) == {"python", "torch", "torchvision", "numpy", "nbgrader", "unetlab"}
    assert (found["seed"], found["kit"], found["device"]) == (0, fingerprint.kit_digest(), "cpu")
    assert found["isolation"] == said["isolation"] == sandbox.isolation(sandbox.rungs()) and found["seconds"] == said["seconds"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["graded_at"])
    assert said["tasks"]["1.1"]["kit"] == fingerprint.task_digests()["1.1"]
    assert json.loads(json.dumps(said)) == said


def test_the_history_of_a_student(graded, monkeypatch, capsys):
    mend(monkeypatch, "1.2")
    graded.bench.failed = {}
    regrades.regrade(graded.course)
    assert cli.main(["audit", str(graded.course), "dan"]) == 0
    text = capsys.readouterr().out
    points = load_rubric()["1.2"].points
    assert text.count("taken into the gradebook") == 2 and f"1.2: {points - 2:g} → {points:g} of {points:g}" in text
    assert "passed  bilinear_gives_the_same_shapes (2 points, public, 0.01 s); earlier: failed" in text
    assert cli.main(["audit", str(graded.course), "ann"]) == 0
    text = capsys.readouterr().out
    assert f"{THREE}, report: 12 of 15 (the judge: 0), +2 extra" in text and "“clear and short”" in text
    assert f"{ONE}, check_1_2: 5 of {points:g} (the judge: {points:g}), a person has to look at it" in text
    kinds = [kind for line in audit.history(graded.course, "dan") for kind in ("result", "settled", "booked") if kind in line]
    assert kinds == ["result", "settled", "booked"] * 2
    assert cli.main(["audit", str(graded.course), "eve"]) == 2 and "nothing on eve" in capsys.readouterr().err


def test_a_second_hand_in_leaves_the_first_in_the_history(graded, tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "ann.py").write_text("a = 2")
    graded.bench.failed = {}
    courses.grade_class(tmp_path / "more", graded.course)
    results = [line["result"] for line in audit.history(graded.course, "ann") if "result" in line]
    assert len(results) == 2 and results[0]["score"] < results[1]["score"]
    assert grades(graded.course, "ann")["report"][1:] == (12, 2, True)  # another hand-in: a person looks again


# ---- the pieces ----


def test_changes_between_two_results():
    old, new = result(failed=[BILINEAR]), result(failed=[("1.1", "features_are_rectified")])
    rows = changes_of(old, new)
    assert [(row["task"], row["change"]) for row in rows] == [("1.1", -1), ("1.2", 2)]
    assert changes_of(old, old) == []
    lost = result()
    lost["tasks"]["1.3"] |= {"score": None, "status": "ungraded", "checks": [], "reason": "a fault"}
    (row,) = changes_of(result(), lost)
    assert (row["after"], row["change"], row["why"][0]) == (None, None, "ungraded: a fault")


def test_merging_keeps_what_was_not_judged_again():
    old = result(failed=[BILINEAR]) | {"notes": ["1.2: left out: x", "1.3 was marked with y", "The judge failed: z", "a.py: odd"]}
    new = result(ON_1_2) | {"notes": ["1.1: left out: q", "1.2 is odd", "a.py: odd", "b"]}
    both = journal.merged(old, new, ["1.2"])
    assert both["notes"] == ["1.3 was marked with y", "a.py: odd", "1.2 is odd", "b"]
    assert both["score"] == result()["score"] and both["tasks"]["1.3"] is old["tasks"]["1.3"] and set(both["tasks"]) == set(ALL)
