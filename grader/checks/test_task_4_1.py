"""Public checks of Task 4.1: UNetPlusPlus."""

import torch

from grader.checks.inputs import pictures
from grader.expect import Mismatch, expect, expect_close, expect_every_parameter_learns, expect_shape
from grader.student import NotJudged, StudentError

FEATURES = [3, 4, 5]


def test_logits_have_the_size_of_the_picture(student):
    """Without deep supervision the output is one tensor of the picture's height and width, odd sizes included.

    Hint: 25 is pooled to 12 and comes back as 24; bring it to the size of its row before it is joined.
    """
    for features, sizes in [([4], [(2, 3)]), (FEATURES, [(16, 24), (25, 37), (8, 15)])]:
        network = student.make("UNetPlusPlus", 3, 2, features=features)
        for height, width in sizes:
            expect_shape(network(pictures(2, 3, height, width)), (2, 2, height, width), "the logits")


def test_deep_supervision_gives_one_output_a_depth(student):
    """With deep supervision in train mode there are as many outputs as entries in features, each of the picture's size.

    Hint: one head on each of X[0][1] to X[0][L]; X[0][0] has none.
    """
    for features in ([4], FEATURES):
        network = student.make("UNetPlusPlus", 3, 2, features=features, deep_supervision=True).train()
        outputs = network.outputs(pictures(2, 3, 17, 24), count=len(features))
        for depth, logits in enumerate(outputs, start=1):
            expect_shape(logits, (2, 2, 17, 24), f"output {depth}")


def test_evaluation_gives_the_mean_of_the_outputs(student):
    """With deep supervision in eval mode the output is the mean of the logits of depth 1 to L.

    Hint: which mode does self.training tell, and over which dimension is the mean of a stack of tensors?
    """
    network = student.make("UNetPlusPlus", 3, 2, features=FEATURES, deep_supervision=True).eval()
    x = pictures(2, 3, 16, 24)
    depths = torch.stack([network(x, depth) for depth in range(1, len(FEATURES) + 1)])
    differ = float((depths - depths[0]).abs().max())
    expect(differ > 1e-6, came="the same logits for every depth", expected="others for each depth")
    expect_close(network(x), depths.mean(dim=0), "the output in eval mode")


def test_other_depths_are_refused(student):
    """A depth without a head raises ValueError: below 1, above L, and without deep supervision all but L.

    Hint: compare depth with the heads that there are, before anything is computed.
    """
    for deep_supervision, good, bad in [(True, (1, 2, 3), (0, 4, -1)), (False, (3,), (1, 2, 0, 4))]:
        network = student.make("UNetPlusPlus", 3, 1, features=FEATURES, deep_supervision=deep_supervision)
        for depth in good:
            expect_shape(network(pictures(2, 3, 16, 16), depth), (2, 1, 16, 16), f"the logits of depth {depth}")
        for depth in bad:
            _expect_refused(network, depth)


def test_gradient_reaches_every_parameter(student):
    """A gradient reaches every parameter, with deep supervision and without.

    Hint: without deep supervision there is one head. And a node that no other one sees is a node that is not joined.
    """
    for deep_supervision in (False, True):
        network = student.make("UNetPlusPlus", 3, 1, features=FEATURES, deep_supervision=deep_supervision).train()
        gradients = network.vjp(pictures(2, 3, 24, 32), count=len(FEATURES) if deep_supervision else 1)
        expect_every_parameter_learns(gradients.parameters)


def test_a_depth_computes_only_its_nodes(student):
    """forward(x, depth=d) computes the nodes with i + j ≤ d and no others: of 10 nodes, depth 1 needs 3 and depth 2 needs 6.

    Hint: how deep does the encoder have to go for X[0][1]? In train mode, each norm that computes moves its running averages.
    """
    whole = _moved(student, 3)
    if not whole or whole % 10:
        raise NotJudged("the network has other norms than two in each node, so that nodes cannot be counted by them")
    for depth, nodes in [(1, 3), (2, 6)]:
        came = 10 * _moved(student, depth) / whole
        expect(came == nodes, came=f"{came:g} of 10 nodes computed for depth {depth}", expected=f"{nodes}")


def _moved(student, depth: int) -> int:
    """How many running averages and counts one pass in train mode moves."""
    network = student.make("UNetPlusPlus", 3, 1, features=FEATURES, deep_supervision=True).train()
    before = student.state(network).values
    network(pictures(2, 3, 16, 16), depth)
    after = student.state(network).values
    buffers = [name for name in before if name not in network.parameters]
    return sum(not torch.equal(before[name], after[name]) for name in buffers)


def _expect_refused(network, depth: int) -> None:
    came = "no exception"
    try:
        network(pictures(2, 3, 16, 16), depth)
    except StudentError as error:
        came = str(error)
        if error.type == "ValueError":
            return
    except Mismatch as mismatch:
        came = mismatch.came
    expect(False, came=f"for depth {depth}: {came}", expected="ValueError")
