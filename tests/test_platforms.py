"""Marks for Canvas and Moodle: in the right row of the platform's own file, never a 0 for what is ungraded, nobody dropped."""

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grader import cli, platforms
from grader.rubric import assignment
from grader.submissions import find_submissions
from tests.made_up_class import outcome, result

LAB = assignment()


def student(name, score, lms_id="", manual=None):
    made = {**result(name, {"1.1": outcome(score, [], maximum=20.0)}), "lms_id": lms_id}
    return made if manual is None else {**made, "manual": {"report": manual}}


def report(*students):
    return {"isolation": "none", "submissions": list(students)}


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


CANVAS = f"""Student,ID,SIS User ID,SIS Login ID,Section,Notes,Essay (77),{LAB.upper()} (78),Current Score,Final Score
,,,,,,,Manual Posting,,
    Points Possible,,,,,,100,20,(read only),(read only)
"Lovelace, Ada",501,u1,alovelace,A,,90,,90,90
"Hopper, Grace",502,u2,ghopper,A,"a, b",80,0,80,80
"Noether, Emmy",503,u3,enoether,B,,70,11,70,70
"Turing, Alan",504,u4,aturing,B,,60,0,60,60
"Student, Test",999,,test,A,,,,,
"""


@pytest.fixture
def canvas_file(tmp_path):
    path = tmp_path / "export.csv"
    path.write_text(CANVAS, encoding="utf-8")
    return path


def test_what_a_person_put_in_the_place_of_the_judges_marks_counts():
    mark = platforms.mark_of
    assert mark({**student("ann", 12.0), "corrected": {"1.1": {"score": 15.5}}}) == (15.5, "graded")
    assert mark({**student("ann", None), "corrected": {"1.1": {"score": 15.5}}}) == (15.5, "graded"), "the judge could not, a person did"
    assert mark({**student("ann", 12.0), "corrected": {"1.1": {"score": None}}}) == (None, "ungraded"), "to be looked at again"
    assert mark({**student("ann", 12.0), "late_penalty": 2.5}) == (9.5, "graded")
    assert mark({**student("ann", 12.0), "late_penalty": 40.0}) == (0.0, "graded")
    open_report = {"status": "to mark", "score": None, "max_score": 10.0}
    assert mark({**student("ann", None, manual=open_report), "corrected": {"1.1": {"score": 3.0}}}) == (None, "10 points to mark by hand")


def test_canvas_gets_marks_by_number_login_and_name(canvas_file):
    merged = platforms.canvas(report(student("x", 17.5, "501"), student("ghopper", 12.0), student("emmynoether", 8.0)), canvas_file)
    rows = {row["Student"]: row for row in table(merged.text)}
    column = f"{LAB.upper()} (78)"
    assert [rows[name][column] for name in ("Lovelace, Ada", "Hopper, Grace", "Noether, Emmy")] == ["17.5", "12", "8"]
    assert rows["Turing, Alan"][column] == "0" and merged.nothing_handed_in == ["Turing, Alan"]  # Canvas's own, not ours to change
    assert merged.marked == ["x", "ghopper", "emmynoether"] and not merged.not_in_file


def test_canvas_keeps_every_other_cell(canvas_file):
    merged = platforms.canvas(report(student("ghopper", 12.0)), canvas_file)
    before, after = (list(csv.reader(io.StringIO(text))) for text in (CANVAS, merged.text))
    after = [row[:-1] for row in after]
    before[4][7] = "12"
    assert after == before


def test_an_ungraded_or_unfinished_hand_in_is_empty_with_its_status_and_never_0(canvas_file):
    open_answer = {"status": "to mark", "score": None, "max_score": 15.0}
    students = [
        student("alovelace", None),
        student("ghopper", None),
        student("enoether", None),
        student("aturing", 3.0, manual=open_answer),
    ]
    merged = platforms.canvas(report(*students), canvas_file, scale=True)
    rows = {row["SIS Login ID"]: row for row in table(merged.text)}
    marks = [rows[login][f"{LAB.upper()} (78)"] for login in ("alovelace", "ghopper", "enoether", "aturing")]
    assert marks == ["", "", "11", ""] and merged.kept == ["enoether: 11"] and not merged.marked  # 11 was given by somebody
    status = [rows[login][f"{LAB} Final Grade status"] for login in ("alovelace", "aturing", "test", "")]
    assert status == ["ungraded", "15 points to mark by hand", "", "(read only)"]
    assert list(merged.unfinished) == ["alovelace", "ghopper", "enoether", "aturing"]


def test_canvas_makes_no_assignment_of_the_status():
    assert platforms.CANVAS_OWN.match(platforms.CANVAS_STATUS.format(LAB)) and not platforms.CANVAS_OWN.match("Essay (77)")


def test_nobody_is_dropped_and_no_one_gets_another_s_mark(canvas_file):
    students = [
        student("aturing", 9.0),
        student("turing", 5.0),
        student("stranger", 7.0),
        student("y", 2.0, "502"),
        student("ghopper", 3.0),
    ]
    merged = platforms.canvas(report(*students), canvas_file)
    assert [name.split(" (")[0] for name in merged.not_in_file] == ["ghopper", "stranger", "turing"]  # y has Hopper's number
    assert "stranger" in "\n".join(merged.said()) and "Lovelace, Ada" in "\n".join(merged.said())


