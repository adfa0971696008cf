"""Marks for Canvas and Moodle: merged into the file that the platform exported, or as a file of our own where there is none.

Students are found by the platform's number, else by login, e-mail or student number, else by name; only where exactly one
fits. Whoever is not found, on either side, is named. A mark goes out once nothing of it is open; until then the cell is empty.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .cards import number
from .class_statistics import task_marks, total
from .durable import whole
from .exports import by_student, cell
from .rubric import assignment

# Canvas makes an assignment of every column that it does not know, but for those whose head holds these words.
CANVAS_STATUS = "{} Final Grade status"
CANVAS_OWN = re.compile(
    r"(Student|LastName|FirstName|ID|SIS User ID|SIS Login ID|Integration ID|Root Account|Section|Notes)$"
    r"|.*(Current|Final) (Score|Points|Grade)|.*Override (Score|Grade|Status)"
)
MOODLE_STATUS = "{} status"
MOODLE_NEEDS = ("Identifier", "Grade", "Last modified (grade)")  # without one of these, Moodle refuses the worksheet


class Unusable(ValueError):
    """A file that a platform exported and that cannot be used: what is wrong and how to mend it."""


@dataclass
class Merged:
    """What came of it: the text of the file, and who is where."""

    text: str = ""
    marked: list[str] = field(default_factory=list)
    unfinished: dict[str, str] = field(default_factory=dict)  # student → why there is no mark
    capped: list[str] = field(default_factory=list)  # students whose bonus goes beyond what the platform takes
    kept: list[str] = field(default_factory=list)  # students without a mark of ours for whom the file had one
    not_in_file: list[str] = field(default_factory=list)
    nothing_handed_in: list[str] = field(default_factory=list)

    def said(self) -> list[str]:
        """The same as lines for the terminal."""
        lines = [f"{len(self.marked)} marks written"]
        lines += [f"left empty: {student}: {why}" for student, why in self.unfinished.items()]
        lines += [f"cut to the maximum, since Moodle takes no more: {student}" for student in self.capped]
        lines += [f"kept as it stood in the file, since there is no mark yet: {student}" for student in self.kept]
        lines += [f"handed in, but not found in the file (enter it by hand): {student}" for student in self.not_in_file]
        return lines + [f"in the file, but nothing handed in (left as it was): {name}" for name in self.nothing_handed_in]


def read_report(course: Path) -> dict:
    """The report of the course's last grading; ValueError where there is none."""
    path = Path(course) / "report.json"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(report, dict) or not isinstance(report.get("submissions"), list):
            raise ValueError("no report of a class")
        return report
    except FileNotFoundError:
        raise ValueError(f"{path}: not there; grade the course first, with `unetlab class`") from None
    except ValueError as error:
        raise ValueError(f"{path}: cannot be read ({error}); grade the course again, with `unetlab class`") from None


def write(merged: Merged, path: Path, exported: Path | None = None) -> list[str]:
    """Write the file and return what is to be said of it; ValueError rather than write over what the platform exported."""
    if exported is not None and exported.resolve() == path.resolve():
        raise ValueError(f"{exported}: would be written over; put the exported file elsewhere")
    with whole(path) as part:
        part.write_text(merged.text, encoding="utf-8", newline="", errors="replace")
    return [f"{path}: {line}" if place == 0 else f"  {line}" for place, line in enumerate(merged.said())]


def mark_of(result: dict) -> tuple[float | None, str]:
    """A student's mark, bonus and all, and its status; no mark as long as any of it is open."""
    sums = total(result)
    unjudged = any(mark["score"] is None for mark in task_marks(result).values())
    if sums["score"] is None or unjudged and result["status"] != "graded":
        return None, result["status"] if result["status"] != "graded" else "ungraded"
    if sums["open"]:
        return None, f"{number(sums['open'])} points to mark by hand"
    return sums["sum"], "graded"


# ---- Canvas ----


def canvas(report: dict, exported: Path | None = None, column: str | None = None, scale: bool = False) -> Merged:
    """The marks as Canvas imports them; `exported` is the gradebook as Canvas exported it, `column` its column for the marks.

    Raises Unusable for a file that is none, a column that is not clear, and other points than ours without `scale`.
    """
    if exported is None:
        return _own_canvas(report)
    table = _Table.read(exported)
    names = [name for name in ("Student", "LastName") if name in table.header]
    if not names or "ID" not in table.header or "Section" not in table.header:
        raise Unusable(f"{exported}: no gradebook of Canvas (it has no columns Student, ID, Section); export it from Grades")
    place = _canvas_column(table, column)
    rows = [row for row in table.rows if not _is_no_student(row)]
    points = next((row[place] for row in table.rows if "Points Possible" in row[0]), "")
    factor = _factor(exported, points, _points(report), scale)
    merged = _fill(report, table, rows, lambda row: _canvas_keys(table, row), place, factor, CANVAS_STATUS)
    for row in table.rows:
        if "Points Possible" in row[0]:
            row[-1] = "(read only)"
    merged.text = table.written()
    return merged


