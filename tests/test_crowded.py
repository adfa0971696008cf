"""On a crowded machine right work keeps its marks: the seconds without a core are not the submission's."""

import multiprocessing
import os
import sys
from dataclasses import replace

import pytest

from grader import judge as judge_module
from grader.judge import Judge
from grader.rubric import load_rubric
from tests.helpers import module, replaced, scores

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux, to crowd one core")

BUSY = 7  # other processes on the judge's only core
# About half a second of CPU time in an answer, of the two seconds that it may take.
SLOW = ("features = self.double_conv(x)", "started = time.process_time()\n        while time.process_time() < started + 0.5:\n"
        "            pass\n        features = self.double_conv(x)")


def _spin():
    while True:
        pass


@pytest.fixture
def crowded(monkeypatch, own_warm_process):
    """A judge on one core that seven others want as well, with two seconds for an answer."""
    tasks = {id: replace(task, limits=replace(task.limits, answer_seconds=2.0, wall_seconds=24)) for id, task in load_rubric().items()}
    monkeypatch.setattr(judge_module, "load_rubric", lambda: tasks)
    monkeypatch.setattr(judge_module, "select", lambda only: [tasks[id] for id in only])
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    others = [multiprocessing.get_context("fork").Process(target=_spin, daemon=True) for _ in range(BUSY)]
    try:
        with Judge(["1.1"]) as judge:
            judge.grade(module(replaced()))  # the warm process is up
            for other in others:
                other.start()
            yield judge
    finally:
        for other in others:
            if other.pid:
                other.kill()
        os.sched_setaffinity(0, before)


def test_time_without_a_core_costs_nothing_and_sleep_does(crowded):
    result = crowded.grade(module("import time\n" + replaced(SLOW)))
    assert result["tasks"]["1.1"]["score"] == result["tasks"]["1.1"]["max_score"], scores(result)
    asleep = crowded.grade(module("import time\n" + replaced(("features = self.double_conv(x)", "time.sleep(60)"))))
    assert asleep["tasks"]["1.1"]["score"] < asleep["tasks"]["1.1"]["max_score"]
    assert any("no answer within" in check["message"] for check in asleep["tasks"]["1.1"]["checks"])


if sys.platform == "linux":

    def test_the_kernel_counts_the_seconds_without_a_core():
        from grader.zygote import waited

        assert os.path.exists("/proc/self/schedstat") and waited(os.getpid()) >= 0
        assert waited(2**22 + 1) == 0.0
