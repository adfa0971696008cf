"""Loading definitions-only: what runs, what does not, and what is said about the rest."""

import ast
import importlib
import linecache
import random
import sys
import traceback

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.definitions import Cell, Loaded, Source, load
from solutions.reference import reference_source

few = settings(max_examples=60, deadline=None)
TASKS = ["DoubleConv", "EncoderBlock", "DecoderBlock", "UNet"]
STUB = 'class UNet:\n    def forward(self):\n        raise NotImplementedError("Need to implement for Task 1.4: UNet")\n'


def cells(*texts: str, names: dict | None = None) -> Loaded:
    """A notebook of these cells, loaded; `names` says by cell number what its task asks for."""
    asked = names or {}
    return load([Source("nb", [Cell(f"cell {n} of nb.ipynb", t, asked.get(n, [])) for n, t in enumerate(texts, 1)])])


def modules(**texts: str) -> Loaded:
    """Modules by name, loaded as one hand-in."""
    return load([Source(name, [Cell(f"{name}.py", text, list(TASKS))]) for name, text in texts.items()])


def test_a_syntax_error_costs_its_own_cell_only():
    loaded = cells("class A: pass", "class B(:\n    pass\ndef helper(): pass", "class C: pass", names={2: ["B", "Other"]})
    assert {"A", "C"} <= loaded.namespace.keys() and "B" not in loaded.namespace
    (note,) = loaded.notes
    assert note.startswith("cell 2 of nb.ipynb, line 1: SyntaxError") and "passed over" in note
    assert loaded.missing.keys() == {"B", "Other", "helper"} and note in loaded.missing["Other"]


@pytest.mark.parametrize(
    "magic",
    [
        "%matplotlib inline", "!pip install prettytable", "!pip install \\\n    a \\\n    b", "%%time", "%%capture out",
        "x = !ls", "a, b = !ls", "x = %timeit -o 1", "foo?", "?foo", "torch.nn??", "%load_ext autoreload\n%autoreload 2",
        "pip install torchinfo", "if True:\n    !ls", "%time model = 1", "cd ..",
    ],
)  # fmt: skip
def test_magics_cost_nothing(magic):
    loaded = cells(f"{magic}\nclass A:\n    x = (7\n        % 4)\n", "class B(A): pass")
    assert loaded.namespace["B"].x == 3 and loaded.notes == []


def test_line_numbers_stay_with_magics_above():
    loaded = cells("%matplotlib inline\n!pip install \\\n  a\n\ndef f():\n    return 1 / 0\n")
    with pytest.raises(ZeroDivisionError) as caught:
        loaded.namespace["f"]()
    frame = traceback.extract_tb(caught.tb)[-1]
    assert (frame.filename, frame.lineno) == ("<cell 1 of nb.ipynb>", 6)
    assert linecache.getline(frame.filename, frame.lineno).strip() == "return 1 / 0"


def test_cells_in_another_language_are_passed_over():
    loaded = cells("%%bash\nrm -rf /", "%%html\n<b>", "\n%%javascript\nlet x", "class B: pass")
    assert "B" in loaded.namespace and loaded.notes == []


def test_what_such_a_cell_was_to_define_is_missed_with_the_cause():
    loaded = cells("%%bash\nclass A: rm -rf /", "class B: pass")
    assert "B" in loaded.namespace and "A" not in loaded.namespace
    assert loaded.notes == ["cell 1 of nb.ipynb: it starts with `%%bash` and is not run as Python; this cell was passed over"]
    assert loaded.missing == {"A": f"A is not defined: {loaded.notes[0]}"}


def test_a_cell_that_writes_a_module_is_that_module():
    loaded = cells("%%writefile blocks.py\nclass DoubleConv: pass", "from blocks import DoubleConv\nclass UNet(DoubleConv): pass")
    assert loaded.namespace["UNet"].__mro__[1].__name__ == "DoubleConv" and loaded.notes == []


def test_an_indented_cell_is_read_as_ipython_does():
    assert "A" in cells("    class A:\n        pass\n").namespace


TOP_LEVEL = """
import time
print(undefined)
while True:
    pass
for epoch in range(10**9):
    time.sleep(1)
class UNet:
    pass
model = UNet(1 / 0)
history = time.sleep(1000)
images = undefined_name
first = images[:1]
with open("/nonexistent") as file:
    content = file.read()
del model
assert False
UNet().forward(time.sleep(1000))
if __name__ == "__main__":
    class Main: pass
    time.sleep(1000)
def train_epoch(model, history):
    return model(history)
"""


