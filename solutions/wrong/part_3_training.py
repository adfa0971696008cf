"""Known-wrong variants of Tasks 3.4 and 3.5: training."""

from solutions.wrong.variant import Wrong

# Hints that several variants share.
THRESHOLD = (
    "Call it with a threshold of 0.1 and with one of 0.9. Does the number of predicted pixels change, and should it?"
)
BEFORE_AND_AFTER = (
    "Compare one weight before and after the epoch. Then name the calls that turn a loss into new weights, in their "
    "order: do they stand so in your loop?"
)
LIMIT = (
    "Call it with a max_grad_norm of 0.001. How far do the weights move? At which moment are the gradients complete, "
    "and not used yet?"
)
ORDER_OF_BATCHES = "Put an easy batch last, and then first. Should the order of the batches change what is returned?"
STEPS_OF_AN_EPOCH = (
    "Count the optimizer's steps in an epoch of five batches, with accumulation_steps at 1 and at 2. After which "
    "batches do they come, and after which should they?"
)
RATE_BY_EPOCH = (
    "Print the learning rate epoch by epoch, once while everything improves and once while nothing does. When should "
    "it fall? The task's table says what the scheduler listens to."
)
WHICH_LIST = (
    "The task's table names the number that the scheduler is fed. Which of your lists do you feed it, and could it "
    "stand still while the right one moves?"
)
MARK_THE_BEST = (
    "Print the validation IoU of each epoch and mark those after which you keep the weights. Which epoch should win "
    "in the end?"
)
KEPT_WEIGHTS = (
    "After the best epoch, print one number of the weights that you keep, and print it again at the end. Do they stay "
    "as they were? The last question of the TODO asks for this."
)
WHAT_IS_IN_THE_FILE = (
    "Load your file with weights_only=True and print what is in it. Would load_state_dict of a new model take it as "
    "it is?"
)
FOLLOW_THE_ARGUMENT = (
    "Follow each argument of train_model to the place where it is used. Which one gets lost on its way to "
    "train_epoch?"
)
PATH = "Hand in a path and look which files are there afterwards. What does your code do with the argument?"
TWO_LOADERS = (
    "Hand in two loaders with very different pictures and call validate yourself. Under which name should its numbers "
    "stand in the history, and what stands there?"
)
OTHER_LOSS = "Hand in another loss: your own, times 10. Does what you get back notice?"

# Lines of the reference that several variants change.
PREDICTED = "predicted = torch.sigmoid(pred.float()) > threshold"
RATIO = "((shared + 1e-6) / (either + 1e-6)).mean().item()"
SHARED = "shared = (predicted & actual).sum(dim=(0, 2, 3))"
EITHER = "either = (predicted | actual).sum(dim=(0, 2, 3))"
EVALUATED = "losses.append(criterion(logits, masks).item())\nious.append(calculate_iou(logits, masks))"
FEED = "scheduler.step(history[\"val_loss\"][-1])"
PLATEAU = "torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=5)"
BETTER = 'if history["val_iou"][-1] > best["iou"]:'
WORTH = 'best = {"iou": history["val_iou"][-1]'
COPY = '"epoch": epoch, "weights": copy.deepcopy(model.state_dict())}'
SAVE = "torch.save(best[\"weights\"], checkpoint_path)"
RESTORE = 'model.load_state_dict(best["weights"])'
ADAM = "torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)"
KEYS = '("train_loss", "train_iou", "val_loss", "val_iou", "lr")}'
SWAPPED = '("val_loss", "val_iou", "train_loss", "train_iou", "lr")}'
EPOCHS = 'range(len(history["lr"]) + 1, epochs + 1)'
LIVE = "model.state_dict()"
OPTIONS = '{"accumulation_steps": accumulation_steps, "max_grad_norm": max_grad_norm, "scaler": scaler}'

# The loop as most hand-ins write it, itself right; a variant changes one piece of it.
EPOCH = '''\
def train_epoch(model, dataloader, optimizer, criterion, device, *, accumulation_steps=1, max_grad_norm=None, **_):
    model.train()
    running_loss, running_iou = 0.0, 0.0
    optimizer.zero_grad()
    for i, (images, masks) in enumerate(dataloader):
        images, masks = images.to(device), masks.to(device)
        outputs = model(images)
        loss = criterion(outputs, masks)
        (loss / accumulation_steps).backward()
        if (i + 1) % accumulation_steps == 0 or i + 1 == len(dataloader):
            if max_grad_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
        running_loss += loss.item()
        running_iou += calculate_iou(outputs, masks)
    return running_loss / len(dataloader), running_iou / len(dataloader)'''
