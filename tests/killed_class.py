"""Runs the command line again and again, each time in a fresh fork of one process that has loaded everything.

Reads lines of JSON {"arguments", "kill_at", "of_new", "log"} and answers each with {"code", "events", "new", "left"}. A run
kills itself (SIGKILL, its main process alone) before its event number `kill_at`: an event is a file opened, renamed or
removed, a process or socket made, a database opened. With `of_new` only those count that come once there is something new
to do, which is when the warm process starts or the journal grows. `left`: whether any process of the run was still there
ten seconds after its end.
"""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from grader import audit, cli, fingerprint, regrade, sandbox  # noqa: E402, F401
from grader.rubric import load_rubric  # noqa: E402
from grader.runner import checks_of  # noqa: E402
from solutions.reference import reference  # noqa: E402

EVENTS = ("open", "os.", "shutil.", "sqlite3.", "subprocess.", "socket.", "tempfile.")
PR_SET_CHILD_SUBREAPER = 36


def live(command: dict, count: int) -> None:
    """The run itself; its number of events goes to descriptor `count` when it comes to its end."""
    seen, new, pid = 0, 0, os.getpid()

    def watch(event, arguments):
        nonlocal seen, new
        if not event.startswith(EVENTS) or os.getpid() != pid:
            return
        seen += 1
        new += new > 0 or event == "subprocess.Popen" and "grader.zygote" in arguments[1] or _grows_the_journal(event, arguments)
        if (new if command["of_new"] else seen) == command["kill_at"]:
            os.kill(pid, signal.SIGKILL)

    os.setsid()
    log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 99
    try:
        sys.addaudithook(watch)
        code = cli.main(command["arguments"])
    finally:
        sys.stdout.flush()
        os.write(count, f"{seen} {new}".encode())
        os._exit(code)


def _grows_the_journal(event: str, arguments: tuple) -> bool:
    return event == "open" and str(arguments[0]).endswith("judge.jsonl") and "a" in str(arguments[1])


def run(command: dict) -> dict:
    """One run; its exit status (negative: the signal), and what it left behind."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        live(command, write)
    os.close(write)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen, new = map(int, (os.read(read, 100) or b"0 0").split())
    os.close(read)
    return {"code": code, "events": seen, "new": new, "left": is_left(10)}


def is_left(seconds: float) -> bool:
    """Whether a process of the run, which comes to this one when its parent dies, is there after that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.02)
        except ChildProcessError:
            return False
    return True


def load_everything() -> None:
    """What each run would load and probe anew, which is no part of what is killed here."""
    for task in load_rubric().values():
        checks_of(task)
        checks_of(task, hidden=True)
    reference()
    fingerprint.kit_digest()
    sandbox.rungs("cpu")


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    load_everything()
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