def test_the_top_level_does_not_run():
    loaded = cells(TOP_LEVEL)
    assert {"UNet", "train_epoch"} <= loaded.namespace.keys() and loaded.notes == []
    assert not {"model", "history", "Main", "content"} & loaded.namespace.keys()


def test_what_definitions_use_does_run():
    loaded = cells(
        "import torch\nwidths = list((8, 16))\nbase = len(widths)\ndef pick(): return torch.device('cpu')\ndevice = pick()",
        "class UNet:\n    def forward(self): return base, device, WIDE[0]\nWIDE: list = sorted(widths)\nbase += int(1)",
        "plotted = time.sleep(1000)\ndef plot(): return plotted",
        names={2: ["UNet"]},
    )
    assert loaded.namespace["UNet"]().forward() == (3, torch.device("cpu"), 8)
    assert "plotted" not in loaded.namespace and loaded.notes == []


def test_what_default_arguments_decorators_and_bases_use_runs():
    loaded = cells(
        "def wrap(f): return f\nlimit = int(3)\nbase = type('Base', (), {})\nmark = wrap",
        "@mark\ndef f(x=limit): return x\nclass A(base): pass",
    )
    assert loaded.namespace["f"]() == 3 and loaded.notes == []


def test_names_that_other_files_take_do_run():
    loaded = modules(
        config="import torch\ndevice = torch.device('cpu')\nwidths = list((1, 2))\nrate = float(1)\nunused = print(1 / 0)",
        unet="import config\nfrom config import device\nclass UNet:\n    where = device\n    w = config.widths",
        star="from config import *\nclass DoubleConv:\n    def f(self): return rate",
    )
    assert loaded.namespace["UNet"].w == [1, 2] and loaded.namespace["DoubleConv"]().f() == 1 and loaded.notes == []


def test_conditions_and_attempts_keep_their_definitions():
    loaded = cells(
        "try:\n    import nothing_like_it\nexcept ImportError:\n    nothing_like_it = None\n"
        "if nothing_like_it is None:\n    def f(): return 1\nelse:\n    def f(): return 2\n"
        "import warnings\nwith warnings.catch_warnings():\n    import json\n    print(1 / 0)\n"
        "try:\n    print(1 / 0)\nfinally:\n    def g(): return json\n"
    )
    assert loaded.namespace["f"]() == 1 and loaded.notes == [], loaded.notes


def test_an_import_that_was_not_handed_in_is_named_and_passed_over():
    loaded = cells("import prettytable\nfrom helpers.blocks import Block, Other", "class A: pass", "class B(Block): pass")
    assert "A" in loaded.namespace and "B" not in loaded.namespace
    assert "`import prettytable` failed: ModuleNotFoundError" in loaded.notes[0] and "was it handed in?" in loaded.notes[0]
    assert "No module named 'helpers'" in loaded.notes[1]
    assert "from helpers.blocks import Block" in loaded.missing["Block"] and "'Block' is not defined" in loaded.missing["B"]


def test_cells_out_of_order():
    loaded = cells("class UNet(Block): pass\nu = UNet", "class Block(nn.Module): pass", "from torch import nn")
    assert issubclass(loaded.namespace["UNet"], torch.nn.Module) and loaded.notes == []


def test_a_second_try_does_not_undo_what_stands_below():
    loaded = cells("class UNet(Late):\n    version = 1", "class UNet:\n    version = 2", "class Late: pass")
    assert loaded.namespace["UNet"].version == 2


@pytest.mark.parametrize("name", ["Unet", "UNET", "U_Net", "MyUNet"])
def test_a_renamed_class_is_taken_for_the_missing_one(name):
    loaded = cells("class Helper: pass", f"class {name}: pass", names={2: ["UNet"]})
    assert loaded.namespace["UNet"] is loaded.namespace[name]
    assert loaded.notes == [f"cell 2 of nb.ipynb: UNet is not defined; {name} was taken for it"]


def test_a_renamed_class_in_a_module():
    loaded = modules(a="class Unet: pass\nclass Other: pass", b="class DoubleConv: pass")
    assert loaded.namespace["UNet"].__name__ == "Unet"
    assert "UNet" not in modules(a="class Other: pass\nclass DoubleConv: pass").namespace


def test_two_candidates_are_not_guessed():
    assert "UNet" not in cells("class A: pass\nclass B: pass", "", names={1: ["UNet"]}).namespace


def test_a_class_of_another_cell_is_no_candidate_for_one_that_exists():
    loaded = cells("class UNet: pass", "class Unet: pass", names={2: ["UNet"]})
    assert loaded.namespace["UNet"].__name__ == "UNet" and loaded.notes == []


