"""Known-wrong variants of Tasks 3.1 to 3.3: losses."""

from solutions.wrong.variant import Wrong

# Hints that several variants share.
EMPTY_MASKS = (
    "Try an empty mask and logits that are sure of nothing. What stands above the fraction then, and what below? The "
    "loss of two empty masks should be 0."
)
TWICE_THE_WEIGHTS = (
    "Make all class weights twice as large. Should the loss change? Read the formula of step 4 once more, from left "
    "to right."
)
NUMBER_ALONE = (
    "Call backward on the result. What does the network need from it to learn that a number alone no longer has?"
)
CLONE_OF_THE_TARGET = (
    "Keep a clone of the target, call the loss, compare the two. What will the next term or the metric get to see?"
)
HALF_PRECISION = (
    "Try 100,000 pixels in float16: where does that type end? One line was given at the top of forward. Does "
    "everything after it use what it returned?"
)
ONE_CHANNEL = (
    "Print the cross-entropy for several logits of one channel. What is there to compare a single channel with? The "
    "list at the end of Task 3.2 knows this one."
)
TWO_SIGMOIDS = (
    "Try a logit of −100 on a pet pixel: can your loss become large? Follow the number on its way and count how often "
    "it is squeezed."
)
WANTS_PROBABILITIES = (
    "Try logits of ±3 and read the error to its end. Between which numbers does that function want its input, and "
    "what does the network give?"
)
SEVERAL_CLASSES = (
    "Could a pixel belong to two classes, or to none? Each channel is a question of its own here. Must your "
    "probabilities of one pixel sum to 1?"
)
SIGNATURE = "Lay the first line of your __init__ beside the signature that you were given. Which number is another?"
TERM_ALONE = (
    "Give weight to this term alone and compare with the loss of its own task, on the same tensors. What does step 1 "
    "say about the arguments of the terms?"
)
CALLERS_DICT = (
    "Make a dict of weights, build a loss from it, print the dict. Then think of the default: how many losses share "
    "that one dict?"
)
TWICE_ONE_WEIGHT = (
    "Give one term alone the weight 1 and then the weight 2. By which factor does the loss grow, and by which should "
    "it?"
)

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
    Wrong("3.1", "coefficient_returned", "Dice is the loss.",
          "the Dice coefficient itself is returned",
          "Give it a perfect prediction. Should a loss be at its highest there? The cell below the task prints what "
          "to expect.",
          ((FRACTION, FRACTION.replace("1 - ", "")),)),
    Wrong("3.1", "minus_the_coefficient", "Its sign makes a loss of it.",
          "the negative Dice coefficient is returned",
          "It falls when it should, but where does it end? The cell below the task says what a perfect prediction "
          "gives.",
          ((FRACTION, FRACTION.replace("1 - (", "-(")),)),
    Wrong("3.1", "dice_summed_over_classes", "As Algorithm 8 of the handout has it: dice_c is added up for many classes.",
          "the Dice coefficients of several classes are added up",
          "Give it a perfect prediction for three classes. What comes out, and what should? The task's text says "
          "where the handout slips.",
          ((CLASS_MEAN, "return loss.mean() if len(loss) == 1 else (1 - loss).sum()"),)),
    Wrong("3.1", "one_minus_the_sum", "1 is taken once, and all dice_c from it.",
          "the Dice coefficients of all classes are taken from a single 1",
          "Give it a perfect prediction for three classes. What comes out? Each class has a loss of its own: how "
          "often does the 1 of the formula occur then?",
          ((CLASS_MEAN, "return 1 - (1 - loss).sum()"),)),
    Wrong("3.1", "losses_summed_over_classes", "The losses of the classes add up.",
          "the losses of the classes are added up",
          "Give it a prediction that is wrong everywhere, for one class and for three. Should the number of classes "
          "make it worse? Read step 4.",
          ((CLASS_MEAN, "return loss.sum()"),)),
    Wrong("3.1", "one_loss_a_class", "The mean over the classes is left to the caller.",
          "one loss a class is returned",
          "Print the shape of the result for three classes. From how many numbers can backward start? Read step 4 to "
          "its end.",
          ((CLASS_MEAN, "return loss"),)),
    Wrong("3.1", "classes_pooled", "Everything is flattened, the classes too.",
          "the pixels of all classes go into the same sums",
          "Print the shape of your sums for three classes. How many numbers should be left, so that each class gets a "
          "loss of its own?",
          ((OVERLAP, "overlap = (probability * target).sum()"), (TOTAL, "total = probability.sum() + target.sum()"))),
    Wrong("3.1", "softmax_over_classes", "Several classes ask for a softmax.",
          "a softmax over the channels makes the probabilities of several classes",
          SEVERAL_CLASSES,
          ((SIGMOID, "probability = torch.sigmoid(pred) if pred.shape[1] == 1 else torch.softmax(pred, dim=1)"),)),
    Wrong("3.1", "mean_over_pictures", "Each picture has a Dice of its own, and the batch their mean.",
          "every picture has a Dice of its own, and the loss is their mean",
          "Print the shape of your sums for a batch of two pictures. Over what does step 2 sum, and which of the four "
          "dimensions should be left?",
          ((OVERLAP, OVERLAP.replace("(0, 2, 3)", "(2, 3)")),
           (TOTAL, TOTAL.replace("(0, 2, 3)", "(2, 3)")),
           (WEIGHTED_MEAN, "return (weights * loss.mean(dim=0)).sum() / weights.sum()"))),
    Wrong("3.1", "no_sigmoid", "The network's output is the probability.",
          "the logits take the place of the probabilities",
          "Try logits of ±100. Does the loss stay between 0 and 1? Then ask of each letter in your formula whether it "
          "is a probability.",
          ((SIGMOID, "probability = pred"),)),
    Wrong("3.1", "logits_clamped", "Clamping to 0…1 makes probabilities.",
          "the logits are cut off at 0 and 1 and taken for probabilities",
          "Which probability belongs to a logit of 0, and which do you give it? And how shall a logit of 5 learn that "
          "has been cut off?",
          ((SIGMOID, "probability = pred.clamp(0, 1)"),)),
    Wrong("3.1", "sigmoid_twice", "The loss cannot know whether a sigmoid was there; a second one does no harm.",
          "the sigmoid is taken twice",
          "Print the smallest of your probabilities for logits of ±100. Could such a network ever be sure of the "
          "background?",
          ((SIGMOID, "probability = torch.sigmoid(torch.sigmoid(pred))"),)),
    Wrong("3.1", "sigmoid_from_exp", "The sigmoid is e^x / (1 + e^x), so it is written like this.",
          "the sigmoid is written out with exponentials, which overflow",
          "Print your probability for a logit of 100. How large is e to the power of 100, and where does float32 end?",
          ((SIGMOID, "probability = torch.exp(pred) / (1 + torch.exp(pred))"),)),
    Wrong("3.1", "thresholded", "Dice compares masks, so the prediction is made one.",
          "the probabilities are cut at one half before the sums",
          "Move one logit a little. Does the loss move with it? What slope has a step?",
          ((SIGMOID, "probability = (torch.sigmoid(pred) > 0.5).float()"),)),
    Wrong("3.1", "prediction_with_itself", "A slip of the pen: the mask that is compared is the prediction.",
          "the prediction is compared with itself",
          "Change the target and keep the logits: does the loss notice? Look at the line 'all wrong' of the cell "
          "below the task.",
          ((OVERLAP, OVERLAP.replace("* target", "* probability")), (TOTAL, TOTAL.replace("target.sum", "probability.sum")))),
    Wrong("3.1", "factor_2_forgotten", "Overlap by total.",
          "the overlap counts once in the fraction",
          "What comes out for a perfect prediction of two pet pixels? Work it out by hand and compare with the "
          "formula, sign by sign.",
          ((FRACTION, FRACTION.replace("2 * ", "")),)),
    Wrong("3.1", "jaccard", "IoU and Dice are the same.",
          "the loss is one minus the IoU",
          "Work out by hand a prediction that finds one of two pet pixels. What lies below the fraction in the task's "
          "formula, and what in yours?",
          ((FRACTION, "loss = 1 - (overlap + self.smooth) / (total - overlap + self.smooth)"),)),
    Wrong("3.1", "squares_below", "As in the paper of 2016, the sums below are of squares.",
          "the squares of the probabilities are summed below the fraction",
          "Look at the line 'undecided' of the cell below the task and work it out by hand. What do you add up below "
          "the fraction, and what does the formula?",
          ((TOTAL, TOTAL.replace("probability.sum", "(probability**2).sum")),)),
    Wrong("3.1", "minus_logarithm", "A loss is a minus logarithm.",
          "the loss is minus the logarithm of the Dice coefficient",
          "Try a prediction that is wrong everywhere. What comes out, and what does the cell below the task expect "
          "there?",
          ((FRACTION, "loss = -torch.log((2 * overlap + self.smooth) / (total + self.smooth))"),)),
    Wrong("3.1", "smooth_above_only", "smooth stands in the numerator.",
          "smooth stands above the fraction only",
          EMPTY_MASKS,
          ((FRACTION, FRACTION.replace("(total + self.smooth)", "total")),)),
    Wrong("3.1", "smooth_below_only", "smooth is there against a division by zero.",
          "smooth stands below the fraction only",
          EMPTY_MASKS,
          ((FRACTION, FRACTION.replace("(2 * overlap + self.smooth)", "2 * overlap")),)),
    Wrong("3.1", "smooth_written_out", "smooth is accepted and forgotten.",
          "smooth is always one millionth, whatever is handed in",
          "Build the loss once with smooth=1.0 and once with smooth=100.0. Do they give different numbers? Follow the "
          "argument to the fraction.",
          (("self.smooth = smooth", "self.smooth = 1e-6"),)),
    Wrong("3.1", "default_smooth_1", "smooth is 1, as in much code.",
          "smooth is 1 unless said otherwise",
          SIGNATURE,
          (("smooth=1e-6", "smooth=1.0"),)),
    Wrong("3.1", "no_smooth", "A mask is never empty.",
          "nothing is added to the fraction, so two empty masks give 0 divided by 0",
          "Try an empty mask and logits that are sure of nothing. What comes out? The docstring says what smooth is "
          "there for.",
          ((FRACTION, "loss = 1 - 2 * overlap / total"),)),
    Wrong("3.1", "empty_target_skipped", "A picture without the object has nothing to teach.",
          "an empty target gives 0, whatever is predicted",
          "Predict a large animal where there is none. Should that be free? Work out by hand what the formula says.",
          ((SIGMOID, "if target.sum() == 0:\n    return (0 * pred).sum()\n" + SIGMOID),)),
    Wrong("3.1", "plain_number", "A loss is a number, so .item().",
          "a plain number is returned, without a gradient",
          NUMBER_ALONE,
          ((CLASS_MEAN, "return loss.mean().item()"),)),
    Wrong("3.1", "loss_detached", ".data gives the values.",
          "the probabilities are cut off from the gradient",
          "Call backward on the result and print the gradient of the logits. Which line takes the values and leaves "
          "the way behind?",
          ((SIGMOID, "probability = torch.sigmoid(pred.data)"),)),
    Wrong("3.1", "total_detached", "Only the overlap has something to learn.",
          "the predicted area below the fraction is cut off from the gradient",
          "The value is right, so look at the slope. A pixel beside the animal stands in only one of the sums: what "
          "tells its logit to go down?",
          ((TOTAL, TOTAL.replace("probability.sum", "probability.detach().sum")),)),
    Wrong("3.1", "target_changed_in_place", "mul_ saves memory at no cost.",
          "the product is written into the target, so the caller's mask changes",
          CLONE_OF_THE_TARGET,
          ((OVERLAP, ""), (TOTAL, TOTAL + "\noverlap = target.mul_(probability).sum(dim=(0, 2, 3))"))),
    Wrong("3.1", "sums_in_half_precision", "Whatever dtype comes in is good enough.",
          "the sums run in the type that comes in, half precision too",
          HALF_PRECISION,
          ((CHECKED, "target = target.to(pred.dtype)"),)),
    Wrong("3.1", "class_weights_forgotten", "class_weights is accepted and forgotten.",
          "class_weights is taken and never used",
          "Give all the weight to one class of three. Does the loss change? Follow the argument to step 4.",
          ((KEEP_WEIGHTS, "self.class_weights = None"),)),
    Wrong("3.1", "class_weights_not_normed", "Weights multiply, that is all.",
          "the weighted losses of the classes are added up, and that is all",
          TWICE_THE_WEIGHTS,
          ((WEIGHTED_MEAN, "return (weights * loss).sum()"),)),
    Wrong("3.1", "mean_of_weighted_losses", "The weighted losses are averaged over the number of classes.",
          "the weighted losses are divided by the number of classes",
          TWICE_THE_WEIGHTS,
          ((WEIGHTED_MEAN, "return (weights * loss).mean()"),)),
    Wrong("3.1", "class_weights_as_a_list", "Weights come as a tensor; a list multiplies as well.",
          "class_weights is taken for a tensor, so a list does not work",
          "Hand the weights in once as a list and once as a tensor, as the docstring allows. Which line stops at one "
          "of them?",
          ((WEIGHTS, "weights = self.class_weights"),)),
)

