"""`unetlab compare`: what a file asks for, the table that it gives, and going on after a stop."""

import csv
import math
import statistics

import pytest

from grader.cli import main
from training import compare as module
from training import folder as files
from training.compare import compare, markdown, read, table
from training.loop import Diverged

pytestmark = pytest.mark.usefixtures("without_figures")
TINY = """
name = "Tiny"
seeds = [0, 1]
[base]
count = 20
size = 16
epochs = 1
features = [2, 4]
amp = false
[runs]
concat = { model = "unet-concat" }
"no skips" = { model = "unet-no-skips", loss = "ce" }
"""

SCORES = {"iou": 0.5, "dice": 0.7, "boundary_f1": 0.3}
FINISHED = {"parameters": 1, "best_epoch": 1, "val": SCORES, "test": SCORES, "seconds": {"training": 4.0}}


@pytest.fixture
def tiny(tmp_path):
    file = tmp_path / "tiny.toml"
    file.write_text(TINY)
    return file


@pytest.mark.figures
def test_a_comparison_gives_a_table_figures_and_every_run(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["compare", str(tiny), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "4 of 4: no skips, seed 1" in shown and (out / "table.md").read_text() in shown
    rows = list(csv.DictReader(open(out / "table.csv", encoding="utf-8")))
    assert [row["run"] for row in rows] == ["concat", "no skips"]
    results = [files.read_json(out / "no-skips" / f"seed-{seed}" / files.RESULT) for seed in (0, 1)]
    scores = [result["test"]["iou"] for result in results]
    assert float(rows[1]["test iou"]) == pytest.approx(statistics.mean(scores))
    assert float(rows[1]["test iou sd"]) == pytest.approx(statistics.stdev(scores))
    for name in ("curves.png", "scores.png", "concat/seed-0/curves.png", "no-skips/seed-1/predictions.png"):
        assert (out / name).stat().st_size > 5000


def test_stopped_it_goes_on_and_trains_nothing_twice(tiny, tmp_path, monkeypatch):
    comparison, out, trained = read(tiny), tmp_path / "out", []
    real = module.train

    def train(settings, folder, **how):
        if not (folder / files.RESULT).exists():
            trained.append(folder.name)
            if len(trained) == 3:
                raise KeyboardInterrupt
        return real(settings, folder, **how)

    monkeypatch.setattr(module, "train", train)
    with pytest.raises(KeyboardInterrupt):
        compare(comparison, out, say=lambda text: None)
    assert "| concat |" in (out / "table.md").read_text().replace("**", "")  # what is finished stands there
    rows = compare(comparison, out, say=lambda text: None)
    assert len(trained) == 5 and [row["seeds"] for row in rows] == [2, 2]


def test_a_grid_has_every_combination(tiny):
    tiny.write_text(TINY + "[grid]\nlr = [1e-3, 1e-4]\nepochs = [1, 2, 3]\n")
    rows = read(tiny).rows
    assert len(rows) == 12 and rows["concat, lr 0.0001, epochs 3"].lr == 1e-4 and rows["no skips, lr 0.001, epochs 2"].loss == "ce"


def test_a_run_that_diverges_is_a_row_that_says_so(tiny, tmp_path, monkeypatch):
    def train(settings, folder, **how):
        if settings.model == "unet-no-skips":
            raise Diverged("The loss is nan")
        scores = {"iou": 0.5 + settings.seed / 10, "dice": 0.7, "boundary_f1": 0.3}
        return {"parameters": 10, "val": scores, "test": scores, "seconds": {"training": 4.0}}

    monkeypatch.setattr(module, "train", train)
    comparison = read(tiny)
    rows = compare(comparison, tmp_path / "out", say=lambda text: None)
    shown = markdown(comparison, rows)
    assert "| **concat** | 10 | 0.550 ± 0.071 | 0.550 ± 0.071 | 0.700 ± 0.000 | 0.300 ± 0.000 | 4 ± 0 |" in shown
    assert "no skips (2 of 2 diverged)" in shown


def test_one_seed_has_no_spread(tiny):
    comparison = read(tiny)
    scores = {"iou": 0.5, "dice": 0.7, "boundary_f1": 0.3}
    rows = table(comparison, {"concat": [{"parameters": 1, "val": scores, "test": scores, "seconds": {"training": 4.0}}], "no skips": []})
    assert len(rows) == 1 and rows[0]["test iou sd"] is None and "±" not in markdown(comparison, rows)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('name = "Tiny"', "name = ", "is no TOML"),
        ("seeds = [0, 1]", "seeds = 3", "a list of different whole numbers"),
        ("seeds = [0, 1]", "seeds = [1, 1]", "a list of different whole numbers"),
        ("[base]", "[bass]", "unknown bass; there are name, seeds, base"),
        ("epochs = 1", "epoch = 1", "base: epoch: no setting has this name. Did you mean epochs?"),
        ('"unet-concat"', '"unet-conkat"', "concat: model 'unet-conkat'.*Did you mean unet-concat?"),
        ("epochs = 1", "seed = 1", "say seeds"),
        ('"no skips"', '"con!cat!"\n"con?cat?"', "is no TOML"),
        ('"no skips" =', '"concat " =', "names that differ in signs only"),
        ('name = "Tiny"', "name = 3", "name = 3: a text must stand here"),
        ('{ model = "unet-concat" }', "3", "runs.concat = 3: a table must stand here"),
        ("[runs]", "[grid]\nlr = 0.1\n[runs]", "grid, lr = 0.1: a list of values"),
        ("[runs]", "[grid]\nlr = []\n[runs]", r"grid, lr = \[\]: a list of values"),
        ("[runs]", "[grid]\nlr = [0.1, 0.10000001]\n[runs]", "two rows are called 'concat, lr 0.1'"),
        ("[runs]", '[grid]\nloss = ["ce", "dice"]\n[runs]', "no skips: loss stands in the row and in the grid"),
        ('loss = "ce"', 'loss = "ec"', "no skips: loss 'ec': a sum such as"),
        ('loss = "ce"', 'start = "concta"', "no skips: start = 'concta': neither a row nor .* Did you mean concat?"),
        ('loss = "ce"', 'data = "parts"', "different classes have no score in common"),
    ],
)
def test_a_wrong_file_names_row_and_mend(tiny, old, new, message, capsys):
    tiny.write_text(TINY.replace(old, new))
    assert main(["compare", str(tiny)]) == 2
    import re

    assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("part", ["base", "grid", "runs"])