def test_a_stub_below_does_not_replace_the_solved_one():
    loaded = cells("class UNet:\n    def forward(self): return 1", STUB)
    assert loaded.namespace["UNet"]().forward() == 1
    assert loaded.notes == ["cell 2 of nb.ipynb: the untouched UNet does not replace the finished one"]


def test_half_done_goes_before_untouched_and_the_last_of_two_counts():
    half = STUB + "    def other(self): return 1\n"
    full_stub = STUB + '    def other(self):\n        raise NotImplementedError("Task 1.3")\n'
    assert cells(half, full_stub).namespace["UNet"]().other() == 1
    assert cells("class A: x = 1", "class A: x = 2").namespace["A"].x == 2


def test_an_imported_class_is_not_replaced_by_the_stub_below_the_import():
    sources = [
        Source("nb", [Cell("cell 1", "from mine import UNet"), Cell("cell 2", STUB, ["UNet"])]),
        Source("mine", [Cell("mine.py", "class UNet:\n    def forward(self): return 1", TASKS)]),
    ]
    assert load(sources).namespace["UNet"]().forward() == 1


def test_the_notebooks_own_definition_goes_before_a_modules_and_it_is_said():
    loaded = modules(nb="class UNet: x = 1", old="class UNet: x = 2")
    assert loaded.namespace["UNet"].x == 1 and loaded.notes == ["old defines UNet once more; the first definition counts"]
    assert modules(nb=STUB, done="class UNet:\n    def forward(self): return 2").namespace["UNet"]().forward() == 2


def test_methods_added_from_outside():
    loaded = cells("class UNet: pass", "def forward(self): return 5\nUNet.forward = forward", "UNet.x = int(4)")
    assert loaded.namespace["UNet"]().forward() == 5 and loaded.namespace["UNet"].x == 4


def test_future_annotations_dataclasses_super_and_decorators():
    loaded = cells(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nimport functools",
        "@dataclass\nclass Config:\n    width: Later = 8\n    names: list[Unknown] | None = None",
        "class Base:\n    def __init__(self): self.x = 1\nclass A(Base):\n    def __init__(self):\n        super().__init__()\n"
        "    @functools.lru_cache\n    def f(self): return self.x\n    @property\n    def g(self): return self.f()",
    )
    assert loaded.namespace["Config"]().width == 8 and loaded.namespace["A"]().g == 1 and loaded.notes == []


def test_modules_that_import_each_other():
    loaded = modules(
        a="from b import Y\nclass UNet:\n    def f(self): return Y",
        b="class Y: pass\nfrom a import UNet\ndef g(): return UNet",
    )
    assert loaded.namespace["g"]() is loaded.namespace["UNet"] and loaded.notes == []
    loaded = modules(a="import b\nclass A(b.B): pass", b="import a\nclass B: pass")
    assert loaded.namespace["A"].__mro__[1] is loaded.namespace["B"] and loaded.notes == []


@pytest.mark.parametrize(
    "line, use",
    [
        ("import blocks", "blocks.B"), ("import blocks as q", "q.B"), ("from blocks import *", "B"), ("from .blocks import B", "B"),
        ("from . import blocks", "blocks.B"), ("from package.blocks import B", "B"), ("from package import blocks", "blocks.B"),
        ("import package.blocks", "package.blocks.B"), ("import package.sub.blocks as q", "q.B"), ("from ..sub.blocks import B", "B"),
    ],
)  # fmt: skip
def test_every_way_to_import_a_neighbour(line, use):
    loaded = modules(a=f"{line}\nclass UNet({use}): pass", blocks="class B: pass")
    assert loaded.namespace["UNet"].__mro__[1].__name__ == "B" and loaded.notes == []


def test_an_import_within_a_function_finds_the_neighbour():
    loaded = modules(a="def f():\n    from blocks import B\n    return B", blocks="class B: pass")
    assert loaded.namespace["f"]() is loaded.namespace["B"]


def test_an_import_of_a_name_that_the_neighbour_lacks():
    loaded = modules(a="from blocks import Missing\nclass UNet: pass", blocks="class B: pass")
    assert "UNet" in loaded.namespace
    assert "a.py, line 1: `from blocks import Missing` failed: ImportError: cannot import name 'Missing'" in loaded.notes[0]