TASK_3_2 = (
    Wrong("3.2", "unreduced", "The mean is taken elsewhere.",
          "every pixel keeps its own loss: the result is not one number",
          "Print the shape of the result. From how many numbers can backward start? Read the line below the task's "
          "table.",
          ((FOCAL_MEAN, "return alpha_t * modulation * cross_entropy"),)),
    Wrong("3.2", "summed", "The losses of the pixels add up.",
          "the losses of the pixels are added up",
          "Try a picture, and then four copies of it side by side. Should the loss grow with the number of pixels? "
          "Read the line below the task's table.",
          ((FOCAL_MEAN, FOCAL_MEAN.replace("mean", "sum")),)),
    Wrong("3.2", "mean_over_positives", "As in RetinaNet, the sum is divided by the number of positives.",
          "the sum over all pixels is divided by the number of pet pixels",
          "Add background to a picture. What happens to your loss where there is hardly any pet? By how many does the "
          "task divide?",
          ((FOCAL_MEAN, FOCAL_MEAN.replace("mean", "sum") + " / target.sum().clamp(min=1)"),)),
    Wrong("3.2", "focal_of_the_mean", "The mean cross-entropy is known, and p_t is e to its minus.",
          "p_t is worked out from the mean cross-entropy, the same for all pixels",
          "Look at the last line of the cell below the task, an easy pixel and a hard one. Has each a p_t of its own "
          "in your code?",
          ((CE, CE.replace(', reduction="none"', "")),
           (MODULATION, "modulation = (1 - torch.exp(-cross_entropy)) ** self.gamma"))),
    Wrong("3.2", "alpha_on_every_pixel", "alpha is a factor of the whole loss.",
          "alpha multiplies every pixel alike",
          "Look at the two undecided pixels of the cell below the task. Why are their losses not the same there, and "
          "are they in yours?",
          ((ALPHA, "alpha_t = self.alpha"),)),
    Wrong("3.2", "alpha_on_positives_only", "alpha weighs the positive class; the negative one has weight 1.",
          "pet pixels weigh alpha, and all others 1",
          "What do the weights of a pet pixel and of a background pixel add up to in the last row of the table? And "
          "in your code?",
          ((ALPHA, "alpha_t = self.alpha * target + (1 - target)"),)),
    Wrong("3.2", "alpha_swapped", "alpha weighs the background, of which there is most.",
          "alpha weighs the background, and 1 − alpha the pet",
          "Look at the two undecided pixels of the cell below the task. Which of them has the larger loss there, and "
          "which in yours?",
          ((ALPHA, "alpha_t = (1 - self.alpha) * target + self.alpha * (1 - target)"),)),
    Wrong("3.2", "alpha_written_out", "alpha is accepted and forgotten.",
          "alpha is always a quarter, whatever is handed in",
          "Build the loss with an alpha of 0.1 and with one of 0.9. Do they give different numbers? Follow the "
          "argument to the pixel.",
          (("self.alpha = alpha", "self.alpha = 0.25"),)),
    Wrong("3.2", "no_alpha", "alpha belongs to the paper's second version.",
          "no pixel is weighed by alpha",
          "Try one undecided pet pixel. By which factor are you off from the first number below the task, and which "
          "part of the formula is that?",
          ((FOCAL_MEAN, "return (modulation * cross_entropy).mean()"),)),
    Wrong("3.2", "gamma_written_out", "Squaring is what the paper does.",
          "gamma is always 2, whatever is handed in",
          "Build the loss with a gamma of 0 and with one of 5. Do they give different numbers? Follow the argument to "
          "the power.",
          (("self.gamma = gamma", "self.gamma = 2"),)),
    Wrong("3.2", "gamma_as_a_factor", "gamma multiplies.",
          "gamma multiplies 1 − p_t",
          "Try a gamma of 0. Which loss should be left, and what is left of yours? Look where γ stands in the "
          "formula.",
          ((MODULATION, "modulation = self.gamma * torch.sigmoid(-towards_right)"),)),
    Wrong("3.2", "easy_pixels_turned_up", "p_t to the power of gamma.",
          "p_t itself is raised to the power of gamma, so easy pixels count most",
          "Compare a pixel with 90 % for the right answer with one of 10 %. Which of them should keep more of its "
          "cross-entropy? Look at the plot.",
          ((MODULATION, MODULATION.replace("-towards_right", "towards_right")),)),
    Wrong("3.2", "p_for_p_t", "1 − p at every pixel, whatever its target.",
          "at every pixel 1 − p is taken, whether it is pet or background",
          "Look at a background pixel that is right and sure. What is its p, what is its p_t, and which of them does "
          "your code use?",
          ((MODULATION, MODULATION.replace("-towards_right", "-pred")),)),
    Wrong("3.2", "log_p_plus_epsilon", "As Algorithm 9 of the handout has it.",
          "the cross-entropy is the logarithm of p_t plus a small number",
          "Try a logit of −100 on a pet pixel. The cell below the task says what to expect; where does your logarithm "
          "stop, and what gradient is left there?",
          ((CE, PROBABILITIES + "cross_entropy = -torch.log(p_t + 1e-8)"),)),
    Wrong("3.2", "logits_clamped", "Large logits are dangerous, so they are cut.",
          "logits beyond ±20 are cut off",
          "Try logits of −30 and of −100 on a pet pixel. Are your losses different? Which gradient has a number that "
          "was cut off?",
          ((CE, "pred = pred.clamp(-20, 20)\n" + CE),)),
    Wrong("3.2", "cross_entropy_of_probabilities", "Binary cross-entropy takes what the network gives.",
          "the logits go into a cross-entropy that takes probabilities",
          WANTS_PROBABILITIES,
          ((CE, 'cross_entropy = F.binary_cross_entropy(pred, target, reduction="none")'),)),
    Wrong("3.2", "sigmoid_twice", "Probabilities go into the cross-entropy, whichever it is.",
          "the probabilities are taken for logits, so the sigmoid comes twice",
          TWO_SIGMOIDS,
          ((CE, "pred = torch.sigmoid(pred)\n" + CE),),
          also=(((CE, CE.replace("(pred,", "(torch.sigmoid(pred),")),), ((CHECKED, f"{CHECKED}\npred = torch.sigmoid(pred)"),))),
    Wrong("3.2", "softmax_cross_entropy", "CrossEntropyLoss on one channel, which is always 0.",
          "the cross-entropy compares the channels, and is always 0 for one",
          ONE_CHANNEL,
          ((CE, 'cross_entropy = F.cross_entropy(pred, target, reduction="none").unsqueeze(1)'),)),
    Wrong("3.2", "sign_forgotten", "The logarithm's minus is lost.",
          "the minus of the logarithm is lost, so the loss is negative",
          "Print the loss of a pixel that is all wrong. Is it above 0? Where would an optimizer go with yours?",
          ((FOCAL_MEAN, FOCAL_MEAN.replace("(alpha_t", "(-alpha_t")),)),
    Wrong("3.2", "power_of_zero", "A power is a power; its slope at 0 is no one's concern.",
          "the power is taken of 1 − p_t as it stands, also where that is exactly 0",
          "Try a gamma of 0.5 and a logit of 100 on a pet pixel, and print the gradient. How steep is √x at 0? The "
          "list below the task speaks of it.",
          ((MODULATION, PROBABILITIES + "modulation = (1 - p_t) ** self.gamma"),)),
    Wrong("3.2", "modulation_detached", "(1 − p_t)^γ is a weight, and weights are constants.",
          "the factor (1 − p_t)^γ is cut off from the gradient",
          "The value is right, so look at the slope: move one logit a little and compare with its gradient. Which "
          "factors of the formula move with it?",
          ((MODULATION, MODULATION + ".detach()"),)),
    Wrong("3.2", "plain_number", "A loss is a number, so .item().",
          "a plain number is returned, without a gradient",
          NUMBER_ALONE,
          ((FOCAL_MEAN, FOCAL_MEAN + ".item()"),)),
    Wrong("3.2", "target_changed_in_place", "Signs and masks in place save memory; afterwards the target is 0 and 2.",
          "the target is changed in place, and holds 0 and 2 afterwards",
          CLONE_OF_THE_TARGET,
          (("towards_right = (2 * target - 1) * pred", "towards_right = target.mul_(2).sub_(1) * pred"),
           (MODULATION, MODULATION + "\ntarget.add_(1)"))),
    Wrong("3.2", "mean_in_half_precision", "Whatever dtype comes in is good enough.",
          "the mean runs in the type that comes in, half precision too",
          HALF_PRECISION,
          ((CHECKED, "target = target.to(pred.dtype)"),)),
)

