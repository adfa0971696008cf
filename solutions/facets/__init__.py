"""What a submission is asked so that its mistake can be told: for each task subjects, and for each of those facets.

A facet is a function of a session (`grader.student.Student`) that returns plain values: shapes, numbers, booleans, or that
the code raised. Two solutions are alike in a facet when it returns the same for both. Facets look at what the contract
fixes, and not at what it leaves free: names, the order of layers and of concatenation, biases in front of BatchNorm.
"""

from solutions.facets import part_1, part_2, part_3_losses, part_3_training, part_4
from solutions.facets.asking import Subject, observe, same

__all__ = ["SUBJECTS", "Subject", "observe", "same"]

# task → its subjects, in the order in which they use each other
SUBJECTS: dict[str, list[Subject]] = {
    **part_1.SUBJECTS, **part_2.SUBJECTS, **part_3_losses.SUBJECTS, **part_3_training.SUBJECTS,
    **part_4.SUBJECTS,
}
