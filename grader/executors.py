"""Where submissions are marked: in threads of this process, in processes of this machine, or on a Dask cluster.

Submissions are taken as there is room and results given as they come, so memory does not grow with the class.
A process or machine that dies costs a second try of what it was on; what ends each of its processes is left ungraded.
"""

from __future__ import annotations

import collections
import functools
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from pathlib import Path

from . import sandbox
from .experiment import checkpoint_limit, is_experiment, over_limit
from .fingerprint import kit_digest
from .journal import ungraded
from .judge import Judge
from .reading import Unreadable
from .rubric import select
from .student import FAULTS
from .submissions import File, Submission

ROOT = Path(__file__).resolve().parents[1]

TRIES = 3  # deaths of the process that it is marked in, after which a submission is left to a person
PATIENCE = 120  # seconds without a worker, or a scheduler, after which a cluster is given up
IN_THREADS = 2  # as many jobs share one warm process; more would wait for each other in Python


@dataclass(frozen=True)
class Options:
    """How to judge: which tasks, whether below the floor of isolation, on which device."""

    only: tuple[str, ...] = ()
    insecure: bool = False
    device: str = "cpu"

    def judge(self) -> Judge:
        """A judge of this kind, not yet started."""
        return Judge(list(self.only), self.insecure, self.device)


def grade_all(
    submissions: Iterable[Submission],
    jobs: int = 1,
    only: list[str] | None = None,
    device: str = "cpu",
    insecure: bool = False,
    progress: Callable[[dict], None] | None = None,
    executor: str | None = None,
) -> Iterator[dict]:
    """Mark `jobs` submissions at a time, or as many as the cluster `executor` (dask://HOST:PORT) takes; results come as they are ready.

    Raises ValueError for an unknown task, device or cluster, RuntimeError when the cluster is lost, sandbox.TooOpen
    below the floor of isolation.
    """
    options = Options(tuple(task.id for task in select(only)), insecure, device)
    if executor:
        results = _on_dask(submissions, executor, options)
    elif jobs <= IN_THREADS or device == "cuda":  # one process counts who is on the GPU
        results = _in_threads(submissions, jobs, options)
    else:
        results = _in_processes(submissions, jobs, options)
    for result in results:
        if progress:
            progress(result)
        yield result


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _as_they_come(
    submit: Callable[[Submission], Future],
    submissions: Iterable[Submission],
    room: Callable[[], int],
    again: collections.deque[Submission] | tuple = (),
) -> Iterator[tuple[Submission, Future]]:
    """Keep `room()` submissions under way; each comes back with its finished future.

    What the caller puts into `again` is submitted once more.
    """
    waiting, running, left = iter(submissions), {}, True
    while left or running or again:
        while (left or again) and len(running) < room():
            submission = again.popleft() if again else next(waiting, None)
            left = left and submission is not None
            if submission is not None:
                running[submit(submission)] = submission
        done, _ = wait(running, timeout=2, return_when=FIRST_COMPLETED)
        for future in done:
            yield running.pop(future), future
        if not done and not running and (left or again):  # no room at all: every worker of a cluster is gone, for now
            time.sleep(0.2)


def _given_up(submission: Submission, options: Options, error: object) -> dict:
    reason = f"{FAULTS[1]}: each process that marked it died ({error}); mark it by hand, or run it again on a machine with more memory"
    left = ungraded(submission.student, reason, str(submission.path))
    return {**left, "isolation": "not judged", "device": options.device}


# ---- this machine ----


def _in_threads(submissions: Iterable[Submission], jobs: int, options: Options) -> Iterator[dict]:
    # the judge ends before the threads: on an interrupt, nobody waits for answers any more
    with ThreadPoolExecutor(jobs) as pool, options.judge() as judge:
        for _, future in _as_they_come(lambda submission: pool.submit(judge.grade, submission), submissions, lambda: jobs):
            yield future.result()


def _in_processes(submissions: Iterable[Submission], jobs: int, options: Options) -> Iterator[dict]:
    options.judge()  # what cannot be judged at all is said here, and once
    processes, again, deaths = _Processes(jobs), collections.deque(), collections.Counter()
    try:
        submit = functools.partial(processes.submit, options)
        for submission, future in _as_they_come(submit, submissions, lambda: jobs, again):
            try:
                yield processes.result(future)
            except BrokenExecutor as error:
                whose = (str(submission.path), submission.student)
                deaths[whose] += 1
                if deaths[whose] < TRIES:
                    again.append(submission)
                else:
                    yield _given_up(submission, options, error)
    finally:
        processes.close()