START = "    optimizer.zero_grad()\n    for"
BACKWARD = "(loss / accumulation_steps).backward()"
WHEN = "if (i + 1) % accumulation_steps == 0 or i + 1 == len(dataloader):"
CLIP = """            if max_grad_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
"""
MEANS = "running_loss / len(dataloader), running_iou / len(dataloader)"
STEP = "            optimizer.step()\n            optimizer.zero_grad()\n"


def _epoch(name: str, misconception: str, title: str, hint: str, *pieces: tuple[str, str], like: str = "") -> Wrong:
    """A variant of the loop above; each piece must be in it once."""
    text = EPOCH
    for old, new in pieces:
        if text.count(old) != 1:
            raise ValueError(f"{name}: found {text.count(old)} times: {old!r}")
        text = text.replace(old, new)
    return Wrong("3.4", name, misconception, title, hint, (("def train_epoch", text),), like=like)


IOU = (
    Wrong("3.4", "iou_of_raw_logits", "The network's output is compared with the threshold as it is.",
          "the logits are compared with the threshold as they are",
          "The cell below the task has a logit of 0.3. Which probability is that, and on which side of the threshold "
          "do you put it?",
          ((PREDICTED, "predicted = pred > threshold"),)),
    Wrong("3.4", "iou_threshold_fixed", "The threshold is always one half.",
          "a pixel counts as predicted above one half, whatever threshold says",
          THRESHOLD,
          ((PREDICTED, "predicted = torch.sigmoid(pred.float()) > 0.5"),)),
    Wrong("3.4", "iou_threshold_of_zero_on_logits", "Logits above zero are probabilities above one half.",
          "logits above 0 count as predicted, whatever threshold says",
          THRESHOLD,
          ((PREDICTED, "predicted = pred > 0"),), like="iou_threshold_fixed"),
    Wrong("3.4", "iou_of_the_background", "The comparison is the wrong way round.",
          "pixels below the threshold count as predicted",
          "Give it logits that are sure of the background everywhere, and count the predicted pixels. Is it none, or "
          "all?",
          ((PREDICTED, "predicted = torch.sigmoid(pred.float()) < threshold"),)),
    Wrong("3.4", "iou_of_probabilities", "A soft IoU needs no threshold.",
          "the probabilities are summed as they are, as in a soft IoU",
          "Step 1 ends with a mask. Which values does a mask have, and which do you sum up?",
          ((PREDICTED, "predicted = torch.sigmoid(pred.float())"),
           (SHARED, "shared = (predicted * target).sum(dim=(0, 2, 3))"),
           (EITHER, "either = (predicted + target - predicted * target).sum(dim=(0, 2, 3))"))),
    Wrong("3.4", "iou_empty_is_zero", "The ε guards the division only.",
          "two empty masks give 0",
          "The cell below the task ends with two empty masks. What stands above your fraction there, and what below?",
          ((RATIO, "(shared / (either + 1e-6)).mean().item()"),)),
    Wrong("3.4", "iou_absent_is_one", "Where the object is absent, nothing can be wrong.",
          "a class that is not in the target counts as 1, whatever is predicted",
          "Predict an animal where there is none. Should that be perfect? Work out FP and the formula by hand.",
          ((RATIO, "torch.where(actual.sum((0, 2, 3)) == 0, 1.0, (shared + 1e-6) / (either + 1e-6)).mean().item()"),)),
    Wrong("3.4", "iou_union_counted_twice", "The union is the sum of both masks.",
          "pixels that are in both masks count twice in the union",
          "Try two equal masks. What comes out? Take one pixel that both have, and count how often it is in your "
          "union.",
          ((EITHER, "either = (predicted.int() + actual.int()).sum(dim=(0, 2, 3))"),)),
    Wrong("3.4", "iou_is_dice", "Dice and IoU are the same.",
          "the Dice coefficient is returned",
          "Work out TP, FP and FN for the line 'found one' of the cell below the task. What does the formula of step "
          "3 make of them, and what does yours?",
          ((RATIO, "((2 * shared + 1e-6) / (shared + either + 1e-6)).mean().item()"),)),
    Wrong("3.4", "iou_is_accuracy", "The share of right pixels.",
          "the share of right pixels is returned",
          "Try a picture whose small animal nobody has found. Do the many right background pixels have a place in the "
          "formula of step 3?",
          ((RATIO, "(predicted == actual).float().mean().item()"),)),
    Wrong("3.4", "iou_per_picture", "The IoU of each picture, and then the mean.",
          "every picture has an IoU of its own, and their mean is returned",
          "Print the shape of your counts for a batch of two pictures. Over what does step 2 count, and how often "
          "should you divide?",
          ((SHARED, SHARED.replace("(0, 2, 3)", "(2, 3)")), (EITHER, EITHER.replace("(0, 2, 3)", "(2, 3)")))),
    Wrong("3.4", "iou_classes_together", "All pixels of all classes are counted in one sum.",
          "the pixels of all classes go into the same counts",
          "Print the shape of your counts for three classes. How many numbers should be left for the mean of step 3?",
          ((SHARED, SHARED.replace("dim=(0, 2, 3)", "")), (EITHER, EITHER.replace("dim=(0, 2, 3)", "")))),
    Wrong("3.4", "iou_not_returned", "Printing shows the value.",
          "the IoU is printed and not given back",
          "Store the result in a variable and print its type. What does a function give that only prints?",
          ((f"return {RATIO}", f"print({RATIO})"),)),
)

