"""Learning curves, attention, gradient flow, tables and the slider: what they show, and what is refused."""

import itertools
import math

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

import viz
from data_utils import SyntheticPets
from metrics import binarize, boundary_f1, dice, iou
from tests.figures import assert_nothing_overlaps, words

HISTORY = {
    "train_loss": [0.9, 0.6, 0.5, 0.4],
    "val_loss": [0.8, 0.6, 0.55, 0.6],
    "train_iou": [0.3, 0.5, 0.7, 0.8],
    "val_iou": [0.3, 0.5, 0.625, 0.6],
    "lr": [1e-3, 1e-3, 1e-3, 5e-4],
}


@pytest.fixture(scope="module")
def pairs():
    pets = SyntheticPets(3, 32, seed=1)
    return tuple(torch.stack(part) for part in zip(*(pets[i] for i in range(3))))


def panel(figure, title):
    return next(axes for axes in figure.axes if axes.get_title() == title)


def curves(axes):
    return [line.get_ydata().tolist() for line in axes.lines if len(line.get_ydata()) and line.get_linestyle() != ":"]


# ---------------------------------------------------------------------------------------------- training


def test_history_has_its_panels_and_the_best_epoch():
    figure = viz.plot_history(HISTORY, title="my run")
    assert isinstance(figure, Figure) and "my run" in words(figure)
    assert curves(panel(figure, "loss")) == [HISTORY["train_loss"], HISTORY["val_loss"]]
    assert curves(panel(figure, "IoU")) == [HISTORY["train_iou"], HISTORY["val_iou"], [0.625]]
    assert "best 0.625, epoch 3" in words(figure) and "training" in words(figure)
    assert panel(figure, "learning rate").get_yscale() == "log"
    assert panel(figure, "loss").lines[0].get_xdata().tolist() == [1, 2, 3, 4]


def test_history_draws_further_lists_and_passes_over_what_is_none():
    more = {"val_dice": [0.5], "seconds": [3, 4], "memory_mb": torch.tensor([8.0]), "best_epoch": 3, "note": "x"}
    figure = viz.plot_history({**HISTORY, **more, "val_my_score": [torch.tensor(1.0)]})
    shown = [axes.get_title() for axes in figure.axes if axes.get_visible()]
    assert shown[:3] == ["loss", "IoU", "learning rate"]
    assert shown[3:] == ["Dice", "seconds an epoch", "peak memory (MB)", "my score"]


@settings(deadline=None, max_examples=15)
@given(
    st.fixed_dictionaries(
        {key: st.lists(st.floats() | st.just(0.0), max_size=5) for key in HISTORY},
        optional={"val_dice": st.lists(st.floats(0, 1), max_size=3)},
    )
)
def test_any_history_of_numbers_is_drawn(history):
    history = {key: [v for v in values if not 1e100 < abs(v) < math.inf] for key, values in history.items()}
    if any(history.values()):
        viz.plot_history(history).draw_without_rendering()
    else:
        with pytest.raises(ValueError, match="after the first epoch"):
            viz.plot_history(history)


@pytest.mark.filterwarnings("error")
def test_histories_are_drawn_while_training_runs():
    for epochs in range(1, 5):
        figure = viz.plot_history({key: values[:epochs] for key, values in HISTORY.items()})
        figure.draw_without_rendering()
        ticks = [float(tick) for tick in panel(figure, "loss").get_xticks()]
        assert all(tick.is_integer() for tick in ticks)
    viz.plot_history({**HISTORY, "val_iou": [], "lr": [0.0]}).draw_without_rendering()  # the epoch is half done


def test_a_diverged_run_is_named():
    figure = viz.plot_history({**HISTORY, "train_loss": [0.9, 0.8, math.inf, math.nan]})
    assert "not finite from epoch 3" in words(figure)
    assert "best" not in words(viz.plot_history({"val_iou": [math.nan]}))


