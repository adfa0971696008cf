"""What the terminal prints of a class."""

import re

from grader import report
from tests.made_up_class import by_hand, class_report


def test_the_terminals_table_falls_back_to_parts(monkeypatch):
    assert " 1.1 " in report.summary_table(by_hand())
    monkeypatch.setattr(report, "TABLE_WIDTH", 40)
    text = report.summary_table(by_hand())
    assert "part 1" in text and " 1.1 " not in text and re.search(r"^eve .* 6 +3\? +9 ", text, re.MULTILINE)
    assert "by hand: 10 points are left to mark" in text


def test_terminal_table():
    text = report.summary_table(class_report())
    assert re.search(r"^ada +graded +4 +4 +4$", text, re.MULTILINE)
    assert re.search(r"^bob +graded +↷ 2 +2 +4$", text, re.MULTILINE)
    assert re.search(r"^dan +ungraded +\? +\? +4$", text, re.MULTILINE)
    assert "dan: not JSON" in text and "isolation: full: everything" in text and "\x1b" not in text


def test_an_empty_class_gives_a_table_too():
    assert "student" in report.summary_table({"isolation": "none", "submissions": []})
