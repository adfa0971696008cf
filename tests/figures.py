"""What stands in a figure, for tests of figures."""

import itertools

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text


def texts(figure: Figure) -> list[Text]:
    """Every visible text, laid out."""
    figure.draw_without_rendering()
    unseen = {label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in _beyond(axis)}
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and text not in unseen]


def _beyond(axis: Axis) -> list[Text]:
    """Labels of ticks outside the limits: they are kept, and not drawn."""
    low, high = sorted(axis.get_view_interval())
    return [tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]


def words(figure: Figure) -> str:
    """All of them, a line each."""
    return "\n".join(text.get_text() for text in texts(figure))


def assert_nothing_overlaps(figure: Figure) -> None:
    """No text lies on another, and none is cut off."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    for (one, box), (other, its_box) in itertools.combinations(boxes, 2):
        assert not box.padded(-1).overlaps(its_box), f"{one!r} lies on {other!r}"
    for one, box in boxes:
        assert figure.bbox.padded(2).containsx(box.x0) and figure.bbox.padded(2).containsx(box.x1), f"{one!r} is cut off at a side"
        assert figure.bbox.padded(2).containsy(box.y0) and figure.bbox.padded(2).containsy(box.y1), f"{one!r} is cut off above or below"
