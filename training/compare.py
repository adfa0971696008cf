"""`unetlab compare FILE.toml`: many runs, one table of means and spreads over seeds, and figures.

    name = "Skips"
    seeds = [0, 1, 2]

    [base]                      # settings of every run, as `unetlab train` takes them
    data = "pets"
    epochs = 40

    [runs]                      # a row each: its name, and what differs
    concat = { model = "unet-concat" }
    "no skips" = { model = "unet-no-skips" }

    [grid]                      # optional: each row with every combination
    lr = [1e-3, 1e-4, 3e-5]

A row's `start` may name a row above it: each of its runs then begins with the weights of that row's run of the same seed.
Every run has a folder of its own, `OUT/ROW/seed-N`. Started again, the command goes on where it was.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import math
import re
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from data_utils import CLASSES
from training import folder as files
from training.loop import Diverged
from training.losses import make_loss
from training.models import build
from training.scores import parameters
from training.settings import Settings, _near, from_dict
from training.train import train

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KEYS = ("name", "seeds", "base", "runs", "grid")
MOST_CURVES = 14  # in one figure; of more rows, say a grid's, the best ones are drawn


@dataclass(frozen=True)
class Comparison:
    """What a file asks for: rows by name, each with the settings of its first seed."""

    name: str
    seeds: tuple[int, ...]
    rows: dict[str, Settings]


def read(path: Path) -> Comparison:
    """Read a comparison, and see that each of its networks can be built.

    Raises FileNotFoundError and ValueError that name the file, the row and the mend.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise FileNotFoundError(f"{path}: there is no such file.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML: {error}.") from None
    unknown = [key for key in content if key not in KEYS]
    if unknown:
        raise ValueError(f"{path}: unknown {', '.join(unknown)}; there are {', '.join(KEYS)}.")
    _check_kinds(path, content)
    seeds = content.get("seeds", [0])
    if not isinstance(seeds, list) or not seeds or not all(type(seed) is int for seed in seeds) or len(set(seeds)) < len(seeds):
        raise ValueError(f"{path}: seeds = {seeds!r}: a list of different whole numbers, such as [0, 1, 2].")
    base = _settings(path, "base", Settings(), content.get("base", {}))
    rows = {name: _settings(path, name, base, values) for name, values in _rows(path, content).items()}
    folders = [_folder_name(name) for name in rows]
    if len(set(folders)) < len(folders):
        raise ValueError(f"{path}: two rows have names that differ in signs only; name them otherwise.")
    _check_starts(path, rows)
    if len({CLASSES.get(settings.data) for settings in rows.values()}) > 1:
        raise ValueError(f"{path}: rows on data of different classes have no score in common; compare them in files of their own.")
    for name, settings in rows.items():
        _try(path, name, settings)
    return Comparison(content.get("name", path.stem), tuple(seeds), rows)


def _check_kinds(path: Path, content: dict) -> None:
    """ValueError where a part of the file is no table, list or text as it must be."""
    tables = {part: content.get(part, {}) for part in ("base", "runs", "grid")}
    tables |= {f"runs.{name}": row for name, row in tables["runs"].items()} if isinstance(tables["runs"], dict) else {}
    for part, value in tables.items():
        if not isinstance(value, dict):
            raise ValueError(f"{path}: {part} = {value!r}: a table must stand here, such as {{ lr = 1e-3 }}.")
    for key, values in tables["grid"].items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{path}: grid, {key} = {values!r}: a list of values must stand here, such as [1e-3, 1e-4].")
    if not isinstance(content.get("name", ""), str):
        raise ValueError(f"{path}: name = {content['name']!r}: a text must stand here.")


def _check_starts(path: Path, rows: dict[str, Settings]) -> None:
    above: list[str] = []
    for name, settings in rows.items():
        if settings.start in rows and settings.start not in above:
            raise ValueError(f"{path}, {name}: start = {settings.start!r}: the row to begin with must stand above.")
        if settings.start and settings.start not in rows and not (Path(settings.start) / files.BEST).exists():
            near = _near(settings.start, above)
            raise ValueError(f"{path}, {name}: start = {settings.start!r}: neither a row nor the folder of a trained run.{near}")
        above.append(name)


