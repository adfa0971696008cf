"""The instructor's notebooks from top to bottom in quick mode: seconds, and how good the trained network is.

    python benchmarks/notebooks.py [FOLDER]     (FOLDER: where the notebooks with their outputs go, to be looked at)

The peer is the lab's own promise: five minutes on two cores for Parts 1 to 3, validation IoU 0.85; the others are extra.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import nbformat

from grader.rubric import bonus_notebooks, unmarked_notebooks
from tests.kernel import lay_out, run

MINUTES, IOU = 5, 0.85


def main() -> None:
    """Run them in a fresh folder and print one line each."""
    os.environ.pop("UNETLAB_DATA", None)
    with tempfile.TemporaryDirectory() as folder:
        seconds = {}
        for name, notebook in lay_out(Path(folder)).items():
            started = time.perf_counter()
            ran = run(notebook, Path(folder) / "labs")
            seconds[name] = time.perf_counter() - started
            errors = [f"{o.ename}: {o.evalue}" for cell in ran.cells for o in cell.get("outputs", []) if o.output_type == "error"]
            if len(sys.argv) > 1:
                nbformat.write(ran, Path(sys.argv[1]) / f"{name}.ipynb")
            print(f"{name:<24}{seconds[name]:6.0f} s  {errors or 'ran to the end'}", flush=True)
        history = json.loads((Path(folder) / "labs/results/history.json").read_text())
    parts = sum(took for name, took in seconds.items() if name not in bonus_notebooks() | unmarked_notebooks())
    best = max(history.get("history", history)["val_iou"])
    print(f"{'Parts 1 to 3':<24}{parts:6.0f} s  {parts / (60 * MINUTES):.2f} of {MINUTES} minutes")
    print(f"best validation IoU {best:.3f}, {best / IOU:.2f} of {IOU}")


if __name__ == "__main__":
    main()