TRAIN = (
    _epoch("never_zeroed", "backward() begins anew each time.",
           "no gradient is ever set back, so those of all batches pile up",
           "Print the gradient of one weight just before the step of each batch. Is it what that batch alone has to "
           "say?",
           (START, "    for"), (STEP, "            optimizer.step()\n")),
    _epoch("zeroed_after_backward", "zero_grad belongs in front of step.",
           "the gradients are set back between backward and the step",
           BEFORE_AND_AFTER,
           (BACKWARD, BACKWARD + "\n        optimizer.zero_grad()"), like="no_step"),
    _epoch("zeroed_every_batch", "zero_grad stands at the top of every batch, also within a group.",
           "the gradients are set back before every batch, within a group as well",
           "With accumulation_steps at 2, print the gradient of one weight just before a step. Whose gradient is it: "
           "that of the group, or that of its last batch?",
           ("        outputs = model", "        optimizer.zero_grad()\n        outputs = model")),
    _epoch("no_backward", "step knows the loss.",
           "no gradient is ever computed",
           BEFORE_AND_AFTER,
           (BACKWARD, "pass"), like="no_step"),
    _epoch("no_step", "backward() learns.",
           "the weights stay as they were, since no step uses a gradient",
           BEFORE_AND_AFTER,
           (STEP, "            optimizer.zero_grad()\n")),
    _epoch("one_step_an_epoch", "step stands after the loop.",
           "the optimizer takes a single step, at the end of the epoch",
           STEPS_OF_AN_EPOCH,
           (WHEN, "if i + 1 == len(dataloader):")),
    _epoch("last_group_dropped", "Only full groups make a step.",
           "batches that do not fill a group make no step",
           "Try an epoch of five batches with accumulation_steps at 2. What becomes of the fifth? The task's text has "
           "a sentence about those that are left.",
           (WHEN, "if (i + 1) % accumulation_steps == 0:")),
    _epoch("group_counted_from_zero", "The batch's number is taken without + 1, so the first group has one batch.",
           "the first group is a single batch, because the count begins at zero",
           STEPS_OF_AN_EPOCH,
           (WHEN, "if i % accumulation_steps == 0 or i + 1 == len(dataloader):")),
    _epoch("accumulation_ignored", "accumulation_steps is accepted and forgotten.",
           "every batch makes a step, whatever accumulation_steps says",
           STEPS_OF_AN_EPOCH,
           (BACKWARD, "loss.backward()"), (WHEN, "if True:")),
    _epoch("loss_not_scaled", "Gradients that add up are a mean.",
           "the gradients of a group are simply added up",
           "Put the same batch into a group twice. What gradient should the group have, and what do yours add up to? "
           "Read 'Why the loss is scaled' again.",
           (BACKWARD, "loss.backward()")),
    _epoch("scaled_loss_reported", "The loss is divided in place, and that is what is reported.",
           "the loss that is returned was divided by accumulation_steps before",
           "Run the same epoch with accumulation_steps at 1 and at 4, and a learning rate of 0. Should the loss that "
           "you return be another?",
           (BACKWARD, "loss = loss / accumulation_steps\n        loss.backward()")),
    _epoch("loss_summed", "The sum over the batches is returned.",
           "the training loss is the sum over the batches",
           "Train on a loader, and on one with the same batches twice, at a learning rate of 0. Should the loss that "
           "you return double?",
           ("running_loss / len(dataloader)", "running_loss")),
    _epoch("divided_by_pictures", "A mean of batches is divided by the number of pictures.",
           "the sums over the batches are divided by the number of pictures",
           "You add up one number for every batch. How many numbers are that, and by how many do you divide?",
           (MEANS, MEANS.replace("len(dataloader)", "len(dataloader.dataset)"))),
    _epoch("last_batch_returned", "The last batch stands for the epoch.",
           "training returns the loss and the IoU of its last batch",
           ORDER_OF_BATCHES,
           (MEANS, "loss.item(), calculate_iou(outputs, masks)")),
    _epoch("returned_in_the_loop", "return is indented one level too far.",
           "training returns within the loop, after its first batch",
           "Print something in every batch and count the lines. How far is your last line indented?",
           ("    return running", "        return running")),
    _epoch("only_the_loss_returned", "The loss says everything.",
           "training returns its loss alone",
           "Print what the function gives back. How many numbers does the docstring promise?",
           (MEANS, "running_loss / len(dataloader)")),
    _epoch("sigmoid_twice", "calculate_iou gets probabilities.",
           "the IoU of training is worked out from probabilities",
           "Which pixels are above the threshold when a number between 0 and 1 goes through the sigmoid once more? "
           "What does calculate_iou want to be given?",
           ("calculate_iou(outputs, masks)", "calculate_iou(torch.sigmoid(outputs), masks)")),
    _epoch("clipped_after_step", "Clipping comes last.",
           "the gradients are clipped after the step",
           LIMIT,
           (CLIP, ""), (STEP, STEP.replace("step()\n", "step()\n" + CLIP)), like="never_clipped"),
    _epoch("clipped_every_batch", "Each batch's gradients are clipped as they come.",
           "the gradients are clipped after every batch, within a group as well",
           "With accumulation_steps at 2, at which moment are the gradients of a group complete? What does clipping "
           "the first half alone do to them?",
           (CLIP, ""), (BACKWARD, BACKWARD + "\n" + CLIP.replace("            ", "        ", 1).rstrip())),
    _epoch("clipped_by_value", "Clipping limits each number.",
           "every number of the gradients is limited by itself",
           "Clip the gradient (3, 4) to 1 by hand, once in your way and once by its norm. Does it still point in the "
           "same direction?",
           ("clip_grad_norm_", "clip_grad_value_")),
    _epoch("clipped_to_one", "The limit is always 1.",
           "the norm is limited to 1, whatever max_grad_norm says",
           LIMIT,
           (CLIP, CLIP.replace("(), max_grad_norm", "(), 1.0"))),
    _epoch("never_clipped", "max_grad_norm is accepted and forgotten.",
           "no step's gradients are clipped before it",
           LIMIT,
           (CLIP, "")),
    _epoch("train_mode_missing", "A model is in train mode from the start.",
           "training leaves the model in the mode in which it was found",
           "In which mode does validate leave the model? Who changes that before the next epoch begins?",
           ("    model.train()\n", "")),
    _epoch("trains_in_eval_mode", "A slip of the pen: eval for train.",
           "the model trains in eval mode",
           "Print the mode of the model within your loop. Which of the two do BatchNorm and dropout need in order to "
           "learn?",
           ("model.train()", "model.eval()")),
    _epoch("own_criterion", "The loss of the lab is used whatever the caller hands over.",
           "training uses the lab's own loss, whatever criterion is handed in",
           OTHER_LOSS,
           ("criterion(outputs, masks)", "CombinedLoss()(outputs, masks)")),
    _epoch("criterion_turned_round", "Target first, prediction second.",
           "the criterion gets the target first and the logits second",
           "In which order do your losses of Tasks 3.1 to 3.3 take their two tensors? What would they make of them "
           "the other way round?",
           ("criterion(outputs, masks)", "criterion(masks, outputs)")),
    _epoch("always_cuda", "There is a GPU.",
           "the batches go to the GPU, whatever device says",
           "Run it on a machine without a GPU, or with device='cpu' on one that has it. What is the argument for?",
           ("images.to(device), masks.to(device)", "images.cuda(), masks.cuda()")),
)

