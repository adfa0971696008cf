"""One source gives every rendering; one that does not fit itself is refused with file, line, cause and mend."""

import importlib.util
import inspect
import json
import os
import re
import sys
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("nbgrader", reason="the instructor's extra [grade] is not installed")

from grader import build
from grader.rubric import load_rubric, notebooks, unmarked_notebooks

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "solutions" / "lab_01_unet.py"


@pytest.fixture(scope="module")
def fresh():
    return build.renderings(ROOT)


@pytest.fixture(scope="module")
def notebook(fresh):
    return nbformat.reads(fresh["labs/01_unet.ipynb"], as_version=4)


def lab_with(tmp_path, old, new):
    """Write the real source with one change to another root and return that root."""
    text = SOURCE.read_text(encoding="utf-8")
    assert text.count(old) >= 1, f"the source no longer holds {old!r}"
    (tmp_path / "solutions").mkdir()
    (tmp_path / "solutions" / SOURCE.name).write_text(text.replace(old, new, 1), encoding="utf-8")
    return tmp_path


# ---- the renderings ----


def test_committed_renderings_equal_a_fresh_build():
    assert build.drift(ROOT) == []


def test_build_gives_the_same_bytes_twice(fresh):
    assert build.renderings(ROOT) == fresh


def test_drift_names_changed_missing_and_orphaned_renderings(tmp_path):
    root = lab_with(tmp_path, "# # Part 1", "# # Part 1")
    build.build(root)
    assert build.drift(root) == []
    notebook, starter = root / "labs/01_unet.ipynb", root / build.STARTER
    notebook.write_text(notebook.read_text(encoding="utf-8") + " ", encoding="utf-8")
    starter.unlink()
    (root / "labs" / "09_gone.ipynb").write_text("{}", encoding="utf-8")
    assert [line.split(":")[0] for line in build.drift(root)] == [
        "labs/01_unet.ipynb", build.STARTER, "labs/09_gone.ipynb",
    ]  # fmt: skip


def test_notebooks_are_valid_and_carry_nbgraders_metadata(notebook):
    nbformat.validate(notebook)
    rubric = load_rubric()
    cells = {c.metadata.nbgrader.grade_id: c for c in notebook.cells if "nbgrader" in c.metadata}
    assert list(cells) == [
        "task_1_1", "check_1_1", "task_1_2", "check_1_2", "task_1_3_1_4", "check_1_3", "check_1_4",
    ]  # fmt: skip
    for grade_id, cell in cells.items():
        marks = cell.metadata.nbgrader
        is_check = grade_id.startswith("check")
        assert (marks.grade, marks.solution, marks.locked) == (is_check, not is_check, is_check)
        assert cell.metadata.deletable is False
        if is_check:
            assert marks.points == rubric[grade_id.removeprefix("check_").replace("_", ".")].points
    assert all(not cell.get("outputs") for cell in notebook.cells)


