"""The notebooks run in a real kernel: the instructor's to the end, the student's up to its first TODO."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("nbgrader", reason="the instructor's extra [grade] is not installed")

from grader import build
from tests.kernel import lay_out, run

ROOT = Path(__file__).resolve().parent.parent
PETS = Path(os.environ.get("UNETLAB_DATA") or ROOT.parent / "shared" / "data")


def outputs(notebook, kind):
    return [output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == kind]


def printed(notebook):
    return "".join(output.text for output in outputs(notebook, "stream") if output.name == "stdout")


def assert_ran_to_the_end(notebook):
    assert [f"{error.ename}: {error.evalue}" for error in outputs(notebook, "error")] == []
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    text = printed(notebook)
    assert "features (1, 64, 200, 200)" in text
    assert "output (1, 32, 25, 30)" in text
    assert "31,037,633 parameters" in text
    assert "logits (4, 1, 50, 70)" in text
    # The numbers that the last text talks about: guesses, so far from a trained network's.
    untrained = float(re.search(r"untrained\s+IoU ([\d.]+)", text)[1])
    assert 0 <= untrained < 0.6
    shown = [output for output in [*outputs(notebook, "execute_result"), *outputs(notebook, "display_data")]]
    assert sum("image/png" in output.data for output in shown) == 6  # pairs, the U, three feature maps, predictions


def assert_every_check_passes(notebook, count=4):
    checks = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade")]
    assert len(checks) == count
    for cell in checks:
        html = "".join("".join(output.get("data", {}).get("text/html", "")) for output in cell.outputs)
        assert "passed" in html, cell.source
        assert "✗" not in html, cell.source


@pytest.mark.parametrize("ending", ["", "\n1 / 0"])
def test_a_kernel_ends_with_its_notebook(tmp_path, ending):
    """They stayed until the last test, a gigabyte each."""
    cell = nbformat.v4.new_code_cell("import os; print(os.getpid())" + ending)
    ran = run(nbformat.v4.new_notebook(cells=[cell]), tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int(printed(ran)), 0)


@pytest.fixture
def source():
    return build.source_notebook(build.read_labs(ROOT)[0])


def test_with_solutions_it_runs_to_the_end_on_the_drawn_pictures(source, monkeypatch):
    monkeypatch.delenv("UNETLAB_DATA", raising=False)
    ran = run(source, ROOT / "labs")
    assert_ran_to_the_end(ran)
    assert_every_check_passes(ran)


@pytest.mark.skipif(
    not list(PETS.glob("**/oxford-iiit-pet")), reason="no Oxford-IIIT Pet here: set UNETLAB_DATA to its folder"
)
def test_with_solutions_it_runs_to_the_end_on_real_pets(source, monkeypatch):
    monkeypatch.setenv("UNETLAB_DATA", str(PETS))
    assert_ran_to_the_end(run(source, ROOT / "labs"))


SMALL = {  # what each notebook's experiments are cut down to; benchmarks/notebooks.py runs them whole
    "02_skip_connections": {"SETTINGS": {"count": 40, "epochs": 1}},
    "03_losses_and_training": {"SETTINGS": {"count": 60, "epochs": 1}, "SHORT": {"count": 20, "epochs": 1}},
    "04_bonus": {"SETTINGS": {"count": 60, "epochs": 1}},
    "05_fcn_and_residual": {"SETTINGS": {"count": 20, "epochs": 1, "size": (30, 40), "width": 2, "hidden": 4},
                            "UNETS": {"count": 40, "epochs": 1, "size": 32}},
}


def shortened(notebook, name):
    for setting, smaller in SMALL[name].items():
        # right after the dict: what is below it in the cell may use it already
        whole = re.compile(rf"^{setting} = {{.*?^}}$", re.MULTILINE | re.DOTALL)
        (cell,) = [cell for cell in notebook.cells if cell.cell_type == "code" and whole.search(cell.source)]
        cell.source = whole.sub(lambda found: f"{found[0]}\n{setting}.update({smaller})", cell.source)
    for cell in notebook.cells:
        cell.source = cell.source.replace('NAME = ""', 'NAME = "Ada"')
    return notebook


@pytest.fixture(scope="module")
def later_notebooks(tmp_path_factory):
    """Notebooks 2 to 5 after a run with few pictures, and the folder they ran in."""
    folder = tmp_path_factory.mktemp("lab")
    notebooks = lay_out(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("UNETLAB_DATA", raising=False)
        patch.setenv("OMP_NUM_THREADS", "1")
        return folder, {name: run(shortened(notebooks[name], name), folder / "labs") for name in SMALL}


@pytest.mark.parametrize("name, checks", [("02_skip_connections", 4), ("03_losses_and_training", 5), ("04_bonus", 4), ("05_fcn_and_residual", 0)])
def test_later_notebooks_run_to_the_end_with_solutions(later_notebooks, name, checks):
    _, ran = later_notebooks
    assert [f"{error.ename}: {error.evalue}" for error in outputs(ran[name], "error")] == []
    assert all(cell.execution_count for cell in ran[name].cells if cell.cell_type == "code")
    assert_every_check_passes(ran[name], checks)


def test_the_last_notebook_leaves_what_is_handed_in(later_notebooks):
    folder, _ = later_notebooks
    assert {"unet.pth", "training.json", "history.json"} <= {path.name for path in (folder / "labs/results").iterdir()}
    (packed,) = (folder / "labs").glob("*_lab04.zip")
    names = set(zipfile.ZipFile(packed).namelist())
    assert {"01_unet.ipynb", "02_skip_connections.ipynb", "03_losses_and_training.ipynb", "results/unet.pth"} <= names
    assert not any("progress" in name for name in names)


def test_the_tour_shows_every_comparison(later_notebooks):
    """Classes of drawn animals where CamVid is absent; each network of each table; the truth's own bound falls with the factor."""
    _, notebooks = later_notebooks
    ran = notebooks["05_fcn_and_residual"]
    tables = "".join(output.data.get("text/html", "") for output in outputs(ran, "execute_result"))
    for name in ("FCN-32s", "FCN-16s", "FCN-8s", "FCN-8s, at once", "frozen", "fine-tuned", "from scratch",
                 "standard", "no skips", "residual", "attention residual", "tail"):
        assert f">{name}<" in tables
    text = printed(ran)
    assert "No CamVid, so the classes are the parts of drawn animals" in text and "from F.interpolate: 0.0000000" in text
    bounds = [float(bound) for bound in re.findall(r"of the truth itself ([\d.]+)", text)]
    assert len(bounds) == 5 and bounds == sorted(bounds)
    images = [output for output in outputs(ran, "execute_result") if "image/png" in output.data]
    assert len(images) == 11