def _is_no_student(row: list[str]) -> bool:
    """Whether this is the row of points or of posting policies, or Canvas's test student."""
    return not row[1].strip() and not row[0].strip() or "Points Possible" in row[0] or row[0] in ("Student, Test", "Test Student")


def _canvas_column(table: _Table, column: str | None) -> int:
    columns = [name for name in table.header if name and not CANVAS_OWN.match(name)]
    title = {name: re.sub(r"\s*\(\d+\)$", "", name) for name in columns}
    wanted = (column or assignment()).casefold().replace(" ", "")
    found = [name for name in columns if wanted in (name.casefold().replace(" ", ""), title[name].casefold().replace(" ", ""))]
    if len(found) != 1:
        cause = f"{len(found)} columns called {column or assignment()}"
        raise Unusable(f"{table.path}: {cause}; say --column with one of: {', '.join(columns) or 'none, make the assignment first'}")
    return table.header.index(found[0])


def _canvas_keys(table: _Table, row: list[str]) -> Iterator[set[str]]:
    yield {table.of(row, "ID")}
    yield {table.of(row, "SIS Login ID"), table.of(row, "SIS Login ID").partition("@")[0], table.of(row, "SIS User ID")}
    yield _names(table.of(row, "Student") or f"{table.of(row, 'LastName')}, {table.of(row, 'FirstName')}")


def _own_canvas(report: dict) -> Merged:
    header = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", assignment(), CANVAS_STATUS.format(assignment())]
    points = ["    Points Possible", "", "", "", "", number(_points(report)), "(read only)"]
    return _own(report, header, [points], lambda r, mark, status: [r["student"], r.get("lms_id"), "", r["student"], "", mark, status])


# ---- Moodle ----


def moodle(report: dict, exported: Path | None = None, scale: bool = False) -> Merged:
    """The marks as Moodle imports them; `exported` is the assignment's grading worksheet.

    Raises Unusable for a file that is none, and for other points than ours without `scale`.
    """
    if exported is None:
        return _own_moodle(report)
    table = _Table.read(exported)
    if lacking := [name for name in MOODLE_NEEDS if name not in table.header]:
        cause = f"no grading worksheet of Moodle (it has no column {', '.join(lacking)})"
        raise Unusable(f"{exported}: {cause}; set Moodle to English and download the worksheet from the assignment's submissions")
    points = next((table.of(row, "Maximum Grade") for row in table.rows), "")
    factor = _factor(exported, points, _points(report), scale)
    column = table.header.index("Grade")
    merged = _fill(report, table, table.rows, lambda row: _moodle_keys(table, row), column, factor, MOODLE_STATUS, most=_points(report))
    merged.text = table.written()
    return merged


def _moodle_keys(table: _Table, row: list[str]) -> Iterator[set[str]]:
    email = table.of(row, "Email address")
    yield {"".join(re.findall(r"\d+$", table.of(row, "Identifier").strip()))}
    yield {email, email.partition("@")[0], table.of(row, "ID number"), table.of(row, "Username")}
    yield _names(table.of(row, "Full name"))


def _own_moodle(report: dict) -> Merged:
    header = ["Identifier", "Full name", "Grade", "Maximum Grade", "Last modified (grade)", MOODLE_STATUS.format(assignment())]

    def row(result: dict, mark: str, status: str) -> list:
        participant = f"Participant {result['lms_id']}" if result.get("lms_id") else ""
        return [participant, result["student"].replace("_", " "), mark, number(_points(report)), "", status]

    return _own(report, header, [], row, most=_points(report))


# ---- both ----


@dataclass
class _Table:
    """A CSV file as a platform wrote it: its signs of separation are kept."""

    path: Path
    header: list[str]
    rows: list[list[str]]
    delimiter: str
    mark: str  # in front of the text: the byte order mark that Excel wants, or nothing

    @classmethod
    def read(cls, path: Path) -> _Table:
        try:
            text = Path(path).read_bytes().decode()  # line ends stay: a name may hold one
        except UnicodeDecodeError:
            raise Unusable(f"{path}: not UTF-8; take the file as the platform exported it, not saved again by a spreadsheet") from None
        mark, text = ("\ufeff", text[1:]) if text.startswith("\ufeff") else ("", text)
        first = text.splitlines()[0] if text.strip() else ""
        delimiter = max(",;\t", key=first.count)
        try:
            header, *rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)) or [[]]
        except csv.Error as error:
            raise Unusable(f"{path}: no table ({error}); export the file again") from None
        rows = [row + [""] * (len(header) - len(row)) for row in rows if any(row)]
        if too_long := next((row for row in rows if len(row) > len(header)), None):
            raise Unusable(f"{path}: the row of {too_long[0]!r} has more cells than the head; export the file again")
        return cls(Path(path), [name.strip() for name in header], rows, delimiter, mark)

    def of(self, row: list[str], name: str) -> str:
        """The cell of a row below this head; empty where there is no such column."""
        return row[self.header.index(name)].strip() if name in self.header else ""

    def written(self) -> str:
        """The table as text."""
        file = io.StringIO(newline="")
        csv.writer(file, delimiter=self.delimiter).writerows([self.header, *self.rows])
        return self.mark + file.getvalue()


