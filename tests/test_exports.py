"""The CSV files: right, honest about what is ungraded, harmless in a spreadsheet."""

import csv
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from grader import exports
from grader.text import visible
from tests.made_up_class import by_hand, check, class_report, made_up_report, outcome, result


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_grades_leave_ungraded_marks_empty(tmp_path):
    rows = {row["student"]: row for row in rows_of(exports.write_grades(class_report(), tmp_path / "c.csv"))}
    assert rows["ada"]["score"] == "4" and rows["ada"]["1.1 status"] == "graded"
    assert rows["dan"]["score"] == rows["dan"]["1.1 score"] == "" and rows["dan"]["status"] == "ungraded"
    assert rows["bob"]["carried_forward"] == "1.1"


def test_grades_have_a_total_only_when_nothing_is_left_to_mark(tmp_path):
    rows = rows_of(exports.write_grades(by_hand(), tmp_path / "c.csv"))
    assert [row["total"] for row in rows] == ["17.5", "", ""] and {row["total_max"] for row in rows} == {"26.0"}
    assert [row["left_to_mark"] for row in rows] == ["0", "10", "4"] and [row["score"] for row in rows] == ["10", "10", "9"]
    answers = [(row["report score"], row["report status"]) for row in rows]
    assert answers == [("7.5", "marked"), ("", "to mark"), ("0", "no response")]


def test_checks_have_a_row_each_and_one_for_a_task_without_a_verdict(tmp_path):
    report = class_report()
    report["submissions"][1]["tasks"]["1.1"] |= {"left_out": ["c"], "diagnoses": [{"task": "1.1", "name": "n", "title": "a is b"}]}
    rows = {(row["student"], row["check"]): row for row in rows_of(exports.write_checks(report, tmp_path / "c.csv"))}
    assert list(rows) == [
        ("'=cmd()", "a"),
        ("'=cmd()", "b"),
        ("ada", "a"),
        ("ada", "b"),
        ("bob", "a"),
        ("bob", "b"),
        ("bob", "c"),
        ("dan", ""),
    ]
    assert [rows["bob", name]["passed"] for name in "abc"] == ["true", "false", ""]
    assert [rows["bob", name]["points"] for name in "abc"] == ["2", "0", ""] and rows["bob", "b"]["hidden"] == "true"
    assert rows["bob", "b"]["diagnosis"] == "a is b" and rows["bob", "a"]["diagnosis"] == "" and "SECRET" in rows["bob", "b"]["message"]
    assert rows["dan", ""]["status"] == "ungraded" and rows["dan", ""]["passed"] == rows["dan", ""]["points"] == ""


def test_checks_add_up_to_the_marks(tmp_path):
    report = made_up_report(20)
    points = {}
    for row in rows_of(exports.write_checks(report, tmp_path / "c.csv")):
        points[row["student"]] = points.get(row["student"], 0) + float(row["points"] or 0)
    assert {name: round(sum, 2) for name, sum in points.items()} == {
        r["student"]: round((r["score"] or 0) + r["bonus"], 2) for r in report["submissions"]
    }


def test_an_empty_class_gives_files_too(tmp_path):
    empty = {"isolation": "none", "submissions": []}
    assert exports.write_grades(empty, tmp_path / "c.csv").read_text().startswith("student,")
    assert exports.write_checks(empty, tmp_path / "d.csv").read_text().startswith("student,task,check,")


TEXT = st.text(max_size=40) | st.sampled_from(["=cmd()", "+1", "-2", "@x", "\t=x", "a;=x", "a\t+x", " =x", "＝x", "a,b", 'say "hi"', "x\r\ny", "🐈", "\ud800", "\x00=1"])


@settings(max_examples=60, deadline=None)
@given(name=TEXT, note=TEXT, message=TEXT)
def test_no_cell_is_a_formula_and_none_moves_another(tmp_path_factory, name, note, message):
    folder = tmp_path_factory.mktemp("csv")
    report = {"isolation": "none", "submissions": [result(name, {"1.1": outcome(0.0, [check("a", False, message=message)])}, [note])]}
    for write in (exports.write_grades, exports.write_checks):
        with open(write(report, folder / "c.csv"), encoding="utf-8", newline="") as file:
            header, row = csv.reader(file)
        assert len(row) == len(header)
        parts = [part for cell in row for part in re.split(r"[;\t]", cell)]  # what other spreadsheets take for a cell's end
        assert not any(re.match(r"\s*[=+\-@＝＋－＠]", part) for part in parts)
        assert unquoted(row[0]) == unquoted(visible(name).replace("\n", " "))


def unquoted(text):
    """Without the quotes that keep a spreadsheet from taking what follows for a formula."""
    return re.sub(r"(^|[;\t])'+(?=\s*[=+\-@\t＝＋－＠])", r"\1", text)
