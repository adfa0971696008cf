"""Checks for students, and the judge for instructors; importing it loads nothing else."""

import sys

# jsonschema takes this package if it can, whenever nbformat is imported: seconds at each start, for a grammar of web addresses
# that no notebook is checked by.
sys.modules.setdefault("rfc3987_syntax", None)


def check(task: str):
    """Run the public checks of a task, such as "1.1", on the classes defined in this notebook; shown as a table."""
    from .notebook import check_live

    return check_live(task)
