"""What people read of a result: values, honesty about what is ungraded, and nothing active from a hostile hand-in."""

import csv
import re

import pytest

pytest.importorskip("jinja2")

from grader import report

HOSTILE = "<script>alert(1)</script>\x1b[31m `x` $y$ & \ud800"


def check(name, passed, hidden=False, message="", points=2.0):
    return {
        "name": name,
        "hidden": hidden,
        "passed": passed,
        "message": message,
        "rule": f"rule of {name}",
        "hint": "a hint",
        "points": points,
    }


def outcome(score, checks, maximum=4.0, carried=False):
    status = "ungraded" if score is None else "graded"
    return {"status": status, "score": score, "max_score": maximum, "carried_forward": carried, "checks": checks}


def result(student, tasks, notes=()):
    scores = [task["score"] for task in tasks.values()]
    known = [score for score in scores if score is not None]
    status = "graded" if len(known) == len(scores) else "partly graded" if known else "ungraded"
    maximum = sum(task["max_score"] for task in tasks.values())
    total = sum(known) if known else None
    return {
        "path": f"handins/{student}.ipynb",
        "student": student,
        "status": status,
        "score": total,
        "max_score": maximum,
        "notes": list(notes),
        "seconds": 1.0,
        "tasks": tasks,
    }


@pytest.fixture
def class_report():
    good = {"1.1": outcome(4.0, [check("a", True), check("b", True, hidden=True)])}
    slip = {
        "1.1": outcome(
            2.0, [check("a", True), check("b", False, hidden=True, message="came 3, expected SECRET")], carried=True
        )
    }
    hostile = {"1.1": outcome(0.0, [check("a", False, message=HOSTILE), check("b", False, hidden=True)])}
    broken = {"1.1": outcome(None, [])}
    students = [
        result("ada", good),
        result("bob", slip),
        result("=cmd()", hostile, [HOSTILE]),
        result("dan", broken, ["not JSON"]),
    ]
    return {"isolation": "full: everything", "submissions": students}


def test_csv_leaves_ungraded_marks_empty(class_report, tmp_path):
    rows = {
        row["student"]: row
        for row in csv.DictReader(report.write_csv(class_report, tmp_path / "c.csv").open(encoding="utf-8"))
    }
    assert rows["ada"]["score"] == "4" and rows["ada"]["1.1 status"] == "graded"
    assert rows["dan"]["score"] == rows["dan"]["1.1 score"] == "" and rows["dan"]["status"] == "ungraded"
    assert rows["bob"]["carried_forward"] == "1.1"


def test_csv_starts_no_formula(class_report, tmp_path):
    text = report.write_csv(class_report, tmp_path / "c.csv").read_text(encoding="utf-8")
    assert "'=cmd()" in text and not re.search(r"(^|,)=", text, re.MULTILINE)


def test_class_page_holds_everything_and_nothing_active(class_report, tmp_path):
    page = report.write_class_page(class_report, tmp_path / "c.html").read_text(encoding="utf-8")
    assert "<script" not in page and "\x1b" not in page and "http" not in page.replace("http-equiv", "")
    assert "&lt;script&gt;alert(1)" in page
    assert "full: everything" in page and "SECRET" in page  # the instructor sees what hidden checks said
    assert page.index("Look at these first") < page.index("not JSON") < page.index("<h2>Marks</h2>")
    assert "1 of 3" in page  # check b: judged three times, dan's was not


@pytest.fixture
def by_hand():
    """Two parts and a written answer: one student has it marked, one not, one wrote none."""
    marks = {"1.1": outcome(4.0, []), "1.2": outcome(2.0, []), "2.1": outcome(3.0, []), "2.2": outcome(None, [])}
    answers = {
        "ada": {"status": "marked", "score": 7.5, "max_score": 10.0},
        "bob": {"status": "to mark", "score": None, "max_score": 10.0},
        "eve": {"status": "no response", "score": 0.0, "max_score": 10.0},
    }
    students = []
    for name, answer in answers.items():
        tasks = {**marks, "2.2": outcome(1.0, [])} if name != "eve" else marks
        students.append({**result(name, tasks), "manual": {"report": answer}})
    return {"isolation": "none", "submissions": students}


def test_csv_has_a_total_only_when_nothing_is_left_to_mark(by_hand, tmp_path):
    rows = list(csv.DictReader(report.write_csv(by_hand, tmp_path / "c.csv").open(encoding="utf-8")))
    assert [row["total"] for row in rows] == ["17.5", "", ""] and {row["total_max"] for row in rows} == {"26.0"}
    assert [row["left_to_mark"] for row in rows] == ["0", "10", "4"] and [row["score"] for row in rows] == ["10", "10", "9"]
    answers = [(row["report score"], row["report status"]) for row in rows]
    assert answers == [("7.5", "marked"), ("", "to mark"), ("0", "no response")]


def test_class_page_groups_tasks_by_part_and_says_what_is_open(by_hand, tmp_path):
    page = report.write_class_page(by_hand, tmp_path / "c.html").read_text(encoding="utf-8")
    table = page[page.index("<h2>Marks</h2>") : page.index("<h2>How often")]
    assert table.index("Part 1") < table.index("Part 2") < table.index("By hand") < table.index("Total")
    assert table.count("to mark</td>") == 1 and "10 open" in table and "4 open" in table and "no answer" in table
    assert ">6</td>" in table and '3<span class="soft">+?</span>' in table  # sums of parts 1 and 2
    assert "<b>17.5</b>" in table and "<b>1</b>answer to mark by hand" in page


def test_the_terminals_table_falls_back_to_parts(by_hand, monkeypatch):
    assert " 1.1 " in report.summary_table(by_hand)
    monkeypatch.setattr(report, "TABLE_WIDTH", 40)
    text = report.summary_table(by_hand)
    assert "part 1" in text and " 1.1 " not in text and re.search(r"^eve .* 6 +3\? +9 ", text, re.MULTILINE)
    assert "by hand: 10 points are left to mark" in text


def test_pass_rates_leave_out_what_was_not_judged(class_report):
    rates = {rate["name"]: (rate["passed"], rate["judged"]) for rate in report.pass_rates(class_report)}
    assert rates == {"a": (2, 3), "b": (1, 3)}


def test_terminal_table(class_report):
    text = report.summary_table(class_report)
    assert re.search(r"^ada +graded +4 +4 +4$", text, re.MULTILINE)
    assert re.search(r"^bob +graded +↷ 2 +2 +4$", text, re.MULTILINE)
    assert re.search(r"^dan +ungraded +\? +\? +4$", text, re.MULTILINE)
    assert "dan: not JSON" in text and "isolation: full: everything" in text and "\x1b" not in text


def test_an_empty_class_gives_reports_too(tmp_path):
    empty = {"isolation": "none", "submissions": []}
    assert "0" in report.write_class_page(empty, tmp_path / "c.html").read_text()
    assert report.write_csv(empty, tmp_path / "c.csv").read_text().startswith("student,")
    assert "student" in report.summary_table(empty)
