"""Each rung of the ladder alone: what it stops by itself, that no other need be there, and that nothing stops it without.

The attacks run in rungs_inside.py, behind the outer wall: as whoever runs the tests and, where that is root, as an ordinary user.
"""

import contextlib
import threading
from dataclasses import asdict

import pytest

from grader import sandbox
from grader.rubric import load_rubric
from grader.wall import Zygote
from tests.outer_wall import IS_ROOT, reports_of
from tests.rungs_inside import PROBES

RUNGS = ["bubblewrap", "landlock", "seccomp", "rlimits"]
WHO = ["root", "user"] if IS_ROOT else ["user"]
FILES = {"bubblewrap", "landlock"}
STOPPED_BY = {
    "read the solutions": FILES,
    "read another hand-in": FILES,
    "read a neighbour's scratch": {"landlock"},  # without it, one child at a time has the private /tmp
    "write into the home": FILES,
    "empty the gradebook": FILES | {"seccomp"},
    "open the gradebook to all": {"bubblewrap", "seccomp"},
    "learn a file's size": {"bubblewrap"},
    "see the processes": FILES,
    "find a process by its number": {"bubblewrap"},
    "signal a process": {"bubblewrap", "seccomp"},
    "start a process": {"seccomp"},
    "reach a port": {"bubblewrap", "seccomp"},
    "reach an abstract socket": {"bubblewrap", "seccomp"},
    "open a netlink socket": {"seccomp"},
    "make a key": {"seccomp"},
    "map a file of memory alone": {"seccomp"},
    "outlive the warm process": {"seccomp"},
    "hold up who opens a file": {"seccomp"},
    "start two thousand threads": {"rlimits"},
    "map a gigabyte": {"rlimits"},
    "write a large file": {"rlimits"},
    "fill the scratch folder": {"bubblewrap"},
    "compute for longer": {"rlimits"},
}


@pytest.fixture(scope="module")
def through(tmp_path_factory):
    """Who → rung, or "none" → attack → whether it got through with that rung alone."""
    return reports_of("rungs_inside.py", {who: ["none", *RUNGS] for who in WHO}, tmp_path_factory)


def test_every_attack_is_in_the_table_and_every_rung_stops_something_alone():
    assert PROBES == list(STOPPED_BY)
    assert {rung for stopping in STOPPED_BY.values() if len(stopping) == 1 for rung in stopping} == set(RUNGS)


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("attack", STOPPED_BY)
def test_an_attack_is_stopped_by_these_rungs_alone_and_by_no_other(through, who, attack):
    assert through[who]["none"][attack], "it gets through where there is no rung"
    assert {rung for rung in RUNGS if not through[who][rung][attack]} == STOPPED_BY[attack]


@pytest.mark.parametrize("attack", STOPPED_BY)
@pytest.mark.parametrize("level", [set(RUNGS), {"landlock", "seccomp", "rlimits"}, {"bubblewrap", "seccomp", "rlimits"}], ids=len)
def test_grading_levels_stop_every_attack_but_those_that_are_said(attack, level):
    said = {"learn a file's size", "find a process by its number", "fill the scratch folder"} if "bubblewrap" not in level else set()
    said |= {"read a neighbour's scratch"} if "landlock" not in level else set()
    assert bool(STOPPED_BY[attack] & level) is (attack not in said)


@pytest.mark.parametrize("missing", [{"seccomp"}, {"landlock", "bubblewrap"}, {"seccomp", "landlock"}, {"seccomp", "landlock", "bubblewrap"}], ids=lambda missing: " ".join(sorted(missing)))
def test_below_the_floor_grading_refuses(missing):
    found = {rung: rung not in missing for rung in RUNGS if rung != "rlimits"}
    with pytest.raises(sandbox.TooOpen, match="--insecure"):
        sandbox.isolation(found)
    assert sandbox.isolation(found, insecure=True).startswith("insecure")


@pytest.mark.parametrize("landlock", [True, False])
def test_without_landlock_one_child_at_a_time_has_the_private_folder(landlock):
    """Nothing hostile runs here: two children are forked, and none is given a submission."""
    config = {"limits": {**asdict(next(iter(load_rubric().values())).limits), "device": "cpu"}}
    with contextlib.closing(Zygote({**sandbox.rungs(), "landlock": landlock and sandbox.rungs()["landlock"]})) as zygote:
        first, child = zygote.fork(config)
        second: list = []
        waiting = threading.Thread(target=lambda: second.append(zygote.fork(config)))
        waiting.start()
        waiting.join(60 if landlock else 2)
        assert bool(second) is landlock
        zygote.reap(child)
        waiting.join(60)
        connection, child = second[0]
        zygote.reap(child)
        first.close(), connection.close()
