"""Loads a submission definitions-only: imports, functions, classes and plain assignments, cell by cell.

Training loops, plots and prints at the top level do not run. One statement that fails is noted and
passed over; the others still count. Standard library alone: the sandboxed child uses it too.
"""

from __future__ import annotations

import __future__

import ast
import importlib.abc
import importlib.util
import linecache
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

SKIPPED_CELL_MAGICS = re.compile(r"^%%(?!time\b|timeit\b|capture\b|prun\b)\w+")
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)


@dataclass
class Cell:
    """A piece of a submission's source; `label` is how messages call it, `names` what its task asks it to define."""

    label: str
    source: str
    names: list[str] = field(default_factory=list)


@dataclass
class Source:
    """A notebook or module of a submission: its name without ending, and its cells (a module is one cell)."""

    name: str
    cells: list[Cell]


@dataclass
class Loaded:
    """What a submission defines; `missing` says why a name that it should define is not there."""

    namespace: dict
    notes: list[str]
    missing: dict[str, str]


def load(sources: list[Source], stand_ins: dict | None = None) -> Loaded:
    """Load every source; where several define a name, the last one that is not an untouched stub counts.

    `stand_ins` (name → object) take the place of the submission's own definitions everywhere.
    """
    finder = SubmittedModules(sources, stand_ins or {})
    sys.meta_path.insert(0, finder)
    namespaces = [finder.namespace(source.name) for source in sources]
    merged: dict = {}
    for namespace in namespaces:
        for name, value in namespace.items():
            if not (name in merged and _is_stub_object(value)):
                merged[name] = value
    return Loaded(merged, list(dict.fromkeys(finder.notes)), finder.missing)


class SubmittedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Lets the files of one submission import each other by name, and loads each definitions-only and once."""

    def __init__(self, sources: list[Source], stand_ins: dict):
        self.sources = {source.name: source for source in sources}
        self.stand_ins = stand_ins
        self.notes: list[str] = []
        self.missing: dict[str, str] = {}

    def namespace(self, name: str) -> dict:
        """The names that a source defines."""
        if name not in sys.modules:
            sys.modules[name] = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, self))
            self.exec_module(sys.modules[name])
        return vars(sys.modules[name])

    def find_spec(self, fullname, path=None, target=None):
        """Importlib's hook: the files that were handed in come first."""
        return importlib.util.spec_from_loader(fullname, self) if fullname in self.sources else None

    def exec_module(self, module) -> None:
        """Importlib's hook: run the definitions of this source."""
        source = self.sources[module.__name__]
        loader = _SourceLoader(vars(module), self.stand_ins)
        loader.run(source)
        self.notes += loader.notes
        self.missing.update(loader.missing)


class _SourceLoader:
    def __init__(self, namespace: dict, stand_ins: dict):
        self.namespace = namespace
        self.stand_ins = stand_ins
        self.notes: list[str] = []
        self.missing: dict[str, str] = {}
        self.finished: set[str] = set()  # names defined by something that is no stub
        self.flags = 0

    def run(self, source: Source) -> None:
        cells = [(cell, self._parse(cell)) for cell in source.cells]
        needed = _needed_names([tree for _, tree in cells])
        statements = [
            (cell, kept) for cell, tree in cells for statement in tree.body for kept in _kept(statement, needed)
        ]
        self.namespace.update(self.stand_ins)
        failed = self._run_all(statements)
        while failed and len(rest := self._run_all([entry[:2] for entry in failed])) < len(failed):
            failed = rest  # a cell above used a name that a cell below defines
        for cell, statement, error in failed:
            self._note_failure(cell, statement, error)
        self._find_renamed(source.cells, [tree for _, tree in cells])

    def _parse(self, cell: Cell) -> ast.Module:
        filename = f"<{cell.label}>"
        linecache.cache[filename] = (len(cell.source), None, cell.source.splitlines(True), filename)
        try:
            return ast.parse(cell.source, filename)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            first = error
        try:
            return ast.parse(_without_magics(cell.source), filename)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            line = f", line {first.lineno}" if isinstance(first, SyntaxError) and first.lineno else ""
            reason = f"{cell.label}{line}: {type(first).__name__}: {getattr(first, 'msg', first)}; this cell was passed over"
            self.notes.append(reason)
            defined = re.findall(r"^(?:class|def)\s+(\w+)", cell.source, re.MULTILINE)
            self.missing.update({name: f"{name} is not defined: {reason}" for name in [*cell.names, *defined]})
            return ast.Module(body=[], type_ignores=[])

    def _run_all(self, statements: list) -> list:
        """Run the statements in order; those that failed come back with their errors."""
        failed = []
        for cell, statement in statements:
            if self._would_overwrite_with_stub(statement):
                self.notes.append(f"{cell.label}: the untouched {statement.name} does not replace the finished one")
                continue
            try:
                self._run(cell, statement)
            except BaseException as error:  # SystemExit in a submission is its own affair as well
                failed.append((cell, statement, error))
            self.namespace.update(self.stand_ins)
        return failed

    def _run(self, cell: Cell, statement: ast.stmt) -> None:
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            self.flags |= sum(getattr(__future__, alias.name).compiler_flag for alias in statement.names)
        tree = ast.Module(body=[statement], type_ignores=[])
        exec(compile(tree, f"<{cell.label}>", "exec", flags=self.flags, dont_inherit=True), self.namespace)
        if isinstance(statement, DEFINITIONS) and not _is_stub(statement):
            self.finished.add(statement.name)

    def _would_overwrite_with_stub(self, statement: ast.stmt) -> bool:
        return isinstance(statement, DEFINITIONS) and statement.name in self.finished and _is_stub(statement)

    def _note_failure(self, cell: Cell, statement: ast.stmt, error: BaseException) -> None:
        text = ast.unparse(statement).splitlines()[0][:100]
        reason = f"{cell.label}, line {statement.lineno}: `{text}` failed: {type(error).__name__}: {str(error)[:200]}"
        if isinstance(error, ModuleNotFoundError):
            reason += " (was it handed in?)"
        self.notes.append(reason)
        self.missing.update({name: f"{name} is not defined: {reason}" for name in _bound_names(statement)})

    def _find_renamed(self, cells: list[Cell], trees: list[ast.Module]) -> None:
        """Where a task's cell defines one class under another name, take it for the one that is missing."""
        for cell, tree in zip(cells, trees):
            absent = [name for name in cell.names if name not in self.namespace]
            others = [
                node.name for node in tree.body
                if isinstance(node, ast.ClassDef) and node.name not in cell.names and node.name in self.namespace
            ]
            for name in absent:
                alike = [other for other in others if other.lower().replace("_", "") == name.lower()]
                found = alike or (others if len(absent) == len(others) == 1 else [])
                if len(found) == 1:
                    self.namespace[name] = self.namespace[found[0]]
                    self.notes.append(f"{cell.label}: {name} is not defined; {found[0]} was taken for it")


