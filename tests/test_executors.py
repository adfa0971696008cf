"""Wherever submissions are marked, each gets its result, and a process or machine that dies costs a second try."""

import itertools
import os
import signal
import time
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path, PurePosixPath

import psutil
import pytest

from grader import executors
from grader.executors import grade_all
from grader.submissions import File, Submission
from solutions.reference import reference_source
from tests.helpers import module, replaced, scores

TASK = ["1.1"]
SWAPPED = ("return features, pooled", "return pooled, features")


@dataclass
class Deadly(Submission):
    """Ends the process that reads it, as a lack of memory would: `lives` times, counted in a file."""

    lives: int = 0
    witness: Path | None = None

    def sources(self):
        count = len(self.witness.read_text()) if self.witness.exists() else 0
        if count < self.lives:
            self.witness.write_text("x" * (count + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sources()


@dataclass
class Slow(Submission):
    """Would keep its judge for ever."""

    begun: Path | None = None

    def sources(self):
        self.begun.touch()
        time.sleep(10_000)


def of(kind, text: str, name: str, **more):
    plain = module(text, name)
    return kind(plain.path, plain.student, plain.files, **more)


def class_with_deaths(folder: Path) -> list[Submission]:
    return [
        of(Deadly, reference_source(), "always", lives=99, witness=folder / "always"),
        of(Deadly, reference_source(), "once", lives=1, witness=folder / "once"),
        module(replaced(SWAPPED), "swapped"),
    ]


def check_class_with_deaths(results: list[dict]) -> None:
    by_name = {result["student"]: result for result in results}
    assert len(results) == len(by_name) == 3, "nothing is lost and nothing is graded twice"
    assert scores(by_name["once"]) == {"1.1": 20}
    assert 0 < scores(by_name["swapped"])["1.1"] < 20
    lost = by_name["always"]
    assert lost["status"] == "ungraded" and lost["score"] is None and all(score is None for score in scores(lost).values())
    assert "died" in lost["notes"][0]


def left_behind(before: list[psutil.Process]) -> list[psutil.Process]:
    """Judges and warm processes that outlived their work; Python's own two helpers, our children, live as long as we do."""
    helpers = [p for p in psutil.Process().children() if "multiprocessing" in " ".join(p.cmdline())]
    mine = [p for p in psutil.Process().children(recursive=True) if p not in before and p not in helpers]
    return psutil.wait_procs(mine, timeout=60)[1]


def test_threads_give_results_as_submissions_come():
    """None is read before there is room for it, so a class of any size fits in memory."""
    asked = []

    def submissions():
        for number in itertools.count():
            asked.append(number)
            yield module("", f"empty{number}")

    results = grade_all(submissions(), jobs=2, only=TASK)
    first = [next(results)["student"] for _ in range(3)]
    results.close()
    assert len(set(first)) == 3 and len(asked) <= 3 + 2


def test_a_process_that_dies_costs_a_second_try(tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "IN_THREADS", 0)
    monkeypatch.setattr(executors, "TRIES", 2)
    before = psutil.Process().children(recursive=True)
    check_class_with_deaths(list(grade_all(class_with_deaths(tmp_path), jobs=2, only=TASK)))
    assert (tmp_path / "always").read_text() == "xx", "it was tried twice and no more"
    assert not left_behind(before)


def test_an_interrupt_ends_processes_at_work(tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "IN_THREADS", 0)
    before = psutil.Process().children(recursive=True)

    def submissions():
        yield of(Slow, "", "slow", begun=tmp_path / "begun")
        while not (tmp_path / "begun").exists():
            time.sleep(0.1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(grade_all(submissions(), jobs=2, only=TASK))
    assert not left_behind(before)


def test_unusable_clusters_are_refused(monkeypatch):
    for address, told in (("dask://nowhere", "HOST:PORT"), ("ray://127.0.0.1:1", "HOST:PORT"), ("dask://127.0.0.1:1", "no Dask scheduler")):
        monkeypatch.setattr(executors, "PATIENCE", 1)
        with pytest.raises((ValueError, OSError), match=told):
            next(grade_all([], executor=address))


def test_files_travel_as_bytes(tmp_path):
    (tmp_path / "a.py").write_text("A = 1")
    gone = File("gone.py", PurePosixPath("gone.py"), (tmp_path / "gone.py").read_bytes, tmp_path / "gone.py")
    here = File("a.py", PurePosixPath("a.py"), (tmp_path / "a.py").read_bytes, tmp_path / "a.py")
    weights = File("unet.pth", PurePosixPath("results/unet.pth"), lambda: b"weights")
    huge = File("big.pth", PurePosixPath("results/big.pth"), lambda: bytes((executors.checkpoint_limit() << 20) + 1))
    essay = File("report.pdf", PurePosixPath("report.pdf"), lambda: pytest.fail("nobody marks it there"))
    packed = executors._packed(Submission(tmp_path, "ada", [here, gone], others=[weights, huge, essay]))
    (tmp_path / "a.py").unlink()
    assert [source.cells[0].source for source in packed.sources()] == ["A = 1"]
    assert "gone.py: cannot be read (No such file or directory)" in packed.notes[0]
    assert [file.name.name for file in packed.others] == ["unet.pth", "big.pth"] and packed.others[0].content() == b"weights"
    with pytest.raises(executors.Unreadable, match="200 are taken"):
        packed.others[1].content()


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes on this machine, each replaced when it dies; what died with a worker is at once for us to retry."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install -e '.[cluster]'")
    import dask

    fast = {"distributed.worker.multiprocessing-method": "forkserver", "distributed.scheduler.allowed-failures": 0}
    get_context("forkserver").set_forkserver_preload(["distributed", "grader.executors"])
    with dask.config.set(fast):
        with distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster:
            yield "dask://" + cluster.scheduler_address.removeprefix("tcp://")


def test_a_worker_killed_in_the_middle_loses_nothing(cluster, tmp_path):
    check_class_with_deaths(list(grade_all(class_with_deaths(tmp_path), only=TASK, executor=cluster)))
    assert (tmp_path / "always").read_text() == "xx", "once among others, once alone"


def test_a_worker_with_another_kit_is_refused(cluster, monkeypatch):
    monkeypatch.setattr(executors, "kit_digest", lambda: "another")
    with pytest.raises(executors.Misfit, match="install the same version on both"):
        next(grade_all([module("")], only=TASK, executor=cluster))
