"""The class page and its figures: right, whole without its script, and nothing active from a hostile hand-in."""

import base64
import hashlib
import re

import numpy as np
import pytest
from bs4 import BeautifulSoup
from hypothesis import given, settings
from hypothesis import strategies as st

from grader import class_page, class_statistics
from grader.class_page import write_class_page
from grader.rubric import assignment, notebooks
from tests.made_up_class import by_hand, check, class_report, made_up_report, outcome, result


def page_of(report, folder, **fields):
    return write_class_page({**report, **fields}, folder / "class.html").read_text(encoding="utf-8")


def text_below(page, id):
    """The text between a heading and the next."""
    found = []
    for element in BeautifulSoup(page, "html.parser").find(id=id).next_elements:
        if element.name == "h2":
            break
        found.append(element if isinstance(element, str) else "")
    return " ".join(" ".join(found).split())


# ---- figures ----


def test_distribution_has_quartiles_bins_and_both_ends():
    found = class_statistics.distribution([0.0, 0.25, 0.5, 0.75, 1.0])
    assert found["quartiles"] == [0.25, 0.5, 0.75] and found["mean"] == 0.5 and (found["zero"], found["full"]) == (1, 1)
    assert found["bins"] == [1, 0, 1, 0, 0, 1, 0, 1, 0, 1]
    assert class_statistics.distribution([])["quartiles"] is None
    assert class_statistics.distribution([0.7])["quartiles"] == [0.7] * 3
    assert class_statistics.distribution([0.29, 0.3, 0.6000000001])["bins"] == [0, 0, 1, 1, 0, 0, 1, 0, 0, 0]


def test_marks_leave_out_what_is_ungraded_and_count_it():
    report = class_report()
    assert class_statistics.judged_marks(report["submissions"])["count"] == 3
    (row,) = class_statistics.task_rows(report)
    assert (row["task"], row["count"], row["ungraded"], row["full"], row["zero"], row["carried"]) == ("1.1", 3, 1, 1, 1, 1)


def test_pass_rates_leave_out_what_was_not_judged():
    rates = {row["name"]: (row["passed"], row["judged"]) for row in class_statistics.check_rows(class_report())}
    assert rates == {"a": (2, 3), "b": (1, 3)}


def test_discrimination_is_the_correlation_with_all_other_points_but_the_bonus():
    report = made_up_report(60, seed=3)
    row = next(row for row in class_statistics.check_rows(report) if row["name"] == "value_by_hand")
    passed, rest = [], []
    for student in report["submissions"]:
        judged = [check | {"task": task} for task, o in student["tasks"].items() if not o.get("bonus") for check in o["checks"]]
        own = [check for check in judged if (check["task"], check["name"]) == (row["task"], row["name"])]
        others = [check for check in judged if check not in own]
        if own:
            passed.append(own[0]["passed"])
            rest.append(sum(c["points"] * c["passed"] for c in others) / sum(c["points"] for c in others))
    assert row["discrimination"] == pytest.approx(np.corrcoef(passed, rest)[0, 1], abs=1e-9)


@pytest.mark.parametrize(
    "rests", [[(True, 0.1), (False, 0.9)], [(True, i / 20) for i in range(20)], [(i % 2 == 0, 0.5) for i in range(20)]]
)
def test_discrimination_is_blank_for_few_and_where_nothing_varies(rests):
    assert class_statistics.discrimination(rests) is None


def test_a_check_that_the_better_fail_and_one_that_nobody_passes_are_pointed_out(tmp_path):
    def student(number):
        fine = [check(name, number > limit) for name, limit in (("fine", 4), ("other", 5), ("more", 3))]
        checks = [*fine, check("turned", number <= 4), check("never", False)]
        return result(f"s{number}", {"1.1": outcome(2.0, checks)})

    report = {"isolation": "none", "submissions": [student(number) for number in range(12)]}
    why = {row["name"]: class_page.oddity(row) for row in class_statistics.check_rows(report)}
    assert why["fine"] == why["other"] == "" and "nobody" in why["never"] and "fewer marks elsewhere" in why["turned"]
    assert "rule of turned" in text_below(page_of(report, tmp_path), "checks").split("Passed least")[0]