def test_a_part_that_is_no_table_is_named(tmp_path, part, capsys):
    (tmp_path / "odd.toml").write_text(f"{part} = [1]\n")
    assert main(["compare", str(tmp_path / "odd.toml")]) == 2
    assert f"{part} = [1]: a table must stand here" in capsys.readouterr().err


def test_no_row_leaves_the_folder_or_breaks_the_table(tiny, tmp_path):
    assert {module._folder(tmp_path, name, 0).parent.parent for name in (".", "..", "a/..", "../b", "c|d")} == {tmp_path}
    tiny.write_text(TINY.replace("concat =", '"a | b" ='))
    comparison = read(tiny)
    rows = table(comparison, {"a | b": [FINISHED]})
    assert "**a \\| b**" in markdown(comparison, rows)


def test_a_finished_table_is_whole_while_another_row_is_trained(tiny, tmp_path, monkeypatch):
    """Added to or started again, a comparison keeps what stands in its table, even where the new row fails."""
    out = tmp_path / "out"
    compare(read(tiny), out, say=lambda text: None)
    before = (out / "table.csv").read_text()
    tiny.write_text(TINY + 'third = { model = "unet-add" }\n')

    def train(settings, folder, **how):
        if settings.model == "unet-add":
            raise KeyboardInterrupt
        return files.read_result(folder)

    monkeypatch.setattr(module, "train", train)
    with pytest.raises(KeyboardInterrupt):
        compare(read(tiny), out, say=lambda text: None)
    assert (out / "table.csv").read_text() == before


def test_rows_that_changed_since_they_were_trained_are_refused_before_anything_runs(tiny, tmp_path):
    out = tmp_path / "out"
    compare(read(tiny), out, say=lambda text: None)
    for path in out.rglob("last.pt"):  # large, and the result is there
        path.unlink()
    compare(read(tiny), out, say=lambda text: None)
    tiny.write_text(TINY.replace('loss = "ce"', 'loss = "dice"'))
    with pytest.raises(ValueError, match="no skips, seed 0: .*holds a run with another loss"):
        compare(read(tiny), out, say=lambda text: None)


def test_a_row_that_begins_with_one_that_diverged_is_one_too(tiny, tmp_path, monkeypatch):
    tiny.write_text(TINY + 'later = { model = "unet-concat", start = "concat" }\nlast = {}\n')

    def train(settings, folder, **how):
        if folder.parent.name == "concat":
            raise Diverged("The loss is nan")
        return FINISHED

    monkeypatch.setattr(module, "train", train)
    said = []
    rows = {row["run"]: row["diverged"] for row in compare(read(tiny), tmp_path / "out", say=said.append)}
    assert rows == {"concat": 2, "no skips": 0, "later": 2, "last": 0}
    assert "later, seed 1: concat diverged, so there are no weights to begin with." in said and "concat, seed 0: The loss is nan" in said


def test_a_missing_file_is_named(tmp_path, capsys):
    assert main(["compare", str(tmp_path / "none.toml")]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_a_row_begins_with_the_weights_of_a_row_above(tiny, tmp_path, monkeypatch):
    tiny.write_text(TINY + 'later = { model = "unet-concat", start = "concat" }\n')
    started = {}
    real = module.train

    def train(settings, folder, **how):
        started[settings.model, settings.seed, folder.parent.name] = settings.start
        return real(settings, folder, **how)

    monkeypatch.setattr(module, "train", train)
    out = tmp_path / "out"
    assert [row["run"] for row in compare(read(tiny), out, say=lambda text: None)] == ["concat", "no skips", "later"]
    for seed in (0, 1):
        assert started["unet-concat", seed, "later"] == str(out / "concat" / f"seed-{seed}")
        assert started["unet-concat", seed, "concat"] == ""


def test_a_row_cannot_begin_with_one_below(tiny, capsys):
    tiny.write_text(TINY.replace("[runs]\n", '[runs]\nlater = { model = "unet-concat", start = "concat" }\n'))
    assert main(["compare", str(tiny)]) != 0
    assert "later: start = 'concat': the row to begin with must stand above" in capsys.readouterr().err


def test_classes_have_a_table_of_their_own():
    runs = {"a": [_classes(sky=0.5, car=0.25), _classes(sky=0.7, car=math.nan)], "b": [{"diverged": True}]}
    assert module.class_table(runs) == "| test IoU of | sky | car |\n|---|---|---|\n| a | 0.600 | 0.250 |\n"
    assert module.class_table({"a": [{"test": {"iou": 0.5}}]}) == ""


def _classes(**ious):
    return {"test": {"iou_per_class": ious}}
