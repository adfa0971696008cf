"""Hidden checks of Task 4.4."""

from grader.checks.inputs import pictures
from grader.checks.test_task_4_4 import NAMES, alphas, expect_as_before, expect_resized, found, gates, network, recorded
from grader.expect import expect, largest_difference
from grader.student import StudentError


def test_nothing_stays_after_an_error(student):
    """Where the model's forward raises, the error comes out, and hooks and modes are as they were all the same.

    Hint: Python's try … finally runs its last part whatever happens.
    """
    recorded(student, network(student, gates(student, 2)), pictures(2, 3, 16, 16))
    model = network(student, gates(student, 2), fails=True, frozen=True)
    before = found(student, model)
    came = "no exception"
    try:
        student.run("record_attention", model, pictures(2, 3, 16, 16))
    except StudentError as error:
        came = str(error)
    expect("on purpose" in came, came=came, expected="the error of the model's own forward")
    expect_as_before(student, model, before)


def test_only_what_ran_is_recorded(student):
    """A gate that did not run is not in the dict, though it still holds α of an older picture; order is that of running.

    Hint: a hook is called when its module runs. Which α does a gate hold that nobody has called since yesterday?
    """
    *parts, spare = gates(student, 3)
    spare.eval()(pictures(2, 6, 4, 4), pictures(2, 4, 8, 8))
    maps = recorded(student, network(student, parts, spare=spare), pictures(2, 3, 16, 16))
    expect("spare" not in maps, came="a map of a gate that did not run", expected="none")
    for upwards in (False, True):
        maps = recorded(student, network(student, gates(student, 2), upwards=upwards), pictures(2, 3, 16, 16))
        wanted = NAMES[1::-1] if upwards else NAMES[:2]
        expect(list(maps) == wanted, came=f"the names {list(maps)}", expected=f"{wanted}, in the order in which the gates ran")


def test_recorded_in_eval_mode_without_gradients(student):
    """The model runs once, in eval mode and without gradients; neither weights nor running averages move.

    Hint: BatchNorm moves its averages in train mode, whether gradients are on or off.
    """
    parts, x = gates(student, 2), pictures(2, 3, 16, 16)
    model = network(student, parts)
    before = student.state(model).values
    maps = recorded(student, model, x)
    state = student.state(model)
    calls = state.calls if isinstance(state.calls, list) else []
    expect(len(calls) == 1, came=f"the model ran {len(calls)} times", expected="once")
    expect(not calls[0].get("training"), came="the model ran in train mode", expected="eval mode")
    expect(not calls[0].get("grad"), came="the model ran with gradients on", expected="gradients off")
    moved = sorted(name for name in before if largest_difference(before[name], state.values[name]) > 0)
    expect(not moved, came=f"{', '.join(moved[:3])} moved", expected="weights and averages as before")
    for name, alpha in zip(NAMES, alphas(student, model, parts, x)):
        expect(name in maps, came=f"no map of {name}", expected="a map of each gate")
        expect_resized(maps[name], alpha, f"the map of {name}")
