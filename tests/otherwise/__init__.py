"""Wrong submissions in other styles than the known-wrong variants', by somebody who has not read those.

A style (`RIGHT`) is a right solution; a case (`CASES`) is a style with one mistake, or two, put into it by replacing text.
"""

from tests.otherwise import part_1, part_2, part_3_losses, part_3_training, part_4
from tests.otherwise.case import RIGHT, Case, Style

CASES = [*part_1.CASES, *part_2.CASES, *part_3_losses.CASES, *part_3_training.CASES, *part_4.CASES]
