"""The judge's side of the wall: the warm process, its children, and what is made of their answers.

Whatever comes from a child is checked for its form before a check sees it; a child that is silent,
dead or late is `NoAnswer`, a fault of this machinery `JudgeFault`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict

import torch

from . import sandbox, wire
from .definitions import Source
from .rubric import Limits
from .student import JudgeFault, NoAnswer, StudentError

REAP_SECONDS = 300  # for removing what a child left, which may be millions of files
START_SECONDS = 120  # for importing torch in the warm process, on a slow disk


class Zygote:
    """The warm process and its control socket; forks children and reaps them."""

    def __init__(self, found: dict[str, bool]):
        mine, theirs = socket.socketpair()
        command = [sys.executable, "-m", "grader.zygote", str(theirs.fileno()), json.dumps(found)]
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            sandbox.wrapped(command, found),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            env=_plain_environment(),
            cwd="/",  # Python looks for modules where it starts, and anyone may write to /tmp
        )
        theirs.close()
        self.control = mine
        self.ready = False
        self.lock = threading.Lock()  # one exchange at a time on the control socket
        # without Landlock, children would find each other's files in the private /tmp, which is emptied after each
        self.room = threading.Semaphore(10_000 if found["landlock"] else 1)

    def fork(self, config: dict) -> tuple[socket.socket, dict]:
        """A fresh child: its socket, and its process number and scratch folder."""
        self.room.acquire()
        try:
            return self._fork(config)
        except BaseException:
            self.room.release()
            raise

    def _fork(self, config: dict) -> tuple[socket.socket, dict]:
        mine, theirs = socket.socketpair()
        with self.lock, theirs:
            if not self.ready:  # the first to need it waits; until then both sides load what they need
                self._exchange(None, START_SECONDS)
                self.ready = True
            with self._its_fault():
                wire.send(self.control, {"fork": config})
                socket.send_fds(self.control, [b"f"], [theirs.fileno()])
            return mine, self._exchange(None, 30)

    def reap(self, child: dict) -> dict:
        """End a child; how it ended."""
        try:
            with self.lock:
                return self._exchange({"reap": child["pid"], "scratch": child["scratch"]}, REAP_SECONDS)
        finally:
            self.room.release()

    def waited(self, child: dict) -> float:
        """Seconds that a child could have run and had no core."""
        with self.lock:
            return float(self._exchange({"waited": child["pid"]}, REAP_SECONDS)["seconds"])

    def close(self) -> None:
        """End the warm process and, with it, every child; a thread that waits for an answer gets none."""
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)
        self.control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def _exchange(self, message: dict | None, seconds: float) -> dict:
        with self._its_fault():
            if message is not None:
                wire.send(self.control, message)
            return wire.receive(self.control, time.monotonic() + seconds)

    @contextlib.contextmanager
    def _its_fault(self) -> Iterator[None]:
        """What breaks on the control socket is the judge's fault, and no missing answer of a submission."""
        try:
            yield
        except (wire.Broken, OSError) as reason:
            self.log.seek(0)
            log = self.log.read()[-2000:].decode(errors="replace")
            raise JudgeFault(f"the warm process is gone ({reason}): {log}") from None


def _plain_environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH") if name in os.environ}
    return {
        **kept, "PYTHONPATH": str(sandbox.ROOT), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1", "MPLBACKEND": "agg", "HOME": "/nonexistent", "PYTHONHASHSEED": "0",
    }


