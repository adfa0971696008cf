"""`unetlab train`: one run from settings to its folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm.auto import tqdm

from metrics import evaluate, evaluate_classes
from training import distributed, folder as files
from training.loop import Data, Run, device_of, fit, open_data, predictor, prepare, resume, see_that_it_fits, state_of
from training.models import without_download
from training.scores import best_threshold, parameters
from training.settings import Settings

SHOWN = 4  # pictures in predictions.png


def train(
    settings: Settings, out: Path, *, go_on: bool = False, wandb: bool = False, say: Callable[[str], None] = print
) -> dict:
    """Train as the settings say, write the run's folder `out`, and return its result.

    go_on: continue a run that was stopped; a run that is finished gives its result again.
    Raises ValueError, FileNotFoundError or Diverged, each with what to do.
    """
    with distributed.together(device_of(settings)) as device:
        first = distributed.rank() == 0
        say = say if first else _silent
        if first:
            files.check(out, settings, go_on)
        distributed.wait()
        if result := files.read_result(out):
            say(f"{out} is finished: nothing was trained.")
            return result
        return _train(settings, out, device, wandb and first, say)


def _silent(text: str) -> None:
    """What all processes but the first say."""


def _train(settings: Settings, out: Path, device: torch.device, wandb: bool, say: Callable) -> dict:
    first, started = distributed.rank() == 0, time.perf_counter()
    data = open_data(settings, device)
    loaded = time.perf_counter()
    run = _begin(settings, out, data, device, say)
    bar = tqdm(total=settings.epochs, initial=run.epoch, unit="epoch", disable=not first or not sys.stderr.isatty())
    with bar, files.logs(out, settings, run.epoch, wandb, say) if first else _no_logs() as log:

        def after_epoch(run: Run, better: bool) -> None:
            row = {name: values[-1] for name, values in run.history.items()}
            bar.update()
            bar.set_postfix({name: f"{row[name]:.3f}" for name in ("train_loss", "val_loss", "val_iou") if name in row})
            if first:
                log(row, run.epoch)
                _save(run, out, better)
            distributed.wait()

        fit(run, after_epoch)
    trained = time.perf_counter()
    if not first:
        return {}
    seconds = {"data": loaded - started, "training": sum(run.history["seconds"]), "all": trained - started}
    told = {"model": settings.model, "data": settings.data, "seed": settings.seed, "learning_rate": settings.learning_rate}
    result = {**told, **finish(run, out)}
    result["seconds"] = {name: round(value, 1) for name, value in seconds.items()}
    files.write_json(out / files.RESULT, result)
    return result


def _begin(settings: Settings, out: Path, data: Data, device: torch.device, say: Callable) -> Run:
    """The run at its start, or where the folder's last epoch left it."""
    built, going_on = files.with_own_source(settings, out), (out / files.LAST).exists()
    if going_on:
        run = prepare(without_download(built), data, device)
        _go_on(run, out, say)
    else:
        weights = files.weights_of(Path(settings.start)) if settings.start else None
        run = prepare(built, data, device, weights)
        see_that_it_fits(run)
        if distributed.rank() == 0:
            files.begin(out, settings)
        if weights:
            say(f"{run.begun_with} tensors come from {settings.start}.")
    sizes, side = " + ".join(str(len(loader.dataset)) for loader in data.loaders), "×".join(map(str, settings.height_width))
    say(f"{settings.model}, {parameters(run.network):,} parameters; {settings.data} {side}, {sizes} pictures; {device}; {out}")
    return run


def _go_on(run: Run, out: Path, say: Callable) -> None:
    try:
        resume(run, files.read_state(out))
    except RuntimeError as error:
        cause = str(error).splitlines()[-1].strip()[:200]
        raise ValueError(f"{out / files.LAST} does not fit {run.settings.model} ({cause}): it is of another run or network; begin a new run.") from None
    say(f"Going on after epoch {run.epoch}.")
    if not (out / files.BEST).exists() and distributed.rank() == 0:
        say(f"{out / files.BEST} is missing: the weights of the last epoch take its place.")
        _save_best(run, out)


class _no_logs:
    def __enter__(self):
        return lambda row, epoch: None

    def __exit__(self, *error):
        return None


def _save(run: Run, out: Path, better: bool) -> None:
    files.write_history(out, run.history)
    if better:
        _save_best(run, out)
    files.write_tensors(out / files.LAST, state_of(run))


def _save_best(run: Run, out: Path) -> None:
    weights = {name: value.detach().cpu().contiguous() for name, value in run.judged.state_dict().items()}
    files.write_tensors(out / files.BEST, weights)


def finish(run: Run, out: Path) -> dict:
    """Scores of the kept weights on validation and test pictures, with the threshold chosen on validation; figures."""
    run.judged.load_state_dict(files.read_tensors(out / files.BEST, run.device))
    predict, data = predictor(run), run.data
    best = 1 + run.history["val_iou"].index(max(run.history["val_iou"])) if run.settings.hold_out else run.epoch
    result: dict = {"parameters": parameters(run.network), "best_epoch": best}
    if data.classes == 1 and run.settings.hold_out:
        result["threshold"], _ = best_threshold(predict, data.loaders.val, run.device)
    for part in ("val", "test") if run.settings.hold_out else ("test",):
        result[part] = scores(predict, getattr(data.loaders, part), data, run.device)
        if "threshold" in result:
            result[f"{part}_at_threshold"] = scores(predict, getattr(data.loaders, part), data, run.device, result["threshold"])
    draw(run, out, result.get("threshold", 0.5))
    return result


class _Predictor(torch.nn.Module):
    """A function as a module, for `metrics.evaluate`."""

    def __init__(self, predict: Callable):
        super().__init__()
        self.forward = predict


def scores(predict: Callable, loader, data: Data, device: torch.device, threshold: float = 0.5) -> dict:
    """All metrics of the lab, rounded to what they are sure of; for classes with a row for each."""
    if data.classes == 1:
        found = evaluate(_Predictor(predict), loader, device, threshold)
        return {name: round(value, 4) for name, value in found.items()}
    found = evaluate_classes(_Predictor(predict), loader, device, data.classes, data.ignore_index)
    per_class = dict(zip(data.names, (round(value, 4) for value in found.pop("iou_per_class"))))
    return {**{name: round(value, 4) for name, value in found.items()}, "iou_per_class": per_class}


def draw(run: Run, out: Path, threshold: float) -> None:
    """Write curves.png and predictions.png."""
    from viz import plot_history, show_classes, show_predictions

    pictures = (run.data.loaders.val if run.settings.hold_out else run.data.loaders.test).dataset
    chosen = torch.linspace(0, len(pictures) - 1, min(SHOWN, len(pictures))).round().int().tolist()  # neighbours in a film are alike
    images, target = (torch.stack(parts).to(run.device) for parts in zip(*(pictures[i] for i in chosen)))
    logits = predictor(run)(images)
    if run.data.classes == 1:
        shown = show_predictions(images.cpu(), target.cpu(), logits.cpu(), threshold=threshold, count=SHOWN)
    else:
        shown = show_classes(images.cpu(), target.cpu(), logits.argmax(1).cpu(), run.data.names, run.data.ignore_index, SHOWN)
    shown.savefig(out / "predictions.png", dpi=110)
    plot_history(run.history, title=f"{run.settings.model} on {run.settings.data}").savefig(out / "curves.png", dpi=110)