def test_misconceptions_are_counted_once_a_student():
    found = {"task": "1.1", "name": "swapped", "title": "pooled comes first", "hint": "look"}
    tasks = {"1.1": {**outcome(0.0, []), "diagnoses": [found, found]}}
    report = {"isolation": "none", "submissions": [result("ada", tasks), result("bob", tasks), result("eve", {"1.1": outcome(4.0, [])})]}
    (row,) = class_statistics.misconceptions(report)
    assert row == {"task": "1.1", "name": "swapped", "title": "pooled comes first", "students": ["ada", "bob"]}


def test_time_is_of_those_who_were_judged():
    students = [{**result(name, {}), "seconds": seconds} for name, seconds in [("a", 2.0), ("b", 4.0), ("c", 9.0), ("d", 0.0)]]
    assert class_statistics.grading_time(students) == {"total": 15.0, "median": 4.0, "longest": 9.0, "slowest": "c"}


# ---- the page ----


def test_it_holds_everything_and_nothing_active(tmp_path):
    page = page_of(class_report(), tmp_path)
    assert "\x1b" not in page and "http" not in page.replace("http-equiv", "")
    assert "&lt;script&gt;alert(1)" in page
    assert "full: everything" in page and "SECRET" in page  # the instructor sees what hidden checks said
    order = [
        page.index(text)
        for text in ("Look at these first", "not JSON", 'id="spread"', 'id="checks"', 'id="time"', 'id="marks"', 'id="failed"')
    ]
    assert order == sorted(order)
    assert "1 of 3" in page  # check b: judged three times, dan's was not