VALIDATE = (
    Wrong("3.4", "eval_mode_missing", "Without gradients, nothing can change.",
          "validation runs in whatever mode the model is",
          "Print the running mean of a BatchNorm before and after validating. Which mode lets it move?",
          (("model.eval()", "pass"),)),
    Wrong("3.4", "validates_with_gradients", "eval() switches gradients off.",
          "validation records gradients that nobody will use",
          "Print whether the logits of your validation require a gradient. Which cost does that have on a large "
          "batch, and what would spare it?",
          (("@torch.no_grad()", ""),)),
    Wrong("3.4", "validation_learns_gradients", "A copy of the training loop without its step.",
          "validation goes backward and leaves its gradients in the model",
          "Print the gradient of one weight before and after validating. Into which step will it go?",
          (("@torch.no_grad()", ""),
           (EVALUATED, "loss = criterion(logits, masks)\nloss.backward()\nlosses.append(loss.item())\n"
                       "ious.append(calculate_iou(logits, masks))"))),
    Wrong("3.4", "validation_of_the_last_batch", "The lists are made anew in every batch.",
          "validation returns the loss and the IoU of its last batch",
          ORDER_OF_BATCHES,
          ((EVALUATED, "losses = [criterion(logits, masks).item()]\nious = [calculate_iou(logits, masks)]"),)),
    Wrong("3.4", "validation_summed", "The sum over the batches is returned.",
          "the validation loss is the sum over the batches",
          "Validate on a loader, and on one with the same batches twice. Should the loss double? The docstring says "
          "what is returned.",
          ((EVALUATED, EVALUATED.replace(".item())", ".item() * len(dataloader))")),),
          also=(((EVALUATED, EVALUATED.replace(".item())", ".item() * len(dataloader))").replace("masks))", "masks) * len(dataloader))")),),)),
)