TASK_3_3 = (
    Wrong("3.3", "softmax_cross_entropy", "CrossEntropyLoss is the cross-entropy; on one channel it is always 0.",
          "the cross-entropy compares the channels, and is always 0 for one",
          ONE_CHANNEL,
          ((BCE, "nn.CrossEntropyLoss()"),)),
    Wrong("3.3", "softmax_for_several_classes", "Several channels ask for CrossEntropyLoss.",
          "the cross-entropy of several channels is a softmax over them",
          SEVERAL_CLASSES,
          ((BCE, f"{BCE} if pred.shape[1] == 1 else F.cross_entropy"),)),
    Wrong("3.3", "cross_entropy_built_not_called", "CrossEntropyLoss(pred, target) is the loss of pred and target.",
          "a loss object is built from logits and target, and never called",
          "Print the type of your 'ce' term. Is it a number? Count its pairs of brackets: which one builds, and which "
          "one calls?",
          ((BCE, "nn.CrossEntropyLoss"),)),
    Wrong("3.3", "cross_entropy_of_raw_logits", "BCELoss takes what the network gives.",
          "the logits go into a cross-entropy that takes probabilities",
          WANTS_PROBABILITIES,
          ((BCE, "F.binary_cross_entropy"),)),
    Wrong("3.3", "sigmoid_then_cross_entropy", "BCELoss after a sigmoid is the same.",
          "a sigmoid comes first, and then a cross-entropy of probabilities",
          "Try logits of 60 and of 100 on background pixels. Should the two losses be the same? How close to 1 can a "
          "probability in float32 come before it is 1?",
          ((BCE, "lambda pred, target: F.binary_cross_entropy(torch.sigmoid(pred), target)"),)),
    Wrong("3.3", "sigmoid_twice", "The logits are made probabilities before the loss that takes logits.",
          "the cross-entropy takes the sigmoid of what is a probability already",
          TWO_SIGMOIDS,
          ((BCE, "lambda pred, target: F.binary_cross_entropy_with_logits(torch.sigmoid(pred), target)"),),
          also=(((SUM, SUM.replace("(pred,", "(torch.sigmoid(pred),")),),)),
    Wrong("3.3", "cross_entropy_summed", "The losses of the pixels add up.",
          "the cross-entropies of the pixels are added up",
          "Give weight to 'ce' alone and try a picture, then four copies of it side by side. Should the loss grow "
          "with the pixels? Step 1 says what is taken.",
          ((BCE, 'nn.BCEWithLogitsLoss(reduction="sum")'),)),
    Wrong("3.3", "weights_normed", "Weights add up to 1, or are made to.",
          "the weighted sum is divided by the sum of the weights",
          "Make all weights twice as large. What should happen to the loss by the formula, and what does yours do?",
          ((SUM, SUM + " / sum(self.weights.values())"),)),
    Wrong("3.3", "mean_of_the_terms", "The terms are averaged.",
          "the weighted sum is divided by the number of its terms",
          "Take two terms: is your loss their weighted sum, or half of it? Look for a division in the formula.",
          ((SUM, SUM + " / len(self.weights)"),),
          also=(((SUM, SUM + " / sum(map(bool, self.weights.values()))"),),)),
    Wrong("3.3", "weights_forgotten", "The terms add up, and the weights only say which.",
          "the terms are added up, and the weights only say which of them",
          TWICE_ONE_WEIGHT,
          ((SUM, SUM.replace("weight * ", "")),)),
    Wrong("3.3", "weights_squared", "The weights are multiplied in twice.",
          "every weight is multiplied in twice",
          TWICE_ONE_WEIGHT,
          ((SUM, SUM.replace("weight * ", "weight * weight * ")),)),
    Wrong("3.3", "defaults_of_one", "All terms count the same by default.",
          "cross-entropy and Dice weigh 1 each unless said otherwise",
          SIGNATURE,
          (('{"ce": 0.5, "dice": 0.5, "focal": 0.0}', '{"ce": 1.0, "dice": 1.0, "focal": 0.0}'),)),
    Wrong("3.3", "focal_by_default", "All three terms by default.",
          "the focal loss takes part unless said otherwise",
          SIGNATURE,
          (('{"ce": 0.5, "dice": 0.5, "focal": 0.0}', '{"ce": 0.5, "dice": 0.5, "focal": 0.5}'),)),
    Wrong("3.3", "dice_and_focal_swapped", "A slip of the pen.",
          "the weight of Dice goes to the focal loss, and that of focal to Dice",
          "Give weight to 'dice' alone and compare with your losses of Tasks 3.1 and 3.2, on the same tensors. Which "
          "of them is it?",
          (('"dice": self.dice, "focal": self.focal', '"dice": self.focal, "focal": self.dice'),)),
    Wrong("3.3", "coefficient_for_loss", "Dice is turned round once more.",
          "the Dice term is one minus the Dice loss",
          "Give weight to 'dice' alone and try a perfect prediction. Is the loss low there? What does your class of "
          "Task 3.1 give already, coefficient or loss?",
          (('"dice": self.dice', '"dice": lambda pred, target: 1 - self.dice(pred, target)'),)),
    Wrong("3.3", "other_alpha", "alpha = 0.5 is fairer.",
          "the focal term has an alpha of its own, one half",
          TERM_ALONE,
          (("FocalLoss()", "FocalLoss(alpha=0.5)"),)),
    Wrong("3.3", "other_smooth", "smooth = 1 is steadier.",
          "the Dice term has a smooth of its own, 1",
          TERM_ALONE,
          (("DiceLoss()", "DiceLoss(smooth=1.0)"),)),
    Wrong("3.3", "three_weights_needed", "All three weights are always there.",
          "all three terms are looked up in weights, named or not",
          "Build the loss with a dict of a single entry and call it. Which of your two lists of names should lead the "
          "way, that of the terms or that of the weights?",
          ((SUM, "return sum(self.weights[name] * term(pred, target) for name, term in terms.items() if self.weights[name])"),)),
    Wrong("3.3", "absent_means_one", "A term that is not mentioned counts fully.",
          "a term that is not named counts with the weight 1",
          "Build the loss with a dict of a single entry and compare with that term alone. What does step 2 say about "
          "the others?",
          ((KEEP_DICT, 'self.weights = {"ce": 1.0, "dice": 1.0, "focal": 1.0, **weights}'),)),
    Wrong("3.3", "zero_times_a_term", "Times zero is as good as left out.",
          "a term of weight 0 is computed all the same, and multiplied by 0",
          "What is 0 times infinity, or 0 times NaN? Step 2 ends with a sentence about this.",
          ((SUM, "return sum(self.weights.get(name, 0) * term(pred, target) for name, term in terms.items())"),)),
    Wrong("3.3", "weights_popped_when_built", "pop reads and tidies up.",
          "building the loss takes the entries out of the caller's dict",
          CALLERS_DICT,
          ((KEEP_DICT, 'self.weights = {name: weights.pop(name) for name in ("ce", "dice", "focal") if name in weights}'),)),
    Wrong("3.3", "weights_popped_when_called", "The dict is used up term by term.",
          "a call uses the weights up, so the next one finds none",
          "Call one loss twice on the same tensors. What is left of its weights after the first call?",
          ((SUM, '''\
total = 0
while self.weights:
    name, weight = self.weights.popitem()
    if weight:
        total = total + weight * terms[name](pred, target)
return total'''),)),
    Wrong("3.3", "weights_filled_up", "Missing entries are written into the dict that was given.",
          "the missing entries are written into the caller's dict",
          CALLERS_DICT,
          ((KEEP_DICT, 'for name in ("ce", "dice", "focal"):\n    weights.setdefault(name, 0.0)\nself.weights = weights'),)),
    Wrong("3.3", "dice_term_as_a_number", "A number is enough to add up.",
          "the Dice term is a plain number, without a gradient",
          "The value is right, so look at the gradient: does it change when you give more weight to 'dice'? What has "
          "become of that tensor on its way?",
          (('"dice": self.dice', '"dice": lambda pred, target: self.dice(pred, target).item()'),)),
    Wrong("3.3", "loss_detached", "detach makes a plain value of it.",
          "the sum is cut off from the gradient",
          NUMBER_ALONE,
          ((SUM, SUM + ".detach()"),)),
    Wrong("3.3", "first_channel_only", "A mask has one channel.",
          "only the first channel is looked at",
          "Change the second channel of the logits and keep the first. Does the loss notice?",
          ((TERMS, "pred, target = pred[:, :1], target[:, :1]\n" + TERMS),)),
)

WRONG: list[Wrong] = [*TASK_3_1, *TASK_3_2, *TASK_3_3]
