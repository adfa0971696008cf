"""Finds hand-ins whose own code is nearly the same, whatever the names, the comments and the order of the functions.

Compared is what students wrote: their classes and functions, without what the course handed out and without what many
in the class wrote alike. copydetect reads the code as MOSS does (names, strings, comments and spaces out, then the
fingerprint of every stretch of a given length); which fingerprints two hand-ins share is a matter of sets.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import numpy as np

from .definitions import DEFINITIONS, Source
from .handover import submission_in
from .parsing import parse
from .reading import Unreadable
from .rubric import assignment, load_rubric

KIT = Path(__file__).resolve().parents[1]
THRESHOLD = 0.8  # of one's own code; independent right solutions of this lab reach about a half
LENGTH = 25  # signs in a row that must agree, once names, strings, comments and spaces are out
ENOUGH = 300  # signs of own code; with fewer, two people easily write the same
COMMON = 0.5  # what more than this share of the class wrote (and more than ten) tells nothing
TOO_LONG = 200_000  # characters of own code; nobody writes that much by hand
SAMPLE = 20_000  # fingerprints by which the pairs worth comparing are found
CANDIDATE = 0.4  # share of these that a pair must have in common: each small edit costs a pair LENGTH of them
DETAILED = 100  # pairs whose places are reported

BEGINS = re.compile(r"^(?=(?:class|def|async[ \t]+def)[ \t])", re.MULTILINE)
NAME = re.compile(r"(?:class|def|async[ \t]+def)[ \t]+(\w+)")
NOTHING = 0  # in the place of a fingerprint, where no stretch begins


@dataclass(frozen=True)
class Piece:
    """One class or function that a student wrote: its name, the task that asks for it, where it stands, its text."""

    name: str
    task: str
    where: str
    text: str


@dataclass
class Document:
    """The own code of one or more students who wrote exactly the same, and of each piece the fingerprint at each sign."""

    students: list[str]
    pieces: list[Piece]
    prints: list[np.ndarray] = field(default_factory=list)

    @functools.cached_property
    def row(self) -> np.ndarray:
        """The fingerprints of all pieces, one after the other."""
        return np.concatenate([*self.prints, np.array([], dtype=np.int64)])


def similar_in_course(course: Path, students: Iterable[str]) -> dict:
    """Compare what lies in a course's `submitted/`, without what its `release/` holds; see `find_similar`.

    What the course's `report.json` says of the very same code is taken from there. Where comparing fails, the reason is all
    that comes back, as `problem`: the marks do not wait for it.
    """
    course = Path(course)
    try:
        hand_ins = [(student, _sources(course / "submitted" / student / assignment(), student)) for student in students]
        return find_similar(hand_ins, released_code(course), known=_known(course / "report.json"))
    except Exception as fault:
        return {"problem": f"{type(fault).__name__}: {fault}", "groups": []}


def _known(report: Path) -> dict | None:
    try:
        return json.loads(report.read_text(encoding="utf-8"))["similar"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # the first time, or a report that was cut off
        return None


def released_code(course: Path | None = None) -> list[str]:
    """The code that students were given: the course's release, the kit's notebooks and the starter."""
    folders = [KIT / "labs", *([course / "release" / assignment()] if course else [])]
    notebooks = [nbformat.read(path, as_version=4) for folder in folders for path in sorted(folder.glob("*.ipynb"))]
    cells = [cell.source for notebook in notebooks for cell in notebook.cells if cell.cell_type == "code"]
    return [*dict.fromkeys(cells), *(path.read_text(encoding="utf-8") for path in sorted((KIT / "starter").glob("*.py")))]


def _sources(folder: Path, student: str) -> list[Source]:
    try:
        return submission_in(folder, student).sources()
    except Unreadable:  # the judge said so already
        return []


def find_similar(
    hand_ins: Iterable[tuple[str, list[Source]]], released: list[str], threshold: float = THRESHOLD, known: dict | None = None
) -> dict:
    """Return the groups of hand-ins (student, sources) that are nearly the same, the likest first, and how many were compared.

    A group has `students`, the `similarity` of its likest pair, `identical` (groups of students whose code is the same
    to the letter) and `pairs`: two `students`, for each the share of own code that the other has too (`shares`), and
    `places` (task, name, share, where it stands in either). `released` is code that the course handed out; `known` comes
    back where it is the result of just this.
    """
    given = {text for code in released for _, text in _blocks(code)}
    documents = _documents(hand_ins, given)
    digest = _digest(documents, released, threshold)
    if known and known.get("digest") == digest:
        return known
    for document in documents:
        document.prints = [_fingerprints(piece.text) for piece in document.pieces]
    _number(documents, np.concatenate([*map(_fingerprints, released), _common(documents)]))
    compared = [document for document in documents if _signs(document.row != NOTHING) >= ENOUGH]
    pairs = [_pair(compared[a], compared[b]) for a, b in _candidates(compared)]
    alike = sorted((pair for pair in pairs if max(pair["shares"]) >= threshold), key=lambda pair: -max(pair["shares"]))
    for pair in alike[:DETAILED]:
        pair["places"] = list(_places(*pair["documents"]))
    students = {student for document in compared for student in document.students}
    return {
        "threshold": threshold,
        "compared": len(students),
        "left_out": sorted({student for document in documents for student in document.students} - students),
        "groups": _groups(compared, alike),
        "digest": digest,
    }


# ---- what a student wrote ----


def _documents(hand_ins: Iterable[tuple[str, list[Source]]], given: set[str]) -> list[Document]:
    """The hand-ins by what they define; those that are the same to the letter are one document."""
    found: dict[tuple, Document] = {}
    for student, sources in hand_ins:
        pieces = list({piece.text: piece for source in sources for piece in _pieces(source) if piece.text not in given}.values())
        key = tuple(piece.text for piece in pieces)
        short = sum(map(len, key)) <= TOO_LONG
        found.setdefault(key, Document([], pieces if short else [])).students.append(student)
    return list(found.values())


def _pieces(source: Source) -> Iterator[Piece]:
    """The classes and functions of a notebook or module, each with what stands below it."""
    task_of = {name: task.id for task in reversed(load_rubric().values()) for name in task.names}
    for cell in source.cells:
        for line, text in _blocks(cell.source):
            name = NAME.match(text).group(1)
            yield Piece(name, task_of.get(name, ""), f"{cell.label}, line {line}", text)


def _blocks(code: str) -> Iterator[tuple[int, str]]:
    """Each top-level class or function with what stands below it, and the line where it begins; broken Python will do."""
    line = 1
    for text in BEGINS.split(code):
        if NAME.match(text):
            yield line, text.rstrip()
        line += text.count("\n")
    yield from _inner_blocks(code)


def _inner_blocks(code: str) -> Iterator[tuple[int, str]]:
    """The classes and functions that stand inside an if, a with or a try, which changes nothing about them."""
    try:
        waiting = [node for node in parse(code).body if not isinstance(node, DEFINITIONS)]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop(0)):
            if isinstance(node, DEFINITIONS):
                yield node.lineno, ast.unparse(node)
            elif isinstance(node, (ast.stmt, ast.excepthandler)):
                waiting.append(node)


def _digest(documents: list[Document], released: list[str], threshold: float) -> str:
    wrote = [[document.students, [(piece.text, piece.where) for piece in document.pieces]] for document in documents]
    settings = [threshold, LENGTH, ENOUGH, COMMON, CANDIDATE]
    return hashlib.sha256(json.dumps([settings, released, wrote]).encode()).hexdigest()


# ---- fingerprints ----


@functools.lru_cache(maxsize=20_000)  # short functions are the same in many hand-ins, and reading them costs most
def _fingerprints(code: str) -> np.ndarray:
    """For each sign of the code that counts, the fingerprint of the LENGTH signs from there on."""
    from copydetect.utils import filter_code, hashed_kgrams  # brings matplotlib along

    signs, _ = filter_code(code, "", "python")
    prints = np.array(hashed_kgrams(signs, LENGTH), dtype=np.int64)
    return np.pad(prints, (0, LENGTH - 1), constant_values=NOTHING)


def _signs(chosen: np.ndarray) -> int:
    """How many signs of code the chosen fingerprints stretch over."""
    return int(np.count_nonzero(np.convolve(chosen, np.ones(LENGTH, dtype=int)))) if chosen.any() else 0


def _common(documents: list[Document]) -> np.ndarray:
    """Fingerprints that so many of the class have that they are no sign of anything."""
    students = sum(len(document.students) for document in documents)
    each = [np.unique(np.concatenate(document.prints)) for document in documents if document.prints for _ in document.students]
    prints, holders = np.unique(np.concatenate([*each, np.array([], dtype=np.int64)]), return_counts=True)
    return prints[holders > max(10, COMMON * students)]


def _number(documents: list[Document], ignored: np.ndarray) -> None:
    """Put numbers from 1 up in the place of the documents' fingerprints, and NOTHING for those to ignore."""
    every = [prints for document in documents for prints in document.prints]
    known = np.setdiff1d(np.concatenate([*every, np.array([], dtype=np.int64)]), np.append(ignored, NOTHING))
    for document in documents:
        ends = np.cumsum([len(prints) for prints in document.prints])
        row = np.concatenate([*document.prints, np.array([], dtype=np.int64)])
        document.prints = np.split(_numbered(row, known), ends[:-1]) if document.prints else []


