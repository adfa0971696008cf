"""What a student reads of a result: values, honesty about what is ungraded, and nothing active from a hostile hand-in."""

import pytest

pytest.importorskip("jinja2")

from bs4 import BeautifulSoup

from grader import cards

HOSTILE = "<script>alert(1)</script>\x1b[31m `x` $y$ & \ud800"


def check(name, passed, hidden=False, message="", hint="a hint", **parts):
    words = {"rule": f"rule of {name}", "hint": hint, "message": message, **parts}
    return {"name": name, "hidden": hidden, "passed": passed, "points": 2.0, **words}


def outcome(score, *checks, carried=False):
    status = "ungraded" if score is None else "graded"
    return {"status": status, "score": score, "max_score": 4.0, "carried_forward": carried, "checks": list(checks)}


RIGHT = outcome(4.0, check("a", True), check("b", True, hidden=True))
SECRET = {"message": "came 3, expected SECRET", "input": "SECRET", "came": "SECRET", "expected": "SECRET"}
SLIP = outcome(2.0, check("a", True), check("b", False, hidden=True, **SECRET), carried=True)
ACTIVE = outcome(0.0, check("a", False, came=HOSTILE), check("c", False, message=HOSTILE), check("b", False, hidden=True))
BROKEN = outcome(None)


def test_card_escapes_and_hides():
    slip, active = cards.card_html("1.1", SLIP), cards.card_html("1.1", ACTIVE)
    assert "SECRET" not in slip and "rule of b" in slip and "a hint" in slip and "standing in" in slip
    assert "<script" not in active and "&lt;script&gt;" in active
    assert "not graded yet" in cards.card_html("1.1", BROKEN)
    assert "a hint" not in cards.card_html("1.1", RIGHT)


def rows(html):
    """Label and text of each row of a card."""
    found = BeautifulSoup(html, "html5lib").select('div[style*="margin:2px 0 0 18px"]')
    return [tuple(cell.get_text() for cell in row.find_all("div")) for row in found]


def test_card_labels_what_came_what_was_expected_and_the_input():
    parts = {"input": "a block", "came": "3", "expected": "4\nhint: none"}
    html = cards.card_html("1.1", outcome(0.0, check("a", False, **parts), check("b", False, True, **SECRET)))
    assert rows(html) == [("input", "a block"), ("yours", "3"), ("expected", "4\nhint: none"), ("hint", "a hint"), ("hint", "a hint")]
    todo = cards.card_html("1.1", outcome(0.0, check("a", False, message="to do: Need to implement", hint="")))
    assert rows(todo) == [("to do", "Need to implement")]


def test_passed_checks_are_folded_away():
    page = BeautifulSoup(cards.card_html("1.1", RIGHT), "html5lib")
    assert page.details.summary.get_text() == "✓ 2 checks passed" and not page.details.has_attr("open")
    assert "rule of a" in page.details.get_text() and "rule of a" not in page.get_text().replace(page.details.get_text(), "")


def test_an_exception_that_several_checks_meet_is_told_once():
    parts = {"came": "ValueError: no", "expected": "no exception"}
    html = cards.card_html("1.1", outcome(0.0, check("a", False, **parts), check("b", False, **parts)))
    assert html.count("ValueError: no") == 1 and rows(html)[-1] == ("yours", "the same as above")
    equal = {"came": "3", "expected": "4"}  # two checks that happen to say the same number
    assert "same as above" not in cards.card_html("1.1", outcome(0.0, check("a", False, **equal), check("b", False, **equal)))


@pytest.mark.parametrize("hidden", [False, True])
def test_a_diagnosis_is_said_as_a_likely_cause(hidden):
    found = [{"task": "1.1", "name": "swapped", "title": "the <i>pooled</i> map comes first", "hint": "Which is larger?"}]
    lost = {**outcome(2.0, check("a", False, hidden, came="3")), "diagnoses": found}
    text = BeautifulSoup(cards.card_html("1.1", lost), "html5lib").get_text(" ", strip=True)
    assert "Likely cause: your numbers are those of a solution in which the <i>pooled</i> map comes first." in text
    assert "Hint: Which is larger?" in text and "Likely cause" in cards.comment_text("1.1", lost)
    assert "Likely cause" not in cards.card_html("1.1", {**lost, "diagnoses": []})


def test_what_was_not_counted_is_named():
    assert "works in any dtype" in cards.card_html("1.1", {**RIGHT, "left_out": ["works_in_any_dtype"]})


def test_comment_is_harmless_as_markdown_and_as_text():
    hostile = cards.comment_text("1.1", ACTIVE)
    assert not set("<>$&\\") & set(hostile) and "‹script›" in hostile
    assert hostile.count("`") == 4  # only our own pairs around the messages
    assert "SECRET" not in cards.comment_text("1.1", SLIP)
    assert cards.comment_text("1.1", RIGHT) == "Task 1.1: 4 of 4 points, 2 of 2 checks passed."


@pytest.mark.parametrize(
    "value, text", [(4.0, "4"), (2.5, "2.5"), (1 / 3, "0.33"), (0.0, "0"), (10.0, "10"), (None, "?")]
)
def test_numbers(value, text):
    assert cards.number(value) == text
