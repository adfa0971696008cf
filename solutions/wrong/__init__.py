"""Known-wrong variants of the reference: each breaks the contract in one task, its own, the way students do.

The checks must fail every one of them in its task, and pass it in all others.
"""

from solutions.reference import reference_source
from solutions.wrong import part_1, part_2, part_3_losses, part_3_training, part_4
from solutions.wrong.variant import Wrong, wrong_cells, wrong_source, wrong_sources

__all__ = ["WRONG", "Wrong", "reference_source", "wrong_cells", "wrong_source", "wrong_sources"]

WRONG = [*part_1.WRONG, *part_2.WRONG, *part_3_losses.WRONG, *part_3_training.WRONG, *part_4.WRONG]