def _points(report: dict) -> float:
    return max((total(result)["max_score"] for result in report["submissions"]), default=0)


def _factor(path: Path, theirs: str, ours: float, scale: bool) -> float:
    """What our marks are multiplied by; Unusable where the points differ and nobody said that they may."""
    try:
        points = float(theirs.replace(",", "."))
    except ValueError:  # none given: the platform takes what comes
        return 1.0
    if points == ours or not ours:
        return 1.0
    if not scale:
        raise Unusable(f"{path}: worth {points:g} points there and {ours:g} here; change it there, or say --scale to convert the marks")
    return points / ours


def _names(name: str) -> set[str]:
    """The ways in which a platform or student may have run a name together: first name first, and last name first."""
    parts = [_letters(part) for part in (name.split(",") if "," in name else name.split())]
    return {"".join(parts), "".join(parts[1:] + parts[:1]), "".join(parts[-1:] + parts[:-1])}


def _letters(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFKD", text).casefold() if sign.isalnum())


def _match(report: dict, rows: list[list[str]], keys_of: Callable[[list[str]], Iterable[set[str]]]) -> dict[int, dict]:
    """Row → result, by the first kind of key for which just one result and just one row have it."""
    keys = [[{_letters(key) for key in level} - {""} for level in keys_of(row)] for row in rows]
    found: dict[int, dict] = {}
    waiting = list(report["submissions"])
    for level in range(3):
        mine = [_letters(str(result.get("lms_id") or "") if level == 0 else result["student"]) for result in waiting]
        holders = defaultdict(list)
        for place in range(len(rows)):
            for key in keys[place][level] if place not in found else ():
                holders[key].append(place)
        fits = {i: holders[key] for i, key in enumerate(mine) if mine.count(key) == 1 and len(holders.get(key, ())) == 1}
        taken = [place for (place,) in fits.values()]
        fits = {i: place for i, (place,) in fits.items() if taken.count(place) == 1}
        found.update((place, waiting[i]) for i, place in fits.items())
        waiting = [result for i, result in enumerate(waiting) if i not in fits]
    return found


def _fill(report: dict, table: _Table, rows: list[list[str]], keys_of: Callable, column: int, factor: float, head: str,
          most: float = math.inf) -> Merged:
    """Put marks and a column of statuses into the table; what it says of others stays."""
    merged, matches = Merged(), _match(report, rows, keys_of)
    statuses = {id(row): "nothing handed in" for row in rows}
    name_at = next(table.header.index(name) for name in ("Full name", "Student", "LastName", "Identifier") if name in table.header)
    for place, row in enumerate(rows):
        if place in matches:
            statuses[id(row)] = _enter(matches[place], row, column, factor, merged, most)
        else:
            merged.nothing_handed_in.append(row[name_at])
    found = {id(result) for result in matches.values()}
    merged.not_in_file = [f"{result['student']} ({result['path']})" for result in by_student(report) if id(result) not in found]
    table.header.append(head.format(assignment()))
    for row in table.rows:
        row.append(statuses.get(id(row), ""))
    return merged


def _at_most(most: float, result: dict, merged: Merged) -> tuple[float | None, str]:
    """A student's mark and its status, where the platform refuses more than `most`."""
    mark, status = mark_of(result)
    if mark is None or mark <= most:
        return mark, status
    merged.capped.append(f"{result['student']}: {number(mark)} with bonus, of {number(most)}")
    return most, f"{status}; {number(mark)} with bonus"


def _enter(result: dict, row: list[str], column: int, factor: float, merged: Merged, most: float) -> str:
    """Write one student's mark into the row and return its status; without a mark, a 0 goes and any other mark stays."""
    mark, status = _at_most(most, result, merged)
    if mark is not None:
        row[column] = number(mark * factor)
        merged.marked.append(result["student"])
        return status
    merged.unfinished[result["student"]] = status
    if re.fullmatch(r"\s*(0+([.,]0*)?|-)?\s*", row[column]):
        row[column] = ""
    else:
        merged.kept.append(f"{result['student']}: {row[column]}")
    return status


def _own(report: dict, header: list[str], rows: list[list], row_of: Callable[[dict, str, str], list],
         most: float = math.inf) -> Merged:
    """A file of our own, with a row for everybody who handed in."""
    merged, file = Merged(), io.StringIO(newline="")
    for result in by_student(report):
        mark, status = _at_most(most, result, merged)
        rows.append([cell(value) for value in row_of(result, "" if mark is None else number(mark), status)])
        if mark is None:
            merged.unfinished[result["student"]] = status
        else:
            merged.marked.append(result["student"])
    csv.writer(file).writerows([header, *rows])
    merged.text = file.getvalue()
    return merged
