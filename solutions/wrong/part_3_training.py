"""Known-wrong variants of Tasks 3.4 and 3.5: training."""

from solutions.wrong.variant import Wrong

WRONG: list[Wrong] = []
