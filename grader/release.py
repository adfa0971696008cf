"""What students get: the repository without the solutions, the tests and the maintainers' tools.

The notebooks and the starter module are built afresh, so a release never carries a stale rendering.
With a repository address the notebooks get a Colab badge, and their setup cell knows where to fetch the lab from.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = ("solutions", "tests", "benchmarks", ".ci")
MANIFEST = ".unetlab-release.json"  # lists what a release wrote, so that the next one may replace it
NO_URL = 'REPO_URL = ""'
COLAB = "https://colab.research.google.com"
GITHUB = re.compile(r"(?:https://github\.com/|git@github\.com:)([\w.-]+)/([\w.-]+?)(?:\.git)?/?")


class ReleaseError(ValueError):
    """A release that cannot be written: what is in the way, and how to mend it."""


def release(destination, repo_url=None, root=ROOT):
    """Write the students' files into `destination` and return their paths inside it, sorted.

    `repo_url` is where students will find them (an https address; GitHub's also gets Colab badges).
    Refuses a folder that holds anything but an earlier release or a `.git`. Of an earlier release,
    what this one no longer has is removed.
    """
    root, destination = Path(root), Path(destination)
    address = clean_address(repo_url) if repo_url else ""
    earlier = earlier_files(root, destination)
    texts = student_texts(root, address)
    copied = [path for path in repository_files(root) if is_for_students(path) and path not in texts]
    for path in copied:
        target = destination / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / path, target)
    for path, text in texts.items():
        (destination / path).parent.mkdir(parents=True, exist_ok=True)
        (destination / path).write_bytes(text.encode())
    written = sorted([*copied, *texts])
    remove(destination, set(earlier) - set(written))
    manifest = json.dumps({"repo_url": address, "files": written}, indent=1) + "\n"
    (destination / MANIFEST).write_bytes(manifest.encode())
    return written


def clean_address(repo_url):
    """Return the address that `git clone` takes without a key: GitHub's as https, any other https address as it is."""
    github = GITHUB.fullmatch(repo_url.strip())
    if github:
        return f"https://github.com/{github[1]}/{github[2]}"
    if re.fullmatch(r"https://[\w.~:/@%+-]+", repo_url.strip()):
        return repo_url.strip().rstrip("/")
    raise ReleaseError(
        f"{repo_url!r} is no address that students can clone from. "
        "To mend it: give one like https://github.com/OWNER/NAME."
    )


def earlier_files(root, destination):
    """Return the files that an earlier release wrote here; ReleaseError where the folder holds anything else."""
    if destination.resolve() in (root.resolve(), *root.resolve().parents):
        raise ReleaseError(f"{destination} is or holds the instructor's repository. To mend it: name another folder.")
    if destination.exists() and not destination.is_dir():
        raise ReleaseError(f"{destination} is a file. To mend it: name a folder.")
    if not destination.exists() or not [entry for entry in destination.iterdir() if entry.name != ".git"]:
        return []
    try:
        files = json.loads((destination / MANIFEST).read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ReleaseError(
            f"{destination} is not empty and holds no earlier release (no readable {MANIFEST}). "
            "To mend it: name a new or empty folder, or empty this one yourself."
        ) from None
    # The list is a file that anyone may edit: nothing outside the folder is ever removed on its word.
    return [path for path in files if isinstance(path, str) and is_inside(destination, path)]


def is_inside(folder, path):
    """Say whether a relative path stays below the folder."""
    return folder.resolve() in (folder / path).resolve().parents


def remove(destination, paths):
    """Remove files of an earlier release, and the folders that this leaves empty."""
    for path in sorted(paths):
        target = destination / path
        target.unlink(missing_ok=True)
        for folder in target.parents:
            if folder == destination or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()


def repository_files(root):
    """Return the repository's files: those git tracks, or before the first commit those it does not ignore."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached"]
    first_commit = git(["git", "-C", str(root), "rev-parse", "--verify", "--quiet", "HEAD"])
    if first_commit.returncode != 0:
        command += ["--others", "--exclude-standard"]
    listing = git(command)
    if listing.returncode != 0:
        raise ReleaseError(
            f"git cannot list the files of {root}: {listing.stderr.strip()} "
            "To mend it: run this in a git checkout of the instructor's repository."
        )
    paths = sorted({path for path in listing.stdout.split("\0") if path})
    return [path for path in paths if (root / path).is_file()]


def git(command):
    """Run git and return what it answered; a missing git is a ReleaseError."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ReleaseError("git is not installed or not on the PATH. To mend it: install git.") from None


def is_for_students(path):
    """Say whether a file of the repository goes to students."""
    parts = path.split("/")
    return parts[0] not in LEFT_OUT and path != MANIFEST and not path.endswith(".pyc")


def student_texts(root, address):
    """Return the fresh renderings, the notebooks with their badge and address where there is one."""
    from grader import build  # here, not above: it needs nbgrader, which students do not have

    texts = build.renderings(root)
    if not address:
        return texts
    notebooks = {path: with_address(path, text, address) for path, text in texts.items() if path.endswith(".ipynb")}
    return {**texts, **notebooks}


def with_address(path, text, address):
    """Fill in a notebook's REPO_URL and, for GitHub, put a Colab badge on top."""
    notebook = json.loads(text)
    setups = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" and NO_URL in "".join(cell["source"])]
    if len(setups) != 1:
        raise ReleaseError(
            f"{path} has {len(setups)} cells with `{NO_URL}`, so its address cannot be filled in. "
            "To mend it: give the setup cell of its source in solutions/ that line, once."
        )
    filled = "".join(setups[0]["source"]).replace(NO_URL, f'REPO_URL = "{address}"', 1)
    setups[0]["source"] = filled.splitlines(keepends=True)
    if GITHUB.fullmatch(address):
        notebook["cells"].insert(0, badge(path, address))
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def badge(path, address):
    """Return the text cell that opens a notebook of a GitHub repository in Colab."""
    page = f"{COLAB}/github/{address.removeprefix('https://github.com/')}/blob/main/{path}"
    source = [f"[![Open in Colab]({COLAB}/assets/colab-badge.svg)]({page})"]
    return {"cell_type": "markdown", "id": "colab-badge", "metadata": {}, "source": source}