def _end_with_parent() -> None:
    """End this process, and so its warm one, when the one that started it dies: it would wait for work for ever."""
    threading.Thread(target=lambda: (parent_process().join(), os._exit(1)), daemon=True).start()


class _Processes:
    """Pools of one process each: when one dies, it is known what it was on."""

    def __init__(self, jobs: int):
        self.idle = [self._pool() for _ in range(jobs)]
        self.busy: dict[Future, ProcessPoolExecutor] = {}
        self.numbers: dict[ProcessPoolExecutor, Future] = {}

    def _pool(self) -> ProcessPoolExecutor:
        # forked from a process that has loaded torch and nothing else: this one's threads may hold locks
        context = get_context("forkserver")
        context.set_forkserver_preload([__name__])
        return ProcessPoolExecutor(1, mp_context=context, initializer=_end_with_parent)

    def submit(self, options: Options, submission: Submission) -> Future:
        """Have an idle process mark a submission; there is one, since no more are under way than there are processes."""
        pool = self.idle.pop()
        with _deaf_to_interrupts():  # as the process stays that starts here: ending it is this one's affair
            if pool not in self.numbers:
                self.numbers[pool] = pool.submit(os.getpid)
            future = pool.submit(_grade_here, options, submission)
        self.busy[future] = pool
        return future

    def result(self, future: Future) -> dict:
        """The result of a finished future; BrokenExecutor when its process died, in whose place there is a new one."""
        pool = self.busy.pop(future)
        try:
            result = future.result()
        except BrokenExecutor:
            pool.shutdown()
            self.numbers.pop(pool)
            self.idle.append(self._pool())
            raise
        self.idle.append(pool)
        return result

    def close(self) -> None:
        """End every process, at once where it is at work."""
        for pool in self.busy.values():
            with suppress(BrokenExecutor, ProcessLookupError):
                os.kill(self.numbers[pool].result(), signal.SIGTERM)
        for pool in [*self.idle, *self.busy.values()]:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# One judge a process, started by the first submission that comes; the last one under way closes it.
_judges: dict[Options, Judge] = {}
_under_way: collections.Counter[Options] = collections.Counter()
_leaving: set[Options] = set()
_lock = threading.Lock()


def _grade_here(options: Options, submission: Submission) -> dict:
    with _lock:
        if options not in _judges:
            _judges[options] = options.judge().__enter__()
        judge = _judges[options]
        _under_way[options] += 1
        _leaving.discard(options)
    try:
        return judge.grade(submission)
    finally:
        with _lock:
            _under_way[options] -= 1
            if options in _leaving:
                _close_idle(options)


def _close_here(options: Options) -> None:
    with _lock:
        _leaving.add(options)
        _close_idle(options)


def _close_idle(options: Options) -> None:
    if not _under_way[options] and options in _judges:
        _judges.pop(options).__exit__()


# ---- a Dask cluster ----


class Misfit(RuntimeError):
    """A worker of the cluster that cannot mark as this machine would."""


@dataclass(frozen=True)
class _Held:
    """What a file holds, to be read on another machine."""

    content: bytes

    def __call__(self) -> bytes:
        return self.content


@dataclass(frozen=True)
class _Refused:
    """Why a file could not be read, to be said on another machine."""

    problem: str

    def __call__(self) -> bytes:
        raise Unreadable(self.problem)


def _packed(submission: Submission) -> Submission:
    """The submission with its files in it, as far as they are marked."""
    others = [_held(file) for file in submission.others if is_experiment(file.name.name)]
    return replace(submission, files=[_held(file) for file in submission.files], others=others)


def _held(file: File) -> File:
    try:
        read = _Held(file.content())
    except Unreadable as problem:
        read = _Refused(str(problem))
    else:
        if is_experiment(file.name.name) and len(read.content) > checkpoint_limit() * 2**20:
            read = _Refused(over_limit(file.name, len(read.content), checkpoint_limit()))
    return replace(file, read=read, place=None)


