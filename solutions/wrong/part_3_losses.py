"""Known-wrong variants of Tasks 3.1 to 3.3: losses."""

from solutions.wrong.variant import Wrong

# Lines of the reference that several variants change.
CHECKED = "pred, target = checked(pred, target)"
SIGMOID = "probability = torch.sigmoid(pred)"
OVERLAP = "overlap = (probability * target).sum(dim=(0, 2, 3))"
TOTAL = "total = probability.sum(dim=(0, 2, 3)) + target.sum(dim=(0, 2, 3))"
FRACTION = "loss = 1 - (2 * overlap + self.smooth) / (total + self.smooth)"
CLASS_MEAN = "return loss.mean()"
KEEP_WEIGHTS = "self.class_weights = class_weights"
WEIGHTS = "weights = torch.as_tensor(self.class_weights, dtype=loss.dtype, device=loss.device)"
WEIGHTED_MEAN = "return (weights * loss).sum() / weights.sum()"

CE = 'cross_entropy = F.binary_cross_entropy_with_logits(pred, target, reduction="none")'
ALPHA = "alpha_t = self.alpha * target + (1 - self.alpha) * (1 - target)"
MODULATION = "modulation = torch.exp(self.gamma * F.logsigmoid(-towards_right))"
FOCAL_MEAN = "return (alpha_t * modulation * cross_entropy).mean()"
PROBABILITIES = "p = torch.sigmoid(pred)\np_t = p * target + (1 - p) * (1 - target)\n"

KEEP_DICT = "self.weights = dict(weights)"
TERMS = 'terms = {"ce": F.binary_cross_entropy_with_logits, "dice": self.dice, "focal": self.focal}'
BCE = "F.binary_cross_entropy_with_logits"
SUM = "return sum(weight * terms[name](pred, target) for name, weight in self.weights.items() if weight)"

