"""How submissions share one GPU: the accounting, on sizes given here. No GPU is needed, and none was ever used to test it."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from grader import gpu, zygote
from grader import judge as judge_module
from grader.judge import Judge
from grader.rubric import load_rubric

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


def test_a_child_is_held_to_its_share_before_any_line_of_the_submission(monkeypatch):
    told = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", told.append)
    monkeypatch.setattr(zygote, "load", lambda *_: told.append("loaded") or pytest.fail())
    mine, theirs = socket.socketpair()
    with mine, theirs, pytest.raises(pytest.fail.Exception):
        zygote.serve(theirs, {"sources": [], "stand_ins": {"names": [], "source": ""}, "limits": {"device": "cuda", "gpu_share": 0.25}})
    assert told == [0.25, "loaded"]
