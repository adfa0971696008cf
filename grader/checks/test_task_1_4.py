"""Public checks of Task 1.4: UNet.forward."""

from grader.checks.inputs import pictures
from grader.expect import expect, expect_arrives, expect_close, expect_every_parameter_learns, expect_shape

FEATURES = [4, 8, 16]


def test_logits_have_the_size_of_the_picture(student):
    """The logits have the height and width of the picture and one channel for each class.

    Hint: follow the shapes down and up again, level by level; print them.
    """
    network = student.make("UNet", 3, 1, features=FEATURES)
    for batch, height, width in [(2, 32, 32), (1, 64, 48)]:
        expect_shape(network(pictures(batch, 3, height, width)), (batch, 1, height, width), "the logits")


def test_any_picture_size_works(student):
    """Odd sizes and sizes that are no multiple of 2^levels work: 200×200 goes 25 → 12 → 24 → 25.

    Hint: your DecoderBlock brings x to the size of the skip; hand it the skip itself.
    """
    network = student.make("UNet", 3, 1, features=[2, 4, 8, 16])
    for batch, height, width in [(1, 200, 200), (2, 37, 45), (2, 16, 31)]:
        expect_shape(network(pictures(batch, 3, height, width)), (batch, 1, height, width), "the logits")


def test_gradient_reaches_every_parameter_and_the_picture(student):
    """A gradient of the logits reaches every parameter and the picture.

    Hint: a block that is built but never called gets no gradient.
    """
    network = student.make("UNet", 3, 1, features=FEATURES)
    gradients = network.vjp(pictures(2, 3, 40, 40))
    expect_arrives(gradients.inputs[0], "the picture")
    expect_every_parameter_learns(gradients.parameters)


def test_logits_are_raw(student):
    """The output is raw logits, not squeezed into 0…1.

    Hint: no sigmoid and no softmax in the network; the loss applies it, more stably.
    """
    for seed in range(6):
        student.seed = seed
        logits = student.make("UNet", 3, 1, features=[4, 8])(pictures(2, 3, 32, 32, seed=seed))
        if float(logits.min()) < 0 or float(logits.max()) > 1:
            return
    expect(False, came="every value of six random networks lies between 0 and 1", expected="values below 0 or above 1")


def test_picture_stays_unchanged(student):
    """The picture that comes in is the same tensor with the same values afterwards.

    Hint: x -= mean and x.div_() write into the caller's tensor; x = x - mean does not.
    """
    x = pictures(2, 3, 32, 32)
    network = student.make("UNet", 3, 1, features=[4, 8])
    network(x)
    expect_close(network.inputs_after[0], x, "the picture afterwards")


def test_no_state_between_calls(student):
    """The same picture gives the same logits, whatever the network saw in between.

    Hint: keep the skips in a local list, made anew in every forward.
    """
    network = student.make("UNet", 3, 1, features=[4, 8]).eval()
    x = pictures(2, 3, 32, 32)
    before = network(x)
    network(pictures(1, 3, 48, 64, seed=2))
    expect_close(network(x), before, "the second answer")