TASK_3_1 = (
    Wrong("3.1", "coefficient_returned", "Dice is the loss.", "", "",
          ((FRACTION, FRACTION.replace("1 - ", "")),)),
    Wrong("3.1", "minus_the_coefficient", "Its sign makes a loss of it.", "", "",
          ((FRACTION, FRACTION.replace("1 - (", "-(")),)),
    Wrong("3.1", "dice_summed_over_classes", "As Algorithm 8 of the handout has it: dice_c is added up for many classes.", "", "",
          ((CLASS_MEAN, "return loss.mean() if len(loss) == 1 else (1 - loss).sum()"),)),
    Wrong("3.1", "one_minus_the_sum", "1 is taken once, and all dice_c from it.", "", "",
          ((CLASS_MEAN, "return 1 - (1 - loss).sum()"),)),
    Wrong("3.1", "losses_summed_over_classes", "The losses of the classes add up.", "", "",
          ((CLASS_MEAN, "return loss.sum()"),)),
    Wrong("3.1", "one_loss_a_class", "The mean over the classes is left to the caller.", "", "",
          ((CLASS_MEAN, "return loss"),)),
    Wrong("3.1", "classes_pooled", "Everything is flattened, the classes too.", "", "",
          ((OVERLAP, "overlap = (probability * target).sum()"), (TOTAL, "total = probability.sum() + target.sum()"))),
    Wrong("3.1", "softmax_over_classes", "Several classes ask for a softmax.", "", "",
          ((SIGMOID, "probability = torch.sigmoid(pred) if pred.shape[1] == 1 else torch.softmax(pred, dim=1)"),)),
    Wrong("3.1", "mean_over_pictures", "Each picture has a Dice of its own, and the batch their mean.", "", "",
          ((OVERLAP, OVERLAP.replace("(0, 2, 3)", "(2, 3)")),
           (TOTAL, TOTAL.replace("(0, 2, 3)", "(2, 3)")),
           (WEIGHTED_MEAN, "return (weights * loss.mean(dim=0)).sum() / weights.sum()"))),
    Wrong("3.1", "no_sigmoid", "The network's output is the probability.", "", "",
          ((SIGMOID, "probability = pred"),)),
    Wrong("3.1", "logits_clamped", "Clamping to 0…1 makes probabilities.", "", "",
          ((SIGMOID, "probability = pred.clamp(0, 1)"),)),
    Wrong("3.1", "sigmoid_twice", "The loss cannot know whether a sigmoid was there; a second one does no harm.", "", "",
          ((SIGMOID, "probability = torch.sigmoid(torch.sigmoid(pred))"),)),
    Wrong("3.1", "sigmoid_from_exp", "The sigmoid is e^x / (1 + e^x), so it is written like this.", "", "",
          ((SIGMOID, "probability = torch.exp(pred) / (1 + torch.exp(pred))"),)),
    Wrong("3.1", "thresholded", "Dice compares masks, so the prediction is made one.", "", "",
          ((SIGMOID, "probability = (torch.sigmoid(pred) > 0.5).float()"),)),
    Wrong("3.1", "prediction_with_itself", "A slip of the pen: the mask that is compared is the prediction.", "", "",
          ((OVERLAP, OVERLAP.replace("* target", "* probability")), (TOTAL, TOTAL.replace("target.sum", "probability.sum")))),
    Wrong("3.1", "factor_2_forgotten", "Overlap by total.", "", "",
          ((FRACTION, FRACTION.replace("2 * ", "")),)),
    Wrong("3.1", "jaccard", "IoU and Dice are the same.", "", "",
          ((FRACTION, "loss = 1 - (overlap + self.smooth) / (total - overlap + self.smooth)"),)),
    Wrong("3.1", "squares_below", "As in the paper of 2016, the sums below are of squares.", "", "",
          ((TOTAL, TOTAL.replace("probability.sum", "(probability**2).sum")),)),
    Wrong("3.1", "minus_logarithm", "A loss is a minus logarithm.", "", "",
          ((FRACTION, "loss = -torch.log((2 * overlap + self.smooth) / (total + self.smooth))"),)),
    Wrong("3.1", "smooth_above_only", "smooth stands in the numerator.", "", "",
          ((FRACTION, FRACTION.replace("(total + self.smooth)", "total")),)),
    Wrong("3.1", "smooth_below_only", "smooth is there against a division by zero.", "", "",
          ((FRACTION, FRACTION.replace("(2 * overlap + self.smooth)", "2 * overlap")),)),
    Wrong("3.1", "smooth_written_out", "smooth is accepted and forgotten.", "", "",
          (("self.smooth = smooth", "self.smooth = 1e-6"),)),
    Wrong("3.1", "default_smooth_1", "smooth is 1, as in much code.", "", "",
          (("smooth=1e-6", "smooth=1.0"),)),
    Wrong("3.1", "no_smooth", "A mask is never empty.", "", "",
          ((FRACTION, "loss = 1 - 2 * overlap / total"),)),
    Wrong("3.1", "empty_target_skipped", "A picture without the object has nothing to teach.", "", "",
          ((SIGMOID, "if target.sum() == 0:\n    return (0 * pred).sum()\n" + SIGMOID),)),
    Wrong("3.1", "plain_number", "A loss is a number, so .item().", "", "",
          ((CLASS_MEAN, "return loss.mean().item()"),)),
    Wrong("3.1", "loss_detached", ".data gives the values.", "", "",
          ((SIGMOID, "probability = torch.sigmoid(pred.data)"),)),
    Wrong("3.1", "total_detached", "Only the overlap has something to learn.", "", "",
          ((TOTAL, TOTAL.replace("probability.sum", "probability.detach().sum")),)),
    Wrong("3.1", "target_changed_in_place", "mul_ saves memory at no cost.", "", "",
          ((OVERLAP, ""), (TOTAL, TOTAL + "\noverlap = target.mul_(probability).sum(dim=(0, 2, 3))"))),
    Wrong("3.1", "sums_in_half_precision", "Whatever dtype comes in is good enough.", "", "",
          ((CHECKED, "target = target.to(pred.dtype)"),)),
    Wrong("3.1", "class_weights_forgotten", "class_weights is accepted and forgotten.", "", "",
          ((KEEP_WEIGHTS, "self.class_weights = None"),)),
    Wrong("3.1", "class_weights_not_normed", "Weights multiply, that is all.", "", "",
          ((WEIGHTED_MEAN, "return (weights * loss).sum()"),)),
    Wrong("3.1", "mean_of_weighted_losses", "The weighted losses are averaged over the number of classes.", "", "",
          ((WEIGHTED_MEAN, "return (weights * loss).mean()"),)),
    Wrong("3.1", "class_weights_as_a_list", "Weights come as a tensor; a list multiplies as well.", "", "",
          ((WEIGHTS, "weights = self.class_weights"),)),
)

