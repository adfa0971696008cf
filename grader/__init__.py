"""Checks for students, and the judge for instructors; importing it loads nothing else."""


def check(task: str):
    """Run the public checks of a task, such as "1.1", on the classes defined in this notebook; shown as a table."""
    from .notebook import check_live

    return check_live(task)