@pytest.mark.parametrize("name", ["torch", "types", "numpy", "random", "torchvision", "grader"])
def test_a_module_named_like_a_library_shadows_nothing(name):
    before = importlib.import_module(name)
    loaded = modules(**{name: "class DoubleConv: pass\nbroken = True"}, unet=f"import torch, types\nimport {name}\nq = {name}\nclass UNet(torch.nn.Module): pass")
    assert sys.modules.get(name) is before
    assert "DoubleConv" in loaded.namespace and issubclass(loaded.namespace["UNet"], torch.nn.Module)
    assert any(f"{name}.py is named like a library" in note for note in loaded.notes)
    assert not hasattr(loaded.namespace["q"], "broken")


def test_a_students_own_metrics_module_is_theirs_and_the_kits_stays_the_kits():
    import metrics

    loaded = modules(metrics="def own(): return 1", unet="from metrics import own\nimport data_utils\nclass UNet:\n    f = own")
    assert loaded.notes == [] and sys.modules["metrics"] is metrics and hasattr(metrics, "dice")
    assert loaded.namespace["data_utils"] is sys.modules["data_utils"]


def test_loading_twice_in_one_process_gives_no_stale_module():
    path, modules_before = list(sys.meta_path), {name for name in sys.modules if not name.startswith("handin.")}
    assert modules(a="from b import B", b="class B: x = 1").namespace["B"].x == 1
    assert modules(a="from b import B", b="class B: x = 2").namespace["B"].x == 2
    assert "No module named 'b'" in modules(a="from b import B").notes[0]
    assert sys.meta_path == path and {n for n in sys.modules if not n.startswith("handin.")} == modules_before


def test_two_files_of_one_name_both_count():
    source = [Source("m", [Cell("m.py", "def f():\n    1 / 0")]), Source("m", [Cell("m.py", "\n\ndef g():\n    0 / 0")])]
    loaded = load(source)
    for name, line in (("f", "1 / 0"), ("g", "0 / 0")):
        with pytest.raises(ZeroDivisionError) as caught:
            loaded.namespace[name]()
        assert traceback.extract_tb(caught.tb)[-1].line == line


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "(" * 5000 + ")" * 5000, "x = " + "-" * 100_000 + "1", "x = " + "+".join(["1"] * 100_000),
        "if a:\n  pass\n" + "elif a:\n  pass\n" * 3000, "".join(" " * n + "if 1:\n" for n in range(120)), "x" * 3_000_000,
        "x = '" + "y" * 3_000_000 + "'", "def f():\n  return " + "a." * 20_000 + "b",
    ],
    ids=["parentheses", "minuses", "sum", "elif", "indents", "name", "string", "attributes"],
)  # fmt: skip
def test_deep_and_huge_code_costs_no_more_than_itself(text):
    loaded = cells(text, "class A: pass")
    assert "A" in loaded.namespace and all(len(note) < 600 for note in loaded.notes)


@pytest.mark.parametrize("text", ["class A: pass\0", "\0\0", "\ud800 = 1", "x = '\ud800'", "\x0cclass B: pass", "", "\n", "\\", "\r"])
def test_odd_characters(text):
    assert "C" in cells(text, "class C: pass").namespace


def test_a_form_feed_does_not_shift_the_lines():
    loaded = cells("x = 1\n\x0c\ndef f():\n    return 1 / 0\n")
    with pytest.raises(ZeroDivisionError) as caught:
        loaded.namespace["f"]()
    assert traceback.extract_tb(caught.tb)[-1].line == "return 1 / 0"


@pytest.mark.parametrize(
    "text",
    [
        "raise SystemExit", "class B:\n    raise KeyboardInterrupt", "class B:\n    import sys; sys.exit(1)",
        "class B:\n    raise GeneratorExit", "class Odd(Exception):\n    def __str__(self): raise ValueError\nclass B:\n    raise Odd",
        "class W:\n    def __getattr__(self, n): raise ValueError\n    __class__ = property(lambda s: 1 / 0)\nw = W\nA = W()\ndef A(): pass",
        "class M(type):\n    def __getattr__(c, n): raise ValueError\n    def __instancecheck__(c, o): raise ValueError\nclass A(metaclass=M): pass",
        "from __future__ import nonsense", "from __future__ import braces", "def f(: pass", "return 1", "class B:\n    return 1",
        "def f():\n    yield\n    await g()", "nonlocal x", "from torch import *",
        "class E(Exception):\n    def with_traceback(s, t): raise ValueError\n    __class__ = property(lambda s: 1 / 0)\nclass B:\n    raise E",
        "class M(type):\n    __dict__ = property(lambda c: 1 / 0)\n    __name__ = property(lambda c: 1 / 0)\nclass A(metaclass=M): pass",
        "def __import__(*a): raise ValueError", "await f()", "x: int", "*a, b = 1, 2", "del print", "import builtins; print = 1",
    ],
)  # fmt: skip
def test_hostile_statements_do_not_end_the_load(text):
    assert "C" in cells(text, "class C: pass").namespace


