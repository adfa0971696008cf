"""Loads a submission definitions-only: imports, functions, classes and the assignments that these need.

Training loops, plots and prints at the top level do not run. One statement that fails is noted and
passed over; the others still count. Standard library and parsing.py alone: the sandboxed child uses it too.
"""

from __future__ import annotations
import __future__

import ast
import builtins
import dis
import importlib
import io
import linecache
import re
import sys
import textwrap
import types
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .parsing import parse

MINE = "grader.mine"  # from this name a notebook imports what the student wrote in another
PACKAGE = "handin"  # submitted modules live in sys.modules as handin.NAME, so that they shadow nothing
# Files of these names are read, but `import` keeps giving the real thing: a student's torch.py would break torch.
LIBRARIES = "torch torchvision numpy matplotlib PIL tqdm scipy sklearn cv2 pandas IPython ipywidgets pytest google"
RESERVED = sys.stdlib_module_names | {*LIBRARIES.split(), "grader"}
OTHER_LANGUAGE = re.compile(r"\s*(%%(?!(?:time|timeit|capture|prun)\b)\w*)")  # `%%bash`: the cell is not run as Python
WRITTEN_FILE = re.compile(r"\s*%%(?:writefile|file)\s+(?:-a\s+)?[\"']?(?:\S*/)?(\w+)\.py[\"']?[ \t]*\n")
MAGIC_LINE = re.compile(
    r"(\s*)(?:[%!?]|\??[\w.]+\?{1,2}\s*$|[\w, ]+=\s*[%!]|(?:pip|conda|cd|ls|mkdir|rm|cp|mv|cat|wget|git)\s)"
)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
IMPORTS = (ast.Import, ast.ImportFrom)
ASSIGNMENTS = (ast.Assign, ast.AnnAssign, ast.AugAssign)
GLOBAL_LOADS = ("LOAD_NAME", "LOAD_GLOBAL", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_GLOBALS", "LOAD_FROM_DICT_OR_DEREF")
TOO_COMPLEX = (RecursionError, MemoryError)
ATTRIBUTES = type.__dict__["__dict__"].__get__  # of a class, whatever its metaclass says


HANDED_OUT = {"torch": "torch", "nn": "torch.nn", "F": "torch.nn.functional"}  # imports that every lab begins with


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
    """Load every source; where several define a name, the first one that is the least of a stub counts.

    `stand_ins` (name → object) take the place of the submission's own definitions everywhere.
    """
    stand_ins = stand_ins or {}
    before = {value: dict(vars(value)) for value in stand_ins.values() if isinstance(value, type)}
    submitted = SubmittedModules(_with_written_files(sources), stand_ins)
    namespace = submitted.load()
    _undo_patches(before)
    return Loaded(namespace, list(dict.fromkeys(submitted.notes)), submitted.missing)


def _with_written_files(sources: list[Source]) -> list[Source]:
    """Cells that write a module (`%%writefile losses.py`) become modules of their own."""
    kept, written = [], []
    for source in sources:
        cells = []
        for cell in source.cells:
            if found := WRITTEN_FILE.match(cell.source):
                # The first line stays as a comment, so that line numbers are those of the cell.
                text = "#" + cell.source.lstrip()
                written.append(Source(found.group(1), [Cell(cell.label, text, cell.names)]))
            else:
                cells.append(cell)
        kept.append(Source(source.name, cells))
    return kept + written


def _undo_patches(before: dict[type, dict]) -> None:
    """Take back what a submission did to stand-ins (`DoubleConv.forward = mine`)."""
    for value, attributes in before.items():
        now = dict(vars(value))
        for name in now.keys() - attributes.keys():
            delattr(value, name)
        for name, attribute in attributes.items():
            if now.get(name) is not attribute:
                setattr(value, name, attribute)


class SubmittedModules:
    """The files of one submission, which import each other by name; each is loaded definitions-only and once."""

    def __init__(self, sources: list[Source], stand_ins: dict):
        self.notes: list[str] = []
        self.missing: dict[str, str] = {}
        self.filenames: set[str] = set()
        for name in [name for name in sys.modules if name.startswith(f"{PACKAGE}.")]:
            del sys.modules[name]  # an earlier submission's, when several are loaded in one process
        needed = _Needed()
        self.loaders = [_SourceLoader(source, self, stand_ins, needed, str(i)) for i, source in enumerate(sources)]
        needed.finish({source.name for source in sources})
        self.by_name = {loader.source.name: loader for loader in self.loaders}
        for name in sorted(RESERVED & self.by_name.keys()):
            self.notes.append(f"{name}.py is named like a library, which `import {name}` still gives; rename the file")
            del self.by_name[name]

    def load(self) -> dict:
        """Run every source; the names that all of them define together."""
        for loader in self.loaders:
            loader.start()
        # Modules that import each other: what one lacked when it ran may be there now.
        while any([loader.retry() for loader in self.loaders]):
            pass
        for loader in self.loaders:
            loader.note_failures()
        merged = self._merged()
        for loader in self.loaders:
            loader.find_renamed(merged)
        return merged

    def _merged(self) -> dict:
        """The names of every source; a notebook's own definition goes before that of a module beside it."""
        merged: dict = {}
        asked = {name for loader in self.loaders for cell in loader.source.cells for name in cell.names}
        for loader in self.loaders:
            for name, value in loader.namespace.items():
                if name.startswith("__"):
                    continue
                before = merged.get(name, value)
                if name not in merged or _stub_count(value) < _stub_count(before):
                    merged[name] = value
                elif name in asked and before is not value and _stub_count(value) == _stub_count(before):
                    self.notes.append(f"{loader.source.name} defines {name} once more; the first definition counts")
        return merged

    def import_(self, name, globals=None, locals=None, fromlist=(), level=0):
        """Python's `import` as the submission's code sees it: its own files first, then what is installed."""
        parts = name.split(".") if name else []
        if name == MINE and not level:
            return self._from_other_sources(fromlist or (), (globals or {}).get("__name__"))
        if not level and not (len(parts) == 1 and name in self.by_name):
            try:
                return builtins.__import__(name, globals, locals, fromlist, 0)
            except ModuleNotFoundError as error:
                if error.name != parts[0] or not self._own(parts, fromlist):
                    raise
        return self._handed_in(parts, fromlist or (), level)

    def _from_other_sources(self, wanted: Iterable[str], asking: str | None) -> types.ModuleType:
        """What the other notebooks and modules define of these names."""
        module = types.ModuleType(MINE)
        for name in wanted:
            others = [loader for loader in self.loaders if loader.module.__name__ != asking and name in loader.defines]
            values = [vars(loader.start())[name] for loader in others if name in vars(loader.start())]
            if values:
                setattr(module, name, min(values, key=_stub_count))
        missing = [name for name in wanted if not hasattr(module, name)]
        if missing:
            raise ImportError(f"{', '.join(missing)} was not handed in: the notebook that defines it is missing")
        return module

    def _own(self, parts: list[str], fromlist) -> bool:
        return parts[-1] in self.by_name or any(name in self.by_name for name in fromlist or ())

    def _handed_in(self, parts: list[str], fromlist, level: int) -> types.ModuleType:
        """The module at the end of a dotted path; folders are no more than a way to it."""
        if parts and parts[-1] in self.by_name:
            module = self.by_name[parts[-1]].start()
            for part in reversed(parts[1:] if not fromlist else []):
                package = types.ModuleType(part)
                setattr(package, part, module)
                module = package
            return module
        found = {member: self.by_name[member].start() for member in fromlist if member in self.by_name}
        if not found:
            path = "." * level + ".".join(parts)
            raise ModuleNotFoundError(f"No module named {path!r} was handed in", name=".".join(parts))
        package = types.ModuleType(parts[-1] if parts else PACKAGE)
        vars(package).update(found)
        return package


@dataclass
class _Step:
    """One statement to run; `wanted` when its failure is worth a note."""

    order: int
    cell: Cell
    filename: str
    node: ast.stmt
    wanted: bool
    error: str = ""


class _SourceLoader:
    def __init__(self, source: Source, submitted: SubmittedModules, stand_ins: dict, needed: _Needed, key: str):
        self.source, self.submitted, self.stand_ins, self.needed = source, submitted, stand_ins, needed
        self.module = types.ModuleType(f"{PACKAGE}.{source.name}")
        self.module.__file__ = source.cells[0].label if source.cells else source.name
        self.namespace = vars(self.module)
        self.namespace["__builtins__"] = {**vars(builtins), "__import__": submitted.import_}
        self.key = key
        self.started = False
        self.failed: list[_Step] = []
        self.bound_at: dict[str, int] = {}  # name → the step that bound it last
        self.flags = 0
        self.trees = [self._parse(number, cell) for number, cell in enumerate(source.cells)]
        self.defines = {name for _, tree in self.trees for node in _flat(tree.body) for name in _bound_names(node)
                        if not isinstance(node, IMPORTS)}
        self.nodes = [node for _, tree in self.trees for node in ast.walk(tree)]
        for cell, (_, tree) in zip(source.cells, self.trees):
            needed.add(tree, cell.names)
        needed.nodes += self.nodes

    def _import_handed_out(self) -> None:
        """Put back the imports that the lab hands out, where their cell was deleted: the kernel still knew them."""
        imports = [alias for node in self.nodes if isinstance(node, IMPORTS) for alias in node.names]
        bound = {(alias.asname or alias.name).split(".")[0] for alias in imports}
        names = [node for node in self.nodes if isinstance(node, ast.Name)]
        used = {node.id for node in names}
        lost = [name for name in HANDED_OUT if name in used - bound and "*" not in bound and name not in self.namespace]
        assigned = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        for name in [name for name in lost if name not in assigned]:
            self.namespace[name] = importlib.import_module(HANDED_OUT[name])
            self.submitted.notes.append(f"{self.source.name}: the import of {name} is missing; put back as it was handed out")

    def start(self) -> types.ModuleType:
        """Run the source, once; in a cycle of imports the module may come back unfinished, as in Python."""
        if not self.started:
            self.started = True
            sys.modules[self.module.__name__] = self.module  # dataclasses and inspect look here
            self.namespace.update(self.stand_ins)
            self._import_handed_out()
            self.failed = self._run_all(list(self._steps()))
            while self.retry():  # a cell above used a name that a cell below defines
                pass
        return self.module

    def retry(self) -> bool:
        """Run what failed once more; whether any of it now works."""
        before = len(self.failed)
        self.failed = self._run_all(self.failed)
        return len(self.failed) < before

    def note_failures(self) -> None:
        """Note each statement that still fails, and which names are missing by it."""
        for step in filter(lambda step: step.wanted, self.failed):
            reason = f"{step.cell.label}, line {step.node.lineno}: `{_text(step.node)}` failed: {step.error}"
            self.submitted.notes.append(reason)
            names = _bound_names(step.node)
            self.submitted.missing.update({name: f"{name} is not defined: {reason}" for name in names})

    def find_renamed(self, merged: dict) -> None:
        """Where a task's cell defines one class under another name, take it for the one that is missing."""
        for cell, (_, tree) in zip(self.source.cells, self.trees):
            absent = [name for name in cell.names if name not in merged]
            classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
            others = [name for name in dict.fromkeys(classes) if name not in cell.names and name in self.namespace]
            for name in absent:
                alike = [other for other in others if other.lower().replace("_", "") == name.lower()]
                found = alike or (others if len(absent) == len(others) == 1 and len(self.source.cells) > 1 else [])
                if len(found) == 1:
                    merged[name] = self.namespace[found[0]]
                    self.submitted.notes.append(f"{cell.label}: {name} is not defined; {found[0]} was taken for it")

    def _parse(self, number: int, cell: Cell) -> tuple[str, ast.Module]:
        """The filename that tracebacks show, and the tree; an empty one where the cell is no Python."""
        filename = f"<{cell.label}>"
        if filename in self.submitted.filenames:
            filename = f"<{cell.label} ({self.key}.{number})>"  # two files of one name: tracebacks keep them apart
        self.submitted.filenames.add(filename)
        text = cell.source.replace("\0", "")
        linecache.cache[filename] = (len(text), None, io.StringIO(text).readlines(), filename)
        try:
            if not (magic := OTHER_LANGUAGE.match(text)):
                return filename, _parsed(text, filename)
            if _defined(cell):
                self._lose(cell, "", f"it starts with `{magic[1]}` and is not run as Python")
        except (SyntaxError, ValueError, *TOO_COMPLEX) as error:
            self._lose_to(cell, error)
        return filename, ast.Module(body=[], type_ignores=[])

    def _lose_to(self, cell: Cell, error: Exception) -> None:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        text = error.msg if isinstance(error, SyntaxError) else str(error)[:200]
        self._lose(cell, line, f"{type(error).__name__}: {text}")

    def _lose(self, cell: Cell, line: str, cause: str) -> None:
        """Note that a cell was passed over, and which names are missing by it."""
        what = "cell" if len(self.source.cells) > 1 else "file"
        reason = f"{cell.label}{line}: {cause}; this {what} was passed over"
        self.submitted.missing.update({name: f"{name} is not defined: {reason}" for name in _defined(cell)})
        self.submitted.notes.append(reason)

    def _steps(self) -> Iterator[_Step]:
        order = 0
        for cell, (filename, tree) in zip(self.source.cells, self.trees):
            try:
                kept = [node for statement in tree.body for node in _kept(statement, self.needed.names)]
            except TOO_COMPLEX as error:
                self._lose_to(cell, error)
                continue
            for node in kept:
                wanted = not isinstance(node, ASSIGNMENTS) or bool(_bound_names(node) & self.needed.names)
                yield _Step(order := order + 1, cell, filename, node, wanted)

    def _run_all(self, steps: list[_Step]) -> list[_Step]:
        """Run the statements in order; those that failed come back with their errors."""
        failed = []
        for step in steps:
            if self._is_overtaken(step):
                continue
            try:
                self._run(step)
            except BaseException as error:  # SystemExit in a submission is its own affair as well
                step.error = _said(error)
                failed.append(step)
            self.namespace.update(self.stand_ins)
        return failed

    def _is_overtaken(self, step: _Step) -> bool:
        """Whether running this definition would undo better work: a stand-in, a later one, or a finished one."""
        if not isinstance(step.node, DEFINITIONS):
            return False
        name = step.node.name
        if name in self.stand_ins or self.bound_at.get(name, -1) > step.order:
            return True
        if name in self.namespace and _stub_count(self.namespace[name]) < _stubs_in(step.node):
            self.submitted.notes.append(f"{step.cell.label}: the untouched {name} does not replace the finished one")
            return True
        return False

    def _run(self, step: _Step) -> None:
        node = step.node
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            self.flags |= sum(getattr(__future__, alias.name).compiler_flag for alias in node.names)
        tree = ast.Module(body=[node], type_ignores=[])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            code = compile(tree, step.filename, "exec", flags=self.flags, dont_inherit=True)
        exec(code, self.namespace)
        self.bound_at.update(dict.fromkeys(_bound_names(node), step.order))


class _Needed:
    """Which names the definitions that count use, directly or through other functions and assignments."""

    def __init__(self):
        self.names: set[str] = set()
        self.trees: list[ast.Module] = []
        self.nodes: list[ast.AST] = []  # of all trees

    def add(self, tree: ast.Module, names: Iterable[str]) -> None:
        """Take in a cell and what its task asks for."""
        self.trees.append(tree)
        self.names |= set(names)

    def finish(self, modules: set[str]) -> None:
        """Follow the uses to the end; `modules` are the names of the submission's files."""
        statements = [node for tree in self.trees for node in _flat(tree.body)]
        definitions = [node for node in statements if isinstance(node, DEFINITIONS)]
        # Classes may be renamed ones, so all of them count; a helper that only plots does not, where tasks are known.
        self.names |= {node.name for node in definitions if isinstance(node, ast.ClassDef) or not self.names}
        self.names |= _names_from(self.nodes, modules)
        binding = [(_bound_names(node), node) for node in statements if isinstance(node, (*DEFINITIONS, *ASSIGNMENTS))]
        bindable = {name for bound, _ in binding for name in bound}  # no other name makes a difference
        while True:
            waiting = [(bound, node) for bound, node in binding if not bound & self.names]
            for bound, node in binding:
                if bound & self.names:
                    self.names |= _globals_used(node, bindable - self.names)
            if len(waiting) == len(binding):
                return
            binding = waiting


def _flat(block: list[ast.stmt]) -> list[ast.stmt]:
    """The statements of a block and of the ifs, tries and withs in it."""
    found, waiting = [], list(block)
    while waiting:
        node = waiting.pop()
        found.append(node)
        if isinstance(node, (ast.If, ast.Try, ast.With)):
            waiting += node.body + getattr(node, "orelse", []) + getattr(node, "finalbody", [])
            waiting += [inner for handler in getattr(node, "handlers", []) for inner in handler.body]
    return found


def _names_from(nodes: list[ast.AST], modules: set[str]) -> set[str]:
    """Names that this code takes out of the submission's other files."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.level or node.module == MINE or (node.module or "").split(".")[-1] in modules):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            names.add(node.attr)
    return names


def _globals_used(node: ast.stmt, among: set[str]) -> set[str]:
    """The global names of these that a statement uses; a parameter called `model` is not the global `model`."""
    if not among:
        return set()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            waiting = [compile(ast.Module(body=[node], type_ignores=[]), "<uses>", "exec", dont_inherit=True)]
    except (SyntaxError, ValueError, *TOO_COMPLEX):
        return set()  # it will fail when it is run, and be noted then
    names = set()
    while waiting:
        code = waiting.pop()
        if not among.isdisjoint((*code.co_names, *code.co_freevars)):  # reading the instructions takes longest
            names |= {step.argval for step in dis.get_instructions(code) if step.opname in GLOBAL_LOADS}
        waiting += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return names


def _defined(cell: Cell) -> list[str]:
    """What a cell that cannot be parsed was to define."""
    return [*cell.names, *re.findall(r"^(?:class|def)[ \t]+(\w+)", cell.source, re.MULTILINE)]


def _parsed(text: str, filename: str) -> ast.Module:
    """The tree of a cell, IPython's magics left out; SyntaxError, or what deep nesting raises, where there is none."""
    if text[:1] in " \t":
        text = textwrap.dedent(text)  # as IPython does
    lines = text.split("\n")
    while True:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                return parse("\n".join(lines), filename)
        except SyntaxError as error:
            # Only the line at fault: the same signs are fine inside a formula or a string.
            if not _without_magic(lines, error.lineno):
                raise


def _without_magic(lines: list[str], number: int | None) -> bool:
    """Replace the magic or shell command in this line by `pass`; whether there was one."""
    found = MAGIC_LINE.match(lines[number - 1]) if number and number <= len(lines) else None
    if not found:
        return False
    goes_on = True
    while goes_on and number <= len(lines):
        goes_on = lines[number - 1].rstrip().endswith("\\")
        lines[number - 1] = f"{found.group(1)}pass"
        number += 1
    return True


def _kept(statement: ast.stmt, needed: set[str]) -> list[ast.stmt]:
    """The statement, reduced to its definitions; empty when it only does something."""
    if isinstance(statement, (*DEFINITIONS, *IMPORTS)):
        return [statement]
    if isinstance(statement, ASSIGNMENTS):
        calls = any(isinstance(node, (ast.Call, ast.Await)) for node in ast.walk(statement))
        return [statement] if not calls or _bound_names(statement) & needed else []
    if isinstance(statement, ast.If) and _asks_for_main(statement.test):
        return []
    if not isinstance(statement, (ast.If, ast.Try, ast.With)):
        return []
    for part in ("body", "orelse", "finalbody"):
        if block := getattr(statement, part, None):
            setattr(statement, part, [kept for inner in block for kept in _kept(inner, needed)])
    for handler in getattr(statement, "handlers", []):
        handler.body = [kept for inner in handler.body for kept in _kept(inner, needed)] or [ast.Pass()]
    if not statement.body and not getattr(statement, "orelse", []):
        return []
    statement.body = statement.body or [ast.Pass()]
    return [ast.fix_missing_locations(statement)]


def _asks_for_main(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))


