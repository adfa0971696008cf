"""Public checks of Task 3.5: the checkpoint that training gave, in the student's own UNet."""

from grader.checks.inputs import pictures
from grader.checks.trained import trained_network
from grader.expect import expect_shape


def test_checkpoint_loads_into_your_unet(student):
    """The best weights of your training fit into your UNet, which then gives one logit a pixel.

    Hint: save model.state_dict() of the UNet of your notebook, and features in training.json; a class that was changed after the training no longer fits.
    """
    network = trained_network(student)
    expect_shape(network(pictures(1, 3, 64, 64)), (1, 1, 64, 64), "the logits")
