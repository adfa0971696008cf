"""Packages are named alike everywhere, and the wall between what students get and what they do not is one folder."""

import ast
import re
import subprocess
import sys

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from tests.helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# the only places that may reach over the wall, and only inside a function
INSTRUCTORS = {"build.py", "course.py", "demo.py", "judge.py", "release.py", "runner.py", "nbgrader_glue.py", "gradescope.py"}
INSTRUCTORS |= {"models.py"}  # of training: in a student's copy, networks that are tasks are the student's own
VISIBLE = ("grader", "training", "networks")


def name_of(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement).group().lower().replace("_", "-")


def test_conda_users_get_the_same_packages():
    listed = re.findall(r"^ {6}- (?!-e)(.+)$", (ROOT / "environment.yml").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(PROJECT["dependencies"] + PROJECT["optional-dependencies"]["grade"])


def test_constraints_are_names_and_versions_and_cover_every_dependency():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[\w.-]+==[\w.!+-]+", line) for line in lines)
    constrained = {name_of(line) for line in lines}
    extras = PROJECT["optional-dependencies"]
    assert {name_of(r) for r in PROJECT["dependencies"] + extras["grade"] + extras["cluster"] + extras["train"] + extras["test"]} <= constrained


@pytest.mark.parametrize("path", [path for folder in VISIBLE for path in sorted((ROOT / folder).rglob("*.py"))], ids=lambda path: path.stem)
def test_nothing_visible_imports_the_hidden_half_at_its_top_level(path):
    tree = ast.parse(path.read_text())
    everywhere = {module for node in ast.walk(tree) for module in imported(node)}
    top = {module for node in tree.body for module in imported(node)}
    assert "solutions" not in top
    assert "solutions" not in everywhere or path.name in INSTRUCTORS


def imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {node.module.split(".")[0]} if isinstance(node, ast.ImportFrom) and node.module and not node.level else set()


def test_importing_what_students_import_loads_no_instructor_package():
    code = (
        "import sys, data_utils, metrics, viz, grader; from grader import check;"
        "import grader.notebook, grader.checks.test_task_1_1;"
        "print(sorted({'solutions', 'nbgrader', 'safetensors', 'landlock', 'pyseccomp', 'jupytext', 'nbformat'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_notebooks_builds_no_grammar():
    """Three seconds at each start of a command, for formats that no notebook is checked by."""
    code = "import sys, grader.reading; print('jsonschema' in sys.modules, 'lark' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout == "True False\n"


def test_commands_that_need_the_hidden_half_say_so_without_it(tmp_path, monkeypatch, capsys):
    from grader import cli

    monkeypatch.setattr(cli, "ROOT", tmp_path)
    assert cli.main(["demo"]) == 2
    assert "student's copy" in capsys.readouterr().err


def test_functions_stay_small():
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for folder in (*VISIBLE, "solutions", ".")
        for path in ((ROOT / folder).rglob("*.py") if folder != "." else ROOT.glob("*.py"))
        if "alternatives" not in path.parts  # those are how students write
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 45
    ]
    assert not long, "\n".join(long)