class Child:
    """One submission on the other side, task after task: a transport for `Student`.

    It forks anew when the last process died, as long as the task's time is not used up. `cpu_seconds` is what a process may
    use in all, the limits are those of the first task.
    """

    def __init__(self, zygote: Zygote, sources: list[Source], stand_ins: dict, limits: Limits, cpu_seconds: int, device: str,
                 gpu_share: float | None = None):
        self.zygote = zygote
        self.config = {"limits": {**asdict(limits), "cpu_seconds": cpu_seconds, "device": device, "gpu_share": gpu_share}}
        self.work = {"sources": [asdict(source) for source in sources], "stand_ins": stand_ins}
        self.connection: socket.socket | None = None
        self.process: dict = {}
        self.waited = 0.0  # seconds without a core, so far as asked; on a crowded machine they are no fault of the submission
        self.waited_before = 0.0  # of them, those of processes that have ended
        self._begin(limits)

    def next_task(self, limits: Limits) -> None:
        """Serve another task with a time of its own; what was made for the one before is gone."""
        self._begin(limits)
        if self.connection is not None:
            with contextlib.suppress(NoAnswer):  # then the next question meets a new process
                self.answer("forget", {})

    def _begin(self, limits: Limits) -> None:
        before = self._ask_waited()
        self.limits = limits
        self.notes: list[str] = []
        self.deadline = wire.Deadline(time.monotonic() + limits.wall_seconds, lambda: self._ask_waited() - before)
        self.late = False

    def answer(self, operation: str, fields: dict) -> dict:
        """One request; StudentError when the submission raises, NoAnswer when nothing sensible comes back."""
        try:
            if self.connection is None:
                self._start()
            known = self.waited
            soon = time.monotonic() + self.limits.answer_seconds
            deadline = wire.Deadline(soon, lambda: self._ask_waited() - known, within=self.deadline)
            wire.send(self.connection, {"operation": operation, "fields": fields}, deadline)
            return self._understood(operation, wire.receive(self.connection, deadline))
        except wire.Broken as reason:
            if str(reason) == "no answer in time":
                self.late = True
                self.deadline = wire.Deadline(0.0)  # what loops in one check loops in the next: the task's time is over
            raise NoAnswer(self._end(str(reason))) from None

    def close(self) -> None:
        """End the process."""
        if self.connection is not None:
            self._end("")

    def _ask_waited(self) -> float:
        if self.connection is not None:
            self.waited = self.waited_before + self.zygote.waited(self.process)
        return self.waited

    def _start(self) -> None:
        if self.deadline.left() <= 0:
            raise wire.Broken("no answer in time")
        started = time.monotonic()
        self.connection, self.process = self.zygote.fork(self.config)
        try:
            entered = wire.receive(self.connection, time.monotonic() + START_SECONDS)
        except wire.Broken as reason:
            raise JudgeFault(f"a child never came up ({reason})") from None
        if entered != {"entered": True}:  # sent before any line of the submission runs
            raise JudgeFault(f"a child could not be walled in: {entered}")
        self.deadline.at += time.monotonic() - started  # waiting for the warm process is not the submission's time
        wire.send(self.connection, self.work, self.deadline)  # past the zygote, whose memory every later child inherits
        notes = wire.receive(self.connection, self.deadline).get("notes")
        if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
            raise wire.Broken("an answer that is no message")
        self.notes = [note[:500] for note in notes[:50]]

    def _understood(self, operation: str, reply: dict) -> dict:
        error, value = reply.get("error"), reply.get("value")
        if isinstance(error, list) and len(error) == 3 and all(isinstance(part, str) for part in error):
            raise StudentError(*(part[:500] for part in error))
        if not isinstance(value, dict) or not _well_formed(operation, value):
            raise wire.Broken("an answer that is no message")
        return value

    def _end(self, reason: str) -> str:
        if self.connection is None:
            return reason
        self.connection.close()
        self.connection = None
        ended = self.zygote.reap(self.process)
        self.waited = self.waited_before = self.waited_before + ended["waited"]
        return _reason(reason, ended["code"], self.limits)


def _well_formed(operation: str, value: dict) -> bool:
    """Whether a reply has the parts that this operation's reply has."""
    parts = {
        "make": {"handle": int, "parameters": dict, "args": list, "kwargs": dict},
        "call": {"outputs": object, "inputs": list},
        "vjp": {"outputs": object, "inputs": list, "parameters": dict},
        "attribute": {"value": object},
        "build": {"handle": int},
        "run": {"value": object, "gradients": bool},
        "state": {"values": dict, "gradients": dict, "training": bool, "calls": list},
        "saved": {"values": object},
    }.get(operation, {})
    if not all(isinstance(value.get(name), kind) and name in value for name, kind in parts.items()):
        return False
    if operation == "make" and not all(_is_shape(shape) for shape in value["parameters"].values()):
        return False
    if operation == "state":
        return _is_state(value)
    gradients = [*value["inputs"], *value["parameters"].values()] if operation == "vjp" else []
    tensors = value["inputs"] if operation == "call" else []
    return all(gradient is None or _is_number(gradient) for gradient in gradients) and all(
        isinstance(tensor, torch.Tensor) for tensor in tensors
    )


def _is_state(value: dict) -> bool:
    tensors = [*value["values"].values(), *(gradient for gradient in value["gradients"].values() if gradient is not None)]
    return all(isinstance(tensor, torch.Tensor) and not tensor.is_meta for tensor in tensors) and all(
        isinstance(call, dict) for call in value["calls"]
    )


def _is_number(value) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and not value.is_meta


def _is_shape(value) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def _reason(reason: str, code: int, limits: Limits) -> str:
    """Why there is no answer, in words for the student; `code` only counts where the process ended before it was reaped."""
    if reason == "no answer in time":
        return f"no answer within {limits.answer_seconds:g} s ({limits.wall_seconds:g} s for the task): an endless loop?"
    if not reason.startswith("the connection closed"):
        return reason
    if code == -signal.SIGXCPU:
        return "the process was ended, its CPU time used up: an endless loop?"
    if code in (0, -signal.SIGKILL):
        return "the process ended itself, closed its connection, or ran out of CPU time or memory"
    return f"the process was ended by {signal.Signals(-code).name}" if code < 0 else f"the process ended itself with {code}"
