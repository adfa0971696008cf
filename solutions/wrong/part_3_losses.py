"""Known-wrong variants of Tasks 3.1 to 3.3: losses."""

from solutions.wrong.variant import Wrong

WRONG: list[Wrong] = []