def test_histories_are_compared():
    other = {**HISTORY, "val_iou": [0.1, 0.9], "val_loss": [0.9, 0.2, 0.3]}
    shown = words(viz.compare_histories({"dice": HISTORY, "focal": other}))
    assert "validation IoU" in shown and "dice: best 0.625, epoch 3" in shown and "focal: best 0.900, epoch 2" in shown
    shown = words(viz.compare_histories({"dice": HISTORY, "focal": other}, key="val_loss", title="losses"))
    assert "losses" in shown and "dice: best 0.550, epoch 3" in shown and "focal: best 0.200, epoch 2" in shown
    many = {f"attention, gate before up, {i}": HISTORY for i in range(14)}
    assert_nothing_overlaps(viz.compare_histories(many, title="Networks on CamVid, eleven classes, 90×120: validation IoU, seed 0"))
    assert_nothing_overlaps(viz.compare_histories({f"adamw, scheduler onecycle, lr 0.0001, {i}": HISTORY for i in range(36)}, title="Optimizers"))
    assert viz.compare_histories(many).axes[0].get_title() == ""  # it stands once, above all
    figure = viz.compare_histories({str(i): HISTORY for i in range(9)}, key="lr")
    assert "best" not in words(figure) and figure.axes[0].get_yscale() == "log"
    assert len({(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}) == 9


def test_histories_that_cannot_be_drawn_are_refused():
    for wrong in (None, {}, {"val_iou": []}, {"best": 3}):
        with pytest.raises(ValueError, match="train_model's dict of lists"):
            viz.plot_history(wrong)
    with pytest.raises(ValueError, match="Histories by name"):
        viz.compare_histories(HISTORY)
    with pytest.raises(ValueError, match=r"No 'val_dice' in \['a'\].*hold train_loss, val_loss"):
        viz.compare_histories({"a": HISTORY}, "val_dice")
    with pytest.raises(ValueError, match="nothing yet"):
        viz.compare_histories({})


def test_focal():
    figure = viz.plot_focal((0, 2))
    x, y = figure.axes[0].lines[0].get_data()
    assert torch.allclose(torch.tensor(y), -torch.tensor(x).log())
    assert torch.allclose(torch.tensor(figure.axes[1].lines[1].get_ydata()), (1 - torch.tensor(x)) ** 2)
    assert "γ = 0, cross-entropy" in words(figure) and "γ = 2" in words(figure)
    for wrong in ((), (1, -1), (math.nan,)):
        with pytest.raises(ValueError, match=r"for example \(0, 1, 2, 5\)"):
            viz.plot_focal(wrong)


# ---------------------------------------------------------------------------------------------- pictures


def test_progress_shows_every_snapshot_with_its_score(pairs):
    images, masks = pairs
    snapshots = {5: -9 * torch.ones_like(masks), 10: (18 * masks - 9).requires_grad_()}
    figure = viz.show_progress(snapshots, images, masks, count=2)
    shown = words(figure)
    assert "epoch 5\nIoU 0.00" in shown and "epoch 10\nIoU 1.00" in shown and shown.count("IoU") == 4
    assert "picture" in shown and "true positive" in shown
    assert len(figure.axes) == 8
    one = viz.show_progress({"add": masks[0], "concat": masks[:1]}, images[0], masks[0])
    assert "add\nIoU" in words(one) and len(one.axes) == 4


def test_progress_of_many_epochs_keeps_first_and_last(pairs):
    images, masks = pairs
    shown = words(viz.show_progress({epoch: masks for epoch in range(50)}, images, masks))
    assert shown.count("epoch ") == 8 and "epoch 0\n" in shown and "epoch 49\n" in shown


def test_progress_refuses_what_does_not_fit(pairs):
    images, masks = pairs
    for wrong in ({}, [masks]):
        with pytest.raises(ValueError, match=r"snapshots\[epoch\] = "):
            viz.show_progress(wrong, images, masks)
    with pytest.raises(ValueError, match=r"snapshots\[5\] \(1, 1, 32, 32\)"):
        viz.show_progress({5: masks[:1]}, images, masks)


def test_unet_says_how_it_skips():
    assert words(viz.draw_unet([8, 16], 32, skip="add")).split("\n").count("add") == 2
    assert "skip" not in words(viz.draw_unet([8, 16], 32, skip=None))


def test_attention_is_laid_over_the_picture(pairs):
    image = pairs[0][0]
    alphas = [torch.full((1, 1, 4, 4), 0.25, requires_grad=True), torch.rand(1, 8, 6)]
    figure = viz.show_attention(image, alphas)
    shown = words(figure)
    assert "4×4\nα 0.25 to 0.25" in shown and "8×6" in shown and "picture" in shown
    overlay = figure.axes[1].images[1]
    assert overlay.get_array().shape == (32, 32) and overlay.get_clim() == (0, 1)
    named = viz.show_attention(image[None], {"deep": torch.tensor([[[0.4, 0.6]]])}, own_scale=True)
    assert "deep, 1×2" in words(named)
    assert named.axes[1].images[1].get_clim() == pytest.approx((0.4, 0.6))
    assert len(viz.show_attention(image, alphas[0]).axes) == 3  # picture, one map, its colour bar


def test_attention_refuses_what_is_none(pairs):
    image, alpha = pairs[0][0], torch.rand(1, 1, 4, 4)
    for alphas, hint in (
        ([], "gather alpha from every gate"),
        ([None], "only after a forward pass"),
        ([alpha.expand(2, 1, 4, 4)], r"pass alpha\[:1\]"),
        (alpha.expand(2, 1, 4, 4), r"pass alpha\[:1\]"),
        ([alpha[0, 0, 0]], "is expected"),
        ([alpha + 1], "out of the sigmoid"),
        ([alpha * math.nan], "out of the sigmoid"),
    ):
        with pytest.raises(ValueError, match=hint):
            viz.show_attention(image, alphas)
    with pytest.raises(ValueError, match=r"image\[:1\]"):
        viz.show_attention(pairs[0], [alpha])


# ---------------------------------------------------------------------------------------------- gradient flow

PLAIN = {
    "encoders.0.conv.weight": 3.0,
    "encoders.0.conv.bias": 4.0,
    "encoders.1.conv.weight": 0.0,
    "bottleneck.conv.weight": 1e-3,
    "ups.0.weight": 0.1,
    "ups.1.weight": 0.2,
    "decoders.0.weight": 0.3,
    "decoders.1.weight": 0.4,
    "head.weight": 0.5,
}
SKIPS = {**dict(list(PLAIN.items())[:6]), "joins.0.weight": 1, "joins.1.weight": 1, **dict(list(PLAIN.items())[6:])}


def test_gradient_flow_goes_by_depth():
    figure = viz.plot_gradient_flow({"none": PLAIN, "concat": SKIPS}, title="flow")
    axes = figure.axes[0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    encoder = ["encoders.0", "encoders.1", "bottleneck"]
    level = ["ups.{0}", "joins.{0}", "decoders.{0}"]
    assert labels == [*encoder, *(name.format(i) for i in (0, 1) for name in level), "head"]
    assert axes.get_yscale() == "log" and "flow" in words(figure) and "concat" in words(figure)
    plain, skips = axes.lines[:2]
    assert plain.get_xdata().tolist() == [0, 1, 2, 3, 5, 6, 8, 9] and skips.get_xdata().tolist() == list(range(10))
    assert plain.get_ydata()[0] == 5  # weight 3 and bias 4 together


def test_a_head_of_several_layers_is_one_block_at_the_end():
    longer = {name.replace("head.", "head.0."): norm for name, norm in PLAIN.items()} | {"head.2.weight": 1.2}
    axes = viz.plot_gradient_flow({"plain": PLAIN, "longer": longer}).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()][-1] == "head" and len(axes.get_xticklabels()) == 8
    assert axes.lines[1].get_ydata()[-1] == pytest.approx(1.3)


def test_gradient_flow_shows_zeros_as_such():
    axes = viz.plot_gradient_flow({"a": PLAIN}).axes[0]
    foot = axes.lines[0].get_ydata()[1]
    assert 0 < foot < 1e-3 and any("no gradient" in text.get_text() for text in axes.texts)
    crosses = [tuple(point) for dots in axes.collections for point in dots.get_offsets().tolist() if point[1] == foot]
    assert crosses == [(1, foot)] * 2  # the weight and its block
    assert not viz.plot_gradient_flow({"a": {"w": 1.0}}).axes[0].texts
    viz.plot_gradient_flow({"a": {"w": 0.0, "b.bias": 0.0}}).draw_without_rendering()


def test_gradient_flow_refuses_what_are_no_norms():
    for wrong in ({}, {"a": {}}, PLAIN):
        with pytest.raises(ValueError, match="Norms by model are expected"):
            viz.plot_gradient_flow(wrong)
    for norm in (math.nan, math.inf, -1.0):
        with pytest.raises(ValueError, match=r"b: the norm of w is .*diverged"):
            viz.plot_gradient_flow({"a": PLAIN, "b": {"w": norm}})


# ---------------------------------------------------------------------------------------------- tables

ROWS = [
    {"name": "<add>", "val_iou": torch.tensor(0.75), "forward_ms": 12.3456, "parameters": 31043521},
    {"name": "concat", "val_iou": 0.75, "forward_ms": 9, "grad": 2e-6},
    {"name": "none", "val_iou": math.nan, "forward_ms": None, "done": True},
]


def test_table_as_html():
    shown = viz.results_table(ROWS, best={"val_iou": max, "forward_ms": min})._repr_html_()
    assert shown.count("<th ") == 6 and shown.count("<tr>") == 4 and shown.count("<td ") == 18
    assert "&lt;add&gt;" in shown and "<add>" not in shown
    assert shown.count("<b>0.750</b>") == 2 and shown.count("<b>9</b>") == 1 and shown.count("<b>") == 3
    for text in ("31,043,521", "12.346", "2.00e-06", "nan", "–", "True"):
        assert f">{text}<" in shown


def test_table_as_text():
    shown = repr(viz.results_table(ROWS, columns=["name", "val_iou"], precision=1, best={"val_iou": max}))
    assert shown.split("\n") == [
        "name    val_iou",
        "<add>       0.8*",
        "concat      0.8*",
        "none        nan",
        "* best of its column",
    ]
    assert repr(viz.results_table([{"a": "x"}])) == "a\nx"


@settings(deadline=None)
@given(
    st.lists(
        st.dictionaries(st.text(max_size=4), st.none() | st.integers() | st.floats() | st.text(max_size=9), min_size=1),
        min_size=1,
    ),
    st.integers(0, 6),
)
def test_any_rows_make_a_table(rows, precision):
    names = list(dict.fromkeys(itertools.chain(*rows)))
    table = viz.results_table(rows, precision=precision, best=dict.fromkeys(names, max))
    assert table._repr_html_().count("<td ") == len(rows) * len(names) and repr(table)


def test_tables_refuse_what_is_no_table():
    for wrong in ([], ROWS[0], [["a"]]):
        with pytest.raises(ValueError, match="a list of one dict or more"):
            viz.results_table(wrong)
    for more in ({"columns": ["speed"]}, {"best": {"speed": max}}):
        with pytest.raises(ValueError, match=r"\['speed'\], which no row has: the rows have \['name', 'val_iou'"):
            viz.results_table(ROWS, **more)


# ---------------------------------------------------------------------------------------------- slider


def test_slider_follows_threshold_and_picture(pairs):
    images, masks = pairs
    logits = (4 * masks - 2 + torch.randn(masks.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    threshold, picture, scores, view = viz.threshold_slider(images, masks, logits, index=1).children
    seen = set()
    for value, index in ((0.5, 1), (0.9, 1), (0.9, 2), (0.0, 2), (1.0, 0)):
        threshold.value, picture.value = value, index
        predicted, mask = binarize(logits[[index]].detach(), value), masks[[index]]
        for name, metric in (("IoU", iou), ("Dice", dice), ("boundary F1", boundary_f1)):
            assert f"{name} <b>{metric(predicted, mask):.3f}</b>" in scores.value
        assert f"pet {predicted.mean():.0%} of the picture" in scores.value
        assert bytes(view.value).startswith(b"\x89PNG")
        seen.add(bytes(view.value))
    assert len(seen) == 5 and plt.get_fignums() == []
    assert (threshold.min, threshold.max, picture.max) == (0, 1, 2)


def test_slider_of_one_picture_and_its_refusals(pairs):
    images, masks = pairs
    assert viz.threshold_slider(images[:1], masks[:1], masks[:1]).children[1].disabled
    for index in (3, -1):
        with pytest.raises(ValueError, match="there are 3 pictures, so 0 to 2"):
            viz.threshold_slider(images, masks, masks, index)
    with pytest.raises(ValueError, match="NaN"):
        viz.threshold_slider(images, masks, masks * math.nan)
    with pytest.raises(ValueError, match="logits"):
        viz.threshold_slider(images, masks, masks[:, 0])


def test_no_figure_is_left_open(pairs):
    images, masks = pairs
    plt.close("all")
    viz.plot_history(HISTORY)
    viz.compare_histories({"a": HISTORY})
    viz.plot_focal()
    viz.show_progress({1: masks}, images, masks)
    viz.show_attention(images[0], [masks[0]])
    viz.plot_gradient_flow({"a": PLAIN})
    with pytest.raises(ValueError, match="NaN"):
        viz.show_predictions(images, masks, masks * math.nan)
    assert plt.get_fignums() == []