TASK_3_2 = (
    Wrong("3.2", "unreduced", "The mean is taken elsewhere.", "", "",
          ((FOCAL_MEAN, "return alpha_t * modulation * cross_entropy"),)),
    Wrong("3.2", "summed", "The losses of the pixels add up.", "", "",
          ((FOCAL_MEAN, FOCAL_MEAN.replace("mean", "sum")),)),
    Wrong("3.2", "mean_over_positives", "As in RetinaNet, the sum is divided by the number of positives.", "", "",
          ((FOCAL_MEAN, FOCAL_MEAN.replace("mean", "sum") + " / target.sum().clamp(min=1)"),)),
    Wrong("3.2", "focal_of_the_mean", "The mean cross-entropy is known, and p_t is e to its minus.", "", "",
          ((CE, CE.replace(', reduction="none"', "")),
           (MODULATION, "modulation = (1 - torch.exp(-cross_entropy)) ** self.gamma"))),
    Wrong("3.2", "alpha_on_every_pixel", "alpha is a factor of the whole loss.", "", "",
          ((ALPHA, "alpha_t = self.alpha"),)),
    Wrong("3.2", "alpha_on_positives_only", "alpha weighs the positive class; the negative one has weight 1.", "", "",
          ((ALPHA, "alpha_t = self.alpha * target + (1 - target)"),)),
    Wrong("3.2", "alpha_swapped", "alpha weighs the background, of which there is most.", "", "",
          ((ALPHA, "alpha_t = (1 - self.alpha) * target + self.alpha * (1 - target)"),)),
    Wrong("3.2", "alpha_written_out", "alpha is accepted and forgotten.", "", "",
          (("self.alpha = alpha", "self.alpha = 0.25"),)),
    Wrong("3.2", "no_alpha", "alpha belongs to the paper's second version.", "", "",
          ((FOCAL_MEAN, "return (modulation * cross_entropy).mean()"),)),
    Wrong("3.2", "gamma_written_out", "Squaring is what the paper does.", "", "",
          (("self.gamma = gamma", "self.gamma = 2"),)),
    Wrong("3.2", "gamma_as_a_factor", "gamma multiplies.", "", "",
          ((MODULATION, "modulation = self.gamma * torch.sigmoid(-towards_right)"),)),
    Wrong("3.2", "easy_pixels_turned_up", "p_t to the power of gamma.", "", "",
          ((MODULATION, MODULATION.replace("-towards_right", "towards_right")),)),
    Wrong("3.2", "p_for_p_t", "1 − p at every pixel, whatever its target.", "", "",
          ((MODULATION, MODULATION.replace("-towards_right", "-pred")),)),
    Wrong("3.2", "log_p_plus_epsilon", "As Algorithm 9 of the handout has it.", "", "",
          ((CE, PROBABILITIES + "cross_entropy = -torch.log(p_t + 1e-8)"),)),
    Wrong("3.2", "logits_clamped", "Large logits are dangerous, so they are cut.", "", "",
          ((CE, "pred = pred.clamp(-20, 20)\n" + CE),)),
    Wrong("3.2", "cross_entropy_of_probabilities", "Binary cross-entropy takes what the network gives.", "", "",
          ((CE, 'cross_entropy = F.binary_cross_entropy(pred, target, reduction="none")'),)),
    Wrong("3.2", "sigmoid_twice", "Probabilities go into the cross-entropy, whichever it is.", "", "",
          ((CE, "pred = torch.sigmoid(pred)\n" + CE),)),
    Wrong("3.2", "softmax_cross_entropy", "CrossEntropyLoss on one channel, which is always 0.", "", "",
          ((CE, 'cross_entropy = F.cross_entropy(pred, target, reduction="none").unsqueeze(1)'),)),
    Wrong("3.2", "sign_forgotten", "The logarithm's minus is lost.", "", "",
          ((FOCAL_MEAN, FOCAL_MEAN.replace("(alpha_t", "(-alpha_t")),)),
    Wrong("3.2", "power_of_zero", "A power is a power; its slope at 0 is no one's concern.", "", "",
          ((MODULATION, PROBABILITIES + "modulation = (1 - p_t) ** self.gamma"),)),
    Wrong("3.2", "modulation_detached", "(1 − p_t)^γ is a weight, and weights are constants.", "", "",
          ((MODULATION, MODULATION + ".detach()"),)),
    Wrong("3.2", "plain_number", "A loss is a number, so .item().", "", "",
          ((FOCAL_MEAN, FOCAL_MEAN + ".item()"),)),
    Wrong("3.2", "target_changed_in_place", "Signs and masks in place save memory; afterwards the target is 0 and 2.", "", "",
          (("towards_right = (2 * target - 1) * pred", "towards_right = target.mul_(2).sub_(1) * pred"),
           (MODULATION, MODULATION + "\ntarget.add_(1)"))),
    Wrong("3.2", "mean_in_half_precision", "Whatever dtype comes in is good enough.", "", "",
          ((CHECKED, "target = target.to(pred.dtype)"),)),
)