def _numbered(prints: np.ndarray, known: np.ndarray) -> np.ndarray:
    places = np.searchsorted(known, prints)
    found = places < len(known)
    found[found] = known[places[found]] == prints[found]
    return np.where(found, places + 1, NOTHING)


def _candidates(documents: list[Document]) -> Iterator[tuple[int, int]]:
    """The pairs that share enough of a sample of all fingerprints to be worth comparing."""
    own = [np.setdiff1d(document.row, [NOTHING]) for document in documents]
    if len(own) < 2:
        return
    numbers, holders = np.unique(np.concatenate(own), return_counts=True)
    shared = numbers[holders > 1]
    sample = shared[:: len(shared) // SAMPLE + 1]  # numbers follow hashes: their order has nothing to do with the code
    has = np.stack([np.isin(sample, numbers, assume_unique=True) for numbers in own]).astype(np.float32)
    expected = np.array([len(numbers) for numbers in own]) * (len(sample) / max(1, len(shared)))
    share = has @ has.T / np.maximum(expected, 1)[:, None]
    yield from zip(*map(np.ndarray.tolist, np.where(np.triu(np.maximum(share, share.T) >= CANDIDATE, 1))))


# ---- pairs and groups ----


def _pair(a: Document, b: Document) -> dict:
    """Two documents and the share of each one's own code that the other has too."""
    shares = [_share(a.row, b.row), _share(b.row, a.row)]
    return {"students": [a.students[0], b.students[0]], "shares": shares, "documents": (a, b), "places": []}


def _share(numbers: np.ndarray, others: np.ndarray) -> float:
    own = numbers != NOTHING
    there = np.zeros(max(numbers.max(initial=0), others.max(initial=0)) + 1, dtype=bool)
    there[others] = True
    return round(_signs(own & there[numbers]) / max(1, _signs(own)), 3)


def _places(a: Document, b: Document) -> Iterator[dict]:
    """For each piece of the first its likest piece in the second, where at least half of it is the same."""
    sets = [set(numbers.tolist()) - {NOTHING} for numbers in b.prints]
    for piece, numbers in zip(a.pieces, a.prints):
        own = set(numbers.tolist()) - {NOTHING}
        best = max(range(len(sets)), key=lambda index: len(own & sets[index]))
        share = _share(numbers, b.prints[best])
        if share >= 0.5:
            yield {"task": piece.task, "name": piece.name, "share": share, "where": [piece.where, b.pieces[best].where]}


def _groups(documents: list[Document], alike: list[dict]) -> list[dict]:
    """Documents that hang together by pairs, and those of several students; identical ones first, then by similarity."""
    group = {id(document): [document] for document in documents}
    for pair in alike:
        one, other = (group[id(document)] for document in pair["documents"])
        if one is not other:
            one += other
            group.update((id(document), one) for document in other)
    pairs_of = defaultdict(list)
    for pair in alike:
        members = pair.pop("documents")
        pairs_of[id(group[id(members[0])])].append(pair)
    unique = {id(members): members for members in group.values()}
    found = [_group(members, pairs_of[key]) for key, members in unique.items()]
    found = [entry for entry in found if len(entry["students"]) > 1]
    return sorted(found, key=lambda entry: (not entry["identical"], -entry["similarity"], entry["students"]))


def _group(documents: list[Document], pairs: list[dict]) -> dict:
    identical = [sorted(document.students) for document in documents if len(document.students) > 1]
    return {
        "students": sorted(name for document in documents for name in document.students),
        "similarity": 1.0 if identical else max((max(pair["shares"]) for pair in pairs), default=0.0),
        "identical": identical,
        "pairs": pairs,
    }