def _bound_names(statement: ast.stmt) -> set[str]:
    """Names that a statement binds; for `UNet.forward = f` the class it changes."""
    if isinstance(statement, DEFINITIONS):
        return {statement.name}
    if isinstance(statement, IMPORTS):
        return {(alias.asname or alias.name).split(".")[0] for alias in statement.names}
    if isinstance(statement, (ast.If, ast.Try, ast.With)):
        return {name for inner in _flat([statement])[1:] for name in _bound_names(inner)}
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return {n.id for target in targets if target for n in ast.walk(target) if isinstance(n, ast.Name)}


def _stubs_in(node: ast.stmt) -> int:
    """How many functions still hold a TODO's `raise NotImplementedError("Need to implement for Task …")`."""
    return sum(isinstance(inner, FUNCTIONS) and any(map(_is_todo, ast.walk(inner))) for inner in ast.walk(node))


def _is_todo(node: ast.AST) -> bool:
    if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
        return False
    call = node.exc
    texts = [inner.value for inner in ast.walk(call) if isinstance(inner, ast.Constant)]
    is_error = isinstance(call.func, ast.Name) and call.func.id == "NotImplementedError"
    return is_error and any(isinstance(text, str) and "Task" in text for text in texts)


def _stub_count(value: object) -> int:
    """The same count for a live class or function; types alone are asked, since objects may answer anything."""
    values = list(ATTRIBUTES(value).values()) if issubclass(type(value), type) else [value]
    functions = [v.__func__ if type(v) in (staticmethod, classmethod) else v for v in values]
    codes = [function.__code__ for function in functions if type(function) is types.FunctionType]
    return sum(
        "NotImplementedError" in code.co_names and any(type(c) is str and "Task" in c for c in code.co_consts)
        for code in codes
    )


def _text(node: ast.stmt) -> str:
    try:
        return ast.unparse(node).splitlines()[0][:100]
    except (*TOO_COMPLEX, ValueError):
        return type(node).__name__


def _said(error: BaseException) -> str:
    try:
        asked = " (was it handed in?)" if issubclass(type(error), ModuleNotFoundError) else ""
        return f"{type(error).__name__}: {str(error)[:200]}{asked}"
    except BaseException:  # an exception class of the submission may fail at being printed, too
        return "an exception that cannot be printed"
