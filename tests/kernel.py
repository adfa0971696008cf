"""Runs a notebook in a real kernel of the Python that is running."""

import shutil
import sys
from pathlib import Path

import nbclient
import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync

from grader import build

ROOT = Path(__file__).resolve().parents[1]
BESIDE = ("data_utils.py", "drawn_pets.py", "metrics.py", "networks", "viz.py")


class ThisPython(KernelSpecManager):
    """Finds one kernel: the Python that runs the tests, whatever kernels the machine has registered."""

    def get_kernel_spec(self, kernel_name):
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="tests", language="python")


def run(notebook, folder):
    """Run a notebook in a folder and return it with its outputs; the first error ends the run and is among them."""
    manager = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=ThisPython())
    client = nbclient.NotebookClient(
        notebook, km=manager, timeout=600, resources={"metadata": {"path": str(folder)}}, record_timing=False
    )
    try:
        client.execute()
    except nbclient.exceptions.CellExecutionError:
        pass
    finally:  # nbclient leaves a manager's kernel running: a gigabyte each, until all tests are done
        run_sync(manager.shutdown_kernel)(now=True)
    return notebook


def lay_out(folder):
    """A student's folder with the lab's files and the instructor's notebooks in `labs/`; the notebooks by name."""
    for name in BESIDE:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    (folder / "labs").mkdir()
    notebooks = {lab.name: build.source_notebook(lab) for lab in build.read_labs(ROOT)}
    for name, notebook in notebooks.items():
        nbformat.write(notebook, folder / "labs" / f"{name}.ipynb")
    return notebooks