def _on_dask(submissions: Iterable[Submission], address: str, options: Options) -> Iterator[dict]:
    cluster = _Cluster(address, options)
    try:
        yield from cluster.grade(submissions)
    finally:
        cluster.close()


class _Cluster:
    """A Dask cluster that marks; its scheduler retries what a lost worker was on."""

    def __init__(self, address: str, options: Options):
        self.address, self.options = address, options
        self.client = _connected(address)
        self.seen = time.monotonic()  # when there was a worker last
        try:
            self.client.wait_for_workers(1, timeout=PATIENCE)
            self._refuse_misfits()
        except BaseException as error:
            self.client.close()
            raise RuntimeError(f"{address}: no worker within {PATIENCE} s") if isinstance(error, TimeoutError) else error
        self.executor = self.client.get_executor(pure=False)

    def grade(self, submissions: Iterable[Submission]) -> Iterator[dict]:
        """Each submission's result; what was on a worker whenever one died is tried once more, alone, before it is given up."""
        from distributed import KilledWorker

        suspects = []
        for submission, future in _as_they_come(self._submit, submissions, self._room):
            try:
                yield self._result(future)
            except KilledWorker:
                suspects.append(submission)
        for submission, future in _as_they_come(self._submit, suspects, lambda: min(1, self._room())):
            try:
                yield self._result(future)
            except KilledWorker as error:
                yield _given_up(submission, self.options, str(error).split(".")[0])

    def close(self) -> None:
        """Leave the cluster as it was found: nothing under way, no judges."""
        self.executor.shutdown(wait=False)
        with suppress(Exception):  # whoever is gone has closed its own
            self.client.run(_close_here, self.options)
        self.client.close()

    def _submit(self, submission: Submission) -> Future:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of large arguments: only the scheduler outlives a worker
            return self.executor.submit(_grade_there, kit_digest(), self.options, _packed(submission))

    def _room(self) -> int:
        """One submission for each thread and one in reserve for each worker; RuntimeError when there was none for too long."""
        threads = self.client.nthreads()
        if threads:
            self.seen = time.monotonic()
        elif time.monotonic() - self.seen > PATIENCE:
            raise RuntimeError(f"{self.address}: no worker is left; what was finished is kept, run it again when there are some")
        return sum(threads.values()) + len(threads)

    def _result(self, future: Future) -> dict:
        try:
            return future.result()
        except CancelledError:
            raise RuntimeError(f"{self.address}: the scheduler is gone; what was finished is kept, run it again when it is back") from None

    def _refuse_misfits(self) -> None:
        found = self.client.run(_misfit, kit_digest(), self.options, on_error="return")
        for worker, problem in found.items():
            if isinstance(problem, OSError):  # it has just died; another comes, or none is left
                continue
            if problem:
                lacking = "" if isinstance(problem, str) else f"{type(problem).__name__}: "
                raise Misfit(f"worker {worker} cannot mark: {lacking}{problem}")


def _connected(address: str):
    """The client of a cluster at dask://HOST:PORT; ValueError, or OSError when nobody answers."""
    place = re.fullmatch(r"dask://([^/\s]+:\d+)/?", address)
    if not place:
        raise ValueError(f"{address} is no executor; name a Dask scheduler as dask://HOST:PORT")
    try:
        from distributed import Client
    except ImportError:
        raise ValueError(f"{address} needs Dask, which is not installed here: pip install -e '.[cluster]'") from None
    try:
        return Client(f"tcp://{place[1]}", timeout=PATIENCE, set_as_default=False)
    except OSError as error:
        raise OSError(f"{address}: no Dask scheduler answers there ({error})") from None


def _grade_there(kit: str, options: Options, submission: Submission) -> dict:
    if problem := _misfit(kit, options):  # a worker that came later
        raise Misfit(f"a worker cannot mark: {problem}")
    return _grade_here(options, submission)


def _misfit(kit: str, options: Options) -> str:
    """Why this process cannot mark as the machine with that kit would, or nothing."""
    if not (ROOT / "solutions").is_dir():
        return f"the kit in {ROOT} is a student's copy, without solutions/"
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))  # as the command line does
    if kit != kit_digest():
        return f"the kit in {ROOT} differs from the one that sends the submissions; install the same version on both"
    try:
        sandbox.isolation(sandbox.rungs(options.device), options.insecure)
    except sandbox.TooOpen as error:
        return str(error)
    return ""
