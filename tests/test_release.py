"""What students get holds no solution, no hidden check and nothing that needs either.

A line of a solution (or of a hidden check) is *distinctive* when, without indentation and trailing comment, it has
24 characters or more. Shorter ones (`return x`, `skips = []`) stand in any program, so they count together with
the line that follows them in the solution: a release that holds two such lines in a row holds the solution. Pairs
with fewer than 24 characters in all, imports and except clauses prove nothing. Nor does what students are shown on
purpose: for solutions the notebook's text outside the solution regions, for hidden checks the public ones and
`grader/expect.py`, whose helpers both are written with.
"""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("nbgrader", reason="the instructor's extra [grade] is not installed")

from grader import build
from grader import release as release_module
from grader.rubric import notebooks, unmarked_notebooks
from grader.release import MANIFEST, ReleaseError, release

ROOT = Path(__file__).resolve().parent.parent
DISTINCTIVE = 24
PROVES_NOTHING = ("#", "@", "import ", "from ", "except ")
GITHUB = "https://github.com/some-course/unet-lab"

pytestmark = pytest.mark.skipif(
    subprocess.run(["git", "-C", str(ROOT), "rev-parse"], capture_output=True, check=False).returncode != 0,
    reason="a release is made from a git checkout, and this is none",
)


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A release with an address, made once."""
    folder = tmp_path_factory.mktemp("release") / "students"
    release(folder, GITHUB)
    return folder


# ---- nothing hidden is in it ----


def lines_of(text):
    """Return a text's lines without indentation, trailing comments and empty lines."""
    stripped = (re.sub(r"\s+#\s.*$", "", line).strip() for line in text.splitlines())
    return [line for line in stripped if line and not line.startswith(PROVES_NOTHING)]


def pieces(text):
    """Return a text's lines and its pairs of lines in a row, as distinctive ones are compared."""
    lines = lines_of(text)
    return {*lines, *(f"{first}\n{second}" for first, second in zip(lines, lines[1:]))}


def distinctive(text):
    """Return the pieces of a hidden text that would give it away."""
    lines = lines_of(text)
    long = {line for line in lines if len(line) >= DISTINCTIVE}
    pairs = {f"{a}\n{b}" for a, b in zip(lines, lines[1:]) if len(a + b) >= DISTINCTIVE and not {a, b} & long}
    return long | pairs


def readable_texts(folder):
    """Yield (path, text) for every file; notebooks both as they lie there and as the cells that people read."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", errors="replace")
        yield path, text
        if path.suffix == ".ipynb":
            yield path, "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])


def hidden_texts():
    """Return name → distinctive pieces of everything that must not be released."""
    hidden = {}
    for lab in build.read_labs(ROOT):
        solutions, visible = solutions_of(lab)
        hidden.update({name: distinctive(text) - pieces(visible) for name, text in solutions.items()})
    visible = [*sorted((ROOT / "grader" / "checks").glob("*.py")), ROOT / "grader" / "expect.py"]
    public = [pieces(path.read_text(encoding="utf-8")) for path in visible]
    for path in sorted((ROOT / "solutions" / "checks").glob("*.py")):
        secret = distinctive(path.read_text(encoding="utf-8"))
        hidden[path.relative_to(ROOT).as_posix()] = secret.difference(*public)
    return hidden


def solutions_of(lab):
    """Return a lab's solution regions by name, and all the text around them."""
    solutions, visible = {}, []
    for cell in lab.cells:
        lines, inside = cell.source.splitlines(), set()
        for first, last, _ in build.regions(cell.source):
            inside.update(range(first, last + 1))
            solutions[f"{lab.path}:{cell.line + first}"] = "\n".join(lines[first : last - 1])
        visible += [line for number, line in enumerate(lines, start=1) if number not in inside]
    return solutions, "\n".join(visible)


def test_no_distinctive_line_of_a_solution_or_hidden_check_is_released(released):
    hidden = hidden_texts()
    assert sum(map(len, hidden.values())) > 40  # the search looks for something
    leaks = []
    for path, text in readable_texts(released):
        here = pieces(text)
        for name, secret in hidden.items():
            leaks += [f"{path.relative_to(released)} holds {line!r} of {name}" for line in sorted(secret & here)]
    assert leaks == []