def test_no_script_but_its_own_may_run(tmp_path):
    soup = BeautifulSoup(page_of(class_report(), tmp_path), "html.parser")
    (script,) = soup.find_all("script")
    policy = soup.find("meta", {"http-equiv": "Content-Security-Policy"})["content"]
    digest = base64.b64encode(hashlib.sha256(script.string.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert not re.search(r"\son\w+=", str(soup.body).split("<script")[0])


NAMES = st.text(max_size=30) | st.sampled_from(
    ["<img src=x onerror=alert(1)>", "'\"><script>x</script>", "=cmd()", "{{ 7*7 }}", "Zoë, “Z”", "🐈"]
)


@settings(max_examples=25, deadline=None)
@given(name=NAMES, note=NAMES, rule=NAMES, message=NAMES, title=NAMES)
def test_whatever_a_student_writes_stays_text(tmp_path_factory, name, note, rule, message, title):
    folder = tmp_path_factory.mktemp("page")
    failed = {**check("a", False, message=message), "rule": rule}
    tasks = {"1.1": {**outcome(0.0, [failed]), "diagnoses": [{"task": "1.1", "name": "n", "title": title}]}}
    students = [result(name, tasks, [note]), result("ada", {"1.1": outcome(4.0, [check("a", True)])})]
    similar = {
        "threshold": 0.8,
        "compared": 2,
        "left_out": [name],
        "groups": [
            {
                "students": [name, "ada"],
                "similarity": 0.9,
                "identical": [],
                "pairs": [
                    {
                        "students": [name, "ada"],
                        "shares": [0.9, 0.8],
                        "places": [{"task": "1.1", "name": name, "share": 1.0, "where": [name, note]}],
                    }
                ],
            }
        ],
    }
    plain = page_of(
        {"isolation": "none", "submissions": [result("x", tasks, ["y"]), students[1]]}, folder, similar={**similar, "left_out": ["x"]}
    )
    page = page_of({"isolation": "none", "passed_over": [note], "submissions": students}, folder, similar=similar)
    tags, expected = (
        [tag.name for tag in BeautifulSoup(text, "html.parser").find_all(["script", "img", "iframe", "a", "style"])]
        for text in (page, plain)
    )
    assert tags.count("script") == 1 and tags.count("img") == tags.count("iframe") == 0 and tags.count("style") == expected.count("style")


def test_many_who_need_a_person_are_grouped_by_what_is_the_matter(tmp_path):
    notes = [f"cell {n} of 01_unet.ipynb, line {n}: SyntaxError: invalid syntax; this cell was passed over" for n in range(30)]
    students = [result(f"s{n:02}", {"1.1": outcome(4.0, [])}, [note]) for n, note in enumerate(notes)]
    students += [result(f"u{n}", {"1.1": outcome(None, [])}, [f"u{n}.ipynb: the file is empty; hand it in again"]) for n in range(2)]
    found = class_page.attention(students)
    assert [(kind["status"], len(kind["who"])) for kind in found["kinds"]] == [("ungraded", 2), ("graded", 30)]
    text = text_below(page_of({"isolation": "none", "submissions": students}, tmp_path), "attention")
    assert text.index("ungraded") < text.index("SyntaxError") and "s29" in text  # nobody is left out
    assert not class_page.attention(students[:3])["kinds"]


def test_it_groups_tasks_by_part_and_says_what_is_open(tmp_path):
    page = page_of(by_hand(), tmp_path)
    table = page[page.index('id="marks"') : page.index('id="failed"')]
    assert table.index("Part 1") < table.index("Part 2") < table.index("By hand") < table.index("Total")
    assert table.count("to mark</td>") == 1 and "10 open" in table and "4 open" in table and "no answer" in table
    assert ">6</td>" in table and '3<span class="soft">+?</span>' in table  # sums of parts 1 and 2
    assert "<b>17.5</b>" in table and "<b>1</b>answer to mark by hand" in page


def test_feedback_is_linked_where_it_is(tmp_path):
    odd = "zoë #1"
    folder = tmp_path / "feedback" / odd / assignment()
    folder.mkdir(parents=True)
    name = sorted(notebooks())[0]
    (folder / f"{name}.html").write_text("<p>")
    students = [result(odd, {"1.1": outcome(4.0, [])}), result("bob", {"1.1": outcome(4.0, [])})]
    soup = BeautifulSoup(page_of({"isolation": "none", "submissions": students}, tmp_path), "html.parser")
    links = [link["href"] for link in soup.find_all("a") if not link["href"].startswith("#")]
    assert links == [f"feedback/zo%C3%AB%20%231/{assignment()}/{name}.html"]


def test_the_foot_names_what_the_marks_rest_on_and_where_it_differs(tmp_path):
    report = made_up_report(4)
    report["submissions"][0]["audit"]["kit"] = "beef" * 16
    foot = BeautifulSoup(page_of(report, tmp_path), "html.parser").footer.text
    assert (
        "torch 2.15.0" in foot and "seed: 0" in foot and "beefbeefbeefbeef (1 hand-ins)" in foot and "5f0c5f0c5f0c5f0c (3 hand-ins)" in foot
    )


def test_a_comparison_that_failed_is_said(tmp_path):
    assert "Not compared: OSError: disk" in page_of(class_report(), tmp_path, similar={"problem": "OSError: disk", "groups": []})


def test_an_empty_class_gives_a_page_too(tmp_path):
    assert "No hand-in is fully graded" in page_of({"isolation": "none", "submissions": []}, tmp_path)


def test_a_large_class_takes_little_room_for_each_student(tmp_path):
    page = page_of(made_up_report(300), tmp_path)
    assert len(page.encode()) < 300 * 2_500 and page.count("student_0299") >= 2  # 2,000 fit into 5 MB


def test_it_asks_whether_the_machine_was_busy_when_many_ran_out_of_time(tmp_path):
    def students(late):
        tasks = [{"1.1": {**outcome(0.0, []), "late": number < late}} for number in range(20)]
        return {"isolation": "none", "submissions": [result(f"s{number:02}", task) for number, task in enumerate(tasks)]}

    one, many = (text_below(page_of(students(late), tmp_path), "attention") for late in (1, 5))
    assert "1 hand-in ran out of time: s00 (1.1)" in one and "busy" not in one
    assert "5 hand-ins ran out of time" in many and "s04 (1.1)" in many and "busy" in many
    assert "ran out of time" not in page_of(students(0), tmp_path)