def _rows(path: Path, content: dict) -> dict[str, dict]:
    runs, grid = content.get("runs") or {"": {}}, content.get("grid", {})
    rows: dict[str, dict] = {}
    for name, values in runs.items():
        if twice := [key for key in grid if key in values]:
            raise ValueError(f"{path}, {name}: {', '.join(twice)} stands in the row and in the grid; leave one of them out.")
        for point in (dict(zip(grid, chosen)) for chosen in itertools.product(*grid.values())):
            row = _row_name(name, point)
            if row in rows:
                raise ValueError(f"{path}: two rows are called {row!r}: values of the grid must differ.")
            rows[row] = {**values, **point}
    return rows


def _row_name(name: str, point: dict) -> str:
    return ", ".join(filter(None, [name, *(f"{key} {_plain(value)}" for key, value in point.items())])) or "all"


def _plain(value) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _settings(path: Path, name: str, base: Settings, values: dict) -> Settings:
    try:
        if "seed" in values:
            raise ValueError("seed: say seeds = [0, 1, 2] at the top instead.")
        settings = from_dict(values, base)
        if not settings.hold_out:
            raise ValueError("hold_out = false: rows are compared on validation pictures, so these must be held out.")
        return settings
    except ValueError as error:
        raise ValueError(f"{path}, {name}: {error}") from None


def _try(path: Path, name: str, settings: Settings) -> None:
    """Build a row's network and loss, so that a mistake in the last row does not show after hours."""
    try:
        make_loss(settings.loss)
        with torch.device(type="meta"):  # shapes alone
            build(settings, 1)
    except (ValueError, ImportError, TypeError) as error:
        raise ValueError(f"{path}, {name}: {error}") from None


def _folder_name(name: str) -> str:
    return re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "all"


def _folder(out: Path, name: str, seed: int) -> Path:
    return out / _folder_name(name) / f"seed-{seed}"


def compare(comparison: Comparison, out: Path, say: Callable[[str], None] = print) -> list[dict]:
    """Train what is not trained yet, and write `table.md`, `table.csv`, `curves.png` and `scores.png`; the rows of the table.

    With classes, table.md has the IoU of each of them, too.

    A run that diverges is a row that says so, as are those that begin with it. Stopped at any time, what is finished stands in
    the table. Raises ValueError that names the row where a run cannot begin or go on.
    """
    runs = _runs(comparison, out)
    for (name, seed), settings in runs.items():
        with _of_row(name, seed):
            files.check(_folder(out, name, seed), settings, resume=True)
    results = {run: result for run in runs if (result := files.read_result(_folder(out, *run)))}
    for number, ((name, seed), settings) in enumerate(runs.items(), start=1):
        say(f"{number} of {len(runs)}: {name}, seed {seed}")
        begun_with = comparison.rows[name].start
        if results.get((begun_with, seed), {}).get("diverged"):
            say(f"{name}, seed {seed}: {begun_with} diverged, so there are no weights to begin with.")
            results[name, seed] = {"diverged": True}
        else:
            results[name, seed] = _one(settings, name, _folder(out, name, seed), say)
        _write(comparison, _by_row(comparison, results), out)
    return table(comparison, _by_row(comparison, results))


def _runs(comparison: Comparison, out: Path) -> dict[tuple[str, int], Settings]:
    """Every run, (row, seed) → settings: all rows with the first seed, then the second."""
    runs = {}
    for seed, (name, settings) in itertools.product(comparison.seeds, comparison.rows.items()):
        start = str(_folder(out, settings.start, seed)) if settings.start in comparison.rows else settings.start
        runs[name, seed] = replace(settings, seed=seed, start=start)
    return runs


def _by_row(comparison: Comparison, results: dict[tuple[str, int], dict]) -> dict[str, list[dict]]:
    return {name: [results[name, seed] for seed in comparison.seeds if (name, seed) in results] for name in comparison.rows}


def _one(settings: Settings, name: str, folder: Path, say: Callable[[str], None]) -> dict:
    try:
        with _of_row(name, settings.seed):
            return train(settings, folder, go_on=True, say=lambda text: None)
    except Diverged as problem:
        say(f"{name}, seed {settings.seed}: {problem}")
        return {"diverged": True}


@contextlib.contextmanager
def _of_row(name: str, seed: int) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}, seed {seed}: {error}") from None


def table(comparison: Comparison, found: dict[str, list[dict]]) -> list[dict]:
    """One row for each name with a finished run: means over the seeds, and the sample standard deviations beside them."""
    return [_row(name, results) for name, results in found.items() if results]


