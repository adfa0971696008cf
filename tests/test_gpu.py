"""How submissions share one GPU: the accounting, on sizes given here, and how a child begins. No GPU is needed; test_cuda.py uses one."""

import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from grader import gpu, sandbox, wire, zygote
from grader import judge as judge_module
from grader.judge import Judge
from grader.rubric import load_rubric

ROOT = Path(__file__).resolve().parents[1]
TASK = load_rubric()["1.1"]
SMALL = replace(TASK, limits=replace(TASK.limits, gpu_memory_mb=1400))


def test_as_many_as_fit_with_what_cuda_itself_takes():
    large = replace(TASK, limits=replace(TASK.limits, gpu_memory_mb=3400))
    assert gpu.places([SMALL], free_mb=8000) == 4 and gpu.places([SMALL, large], free_mb=8000) == 2
    assert gpu.share(SMALL.limits, total_mb=14_000) == pytest.approx(0.1) and gpu.share(large.limits, total_mb=2000) == 1.0


def test_a_gpu_that_is_too_full_is_refused():
    with pytest.raises(ValueError, match="1,999 MB free, and one submission needs 2,000 .gpu_memory_mb"):
        gpu.places([SMALL], free_mb=1999)


def test_no_more_children_at_a_time_than_there_are_places(monkeypatch):
    """Four submissions, room for two: two meet on the GPU, a third never."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (4500 << 20, 14_000 << 20))
    monkeypatch.setattr(judge_module, "select", lambda only: [SMALL])
    pair, lock, there, shares = threading.Barrier(2, timeout=60), threading.Lock(), [], []

    class Child:
        def __init__(self, *arguments):
            shares.append(arguments[-1])
            with lock:
                there.append(self)
                assert len(there) <= 2
            pair.wait()

        def close(self):
            with lock:
                there.remove(self)

    monkeypatch.setattr(judge_module, "Child", Child)
    judge = Judge(insecure=True, device="cuda")

    def submission():
        with judge_module._Children(judge, None, []) as children:
            children.fresh(SMALL)
            children.fresh(SMALL)  # the first one's place is free again by then

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(submission) for _ in range(4)]:
            future.result()
    assert not there and shares == [pytest.approx(0.1)] * 8


CONFIG = {"sources": [], "stand_ins": {"names": [], "source": ""}, "limits": {"device": "cuda", "gpu_share": 0.25}}


def said_by_a_child(monkeypatch, start):
    """What a child on the GPU sends to the judge, where `start` stands for the start of CUDA and there is no wall."""
    monkeypatch.setattr(zygote, "_start_cuda", start)
    monkeypatch.setattr(zygote.sandbox, "enter", lambda scratch, limits, found, last: last())
    mine, theirs = socket.socketpair()
    with mine:
        monkeypatch.setattr(zygote.socket, "socket", lambda fileno: theirs)
        zygote.live("", CONFIG, {})
        theirs.close()
        return wire.receive(mine)


def test_a_child_is_held_to_its_share_before_any_line_of_the_submission(monkeypatch):
    told = []
    monkeypatch.setattr(zygote, "serve", lambda *_: told.append("loaded"))
    monkeypatch.setattr(zygote.wire, "receive", lambda connection, receive=wire.receive: {} if told == [0.25] else receive(connection))
    said_by_a_child(monkeypatch, told.append)
    assert told == [0.25, "loaded"]


def test_a_gpu_that_does_not_start_is_no_fault_of_the_submission(monkeypatch):
    """It was: the child ended without a word, every check failed, and a right submission got 0."""

    def start(share):
        raise RuntimeError("CUDA error: out of memory")

    assert said_by_a_child(monkeypatch, start) == {"fault": "RuntimeError: CUDA error: out of memory"}


CHILD = """
import os, sys, torch
from grader import zygote
with zygote._no_gpu() if sys.argv[1] == "guarded" else zygote.contextlib.nullcontext():
    zygote.warm_up()
child = os.fork()
if child == 0:
    os._exit(torch.cuda._is_in_bad_fork())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="needs a torch built with CUDA, which runs without a GPU too")
@pytest.mark.parametrize("how, spoilt", [("guarded", "0"), ("as it comes", "1")])
def test_the_warm_process_leaves_its_children_a_gpu_that_they_can_use(how, spoilt):
    """An optimizer's step asks whether there is a GPU, and with that takes it from every child."""
    done = subprocess.run([sys.executable, "-c", CHILD, how], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == spoilt


THREADED = """
import errno, socket, threading
from grader import sandbox
sandbox.prepare({"landlock": False, "seccomp": True})
walled, said = threading.Event(), []

def open_a_socket():
    walled.wait()
    try:
        socket.socket()
    except OSError as error:
        said.append(errno.errorcode[error.errno])

thread = threading.Thread(target=open_a_socket)
thread.start()  # as the driver's are, before the wall
sandbox._seccomp("cuda")
walled.set()
thread.join()
print(said)
"""


@pytest.mark.skipif(not sandbox._seccomp_works(), reason="needs seccomp: Linux and pyseccomp")
def test_the_drivers_threads_are_behind_the_wall_too():
    done = subprocess.run([sys.executable, "-c", THREADED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['EPERM']"