MODEL = (
    Wrong("3.4", "scheduler_gets_the_training_loss", "The loss is the loss.",
          "the scheduler is fed the training loss",
          WHICH_LIST,
          ((FEED, FEED.replace("val_loss", "train_loss")),)),
    Wrong("3.4", "scheduler_gets_the_iou", "The plateau is one of the IoU.",
          "the scheduler is fed the validation IoU and waits for it to rise",
          WHICH_LIST,
          ((FEED, FEED.replace("val_loss", "val_iou")),
           (PLATEAU, PLATEAU.replace("patience=5", 'mode="max", patience=5')))),
    Wrong("3.4", "scheduler_takes_the_iou_for_a_loss", "The scheduler gets the IoU and waits for it to fall.",
          "the scheduler is fed the validation IoU and waits for it to fall",
          RATE_BY_EPOCH,
          ((FEED, FEED.replace("val_loss", "val_iou")),)),
    Wrong("3.4", "scheduler_by_epochs", "A StepLR is a scheduler, too.",
          "the learning rate falls after so many epochs, come what may",
          RATE_BY_EPOCH,
          ((PLATEAU, "torch.optim.lr_scheduler.StepLR(optimizer, step_size=5)"), (FEED, "scheduler.step()")),
          also=(((PLATEAU, "torch.optim.lr_scheduler.StepLR(optimizer, step_size=10)"), (FEED, "scheduler.step()")),)),
    Wrong("3.4", "scheduler_never_stepped", "It watches the optimizer by itself.",
          "the scheduler is made and never told anything",
          RATE_BY_EPOCH,
          ((FEED, "pass"),)),
    Wrong("3.4", "scheduler_default_patience", "Ten epochs of patience are the default.",
          "the scheduler has a patience of ten epochs",
          "Print the learning rate epoch by epoch while nothing improves. After how many does it fall, and what "
          "number does the task's table give?",
          ((PLATEAU, "torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)"),)),
    Wrong("3.4", "optimizer_anew_each_epoch", "Every epoch begins with an optimizer of its own.",
          "every epoch begins with a new optimizer",
          "Count how often your code makes an optimizer. What does Adam remember from step to step, and whose "
          "learning rate does the scheduler lower?",
          (("*train_epoch(model, train_loader, optimizer,", f"*train_epoch(model, train_loader, {ADAM},"),)),
    Wrong("3.4", "best_weights_alias", "state_dict() is a copy.",
          "the kept best weights are the live ones, and training goes on writing into them",
          KEPT_WEIGHTS,
          ((COPY, COPY.replace(f"copy.deepcopy({LIVE})", LIVE)),), like="last_weights_left"),
    Wrong("3.4", "best_weights_shallow_copy", "A copy of the dict is a copy of the weights.",
          "the kept best weights are a new dict of the same, live tensors",
          KEPT_WEIGHTS,
          ((COPY, COPY.replace(f"copy.deepcopy({LIVE})", f"dict({LIVE})")),), like="last_weights_left"),
    Wrong("3.4", "best_by_the_loss", "The lowest loss is the best model.",
          "the epoch with the lowest validation loss counts as the best",
          "Think of a run whose lowest loss and highest IoU are in different epochs. By which of the two does the "
          "task's table choose?",
          ((BETTER, 'if history["val_loss"][-1] <= min(history["val_loss"]):'),)),
    Wrong("3.4", "best_by_the_training_iou", "The best IoU is the best IoU.",
          "the epoch with the highest training IoU counts as the best",
          "Think of a network that learns its pictures by heart. Which epoch would win in your code? The task's table "
          "says by which list to choose.",
          ((BETTER, BETTER.replace("val", "train")), (WORTH, WORTH.replace("val", "train")))),
    Wrong("3.4", "worst_kept", "The comparison of the loss is kept for the IoU.",
          "the epoch with the lowest validation IoU counts as the best",
          MARK_THE_BEST,
          ((BETTER, 'if history["val_iou"][-1] < best["iou"] or best["iou"] < 0:'),)),
    Wrong("3.4", "best_never_updated", "The first epoch stays the one to beat, so every better one counts as best.",
          "every epoch that beats the first one counts as the best",
          MARK_THE_BEST,
          ((WORTH, 'best = {"iou": history["val_iou"][0]'),)),
    Wrong("3.4", "last_weights_left", "The best weights are in the file.",
          "the model ends with the weights of its last epoch",
          "The second experiment below the task trains with a minus before the loss. Are its last two numbers equal? "
          "What should happen after the loop, and what does your copy hold by then?",
          ((RESTORE, "pass"),)),
    Wrong("3.4", "buffers_not_restored", "A model is its parameters.",
          "the parameters of the best epoch come back, but BatchNorm's statistics do not",
          "After training, compare everything in the model's state with that of the best epoch. What does a BatchNorm "
          "hold that no optimizer touches?",
          ((RESTORE, 'for name, value in model.named_parameters():\n    value.data.copy_(best["weights"][name])'),)),
    Wrong("3.4", "whole_model_saved", "torch.save(model) keeps everything.",
          "the checkpoint holds the whole model object",
          WHAT_IS_IN_THE_FILE,
          ((SAVE, "torch.save(model, checkpoint_path)"),)),
    Wrong("3.4", "checkpoint_wrapped", "The optimizer goes along in the file.",
          "the checkpoint wraps the weights in a dict, beside the optimizer's state",
          WHAT_IS_IN_THE_FILE,
          ((SAVE, 'torch.save({"model": best["weights"], "optimizer": optimizer.state_dict()}, checkpoint_path)'),)),
    Wrong("3.4", "optimizer_saved", "A slip of the pen: the optimizer's state for the model's.",
          "the checkpoint holds the optimizer's state",
          WHAT_IS_IN_THE_FILE,
          ((SAVE, "torch.save(optimizer.state_dict(), checkpoint_path)"),)),
    Wrong("3.4", "last_checkpoint_kept", "The file is written after every epoch.",
          "the checkpoint is written after every epoch, so the last one stays in it",
          "Load the file after training and compare it with the weights that the model has. After which epochs should "
          "it be written?",
          (("progress.save(history, best)",
            f"progress.save(history, best)\nif checkpoint_path is not None:\n    torch.save({LIVE}, checkpoint_path)"),)),
    Wrong("3.4", "nothing_saved", "checkpoint_path is accepted and forgotten.",
          "no checkpoint appears at checkpoint_path",
          PATH,
          ((SAVE, "pass"),)),
    Wrong("3.4", "file_name_fixed", "The file has a name of its own (here it is none: variants run in the judge's process).",
          "the checkpoint goes to a file name of its own",
          PATH,
          ((SAVE, 'torch.save(best["weights"], __import__("io").BytesIO())'),), like="nothing_saved"),
    Wrong("3.4", "lr_ignored", "Adam knows its learning rate.",
          "the optimizer is never told lr and takes its default",
          "Train once with a learning rate of 1e-6 and once with 1e-2. Do the curves differ, and does the history "
          "show the rate that you asked for?",
          ((ADAM, ADAM.replace("lr=lr, ", "")),)),
    Wrong("3.4", "weight_decay_ignored", "Adam needs no weight decay.",
          "the weights never decay, whatever weight_decay says",
          "Train once with a weight_decay of 0 and once with a huge one. Do the weights end up smaller? Follow the "
          "argument.",
          ((ADAM, ADAM.replace(", weight_decay=weight_decay", "")),)),
    Wrong("3.4", "accumulation_not_handed_on", "train_model takes accumulation_steps and keeps it.",
          "train_model keeps accumulation_steps to itself",
          FOLLOW_THE_ARGUMENT,
          ((OPTIONS, OPTIONS.replace('"accumulation_steps": accumulation_steps, ', "")),)),
    Wrong("3.4", "clipping_not_handed_on", "train_model takes max_grad_norm and keeps it.",
          "train_model keeps max_grad_norm to itself",
          FOLLOW_THE_ARGUMENT,
          ((OPTIONS, OPTIONS.replace('"max_grad_norm": max_grad_norm, ', "")),)),
    Wrong("3.4", "default_is_cross_entropy", "Any loss will do for a default.",
          "the loss is binary cross-entropy alone unless another is handed in",
          "Train without naming a criterion. Which loss does the docstring promise then, and which one do your "
          "numbers come from?",
          (("CombinedLoss() if criterion is None", "nn.BCEWithLogitsLoss() if criterion is None"),)),
    Wrong("3.4", "criterion_replaced", "train_model always takes the lab's loss.",
          "train_model uses the lab's own loss, whatever criterion is handed in",
          OTHER_LOSS,
          (("CombinedLoss() if criterion is None else criterion", "CombinedLoss()"),)),
    Wrong("3.4", "validates_on_the_training_set", "A slip of the pen: the loader of the training.",
          "validation runs over the training pictures",
          TWO_LOADERS,
          (("*validate(model, val_loader,", "*validate(model, train_loader,"),)),
    Wrong("3.4", "history_without_lr", "The learning rate is known.",
          "the history has no learning rates",
          "Lay the keys of your history beside those that the docstring lists. How would the plot of the learning "
          "curves know the rate?",
          ((KEYS, KEYS.replace(', "lr"', "")), (EPOCHS, "range(1, epochs + 1)"))),
    Wrong("3.4", "history_of_the_last_epoch", "The history is overwritten in each epoch.",
          "the history holds the numbers of the last epoch only",
          "Train for three epochs and print the lengths of your five lists. What should be added in each epoch, and "
          "what happens to the old numbers?",
          (("history[name].append(value)", "history[name] = [value]"), (EPOCHS, "range(1, epochs + 1)"))),
    Wrong("3.4", "history_not_returned", "Whoever wants the history can plot it.",
          "train_model gives nothing back",
          "Store the result of a short training in a variable and print it. What would plot_history get?",
          (("return history", "pass"),)),
    Wrong("3.4", "training_and_validation_swapped", "The numbers of validate stand first.",
          "training and validation stand under each other's names in the history",
          TWO_LOADERS,
          ((KEYS, SWAPPED),),
          also=(((KEYS, SWAPPED), (FEED, FEED.replace("val", "train")), (BETTER, BETTER.replace("val", "train")),
                 (WORTH, WORTH.replace("val", "train"))),)),
    Wrong("3.4", "trains_a_copy", "The optimizer is given a copy of the parameters.",
          "the optimizer holds the parameters of a copy of the model",
          "Compare one weight before and after training. Whose parameters was the optimizer given?",
          ((ADAM, ADAM.replace("model.parameters()", "copy.deepcopy(model).parameters()")),)),
)

WRONG: list[Wrong] = [*IOU, *TRAIN, *VALIDATE, *MODEL]
