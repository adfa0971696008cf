"""The commands `unetlab train`, `unetlab predict` and `unetlab compare`: arguments in, lines out."""

from __future__ import annotations

import argparse
import ast
from dataclasses import fields
from datetime import datetime
from pathlib import Path

from training.settings import Settings, from_dict

RUNS = Path("runs")


def add_commands(commands) -> None:
    """Add the three commands to an argparse subparsers object."""
    for add in (_add_train, _add_predict, _add_compare):
        add(commands)


# ---- train ----


def _add_train(commands) -> None:
    command = commands.add_parser("train", help="train a network on real or drawn pictures", formatter_class=_Formatter)
    for each in fields(Settings):
        _add_setting(command, each)
    command.add_argument("--out", type=Path, help="the run's folder (default: a new one in runs/)")
    command.add_argument("--resume", type=Path, metavar="FOLDER", help="go on with the run in this folder; its settings count")
    command.add_argument("--wandb", action="store_true", help="log to Weights & Biases, too")
    command.set_defaults(run=_train)


class _Formatter(argparse.HelpFormatter):
    """Room for the long names."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=36, width=120)


def _add_setting(command, each) -> None:
    flag, text, choices = f"--{each.name.replace('_', '-')}", each.metadata["help"], each.metadata["choices"]
    default = each.default
    if each.name == "options":
        command.add_argument("--option", action="append", metavar="NAME=VALUE", help=f"{text}, such as upsampling=bilinear")
        return
    if isinstance(default, bool):
        command.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=f"{text} (default: {default})")
        return
    kinds = {"features": (_numbers, "16,32,…"), "size": (_size, "PIXELS")}
    kind, metavar = kinds.get(each.name, (type(default), None))
    said = "" if "default:" in text or default == "" else f" (default: {_shown(default)})"
    command.add_argument(flag, type=kind, choices=choices or None, metavar=metavar, default=argparse.SUPPRESS, help=text + said)


def _shown(default) -> str:
    return ",".join(map(str, default)) if isinstance(default, tuple) else f"{default:g}" if isinstance(default, float) else str(default)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"whole numbers with commas, such as 16,32,64, not {text!r}") from None


def _size(text: str) -> tuple[int, ...]:
    try:
        size = tuple(int(part) for part in text.split("x"))
        if len(size) > 2 or min(size) < 1:
            raise ValueError
        return size
    except ValueError:
        raise argparse.ArgumentTypeError(f"pixels such as 64, or HEIGHTxWIDTH such as 180x240, not {text!r}") from None


def _options(pairs: list[str] | None) -> dict:
    options = {}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"--option {pair}: NAME=VALUE is expected, such as upsampling=bilinear.")
        try:
            options[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            options[name] = {"true": True, "false": False}.get(text, text)
    return options


def _train(options) -> int:
    if getattr(options, "model", None) == "help":
        from training.models import names

        print("\n".join(names()))
        return 0
    from training import folder as files
    from training.train import train

    said = {each.name: getattr(options, each.name) for each in fields(Settings) if hasattr(options, each.name)}
    if options.option:
        said["options"] = _options(options.option)
    if options.resume:
        if options.out:
            raise ValueError("--resume names the run's folder: leave --out away.")
        settings, out = from_dict(said, files.read_settings(options.resume)), options.resume
    else:
        settings = from_dict(said)
        name = f"{settings.data}-{Path(settings.model).name.replace(':', '-')}-{datetime.now():%Y%m%d-%H%M%S}"
        out = options.out or RUNS / name
    if said.get("lr") == 0:
        raise ValueError("--lr 0: nothing would be learnt; leave it out for the optimizer's usual rate.")
    result = train(settings, out, go_on=bool(options.resume), wandb=options.wandb)
    if result:
        print(summary(result))
        print(f"{out}: settings, history, checkpoints, curves and predictions")
    return 0


def summary(result: dict) -> str:
    """A run's result as a few lines."""
    lines = [f"best epoch {result['best_epoch']}, {result['seconds']['training']:.0f} s of training"]
    for part in [part for part in ("val", "test") if part in result]:
        scores = {name: value for name, value in result[part].items() if name != "iou_per_class"}
        lines.append(f"{part:<5}" + "  ".join(f"{name} {value:.4f}" for name, value in scores.items()))
    if "threshold" in result:
        iou, dice = (result["test_at_threshold"][name] for name in ("iou", "dice"))
        lines.append(f"threshold {result['threshold']:.2f}, chosen on validation: test iou {iou:.4f}  dice {dice:.4f}")
    for name, value in result["test"].get("iou_per_class", {}).items():
        lines.append(f"  {name:<12} {value:.4f}")
    return "\n".join(lines)


# ---- predict ----


def _add_predict(commands) -> None:
    command = commands.add_parser("predict", help="masks for pictures, by a network of `unetlab train`", formatter_class=_Formatter)
    command.add_argument("folder", type=Path, metavar="RUN", help="the run's folder")
    command.add_argument("pictures", type=Path, nargs="+", metavar="PICTURE", help="picture files and folders of them")
    command.add_argument("--out", type=Path, default=Path("predictions"), help="where masks go (default: predictions)")
    command.add_argument("--window", type=_size, metavar="PIXELS", help="slide a window of this size over the picture as it is; things must appear as large as in training")
    command.add_argument("--overlap", type=float, help="share of a window that the next one covers again (default: 0.5)")
    command.add_argument("--blend", choices=["gaussian", "constant"], help="how overlaps are weighed (default: gaussian)")
    command.add_argument("--threshold", type=float, help="probability (default: the one chosen on the run's validation pictures)")
    command.add_argument("--mirror", action="store_true", help="average with the mirrored picture's prediction")
    command.add_argument("--device", default="auto", help="cpu, cuda … (default: auto)")
    command.set_defaults(run=_predict)


def _predict(options) -> int:
    from training.predict import load, predict_files

    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise ValueError(f"--threshold {options.threshold}: a probability, from 0 to 1.")
    window = (options.window[0], options.window[-1]) if options.window else None
    sliding = {name: getattr(options, name) for name in ("overlap", "blend") if getattr(options, name) is not None}
    if sliding and not window:
        raise ValueError(f"--{' and --'.join(sliding)}: of a sliding window; say its size with --window.")
    trained = load(options.folder, options.device, options.mirror)
    if trained.names and options.threshold is not None:
        raise ValueError("--threshold: this network tells several classes apart, and the most probable one is taken; leave it out.")
    how = {"window": window, "threshold": options.threshold, **sliding}
    wrong = 0
    for path, found in predict_files(trained, options.pictures, options.out, **how):
        if isinstance(found, ValueError):
            wrong += 1
            print(found)
        else:
            print(f"{path}: " + ", ".join(f"{name} {share:.1%}" for name, share in found.items()))
    print(f"{options.out}: masks, and pictures beside their masks")
    return 1 if wrong else 0


# ---- compare ----


def _add_compare(commands) -> None:
    command = commands.add_parser("compare", help="train every row of a TOML file, and write one table", formatter_class=_Formatter)
    command.add_argument("file", type=Path, metavar="FILE.toml")
    command.add_argument("--out", type=Path, help="folder of the runs and the table (default: runs/ and the file's name)")
    command.set_defaults(run=_compare)


def _compare(options) -> int:
    from training.compare import compare, markdown, read

    comparison = read(options.file)
    out = options.out or RUNS / options.file.stem
    rows = compare(comparison, out)
    print(markdown(comparison, rows))
    print(f"{out}: table.md, table.csv, curves.png, scores.png, and a folder for each run")
    return 0