def test_the_search_finds_a_planted_solution(tmp_path):
    lab = build.read_labs(ROOT)[0]
    cell = next(cell for cell in lab.cells if cell.tasks)
    (tmp_path / "README.md").write_text(textwrap.indent(cell.source, "    "), encoding="utf-8")
    found = set().union(*hidden_texts().values()) & pieces((tmp_path / "README.md").read_text(encoding="utf-8"))
    assert len(found) >= 5


def test_no_folder_of_the_maintainers_is_released(released):
    top = {path.name for path in released.iterdir()}
    assert not top & {"solutions", "tests", "benchmarks", ".ci", ".git", ".venv"}
    assert {"labs", "starter", "grader", "data_utils.py", "drawn_pets.py", "metrics.py", "viz.py"} <= top
    assert not list(released.rglob("__pycache__"))


def test_nothing_released_imports_the_solutions_when_it_is_imported(released):
    for path in released.rglob("*.py"):
        for name in imported_at_import_time(ast.parse(path.read_text(encoding="utf-8")).body):
            assert name.split(".")[0] not in ("solutions", "tests"), path


def imported_at_import_time(statements):
    """Yield the modules that a module's top-level statements import (functions' bodies run later)."""
    for node in statements:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from imported_at_import_time([n for n in ast.iter_child_nodes(node) if isinstance(n, ast.stmt)])


# The grade extra's packages and the kit's hidden side, refused as they would be on a student's machine.
STUDENTS_MACHINE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"nbgrader", "jupytext", "safetensors", "landlock", "pyseccomp", "solutions", "tests"}:
            raise ModuleNotFoundError(f"No module named {name!r} on a student's machine", name=name)
sys.meta_path.insert(0, Refuse())
sys.path.insert(0, ".")
"""


def on_a_students_machine(folder, code):
    """Run code in a released folder, without the packages of the extra [grade]."""
    environment = {**os.environ, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "agg"}
    command = [sys.executable, "-c", STUDENTS_MACHINE + code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_released_modules_and_checks_run_with_the_base_packages_alone(released, tmp_path):
    """The check cells run on a student's machine: nothing passes on the stubs, everything on the reference."""
    lab = build.read_labs(ROOT)[0]
    blocks = [cell.source for cell in lab.cells if cell.export or cell.tasks]
    checks = [cell.source for cell in lab.cells if cell.check]
    (tmp_path / "solved.py").write_text("\n\n\n".join(blocks), encoding="utf-8")
    code = f"""
import data_utils, metrics, viz
from grader import check
from pathlib import Path
for name in ("starter/lab04_student.py", {str(tmp_path / "solved.py")!r}):
    exec(compile(Path(name).read_text(encoding="utf-8"), name, "exec"), globals())
    for cell in {checks!r}:
        print(repr(eval(cell)))
    print("=====")
"""
    ran = on_a_students_machine(released, code)
    assert ran.returncode == 0, ran.stderr
    stubs, solved, _ = ran.stdout.split("=====")
    assert "Need to implement for Task 1.1" in stubs
    assert "Need to implement" not in solved


# ---- badges and addresses ----


def test_notebooks_of_a_github_release_have_badge_and_address(released):
    for path in sorted((released / "labs").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        opens = f"https://colab.research.google.com/github/some-course/unet-lab/blob/main/labs/{path.name}"
        assert cells[0]["cell_type"] == "markdown"
        assert opens in "".join(cells[0]["source"])
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        assert f'REPO_URL = "{GITHUB}"' in code
        assert 'REPO_URL = ""' not in code


def test_release_without_an_address_equals_the_build(tmp_path):
    release(tmp_path / "out")
    for path, text in build.renderings(ROOT).items():
        assert (tmp_path / "out" / path).read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("given", "clean"),
    [
        ("https://github.com/a/b", "https://github.com/a/b"),
        ("https://github.com/a/b.git", "https://github.com/a/b"),
        ("https://github.com/a/b/", "https://github.com/a/b"),
        ("git@github.com:a/b.c.git", "https://github.com/a/b.c"),
        (" https://git.example.edu/lab/unet ", "https://git.example.edu/lab/unet"),
    ],
)
def test_addresses_are_cleaned(given, clean):
    assert release_module.clean_address(given) == clean