@pytest.mark.skipif(not list(PETS.glob("**/CamVid")), reason="no CamVid here: set UNETLAB_DATA to its folder")
def test_the_tour_takes_camvid_where_it_is(later_notebooks, monkeypatch):
    folder, _ = later_notebooks
    monkeypatch.setenv("UNETLAB_DATA", str(PETS))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tour = nbformat.read(folder / "labs" / "05_fcn_and_residual.ipynb", as_version=4)
    until = next(number for number, cell in enumerate(tour.cells) if cell.source.startswith("## 2"))
    tour.cells = tour.cells[:until]
    ran = run(shortened(tour, "05_fcn_and_residual"), folder / "labs")
    assert [error.evalue for error in outputs(ran, "error")] == [] and "camvid: 16 pictures to learn from" in printed(ran)
    assert ">bicyclist<" in "".join(output.data.get("text/html", "") for output in outputs(ran, "execute_result"))


@pytest.mark.parametrize("name, task", [("02_skip_connections", "2.1: ConcatSkip"), ("03_losses_and_training", "3.1: DiceLoss"),
                                         ("04_bonus", "4.1: UNetPlusPlus")])
def test_later_students_versions_stop_at_their_first_todo(name, task):
    ran = run(nbformat.read(ROOT / "labs" / f"{name}.ipynb", as_version=4), ROOT / "labs")
    (error,) = outputs(ran, "error")
    assert error.ename == "NotImplementedError" and error.evalue.startswith(f"Need to implement for Task {task}")
    assert len("\n".join(error.traceback).splitlines()) <= 4


def test_the_students_version_stops_at_the_first_todo_with_one_friendly_line():
    notebook = nbformat.read(ROOT / "labs" / "01_unet.ipynb", as_version=4)
    # Two folders down: the setup cell looks upwards for the lab's files.
    ran = run(notebook, ROOT / "grader" / "checks")
    errors = outputs(ran, "error")
    assert [error.ename for error in errors] == ["NotImplementedError"]
    assert errors[0].evalue == "Need to implement for Task 1.1: EncoderBlock.__init__"
    assert len("\n".join(errors[0].traceback).splitlines()) <= 4
    assert "seed 42, device" in printed(ran)


def test_away_from_the_lab_the_setup_cell_says_what_to_do(tmp_path):
    notebook = nbformat.read(ROOT / "labs" / "01_unet.ipynb", as_version=4)
    notebook.cells = notebook.cells[:3]
    errors = outputs(run(notebook, tmp_path), "error")
    assert [error.ename for error in errors] == ["FileNotFoundError"]
    assert "Keep this notebook in the folder labs/" in errors[0].evalue


# ---- the setup cell on Colab, without a kernel ----


def setup_code(address):
    notebook = nbformat.read(ROOT / "labs" / "01_unet.ipynb", as_version=4)
    (code,) = [cell.source for cell in notebook.cells if 'REPO_URL = ""' in cell.source]
    return code.replace('REPO_URL = ""', f"REPO_URL = {address!r}")


@pytest.fixture
def colab(tmp_path, monkeypatch):
    """A folder far from the lab where `google.colab` is importable."""
    (tmp_path / "stand-in" / "google" / "colab").mkdir(parents=True)
    (tmp_path / "stand-in" / "google" / "colab" / "__init__.py").write_text("")
    content = tmp_path / "content"
    content.mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "stand-in"), *sys.path])
    for name in [name for name in sys.modules if name.split(".")[0] == "google"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.chdir(content)
    yield content
    for name in [name for name in sys.modules if name.split(".")[0] == "google"]:
        del sys.modules[name]


def test_on_colab_an_empty_address_is_a_clear_message(colab):
    with pytest.raises(ValueError, match="REPO_URL is empty.*address of your course's repository"):
        exec(setup_code(""), {})


def test_on_colab_a_failing_clone_is_a_clear_message(colab):
    with pytest.raises(RuntimeError, match="Fetching .* gave no data_utils.py.*Check REPO_URL"):
        exec(setup_code(str(colab / "nowhere")), {})


def test_on_colab_the_lab_is_cloned_once_and_put_on_the_path(colab, tmp_path):
    remote = tmp_path / "remote"
    remote.mkdir()
    (remote / "data_utils.py").write_text("")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "lab"]):
        subprocess.run(["git", "-C", str(remote), *identity, *command], check=True)
    for _ in range(2):  # the second time it is found, not fetched
        exec(setup_code(f"file://{remote.as_posix()}"), {})
        assert sys.path[0] == str(colab / "unetlab")
        assert (colab / "unetlab" / "data_utils.py").exists()
    assert sys.path.count(str(colab / "unetlab")) == 1