def test_a_hand_in_that_breaks_its_own_builtins_harms_itself_alone():
    assert "failed" in cells("__builtins__ = None", "class C: pass").notes[0]
    assert "C" in cells("class C: pass").namespace


def test_an_error_says_cell_line_statement_and_cause():
    loaded = cells("class A: pass", "\n\nclass B(A):\n    x = 1 / 0\n")
    assert loaded.notes == ["cell 2 of nb.ipynb, line 3: `class B(A):` failed: ZeroDivisionError: division by zero"]
    assert loaded.missing["B"] == f"B is not defined: {loaded.notes[0]}"


def stand_in():
    """A reference class, made afresh."""
    return type("DoubleConv", (), {"origin": "reference", "forward": lambda self: "reference"})


def test_stand_ins_replace_a_name_everywhere():
    real = stand_in()
    blocks = "class DoubleConv: origin = 'mine'\nclass Encoder(DoubleConv): pass\ndef make(): return DoubleConv()"
    unet = "from blocks import DoubleConv, Encoder\nimport blocks\nDoubleConv = 3\nclass UNet(DoubleConv):\n    b = blocks.DoubleConv"
    source = [Source("blocks", [Cell("blocks.py", blocks, TASKS)]), Source("unet", [Cell("unet.py", unet, TASKS)])]
    names = load(source, {"DoubleConv": real}).namespace
    assert names["DoubleConv"] is names["UNet"].b is names["Encoder"].__mro__[1] is type(names["make"]()) is real
    assert names["UNet"].origin == "reference"


def test_stand_ins_serve_where_the_import_or_the_definition_fails():
    loaded = load([Source("nb", [Cell("cell 1", "from gone import DoubleConv"), Cell("cell 2", "class A(DoubleConv): pass")])], {"DoubleConv": stand_in()})
    assert loaded.namespace["A"].origin == "reference"


def test_stand_ins_cannot_be_patched():
    real = stand_in()
    text = "def forward(self): return 'mine'\nDoubleConv.forward = forward\nDoubleConv.extra = 1"
    load([Source("nb", [Cell("cell 1", text)])], {"DoubleConv": real})
    assert real().forward() == "reference" and not hasattr(real, "extra")


@few
@given(st.lists(st.text(max_size=60), max_size=3))
def test_any_text_is_a_cell(texts):
    assert "Last" in cells(*[f"#\n{text}" if "import" in text else text for text in texts], "class Last: pass").namespace


@few
@given(st.lists(st.sampled_from("class def ( ) : \n \t @ = == , . [ ] { } % ! ? x y UNet nn 1 'a' if else try except pass return lambda * ** -> ; \\ # f\"".split(" ")), max_size=25))
def test_any_run_of_tokens_is_a_cell(tokens):
    assert "Last" in cells(" ".join(tokens), "class Last: pass").namespace


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_mutilated_solutions_load(seed, edits):
    """Lines of the reference deleted, doubled, swapped and cut: whatever is left never raises."""
    chance, lines = random.Random(seed), reference_source().splitlines()
    for _ in range(edits):
        at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
        kind = chance.randrange(4)
        if kind == 0:
            del lines[at]
        elif kind == 1:
            lines.insert(other, lines[at])
        elif kind == 2:
            lines[at], lines[other] = lines[other], lines[at]
        else:
            lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)]
    loaded = cells("\n".join(lines), names={1: TASKS})
    try:
        classes = {node.name for node in ast.parse("\n".join(lines)).body if isinstance(node, ast.ClassDef)}
    except SyntaxError:
        assert loaded.notes
        return
    for name in classes:
        assert name in loaded.namespace or name in loaded.missing or loaded.notes


def test_a_deleted_import_cell_is_put_back_with_a_note():
    loaded = load([Source("a", [Cell("cell 2", "class A(nn.Module):\n    def forward(self, x):\n        return F.relu(x)\n", ["A"])])])
    assert loaded.namespace["A"]()(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]
    assert [note for note in loaded.notes if "import of nn" in note] and [note for note in loaded.notes if "import of F" in note]


def test_what_the_submission_defines_itself_is_not_put_back():
    loaded = load([Source("a", [Cell("cell 2", "F = 8\ndef f():\n    return F\n", ["f"])])])
    assert loaded.namespace["f"]() == 8 and not loaded.notes
