"""Text from a stranger, made fit to be shown: standard library alone, since the sandboxed child uses it too."""

from __future__ import annotations

import re

# What a terminal obeys instead of showing it, what turns the order of the letters around it, what no XML takes.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]")


def visible(text: object) -> str:
    """The text as UTF-8 takes it, without characters that a terminal or a page obeys; tabs and line ends stay."""
    return CONTROL.sub("", str(text).encode("utf-8", "replace").decode())
