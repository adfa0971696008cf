"""Nothing gets lost: a class killed at any moment, a full or locked disk, a locked gradebook, two graders at once."""

import contextlib
import errno
import fcntl
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("nbgrader")

from nbgrader.api import Gradebook

from grader import course as courses
from grader import fingerprint
from grader.durable import CourseError, alone_in, check_database, whole
from grader.handover import handed_in, restore
from grader.journal import Journal, is_final
from grader.marks import is_bonus, sums
from grader.rubric import load_rubric, notebooks
from tests.helpers import ROOT, replaced

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # nbgrader's own
KILLS = int(os.environ.get("UNETLAB_KILLS") or (20 if os.environ.get("UNETLAB_LONG") else 3))
SEED = int(os.environ.get("UNETLAB_KILLS_SEED", "4"))
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="kills are counted with Linux's child subreaper")


# ---- a class of three, without and with kills ----


def only_part_of(text, *names):
    """The imports and these definitions of a module, so that judging it is quick."""
    from grader.judge import _only

    return _only(names, text)


def write_hand_ins(folder):
    folder.mkdir()
    (folder / "ann.py").write_text(only_part_of(replaced(), "DoubleConv", "EncoderBlock"))
    swapped = only_part_of(replaced(("return features, pooled", "return pooled, features")), "DoubleConv", "EncoderBlock")
    (folder / "bob.py").write_text(swapped)
    (folder / "cyd.py").write_text(swapped)  # the same in every byte: judged once


