"""The trained network of a submission: its own UNet with the weights of its checkpoint."""

from __future__ import annotations

from grader.expect import Mismatch
from grader.student import Student, StudentError, StudentModule


def trained_network(student: Student) -> StudentModule:
    """The submission's UNet with the checkpoint in it, in eval mode; Mismatch where there is none or it does not fit."""
    experiment = student.experiment
    if experiment.checkpoint is None:
        student.doing = ""
        raise Mismatch(experiment.problem, "results/unet.pth, the best weights of your training")
    misfit = ""
    for features in experiment.widths:
        network = student.make("UNet", features=list(features))
        try:
            network.load_file(experiment.checkpoint)
            return network.eval()
        except StudentError as error:
            if "in loading state_dict" not in error.message:
                raise _unreadable(error) from None
            misfit = misfit or error.message
    if experiment.features is None:
        raise Mismatch("a checkpoint that fits no usual width of your UNet", "training.json beside it, with the features")
    lines = [line.strip()[:160] for line in misfit.splitlines()[1:3]]
    raise Mismatch(f"weights of other layers: {' '.join(lines)}", "the weights of this very UNet, features as in training.json")


def _unreadable(error: StudentError) -> Mismatch:
    """What a file is told that torch cannot load, or that holds more than tensors: none of that is ever run."""
    cause = "" if "Weights only load failed" in error.message else f" ({error.type})"
    came = f"a file that is no checkpoint of tensors alone, such as a whole pickled model{cause}; nothing in it was run"
    return Mismatch(came, "a file written by torch.save(model.state_dict(), path)")