def _without_magics(source: str) -> str:
    """The source without IPython's %magics and !commands, line numbers kept."""
    if SKIPPED_CELL_MAGICS.match(source):
        return ""
    return re.sub(r"^(\s*)(?:%|!|\?|[\w.]+\?{1,2}\s*$|\w+\s*=\s*[%!]).*$", r"\1pass", source, flags=re.MULTILINE)


def _needed_names(trees: Iterable[ast.Module]) -> set[str]:
    """Names that functions and classes use, directly or through assignments."""
    statements = [statement for tree in trees for statement in ast.walk(tree)]
    needed = {name for node in statements if isinstance(node, DEFINITIONS) for name in _loaded_names(node)}
    assignments = [node for tree in trees for node in tree.body if isinstance(node, ASSIGNMENTS) and node.value]
    while True:
        more = {
            name for node in assignments if _bound_names(node) & needed for name in _loaded_names(node.value)
        } - needed
        if not more:
            return needed
        needed |= more


def _kept(statement: ast.stmt, needed: set[str]) -> list[ast.stmt]:
    """The statement, reduced to its definitions; empty when it only does something."""
    if isinstance(statement, (*DEFINITIONS, ast.Import, ast.ImportFrom)):
        return [statement]
    if isinstance(statement, ASSIGNMENTS):
        calls = any(isinstance(node, (ast.Call, ast.Await)) for node in ast.walk(statement))
        return [statement] if not calls or _bound_names(statement) & needed else []
    if isinstance(statement, ast.If) and not _asks_for_main(statement.test):
        statement.body = _kept_block(statement.body, needed)
        statement.orelse = _kept_block(statement.orelse, needed)
    elif isinstance(statement, ast.Try):
        statement.body = _kept_block(statement.body, needed)
        statement.orelse = _kept_block(statement.orelse, needed)
        statement.finalbody = _kept_block(statement.finalbody, needed)
        for handler in statement.handlers:
            handler.body = _kept_block(handler.body, needed) or [ast.Pass()]
    else:
        return []
    if not statement.body and not statement.orelse:
        return []
    statement.body = statement.body or [ast.Pass()]
    return [ast.fix_missing_locations(statement)]


def _kept_block(block: list[ast.stmt], needed: set[str]) -> list[ast.stmt]:
    return [kept for statement in block for kept in _kept(statement, needed)]


def _asks_for_main(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))


def _loaded_names(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}


def _bound_names(statement: ast.stmt) -> set[str]:
    """Names that a statement binds; for `UNet.forward = f` the class it changes."""
    if isinstance(statement, DEFINITIONS):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return {n.id for target in targets if target for n in ast.walk(target) if isinstance(n, ast.Name)}


def _is_stub(node: ast.AST) -> bool:
    """Whether a definition still holds a TODO's `raise NotImplementedError("Need to implement for Task …")`."""
    raised = [n.exc for n in ast.walk(node) if isinstance(n, ast.Raise) and isinstance(n.exc, ast.Call)]
    return any(
        isinstance(call.func, ast.Name) and call.func.id == "NotImplementedError" and "Task" in ast.dump(call)
        for call in raised
    )


def _is_stub_object(value: object) -> bool:
    functions = vars(value).values() if isinstance(value, type) else [value]
    codes = [function.__code__ for function in functions if hasattr(function, "__code__")]
    return any(
        "NotImplementedError" in code.co_names and any("Task" in str(constant) for constant in code.co_consts)
        for code in codes
    )