TASK_3_3 = (
    Wrong("3.3", "softmax_cross_entropy", "CrossEntropyLoss is the cross-entropy; on one channel it is always 0.", "", "",
          ((BCE, "nn.CrossEntropyLoss()"),)),
    Wrong("3.3", "softmax_for_several_classes", "Several channels ask for CrossEntropyLoss.", "", "",
          ((BCE, f"{BCE} if pred.shape[1] == 1 else F.cross_entropy"),)),
    Wrong("3.3", "cross_entropy_built_not_called", "CrossEntropyLoss(pred, target) is the loss of pred and target.", "", "",
          ((BCE, "nn.CrossEntropyLoss"),)),
    Wrong("3.3", "cross_entropy_of_raw_logits", "BCELoss takes what the network gives.", "", "",
          ((BCE, "F.binary_cross_entropy"),)),
    Wrong("3.3", "sigmoid_then_cross_entropy", "BCELoss after a sigmoid is the same.", "", "",
          ((BCE, "lambda pred, target: F.binary_cross_entropy(torch.sigmoid(pred), target)"),)),
    Wrong("3.3", "sigmoid_twice", "The logits are made probabilities before the loss that takes logits.", "", "",
          ((BCE, "lambda pred, target: F.binary_cross_entropy_with_logits(torch.sigmoid(pred), target)"),)),
    Wrong("3.3", "cross_entropy_summed", "The losses of the pixels add up.", "", "",
          ((BCE, 'nn.BCEWithLogitsLoss(reduction="sum")'),)),
    Wrong("3.3", "weights_normed", "Weights add up to 1, or are made to.", "", "",
          ((SUM, SUM + " / sum(self.weights.values())"),)),
    Wrong("3.3", "mean_of_the_terms", "The terms are averaged.", "", "",
          ((SUM, SUM + " / len(self.weights)"),)),
    Wrong("3.3", "weights_forgotten", "The terms add up, and the weights only say which.", "", "",
          ((SUM, SUM.replace("weight * ", "")),)),
    Wrong("3.3", "weights_squared", "The weights are multiplied in twice.", "", "",
          ((SUM, SUM.replace("weight * ", "weight * weight * ")),)),
    Wrong("3.3", "defaults_of_one", "All terms count the same by default.", "", "",
          (('{"ce": 0.5, "dice": 0.5, "focal": 0.0}', '{"ce": 1.0, "dice": 1.0, "focal": 0.0}'),)),
    Wrong("3.3", "focal_by_default", "All three terms by default.", "", "",
          (('{"ce": 0.5, "dice": 0.5, "focal": 0.0}', '{"ce": 0.5, "dice": 0.5, "focal": 0.5}'),)),
    Wrong("3.3", "dice_and_focal_swapped", "A slip of the pen.", "", "",
          (('"dice": self.dice, "focal": self.focal', '"dice": self.focal, "focal": self.dice'),)),
    Wrong("3.3", "coefficient_for_loss", "Dice is turned round once more.", "", "",
          (('"dice": self.dice', '"dice": lambda pred, target: 1 - self.dice(pred, target)'),)),
    Wrong("3.3", "other_alpha", "alpha = 0.5 is fairer.", "", "",
          (("FocalLoss()", "FocalLoss(alpha=0.5)"),)),
    Wrong("3.3", "other_smooth", "smooth = 1 is steadier.", "", "",
          (("DiceLoss()", "DiceLoss(smooth=1.0)"),)),
    Wrong("3.3", "three_weights_needed", "All three weights are always there.", "", "",
          ((SUM, "return sum(self.weights[name] * term(pred, target) for name, term in terms.items() if self.weights[name])"),)),
    Wrong("3.3", "absent_means_one", "A term that is not mentioned counts fully.", "", "",
          ((KEEP_DICT, 'self.weights = {"ce": 1.0, "dice": 1.0, "focal": 1.0, **weights}'),)),
    Wrong("3.3", "zero_times_a_term", "Times zero is as good as left out.", "", "",
          ((SUM, "return sum(self.weights.get(name, 0) * term(pred, target) for name, term in terms.items())"),)),
    Wrong("3.3", "weights_popped_when_built", "pop reads and tidies up.", "", "",
          ((KEEP_DICT, 'self.weights = {name: weights.pop(name) for name in ("ce", "dice", "focal") if name in weights}'),)),
    Wrong("3.3", "weights_popped_when_called", "The dict is used up term by term.", "", "",
          ((SUM, '''\
total = 0
while self.weights:
    name, weight = self.weights.popitem()
    if weight:
        total = total + weight * terms[name](pred, target)
return total'''),)),
    Wrong("3.3", "weights_filled_up", "Missing entries are written into the dict that was given.", "", "",
          ((KEEP_DICT, 'for name in ("ce", "dice", "focal"):\n    weights.setdefault(name, 0.0)\nself.weights = weights'),)),
    Wrong("3.3", "dice_term_as_a_number", "A number is enough to add up.", "", "",
          (('"dice": self.dice', '"dice": lambda pred, target: self.dice(pred, target).item()'),)),
    Wrong("3.3", "loss_detached", "detach makes a plain value of it.", "", "",
          ((SUM, SUM + ".detach()"),)),
    Wrong("3.3", "first_channel_only", "A mask has one channel.", "", "",
          ((TERMS, "pred, target = pred[:, :1], target[:, :1]\n" + TERMS),)),
)

WRONG: list[Wrong] = [*TASK_3_1, *TASK_3_2, *TASK_3_3]
