"""A wall around a whole judge, so that a hole in its sandbox cannot hurt the machine on which the tests run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT

NOBODY = 65534
INSIDE = "/tmp/hostile"  # where the folder of a run lies within its outer wall
MEMORY = 24 << 30  # bytes of address space a process: torch maps several before the judge's own cap begins
KIT = ["grader", "solutions", "tests", "starter", "data_utils.py", "drawn_pets.py", "metrics.py", "viz.py"]
IS_ROOT = sys.platform == "linux" and os.getuid() == 0


def reports_of(script: str, arguments: dict[str, list[str]], tmp_path_factory) -> dict:
    """What a script of this folder prints as JSON, run behind the wall as each of "root" and "user" named; all start at once."""
    if not shutil.which("bwrap"):
        pytest.skip("hostile submissions run only inside bubblewrap, which is not installed here")
    users = {who: NOBODY if IS_ROOT and who == "user" else os.getuid() for who in arguments}
    runs = {who: _start(script, tmp_path_factory.mktemp(who), users[who], given) for who, given in arguments.items()}
    outputs = {who: (*run.communicate(timeout=570), run.returncode) for who, run in runs.items()}
    for who, (output, error, code) in outputs.items():
        if "bwrap:" in error or "mount:" in error:
            pytest.skip(f"no outer wall for hostile submissions here: {error[-300:]}")
        assert code == 0, f"as {who} {code}: {error[-3000:]}"
    return {who: json.loads(output) for who, (output, *_) in outputs.items()}


def _start(script: str, folder: Path, user: int, given: list[str]) -> subprocess.Popen:
    (folder / "kit").mkdir()
    for name in KIT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "kit" / name)
    for name, text in {"course/gradebook.db": "marks", "course/submitted/bob/lab04_student.py": "x = 1", "home/.ssh/id_rsa": "key"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    if IS_ROOT:
        for path in [folder, *folder.rglob("*")]:
            os.chown(path, user, user)
    command = [sys.executable, f"{INSIDE}/kit/tests/{script}", INSIDE, *given]
    return subprocess.Popen(_outer_wall(folder, user) + command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _outer_wall(folder: Path, user: int) -> list[str]:
    """No other process in sight, nothing writable but `folder` and a private /tmp; as root, few of root's powers."""
    python = [Path(path) for path in dict.fromkeys([sys.base_prefix, sys.prefix])]
    # a folder that only its owner may enter, such as /root, gives way to an open one that holds just the interpreter
    closed = {path: next((p for p in reversed(path.parents) if not p.stat().st_mode & 1), None) for path in python}
    binds = [argument for top in {p for p in closed.values() if p} for argument in ("--perms", "0755", "--tmpfs", str(top))]
    for path, top in closed.items():
        between = [p for p in reversed(path.parents) if top and p.is_relative_to(top) and p != top]
        binds += [argument for p in between for argument in ("--perms", "0755", "--dir", str(p))]
        binds += ["--ro-bind", str(path), str(path)] if top else []
    kept = ["setfcap", "dac_override", "mknod", "kill"]  # of root: what the judge has to give up by itself
    setup = [*kept, "sys_admin", "setpcap", "setuid", "setgid"]
    powers = [argument for name in setup for argument in ("--cap-add", f"CAP_{name.upper()}")]
    become = ["--reuid", str(user), "--regid", str(user), "--clear-groups"] if IS_ROOT else []
    bounds = "-all," + ",".join(f"+{name}" for name in kept) if IS_ROOT else "-all"
    return [
        "bwrap", "--unshare-pid", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp",
        *binds, "--bind", str(folder), INSIDE,
        "--setenv", "HOME", f"{INSIDE}/home", "--setenv", "OMP_NUM_THREADS", "1", "--setenv", "PYTHONDONTWRITEBYTECODE", "1",
        "--unsetenv", "PYTHONPATH", *powers, "--chdir", "/", "--",
        # a /proc of its own, mounted here: bubblewrap's hides parts, and then no wall inside may mount another
        "sh", "-c", 'mount -t proc proc /proc && exec "$@"', "sh", "prlimit", f"--as={MEMORY}",
        "setpriv", *become, "--bounding-set", bounds, "--inh-caps=-all",
    ]
