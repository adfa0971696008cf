"""Known-wrong variants of Part 2: skip connections."""

from solutions.wrong.variant import Wrong

WRONG: list[Wrong] = []
