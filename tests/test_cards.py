"""What a student reads of a result: values, honesty about what is ungraded, and nothing active from a hostile hand-in."""

import pytest

pytest.importorskip("jinja2")

from grader import cards

HOSTILE = "<script>alert(1)</script>\x1b[31m `x` $y$ & \ud800"


def check(name, passed, hidden=False, message=""):
    words = {"rule": f"rule of {name}", "hint": "a hint", "message": message}
    return {"name": name, "hidden": hidden, "passed": passed, "points": 2.0, **words}


def outcome(score, *checks, carried=False):
    status = "ungraded" if score is None else "graded"
    return {"status": status, "score": score, "max_score": 4.0, "carried_forward": carried, "checks": list(checks)}


RIGHT = outcome(4.0, check("a", True), check("b", True, hidden=True))
SLIP = outcome(2.0, check("a", True), check("b", False, hidden=True, message="came 3, expected SECRET"), carried=True)
ACTIVE = outcome(0.0, check("a", False, message=HOSTILE), check("b", False, hidden=True))
BROKEN = outcome(None)


def test_card_escapes_and_hides():
    slip, active = cards.card_html("1.1", SLIP), cards.card_html("1.1", ACTIVE)
    assert "SECRET" not in slip and "rule of b" in slip and "a hint" in slip and "standing in" in slip
    assert "<script" not in active and "&lt;script&gt;" in active
    assert "not graded yet" in cards.card_html("1.1", BROKEN)
    assert "a hint" not in cards.card_html("1.1", RIGHT)


def test_comment_is_harmless_as_markdown_and_as_text():
    hostile = cards.comment_text("1.1", ACTIVE)
    assert not set("<>$&\\") & set(hostile) and "‹script›" in hostile
    assert hostile.count("`") == 2  # only our own pair around the message
    assert "SECRET" not in cards.comment_text("1.1", SLIP)
    assert cards.comment_text("1.1", RIGHT) == "Task 1.1: 4 of 4 points, 2 of 2 checks passed."


@pytest.mark.parametrize(
    "value, text", [(4.0, "4"), (2.5, "2.5"), (1 / 3, "0.33"), (0.0, "0"), (10.0, "10"), (None, "?")]
)
def test_numbers(value, text):
    assert cards.number(value) == text