@pytest.mark.parametrize("given", ["unet", "http://github.com/a/b", 'https://x.org/"; import os #', "/srv/git", "-x"])
def test_addresses_that_students_cannot_clone_are_refused(given, tmp_path):
    with pytest.raises(ReleaseError, match="To mend it"):
        release(tmp_path / "out", given)
    assert not (tmp_path / "out").exists()


def test_other_hosts_get_the_address_but_no_badge(tmp_path):
    release(tmp_path / "out", "https://git.example.edu/lab/unet")
    text = (tmp_path / "out/labs/01_unet.ipynb").read_text(encoding="utf-8")
    assert 'REPO_URL = \\"https://git.example.edu/lab/unet\\"' in text
    assert "colab-badge" not in text


# ---- where it is written ----


@pytest.fixture
def small_root(tmp_path):
    """A git repository with a lab, a solution, a test and an ignored file."""
    root = tmp_path / "repo"
    for path, text in {
        "README.md": "lab",
        "docs/old.md": "old",
        "tests/test_x.py": "",
        ".ci/run": "",
        "benchmarks/b.py": "",
        "data/big.bin": "",
        ".gitignore": "/data/\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    shutil.copytree(ROOT / "solutions", root / "solutions", ignore=shutil.ignore_patterns("__pycache__"))
    git(root, "init", "-q")
    return root


def git(root, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True)


LABS = [f"labs/{name}.ipynb" for name in sorted(notebooks() | unmarked_notebooks())]
WRITTEN = [".gitignore", "README.md", "docs/old.md", *LABS, build.STARTER]


def test_before_the_first_commit_ignored_files_stay_behind(small_root, tmp_path):
    assert release(tmp_path / "out", root=small_root) == WRITTEN
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()) == (
        sorted([*WRITTEN, MANIFEST])
    )


def test_after_the_first_commit_only_tracked_files_go_out(small_root, tmp_path):
    git(small_root, "add", ".")
    git(small_root, "commit", "-qm", "first")
    (small_root / "notes-of-the-instructor.md").write_text("secret", encoding="utf-8")
    assert release(tmp_path / "out", root=small_root) == WRITTEN


def test_a_second_release_replaces_the_first_and_keeps_what_is_not_its_own(small_root, tmp_path):
    out = tmp_path / "out"
    release(out, root=small_root)
    (out / "syllabus.md").write_text("mine", encoding="utf-8")
    (out / "README.md").write_text("edited", encoding="utf-8")
    (small_root / "docs/old.md").unlink()
    release(out, root=small_root)
    assert not (out / "docs").exists()
    assert (out / "README.md").read_text(encoding="utf-8") == "lab"
    assert (out / "syllabus.md").read_text(encoding="utf-8") == "mine"


def test_a_folder_that_holds_something_else_is_refused_and_left_alone(small_root, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("mine", encoding="utf-8")
    with pytest.raises(ReleaseError, match="not empty.*To mend it"):
        release(out, root=small_root)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_a_fresh_clone_of_an_empty_repository_is_filled(small_root, tmp_path):
    out = tmp_path / "out"
    git(tmp_path, "init", "-q", str(out))
    assert release(out, root=small_root) == WRITTEN


def test_a_manifest_cannot_make_a_release_remove_files_elsewhere(small_root, tmp_path):
    out, outside = tmp_path / "out", tmp_path / "keep.md"
    release(out, root=small_root)
    outside.write_text("mine", encoding="utf-8")
    (out / MANIFEST).write_text(json.dumps({"files": ["../keep.md", str(outside), 3]}), encoding="utf-8")
    release(out, root=small_root)
    assert outside.exists()


@pytest.mark.parametrize("where", [".", ".."])
def test_the_repository_itself_is_refused(where, small_root):
    with pytest.raises(ReleaseError, match="instructor's repository"):
        release(small_root / where, root=small_root)


def test_a_file_as_destination_is_refused(small_root, tmp_path):
    (tmp_path / "out").write_text("", encoding="utf-8")
    with pytest.raises(ReleaseError, match="is a file"):
        release(tmp_path / "out", root=small_root)


def test_a_folder_without_git_is_refused(small_root, tmp_path):
    shutil.rmtree(small_root / ".git")
    with pytest.raises(ReleaseError, match="git checkout"):
        release(tmp_path / "out", root=small_root)
