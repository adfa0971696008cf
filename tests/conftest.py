"""Fixtures that several test files share."""

import contextlib
import functools

import pytest

from grader import judge as judge_module
from grader.judge import Judge
from grader.wall import Zygote

PART_1 = ["1.1", "1.2", "1.3", "1.4"]  # what the judge's own tests are tried on: the other parts only take longer


@pytest.fixture(scope="session")
def judge():
    with Judge(PART_1) as judge:
        yield judge


class Kept(Zygote):
    """A warm process that the test run's next judge takes over: its start imports torch and no submission leaves a trace in it."""

    idle: list["Kept"] = []

    @classmethod
    def taken(cls, found: dict[str, bool]) -> Zygote:
        """One that is idle and alive, or a new one."""
        for zygote in list(cls.idle):
            if zygote.found == found:
                cls.idle.remove(zygote)
                if zygote.process.poll() is None:
                    return zygote
                zygote.end()
        return cls(found)

    def __init__(self, found: dict[str, bool]):
        self.found, self.children, self.sound = found, set(), True
        super().__init__(found)

    def fork(self, config: dict):
        connection, child = super().fork(config)
        self.children.add(child["pid"])
        return connection, child

    def reap(self, child: dict) -> dict:
        answer = super().reap(child)
        self.children.discard(child["pid"])
        return answer

    @contextlib.contextmanager
    def _its_fault(self):
        try:
            with super()._its_fault():
                yield
        except BaseException:  # the answer may come yet, and would be taken for that to the next request
            self.sound = False
            raise

    def close(self) -> None:
        free = self.lock.acquire(blocking=False)
        if free and self.ready and self.sound and not self.children and self.process.poll() is None:
            self.lock.release()
            self.idle.append(self)
        else:
            self.end()

    def end(self) -> None:
        super().close()


@pytest.fixture(scope="session", autouse=True)
def _kept_warm_processes():
    """Judges of one test process hand their warm process on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge_module, "Zygote", Kept.taken)
        yield
        for zygote in Kept.idle:
            zygote.end()


@pytest.fixture(scope="session", autouse=True)
def _asked_once():
    """A new gradebook asks a command, which takes seconds, for the version of its tables: the same in all of them."""
    try:
        from nbgrader import api
    except ImportError:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "get_alembic_version", functools.cache(api.get_alembic_version))
        yield


@pytest.fixture
def own_warm_process(_kept_warm_processes, monkeypatch):
    """For tests of what a warm process inherits, or leaves behind."""
    monkeypatch.setattr(judge_module, "Zygote", Zygote)


@pytest.fixture
def without_figures(request, monkeypatch):
    """A run's two figures take longer than its training on a few pictures; tests marked `figures` have them drawn."""
    if not request.node.get_closest_marker("figures"):
        monkeypatch.setattr("training.train.draw", lambda run, out, threshold: None)