def _row(name: str, results: list[dict]) -> dict:
    good = [result for result in results if not result.get("diverged")]
    row = {"run": name, "seeds": len(results), "diverged": len(results) - len(good)}
    if good:
        row["parameters"] = good[0]["parameters"]
        for label, values in _columns(good).items():
            row[label] = statistics.mean(values)
            row[f"{label} sd"] = statistics.stdev(values) if len(values) > 1 else None
    return row


def _columns(results: list[dict]) -> dict[str, list[float]]:
    names = ["mean_iou", "mean_dice", "boundary_f1"] if "mean_iou" in results[0]["test"] else ["iou", "dice", "boundary_f1"]
    columns = {f"val {names[0]}": [result["val"][names[0]] for result in results]}
    columns |= {f"test {name}": [result["test"][name] for result in results] for name in names}
    return {**columns, "seconds": [result["seconds"]["training"] for result in results]}


def markdown(comparison: Comparison, rows: list[dict]) -> str:
    """The table as Markdown; the best row by validation in bold."""
    measured = [row for row in rows if "parameters" in row]
    labels = [label for label in (measured[0] if measured else {}) if not label.endswith(" sd")][4:]
    chosen = max(measured, key=lambda row: row[labels[0]])["run"] if measured else None
    lines = [f"| {comparison.name} | parameters | {' | '.join(labels)} |", "|---" * (len(labels) + 2) + "|"]
    for row in rows:
        name = f"**{_escaped(row['run'])}**" if row["run"] == chosen else _escaped(row["run"])
        note = f" ({row['diverged']} of {row['seeds']} diverged)" if row["diverged"] else ""
        cells = [_cell(row, label) for label in labels]
        lines.append(f"| {name}{note} | {row.get('parameters', 0):,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _escaped(name: str) -> str:
    """A row's name in a Markdown table, whose columns a bar would part."""
    return name.replace("|", "\\|")


def class_table(found: dict[str, list[dict]]) -> str:
    """IoU of each class on the test pictures, means over the seeds, as Markdown; empty for pet against background."""
    lines: list[str] = []
    for name, results in found.items():
        ious = [result["test"]["iou_per_class"] for result in results if "iou_per_class" in result.get("test", {})]
        if not ious:
            continue
        if not lines:
            lines = [f"| test IoU of | {' | '.join(ious[0])} |", "|---" * (len(ious[0]) + 1) + "|"]
        lines.append(f"| {_escaped(name)} | {' | '.join(_class_mean(ious, each) for each in ious[0])} |")
    return "".join(f"{line}\n" for line in lines)


def _class_mean(ious: list[dict], name: str) -> str:
    values = [each[name] for each in ious if not math.isnan(each[name])]  # nan: in no picture
    return f"{statistics.mean(values):.3f}" if values else "–"


def _cell(row: dict, label: str) -> str:
    if label not in row:
        return "–"
    digits = 0 if label == "seconds" else 3
    spread = row[f"{label} sd"]
    return f"{row[label]:.{digits}f}" + (f" ± {spread:.{digits}f}" if spread is not None else "")


def _write(comparison: Comparison, found: dict[str, list[dict]], out: Path) -> None:
    rows = table(comparison, found)
    files.write(out / "table.md", "\n".join(filter(None, [markdown(comparison, rows), class_table(found)])))
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write(out / "table.csv", text.getvalue())
    histories = {name: _folder(out, name, comparison.seeds[0]) for name in comparison.rows}
    histories = {name: files.read_history(folder) for name, folder in histories.items() if (folder / files.RESULT).exists()}
    histories = {name: history for name, history in histories.items() if history}
    if histories:
        _draw(comparison, histories, rows, out)


def _draw(comparison: Comparison, histories: dict, rows: list[dict], out: Path) -> None:
    from viz import compare_histories, plot_scores

    title = f"{comparison.name}: validation IoU, seed {comparison.seeds[0]}"
    if len(histories) > MOST_CURVES:
        best = sorted(histories, key=lambda name: max(histories[name]["val_iou"]), reverse=True)[:MOST_CURVES]
        title += f", the {MOST_CURVES} best of {len(histories)}"
        histories = {name: history for name, history in histories.items() if name in best}
    compare_histories(histories, "val_iou", title).savefig(out / "curves.png", dpi=110)
    measured = [row for row in rows if "parameters" in row]
    label = next(name for name in measured[0] if name.startswith("test "))
    scores = {row["run"]: (row[label], row[f"{label} sd"] or 0.0) for row in measured}
    plot_scores(scores, label, comparison.name).savefig(out / "scores.png", dpi=110)
