"""Training and prediction from the command line: `unetlab train`, `unetlab predict`, `unetlab compare`.

| file | what it does |
|---|---|
| `settings.py` | one run's settings: defaults, command line, TOML, what does not go together |
| `models.py` | a network by its name, or a student's own by `FILE:CLASS` |
| `losses.py` | cross-entropy, Dice and focal loss, for one logit a pixel and for classes |
| `steps.py` | optimizers, schedules, the average of the weights |
| `loop.py` | the run itself: epochs, validation, state to go on from |
| `scores.py` | scores of a network, and the threshold that suits it |
| `folder.py` | what a run leaves: settings, history, checkpoints, figures |
| `distributed.py` | several processes as one, with torchrun |
| `predict.py` | masks for pictures, whole or by sliding window |
| `compare.py` | many runs and one table |
| `command.py` | the three commands |
"""