def test_every_check_cell_is_exactly_its_check(notebook):
    sources = [c.source for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade")]
    assert sources == [f'check("{task}")' for task in load_rubric() if load_rubric()[task].notebook == "01_unet"]


def test_headings_show_title_minutes_difficulty_and_points_of_the_rubric(notebook):
    text = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    for task, entry in load_rubric().items():
        if entry.notebook == "01_unet":
            assert f"## Task {task} · {entry.title}" in text
            assert f"{entry.difficulty} · about {entry.minutes} minutes · {entry.points:g} points" in text
    assert "{{" not in text


def test_solutions_are_stripped_and_stay_in_the_instructors_notebook(fresh):
    lab = build.read_lab(SOURCE, ROOT)
    source = nbformat.writes(build.source_notebook(lab))
    assert source.count("BEGIN SOLUTION") == 8
    for path, text in fresh.items():
        assert "SOLUTION" not in text
        assert "nn.ConvTranspose2d(in_channels" not in text
        assert (text.count("# YOUR CODE HERE") >= 8) == (Path(path).stem not in unmarked_notebooks())


def test_every_notebook_has_tasks_or_is_said_to_have_none():
    assert {lab.name for lab in build.read_labs(ROOT)} == notebooks() | unmarked_notebooks()
    assert not notebooks() & unmarked_notebooks()


def test_a_notebook_without_tasks_is_no_part_of_the_assignment(tmp_path):
    assert {path.stem for path in build.write_source(tmp_path)} == notebooks()


def test_nbgraders_own_release_equals_labs(tmp_path, fresh, monkeypatch):
    """`nbgrader generate_assignment` with our list of preprocessors gives the committed bytes."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config import Config

    # nbgrader starts `alembic` by name, which an environment that was never activated does not have on its PATH.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    build.write_source(tmp_path)
    config = Config()
    config.CourseDirectory.root = str(tmp_path)
    config.GenerateAssignment.preprocessors = build.GENERATE_PREPROCESSORS
    outcome = NbGraderAPI(config=config).generate_assignment(build.ASSIGNMENT)
    assert outcome["success"], outcome
    released = tmp_path / "release" / build.ASSIGNMENT / "01_unet.ipynb"
    assert released.read_text(encoding="utf-8") == fresh["labs/01_unet.ipynb"]


# ---- the starter module and its stubs ----


@pytest.fixture(scope="module")
def starter():
    spec = importlib.util.spec_from_file_location("starter_under_test", ROOT / build.STARTER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_starter_defines_the_names_of_the_rubric(starter):
    names = {name for entry in load_rubric().values() if entry.notebook == "01_unet" for name in entry.names}
    assert names <= set(vars(starter))
    assert f"unetlab check 1.1 {build.STARTER}" in starter.__doc__


@pytest.mark.parametrize(
    ("task", "name", "method"),
    [
        ("1.1", "DoubleConv", "__init__"),
        ("1.1", "DoubleConv", "forward"),
        ("1.1", "EncoderBlock", "__init__"),
        ("1.1", "EncoderBlock", "forward"),
        ("1.2", "DecoderBlock", "__init__"),
        ("1.2", "DecoderBlock", "forward"),
        ("1.3", "UNet", "__init__"),
        ("1.4", "UNet", "forward"),
    ],
)
def test_every_stub_raises_and_names_its_task(starter, task, name, method):
    function = getattr(getattr(starter, name), method)
    kind = getattr(starter, name)
    required = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty][1:]
    wanted = re.escape(f"Need to implement for Task {task}: {name}.{method}")
    with pytest.raises(NotImplementedError, match=f"^{wanted}$"):
        function(kind.__new__(kind), *[2] * len(required))


# ---- sources that do not fit themselves ----

TASK_1_1 = '# %% task="1.1"'
END_OF_1_1, END = "        return features, pooled\n", "        ### END SOLUTION\n"
DOUBLE = "        ### BEGIN SOLUTION\n" * 2
# name: (what is changed, into what, what the cause says, what the mend says, what the named line holds)
FAULTS = {
    "begin without end": (END_OF_1_1 + END, END_OF_1_1, "without `### END", "give every", "### BEGIN"),
    "end without begin": ("        ### BEGIN SOLUTION\n", "", "`### END SOLUTION` without", "give every", "### END"),
    "begin twice": ("        ### BEGIN SOLUTION\n", DOUBLE, "inside a region", "give every", "### BEGIN"),
    "region outside a task cell": (TASK_1_1, "# %%", "be given the solution", "task=", "### BEGIN"),
    "task unknown": (TASK_1_1, '# %% task="1.9"', "task 1.9 is not in the rubric", "rubric.toml", "class DoubleConv"),
    "cell and todo disagree": (TASK_1_1, '# %% task="1.2"', "says Task 1.1", "one of the cell's", "### BEGIN"),
    "todo and cell disagree": ("TODO Task 1.4:", "TODO Task 1.2:", "says Task 1.2", "one of the cell's", "### BEGIN"),
    "region without a todo": ("# TODO Task 1.2: build", "# build", "stands above it", "one of the cell's", "### BEGIN"),
    "task without a todo": ("TODO Task 1.4:", "TODO Task 1.3:", "task 1.4, but no TODO", "TODO Task 1.4", "class UNet"),
    "check unknown": ('# %% check="1.1"', '# %% check="1.7"', "1.7 is not in the rubric", "add task", "check("),
    "check of another task": ('check("1.2")', 'check("1.3")', "ends with `check(", 'check("1.2")', 'check("1.3")'),
    "check cell goes on": ('check("1.2")', 'check("1.2")\nprint()', "ends with `print()`", "end it with", "print()"),
    "heading unknown": ("## Task 1.1 ·", "## Task 1.8 ·", "1.8 is not in the rubric", "correct the id", "## Task 1.8"),
    "heading twice": ("## Task 1.1 ·", "## Task 1.2 ·", "headings `## Task …` name 1.2, 1.2", "one heading", "# %%"),
    "heading missing": ("## Task 1.1 ·", "## Step 1.1 ·", "headings", "one heading", "# %%"),
    "check cell missing": ('# %% check="1.3"', "# %%", "check cells name 1.1, 1.2, 1.4", "one check cell", "# %%"),
    "placeholder without value": ("{{minutes}}", "{{hours}}", "{{hours}} has no", "use title, minutes", "{{hours}}"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_source_is_refused_with_file_line_cause_and_mend(fault, tmp_path):
    old, new, cause, mend, at = FAULTS[fault]
    root = lab_with(tmp_path, old, new)
    with pytest.raises(build.BuildError) as caught:
        build.renderings(root)
    error = caught.value
    lines = (root / error.file).read_text(encoding="utf-8").splitlines()
    assert error.file == "solutions/lab_01_unet.py"
    assert cause in error.cause
    assert mend in error.mend
    assert at in lines[error.line - 1]
    assert str(error).startswith(f"{error.file}:{error.line}: {error.cause}")


def test_rubric_with_a_task_that_no_cell_has_is_refused():
    rubric = dict(load_rubric())
    rubric["1.5"] = rubric["1.4"]
    with pytest.raises(build.BuildError, match=r"rubric has 1\.1, 1\.2, 1\.3, 1\.4, 1\.5"):
        build.renderings(ROOT, rubric)


def test_task_cell_without_a_region_is_refused(tmp_path):
    root = lab_with(tmp_path, 'print("pooled  "', 'print("pooled  "')
    path = root / "solutions" / SOURCE.name
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('# %%\nfeatures, pooled', '# %% task="1.1"\nfeatures, pooled'), encoding="utf-8")
    with pytest.raises(build.BuildError, match="has no solution region"):
        build.renderings(root)


def test_root_without_sources_is_refused(tmp_path):
    with pytest.raises(build.BuildError, match="instructor's repository"):
        build.renderings(tmp_path)


def test_stub_messages_follow_the_nearest_todo_and_the_function():
    source = (
        "def f():\n    # TODO Task 1.1: a\n    ### BEGIN SOLUTION\n    pass\n    ### END SOLUTION\n\n\n"
        "# TODO Task 1.2: b\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n"
    )
    assert build.stub_messages(source) == ["Need to implement for Task 1.1: f", "Need to implement for Task 1.2"]


def test_notebooks_name_no_machine(fresh):
    for path, text in fresh.items():
        assert not re.search(r"/(home|root|work|Users)/", text), path
        if path.endswith(".ipynb"):
            assert len({cell["id"] for cell in json.loads(text)["cells"]}) == len(json.loads(text)["cells"])