class Runs:
    """The command line in forks of one process (see killed_class.py)."""

    def __init__(self, folder):
        self.log = folder / "log.txt"
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "killed_class.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, *arguments, kill_at=0, of_new=False):
        command = {"arguments": [str(argument) for argument in arguments], "kill_at": kill_at, "of_new": of_new, "log": str(self.log)}
        print(json.dumps(command), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        assert not answer["left"], "a process of the killed run lives on"
        assert answer["code"] in (0, -signal.SIGKILL), self.log.read_text()[-3000:]
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    runs = Runs(tmp_path_factory.mktemp("runs"))
    yield runs
    runs.close()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A course that is set up, and nobody has handed in yet."""
    course = tmp_path_factory.mktemp("fresh") / "course"
    courses.open_course(course)
    return course


@pytest.fixture(scope="module")
def never_killed(runs, fresh, tmp_path_factory):
    """A class that was graded, marked by hand and graded again, without a kill; and how many events its first run had."""
    root = tmp_path_factory.mktemp("class")
    write_hand_ins(root / "handins")
    shutil.copytree(fresh, root / "course")
    events = runs("class", root / "handins", "--course", root / "course")
    mark_by_hand(root / "course")
    runs("class", root / "handins", "--course", root / "course")
    return SimpleNamespace(handins=root / "handins", course=root / "course", events=events, state=state_of(root / "course"))


def mark_by_hand(course):
    """A mark, extra credit and a comment, as formgrader writes them; and a corrected mark of the judge's."""
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        for name, notebook in (("report", sorted(notebooks())[2]), ("check_1_1", sorted(notebooks())[0])):
            grade = book.find_grade(name, notebook, "lab04", "ann")
            grade.manual_score, grade.extra_credit, grade.needs_manual_grade = 3.5, 1.0, False
        book.find_comment("report", sorted(notebooks())[2], "lab04", "ann").manual_comment = "well argued"
        book.db.commit()


def state_of(course):
    """All that counts of a graded course: the gradebook's rows, the CSV, the report without times."""
    with contextlib.closing(sqlite3.connect(course / "gradebook.db")) as book:
        rows = book.execute(
            "select s.student_id, n.name, c.name, g.auto_score, g.manual_score, g.extra_credit, g.needs_manual_grade"
            " from grade g join submitted_notebook sn on g.notebook_id = sn.id join submitted_assignment s on sn.assignment_id = s.id"
            " join notebook n on sn.notebook_id = n.id join base_cell c on g.cell_id = c.id order by 1, 2, 3"
        ).fetchall()
        rows += book.execute("select auto_comment, manual_comment from comment order by 1, 2").fetchall()
    report = json.loads((course / "report.json").read_text())["submissions"]
    said = {r["student"]: [r["status"], r["score"], r["notes"], r["manual"]] for r in report}
    marks = {r["student"]: {task: mark["score"] for task, mark in r["tasks"].items()} for r in report}
    return {"rows": rows, "csv": (course / "grades.csv").read_text(), "said": said, "marks": marks,
            "theirs": sorted((course / "nbgrader_grades.csv").read_text().splitlines()),
            "feedback": sorted(path.relative_to(course).as_posix() for path in course.glob("feedback/*/*/*.html"))}


def times_judged(course):
    """How often each hand-in's final result stands in the journal."""
    lines = [json.loads(line) for line in (course / "judge.jsonl").read_bytes().splitlines() if line.endswith(b"}")]
    return Counter(line["key"] for line in lines if "result" in line and is_final(line["result"]))


def is_booked(course, student):
    path = course / "judge.jsonl"
    return path.exists() and Journal(path).last("booked", student) is not None


@LINUX
def test_killed_at_random_moments_a_class_is_completed(runs, fresh, never_killed, tmp_path):
    """Two kills of three come at a moment of new work, so that they sweep over all of it; the others anywhere."""
    random_, killed, sweeps = random.Random(SEED), 0, 0
    while killed < KILLS:
        course, marked, done = tmp_path / f"course{sweeps}", False, False
        shutil.copytree(fresh, course)
        while killed < KILLS and not done:
            of_new = killed % 3 > 0
            most = never_killed.events["new"] // 6 if of_new else never_killed.events["events"] // 4
            answer = runs("class", never_killed.handins, "--course", course, kill_at=random_.randint(1, most), of_new=of_new)
            done = answer["code"] == 0
            killed += not done
            if not marked and is_booked(course, "ann"):  # then formgrader shows her
                mark_by_hand(course)
                marked = True
        if not marked:
            runs("class", never_killed.handins, "--course", course)
            mark_by_hand(course)
        runs("class", never_killed.handins, "--course", course)
        assert state_of(course) == never_killed.state
        assert set(times_judged(course).values()) == {1} and len(times_judged(course)) == 3
        assert not [path for path in course.rglob("*") if path.name.endswith((".part", ".old")) or path.name.startswith(".setup-")]
        sweeps += 1


@LINUX
def test_the_set_up_killed_at_random_moments_is_completed(runs, fresh, tmp_path):
    (tmp_path / "nobody").mkdir()
    (tmp_path / "nobody" / "empty.py").write_text("")
    random_ = random.Random(SEED)
    for _ in range(max(3, KILLS // 7)):
        runs("class", tmp_path / "nobody", "--course", tmp_path / "course", kill_at=random_.randint(1, 250))
    courses.open_course(tmp_path / "course")
    for path in [*fresh.glob("source/**/*.*"), *fresh.glob("release/**/*.*"), fresh / "nbgrader_config.py"]:
        assert (tmp_path / "course" / path.relative_to(fresh)).read_bytes() == path.read_bytes()
    with contextlib.closing(sqlite3.connect(tmp_path / "course" / "gradebook.db")) as book:
        assert book.execute("select count(*) from alembic_version").fetchone() == (1,)
        assert book.execute("select count(*) from notebook").fetchone() == (len(notebooks()),)


@LINUX
def test_the_real_command_killed_while_it_judges_leaves_no_process_and_loses_nothing(fresh, never_killed, tmp_path):
    course = tmp_path / "course"
    shutil.copytree(fresh, course)
    command = [sys.executable, "-m", "grader", "class", str(never_killed.handins), "--course", str(course)]
    run = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = Journal(course / "judge.jsonl")
    wait_for(lambda: run.poll() is not None or journal.last("result", "ann"))
    run.kill()
    run.wait()
    wait_for(lambda: not in_session(run.pid))
    kept = journal.history("ann")
    assert kept and run.returncode == -signal.SIGKILL and not journal.last("booked", "cyd")
    assert (kept[0]["result"]["score"], kept[0]["result"]["status"]) == (load_rubric()["1.1"].points, "graded")


POOL = """
import os, signal
from grader.executors import _Processes

if __name__ == "__main__":
    print(_Processes(1).idle[0].submit(os.getpid).result(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@LINUX
def test_the_processes_of_many_jobs_die_with_the_command(tmp_path):
    (tmp_path / "run.py").write_text(POOL)
    with open(tmp_path / "out.txt", "w") as out:  # not a pipe, which whoever lives on would hold open
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        run = subprocess.Popen([sys.executable, str(tmp_path / "run.py")], cwd=ROOT, env=environment, stdout=out, start_new_session=True)
        assert run.wait(300) == -signal.SIGKILL
    assert (tmp_path / "out.txt").read_text().strip().isdigit()
    wait_for(lambda: not in_session(run.pid), 30)


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def in_session(session):
    """The processes of a session, whatever groups they made."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = place.read_text().rpartition(")")[2].split()
            found += [place.parent.name] if int(fields[3]) == session and fields[0] != "Z" else []
    return found


# ---- what stands in the way is said, and the gradebook stays whole ----


def verdicts(tasks=None, failed=()):
    """A judge's result in which all checks pass but these (task, name), stamped with the checks of now."""
    now, marks = fingerprint.task_digests(), {}
    for id, task in load_rubric().items():
        if tasks is None or id in tasks:
            checks = [{"name": name, "hidden": False, "passed": (id, name) not in failed, "message": "", "rule": "", "hint": "",
                       "points": points, "seconds": 0.0} for name, points in task.checks.items()]
            score = sum(check["points"] for check in checks if check["passed"])
            marks[id] = {"status": "graded", "score": score, "max_score": task.points, **is_bonus(task), "carried_forward": False, "left_out": [],
                         "checks": checks, "kit": now[id]}
    return {**sums(marks), "notes": [], "tasks": marks, "seconds": 0.0, "isolation": "none", "device": "cpu"}


def no_judge(*_, **__):
    pytest.fail("judged again")
    yield


@pytest.fixture
def full_marks(monkeypatch):
    """A judge that gives full marks at once; the list has who was judged."""
    judged = []

    def grade(submissions, **_):
        for submission in submissions:
            judged.append(submission.student)
            yield {"path": str(submission.path), "student": submission.student, **verdicts()}

    monkeypatch.setattr(courses, "grade_all", grade)
    return judged


@pytest.fixture
def one(fresh, tmp_path):
    """A course that is set up, and one hand-in."""
    (tmp_path / "handins").mkdir()
    (tmp_path / "handins" / "ann.py").write_text("x = 1")
    shutil.copytree(fresh, tmp_path / "course")
    return SimpleNamespace(handins=tmp_path / "handins", course=tmp_path / "course")


HOLD = """
import sys
from grader.durable import alone_in

with alone_in(sys.argv[1], "unetlab class"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(one):
    """The course, held by another process until its standard input is closed."""
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(one.course)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"held\n"
    yield other
    other.kill()
    other.communicate()


def test_a_second_grader_says_who_is_at_work_and_stops(one, held, full_marks):
    before = contents(one.course)
    with pytest.raises(CourseError, match=rf"unetlab class \(process {held.pid} on .* is at work here"):
        courses.grade_class(one.handins, one.course)
    assert contents(one.course) == before and not full_marks
    held.kill()  # the lock goes with the process
    held.wait()
    assert courses.grade_class(one.handins, one.course)["submissions"][0]["status"] == "graded"


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(CourseError, match="No locks available.*local disk"), alone_in(tmp_path, "a test"):
        pass


def test_nbgrader_autograde_beside_a_class_changes_no_mark(one, full_marks, monkeypatch):
    courses.grade_class(one.handins, one.course)
    rows = gradebook_rows(one.course)
    api = courses.open_course(one.course)
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(one.course)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    other.stdout.readline()
    done = api.autograde("lab04", "ann")
    other.communicate()
    assert not done["success"] and "is at work here" in done["log"] and gradebook_rows(one.course) == rows
    monkeypatch.setattr(courses, "grade_all", no_judge)
    assert courses.grade_class(one.handins, one.course)["submissions"][0]["status"] == "graded"
    assert gradebook_rows(one.course) == rows and (one.course / "autograded" / "ann" / "lab04" / "01_unet.ipynb").exists()


def test_a_locked_gradebook_is_waited_for_then_named_and_what_was_judged_stays(one, full_marks, monkeypatch):
    path = one.course / "gradebook.db"
    monkeypatch.setattr(courses, "check_database", lambda path: check_database(path, 0.2))
    judge, book = courses.grade_all, sqlite3.connect(path, isolation_level=None)

    def lock_meanwhile(submissions, **options):
        yield from judge(submissions, **options)
        book.execute("begin exclusive")

    monkeypatch.setattr(courses, "grade_all", lock_meanwhile)
    with pytest.raises(CourseError, match=rf"{path}: the gradebook is in use by another program.*Close it; then run this again"):
        courses.grade_class(one.handins, one.course)
    book.rollback()
    book.close()
    monkeypatch.setattr(courses, "grade_all", no_judge)
    assert courses.grade_class(one.handins, one.course)["submissions"][0]["status"] == "graded"


def test_a_gradebook_that_is_free_again_in_time_is_no_error(one):
    path = one.course / "gradebook.db"
    book = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    book.execute("begin exclusive")
    release = threading.Timer(0.3, book.rollback)
    release.start()
    check_database(path, 30)
    release.join()
    book.close()


def test_a_damaged_gradebook_is_named_and_left_alone(one):
    path = one.course / "gradebook.db"
    path.write_bytes(b"not a database at all" * 500)
    with pytest.raises(CourseError, match="gradebook.db: the gradebook is no gradebook. Put a copy from your backup"):
        courses.grade_class(one.handins, one.course)
    assert path.read_bytes() == b"not a database at all" * 500


@pytest.fixture
def small_disk(fresh, tmp_path):
    """A course on a file system of 12 MB, and how to fill it up to some bytes and to free it."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small file system needs the right to mount: {done.stderr.strip()}")
    shutil.copytree(fresh, place / "course")

    def leave(size):
        (place / "filler").unlink(missing_ok=True)
        if size is not None:
            free = os.statvfs(place)
            (place / "filler").write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - size)))

    yield SimpleNamespace(course=place / "course", leave=leave)
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("size", [0, 4096, 32 << 10, 300 << 10, 700 << 10])
def test_a_full_disk_is_named_and_nothing_is_lost(small_disk, one, full_marks, monkeypatch, size):
    """From no room for the hand-in, over the journal and the gradebook, to none for the feedback."""
    small_disk.leave(size)
    said = rf"{small_disk.course}.*: .*(No space left|disk is full).*Free the disk; then run this again"
    with pytest.raises(CourseError, match=said):
        courses.grade_class(one.handins, small_disk.course)
    small_disk.leave(None)
    with contextlib.closing(sqlite3.connect(small_disk.course / "gradebook.db")) as book:
        assert book.execute("pragma integrity_check").fetchone() == ("ok",)
    if Journal(small_disk.course / "judge.jsonl").last("result", "ann"):
        monkeypatch.setattr(courses, "grade_all", no_judge)
    (result,) = courses.grade_class(one.handins, small_disk.course)["submissions"]
    assert result["status"] == "graded" and gradebook_score(small_disk.course, "ann") == result["score"] + result["bonus"]


