"""The reference solutions as source text and as live classes, read from the notebooks' one source."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from types import SimpleNamespace

import jupytext

HERE = Path(__file__).parent
MARKS = re.compile(r"^\s*### (BEGIN|END) SOLUTION\n?", re.MULTILINE)


def code_cells(path: Path) -> list[str]:
    """The code of a lab that a submission consists of: imports, given helpers, and the tasks' cells, in order."""
    notebook = jupytext.reads(path.read_text(encoding="utf-8"), fmt="py:percent")
    return [cell.source for cell in notebook.cells if cell.metadata.get("task") or cell.metadata.get("export")]


@functools.lru_cache(maxsize=1)
def reference_source() -> str:
    """The definitions of all labs as one plain module, without nbgrader's marks."""
    cells = [cell for path in sorted(HERE.glob("lab_*.py")) for cell in code_cells(path)]
    return MARKS.sub("", "\n\n\n".join(cells)) + "\n"


@functools.lru_cache(maxsize=1)
def reference() -> SimpleNamespace:
    """The reference classes, defined in this process."""
    namespace = {"__name__": "reference"}
    exec(compile(reference_source(), "<reference>", "exec"), namespace)
    return SimpleNamespace(**namespace)
