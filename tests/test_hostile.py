"""What a hostile hand-in gets: its marks on merit, and nothing else.

The hand-ins run in hostile_class.py, inside a wall of this file's own (process namespace, read-only
root, capped memory), so that a hole in the judge's sandbox cannot hurt the machine: once as whoever
runs the tests and, where that is root, once as an ordinary user on another rung; UNETLAB_LONG=1 tries every rung as both.
"""

import json
import os

import pytest

from grader import sandbox
from tests.outer_wall import IS_ROOT, reports_of

if not IS_ROOT:
    RUNGS = {"user": ["full", "strong", "wrapped"]}
elif os.environ.get("UNETLAB_LONG"):
    RUNGS = {"root": ["full", "strong", "wrapped"], "user": ["full", "strong"]}
else:  # each user once
    RUNGS = {"root": ["full"], "user": ["strong"]}
ISOLATION = {
    "full": "full: bubblewrap, landlock, seccomp, rlimits",
    "strong": "strong: landlock, seccomp, rlimits",
    "wrapped": "strong: bubblewrap, seccomp, rlimits",
}
PLACES = [f"{who}-{rung}" for who, rungs in RUNGS.items() for rung in rungs]
SEEKING = [
    "read", "import_solutions", "write", "names", "network", "processes", "proc", "environment", "descriptors", "old_memory",
    "memory", "files", "noise", "leave", "find", "kernel", "hard_links", "pickles", "exit_handlers", "tools", "exits",
]
# without Landlock, bubblewrap's private file system takes files, which are gone with the process; "find" proves it
LOOT = {"wrapped": {"read": ("kit=",), "write": ("new=",)}}
FORWARD = [
    "garbage", "huge_lengths", "closed", "duplicated", "forged_map", "forged_shape", "forged_state", "half_a_character", "drip",
    "deaf_to_signals", "old_kernel_door", "complex", "float8", "quantized", "sparse", "enormous", "large", "raising_text",
    "gone", "gone_later", "killed", "old_numbers", "gigabytes", "not_numbers", "twice_the_key", "long_number", "deep_frame", "pickled_frame",
    "long_index", "overlapping_tensors", "more_answers_ahead",
]


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Who → rung → what hostile_class.py reports; all started at once."""
    first, *_ = RUNGS
    arguments = {who: [*rungs, *(["everything"] if who == first else [])] for who, rungs in RUNGS.items()}
    found = reports_of("hostile_class.py", arguments, tmp_path_factory)
    return {f"{who}-{rung}": report for who, report in found.items() for rung, report in report.items()}


@pytest.fixture(params=PLACES)
def place(request):
    return request.param


@pytest.fixture
def report(reports, place):
    return reports[place]


def test_the_rung_is_the_one_that_is_meant(report, place):
    assert report["isolation"] == ISOLATION[place.split("-")[1]]


@pytest.mark.parametrize("name", SEEKING)
def test_an_attack_gets_nothing_and_is_marked_on_merit(report, place, name):
    result = report["results"][name]
    assert result["scores"] == {"1.1": 20} and result["status"] == "graded", result
    loot = next((note.partition("LOOT: ")[2] for note in result["notes"] if "LOOT: " in note), "nothing")
    known = LOOT.get(place.split("-")[1], {}).get(name, ())
    assert [part for part in loot.split("; ") if not part.startswith(known or "nothing")] in ([], ["nothing"]), loot
    assert name == "exits" or known or any("LOOT: nothing" in note for note in result["notes"]), "the attack ran"


def test_nothing_outside_changed(report):
    assert report["changed"] == {} and report["gone"] == []


def test_nothing_outlives_the_class_and_the_warm_process_outlives_every_attack(report):
    assert report["alive"] >= 1 and not report["restarted"] and report["left"] == []


def test_the_next_submission_is_none_the_worse(report):
    assert report["results"]["honest"]["scores"] == {"1.1": 20} and report["results"]["honest"]["notes"] == []


def test_a_crowd_of_threads_ends_with_its_task(report):
    assert report["results"]["threads"]["status"] == "graded"
    assert not any("twenty thousand" in note for note in report["results"]["threads"]["notes"])


@pytest.mark.parametrize("name", ["patched", "lying_tensors"])
def test_patches_on_the_other_side_earn_nothing(report, name):
    assert report["results"][name]["status"] == "graded"
    assert report["results"][name]["scores"]["1.1"] <= report["results"]["swapped"]["scores"]["1.1"] < 20


@pytest.mark.parametrize("name", FORWARD)
def test_a_broken_answer_fails_its_checks_and_is_graded(reports, name):
    result = reports[PLACES[0]]["results"][name]
    assert result["status"] == "graded" and result["scores"]["1.1"] < 12, result


def test_the_stand_in_lends_no_other_task(reports):
    borrowed = reports[PLACES[0]]["results"]["borrowed_network"]
    assert borrowed["scores"]["1.4"] < 20


def test_the_stand_in_tells_nothing_through_messages(reports):
    told = reports[PLACES[0]]["results"]["told_in_messages"]
    assert 10 < told["scores"]["1.4"] < 30, "marked with the reference's blocks"
    assert "TOLD" not in json.dumps(told["messages"] + told["notes"])


def test_a_kit_inside_what_submissions_read_is_refused(monkeypatch, tmp_path):
    (tmp_path / "solutions").mkdir()
    monkeypatch.setattr(sandbox, "ROOT", tmp_path)
    monkeypatch.setattr(sandbox, "readable_paths", lambda: ["/usr", str(tmp_path)])
    found = {"bubblewrap": True, "landlock": True, "seccomp": True}
    with pytest.raises(sandbox.TooOpen, match="move the kit"):
        sandbox.isolation(found)
    assert sandbox.isolation(found, insecure=True)