@pytest.mark.parametrize("closed", ["", "submitted", "gradebook.db"])
def test_what_may_not_be_written_is_named(one, full_marks, closed):
    """As an ordinary user, whom the mode of a file stops."""
    (one.course / "submitted").mkdir(exist_ok=True)
    said = as_ordinary_user(lambda: courses.grade_class(one.handins, one.course), one, closed)
    assert re.search(rf"CourseError: {one.course}.*(cannot be written \(Permission denied\)|may not be written)\. Mend", said), said


def as_ordinary_user(act, one, closed):
    """What `act` raises in a process that may write all of the course but `closed`."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = "nothing"
            os.close(read)
            if os.getuid() == 0:
                for path in [one.course.parent, *one.course.parent.parents][:-2]:
                    path.chmod(path.stat().st_mode | 0o755)
                for path in [one.course, *one.course.rglob("*")]:
                    os.chown(path, 65534, 65534)
            place = one.course / closed
            place.chmod(0o555 if place.is_dir() else 0o444)
            if os.getuid() == 0:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            act()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(write, said.encode()[:4000])
            os._exit(0)
    os.close(write)
    with open(read) as file:
        said = file.read()
    os.waitpid(child, 0)
    (one.course / closed).chmod(0o755)
    return said


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".unetlab.lock"}


def gradebook_rows(course):
    with contextlib.closing(sqlite3.connect(course / "gradebook.db")) as book:
        return book.execute("select * from grade order by id").fetchall()


def gradebook_score(course, student):
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        return sum(g.auto_score or 0 for n in book.find_submission("lab04", student).notebooks for g in n.grades)


# ---- the pieces ----


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "grades.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), whole(path) as part:
        part.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with whole(path) as part:
        part.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("lines", [0, 1, 3])
@pytest.mark.parametrize("torn", [b"", b"{", b'{"key": "b", "students": ["b"], "result": {}}'])
def test_the_journal_passes_over_a_torn_line_and_goes_on(tmp_path, lines, torn):
    journal = Journal(tmp_path / "judge.jsonl")
    for number in range(lines):
        journal.append("a", {"score": number}, ["ann"])
    assert (journal.get("a") or {}).get("score") == (lines - 1 if lines else None)
    with open(journal.path, "ab") as file:
        file.write(torn)
    assert journal.get("b") is None
    journal.append("c", {"score": 9}, ["cyd", "dan"])
    assert journal.get("c") == {"score": 9} and journal.last("result", "dan")["result"] == {"score": 9}
    assert [entry["result"]["score"] for entry in journal.history("ann")] == list(range(lines))


def test_a_journal_that_was_begun_anew_is_read_anew(tmp_path):
    journal = Journal(tmp_path / "judge.jsonl")
    journal.append("a", {"score": 1})
    assert journal.get("a")
    journal.path.unlink()
    assert journal.get("a") is None
    journal.append("b", {"score": 2})
    assert journal.get("a") is None and journal.get("b") == {"score": 2}


def test_a_hand_in_that_was_moved_out_of_the_way_comes_back(tmp_path):
    folder = tmp_path / "submitted" / "ann" / "lab04"
    old = folder.with_name(".lab04.old")
    old.mkdir(parents=True)
    (old / "ann.py").write_text("x = 1")
    (handin,) = handed_in(tmp_path)
    assert handin.student == "ann" and [file.name.name for file in handin.submission.files] == ["ann.py"] and not old.exists()
    old.mkdir()
    restore(folder)
    assert folder.exists() and not old.exists()


def test_a_course_can_be_held_again_by_its_own_process(tmp_path):
    with alone_in(tmp_path, "one"):
        with alone_in(tmp_path, "two"):
            pass
        other = subprocess.run([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
        assert other.returncode == 1 and "one (process" in other.stderr
    assert subprocess.run([sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, input=b"", capture_output=True).returncode == 0