def test_two_students_of_one_name_are_left_to_a_person(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text(
        f'Student,ID,SIS Login ID,Section,{LAB}\n  Points Possible,,,,20\n"Li, Wei",1,wli1,A,\n"Li, Wei",2,wli2,A,\n', encoding="utf-8"
    )
    merged = platforms.canvas(report(student("liwei", 9.0)), path)
    assert not merged.marked and len(merged.not_in_file) == 1 and merged.nothing_handed_in == ["Li, Wei"] * 2
    assert platforms.canvas(report(student("liwei", 9.0, "2")), path).marked == ["liwei"]


def test_other_points_are_refused_unless_they_are_to_be_converted(canvas_file):
    canvas_file.write_text(CANVAS.replace(",100,20,", ",100,10,"), encoding="utf-8")
    with pytest.raises(platforms.Unusable, match="worth 10 points there and 20 here.*--scale"):
        platforms.canvas(report(student("ghopper", 12.0)), canvas_file)
    merged = platforms.canvas(report(student("ghopper", 12.0)), canvas_file, scale=True)
    assert table(merged.text)[3][f"{LAB.upper()} (78)"] == "6"


def test_the_column_must_be_clear(canvas_file):
    with pytest.raises(platforms.Unusable, match=r"0 columns called quiz.*Essay \(77\)"):
        platforms.canvas(report(), canvas_file, column="quiz")
    merged = platforms.canvas(report(student("ghopper", 20.0)), canvas_file, column="essay", scale=True)
    assert table(merged.text)[3]["Essay (77)"] == "100"
    canvas_file.write_text(CANVAS.replace(f",{LAB.upper()} (78)", ",Quiz (78)").replace("Essay (77)", "Current Grade"), encoding="utf-8")
    with pytest.raises(platforms.Unusable, match="say --column"):  # the only one there is another assignment's
        platforms.canvas(report(student("ghopper", 20.0)), canvas_file)


@pytest.mark.parametrize(
    "content, cause", [("", "no gradebook"), ("a,b\n1,2\n", "no gradebook"), ("Student,ID,Section,x\na,1,A,2,3,4\n", "more cells"),
                       ("Student,ID,Section,x\na,1,A," + "y" * 200_000, "no table")]
)
def test_a_file_that_is_none_is_said(tmp_path, content, cause):
    path = tmp_path / "e.csv"
    path.write_text(content)
    with pytest.raises(platforms.Unusable, match=f"e.csv.*{cause}"):
        platforms.canvas(report(), path)


def test_a_file_in_another_encoding_is_said(tmp_path):
    path = tmp_path / "e.csv"
    path.write_bytes("Student,ID,Section\nZoë,1,A\n".encode("utf-16"))
    with pytest.raises(platforms.Unusable, match="not UTF-8"):
        platforms.canvas(report(), path)


def test_semicolons_and_the_mark_of_excel_stay(canvas_file):
    rows = list(csv.reader(io.StringIO(CANVAS)))
    file = io.StringIO()
    csv.writer(file, delimiter=";").writerows(rows)
    canvas_file.write_text("\ufeff" + file.getvalue(), encoding="utf-8")
    text = platforms.canvas(report(student("ghopper", 12.0)), canvas_file).text
    assert text.startswith("\ufeffStudent;ID") and ";12;80;80;graded" in text


MOODLE = """Identifier,"Full name","Email address",Status,Grade,"Maximum Grade","Grade can be changed","Last modified (submission)","Last modified (grade)","Feedback comments"
"Participant 4711","Ada Lovelace",ada@uni.example,"Submitted for grading - ",,20.00,Yes,"Monday, 2 November 2026, 10:00 AM",-,
"Participant 4712","Grace Hopper",grace@uni.example,"Submitted for grading - ",5.00,20.00,Yes,-,-,"well, done"
"Participant 4713","Zoë Noether",zoe@uni.example,"No submission - ",,20.00,Yes,-,-,
"""


def test_moodle_gets_marks_by_participant_email_and_name(tmp_path):
    path = tmp_path / "worksheet.csv"
    path.write_text("\ufeff" + MOODLE, encoding="utf-8")
    merged = platforms.moodle(report(student("whoever", 17.0, "4711"), student("grace", None), student("zoe_noether", 3.25)), path)
    rows = table(merged.text.removeprefix("\ufeff"))
    assert [row["Grade"] for row in rows] == ["17", "5.00", "3.25"] and merged.kept == ["grace: 5.00"]
    assert rows[1]["Feedback comments"] == "well, done" and rows[0]["Last modified (submission)"].startswith("Monday")
    assert [row[f"{LAB} status"] for row in rows] == ["graded", "ungraded", "graded"]


def test_a_worksheet_in_another_language_is_said(tmp_path):
    path = tmp_path / "w.csv"
    path.write_text(MOODLE.replace("Grade,", "Bewertung,", 1).replace("(grade)", "(Bewertung)"), encoding="utf-8")
    with pytest.raises(platforms.Unusable, match="English"):
        platforms.moodle(report(), path)


def test_without_a_file_both_get_one_of_our_own():
    students = report(student("ada", 17.0, "4711"), student("=cmd()", None))
    (points, formula, ada) = table(platforms.canvas(students).text)
    assert points["Student"] == "    Points Possible" and points[LAB] == "20"
    assert (ada["Student"], ada["ID"], ada[LAB]) == ("ada", "4711", "17") and (formula["Student"], formula[LAB]) == ("'=cmd()", "")
    formula, ada = table(platforms.moodle(students).text)
    assert ada["Identifier"] == "Participant 4711" and ada["Grade"] == "17" and set(platforms.MOODLE_NEEDS) <= set(ada)
    assert formula["Grade"] == "" and formula[f"{LAB} status"] == "ungraded"


NAMES = st.text(min_size=1, max_size=12, alphabet=st.characters(codec="utf-8", exclude_characters="\0")) | st.sampled_from(
    ["=1+1", "a,b", 'x"y', "🐈", "O'Neil; Jr"]
)


@settings(max_examples=80, deadline=None)
@given(
    names=st.lists(NAMES, min_size=1, max_size=6, unique=True),
    scores=st.lists(st.none() | st.integers(0, 20), min_size=6, max_size=6),
    strangers=st.lists(NAMES, max_size=3),
)
def test_whatever_the_names_marks_go_to_their_own_row_or_are_named(tmp_path_factory, names, scores, strangers):
    path = tmp_path_factory.mktemp("m") / "w.csv"
    rows = [
        [f"Participant {n}", name, f"{n}@x", "", "", "20", "Yes", "-", "-", ""] for n, name in enumerate([*names, *strangers], start=1000)
    ]
    file = io.StringIO(newline="")
    csv.writer(file).writerows([next(csv.reader([MOODLE.splitlines()[0]])), *rows])
    path.write_text(file.getvalue(), encoding="utf-8", newline="")
    students = [
        student(f"s{n}", None if score is None else float(score), str(n)) for n, (_, score) in enumerate(zip(names, scores), start=1000)
    ]
    merged = platforms.moodle(report(*students), path)
    after = list(csv.reader(io.StringIO(merged.text, newline="")))[1:]
    assert [row[:4] + row[5:-1] for row in after] == [row[:4] + row[5:] for row in rows]
    assert [row[4] for row in after] == ["" if s is None else str(s) for s in scores[: len(names)]] + [""] * len(strangers)
    assert len(merged.nothing_handed_in) == len(strangers) and not merged.not_in_file


# ---- whose number a hand-in has ----


@pytest.mark.parametrize(
    "files, expected",
    [
        (
            ["Ada Byron_11_assignsubmission_file/01_unet.ipynb", "Ada Byron_12_assignsubmission_file/01_unet.ipynb"],
            {"Ada_Byron": "11", "Ada_Byron_12": "12"},
        ),
        (
            ["Participant_21_assignsubmission_file_/01_unet.ipynb", "Participant_22_assignsubmission_file_/a.py"],
            {"Participant_21": "21", "Participant_22": "22"},
        ),
        (
            ["liwei_501_9001_01_unet.ipynb", "liwei_501_9002_02_skip_connections.ipynb", "liwei_LATE_502_9003_01_unet.ipynb"],
            {"liwei": "501", "liwei_502": "502"},
        ),
        (["ada_01_unet.ipynb", "bob_01_unet.ipynb"], {"ada": "", "bob": ""}),
    ],
)
def test_students_of_one_name_are_kept_apart_by_the_platform_s_number(tmp_path, files, expected):
    for name in files:
        path = tmp_path / "handins" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("def f(): pass\n" if name.endswith(".py") else '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}')
    assert {submission.student: submission.lms_id for submission in find_submissions([tmp_path / "handins"])} == expected


# ---- the command ----


def test_the_command_writes_beside_the_report_and_never_over_the_export(tmp_path, capsys, canvas_file):
    assert cli.main(["export", str(tmp_path), "--canvas"]) == 2 and "unetlab class" in capsys.readouterr().err
    (tmp_path / "report.json").write_text(json.dumps(report(student("ghopper", 12.0))))
    assert cli.main(["export", str(tmp_path)]) == 2 and "--canvas or --moodle" in capsys.readouterr().err
    assert cli.main(["export", str(tmp_path), "--canvas", str(canvas_file), "--moodle"]) == 0
    assert "1 marks written" in capsys.readouterr().out
    assert table((tmp_path / "canvas.csv").read_text())[3][f"{LAB.upper()} (78)"] == "12" and (tmp_path / "moodle.csv").exists()
    canvas_file.rename(tmp_path / "canvas.csv")
    assert cli.main(["export", str(tmp_path), "--canvas", str(tmp_path / "canvas.csv")]) == 2
    assert (tmp_path / "canvas.csv").read_text() == CANVAS
