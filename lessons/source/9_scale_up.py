# %% [markdown]
# # Lesson 9: scale up
#
# Photographs need no new ideas: the tokenizer, the mask and the loop stay the same, with larger numbers. What is new is
# that a run takes days. Before you start one, you want to know what it costs. While it runs, you want to know whether
# it is going well. And if the power fails, you want to lose nothing.
#
# Here you compute the cost of a training step, measure your own machine, train a miniature of the real thing from
# pixels to samples, read its curves, kill a run and resume it *bit for bit*, and ruin a run with a bad learning rate.
# You write three short functions, and the rest of the notebook counts, times and trains with *yours*. Until you write a
# function, the notebook uses the package's own.
#
# *Paper: section 4.1 and the appendix. Package: `training/` (estimate, loop, checkpoint), `runs/config.py`.
# Time: about an hour, and 45 minutes for the exercises.*

# %%
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torch.utils.flop_counter import FlopCounterMode

from minimaskgit import figures, notebook
from minimaskgit.building import check, mine
from minimaskgit.common.machine import described, machine
from minimaskgit.common.precision import DTYPES, autocast, fast_precision, speeds
from minimaskgit.masking import draw_masks, mvtm_loss
from minimaskgit.notebook import show
from minimaskgit.predictions import outcome, predict, summary
from minimaskgit.runs.config import ImagesConfig, TokenizerConfig, save_config
from minimaskgit.runs.presets import PRESETS, demo
from minimaskgit.schedules import cosine
from minimaskgit.training import estimate, optimizers
from minimaskgit.training.checkpoint import checkpoints
from minimaskgit.training.loop import fit
from minimaskgit.training.optimizers import cosine_decay, make_optimizers
from minimaskgit.training.stages import train
from minimaskgit.transformer import Transformer

notebook.road_map(9)

# %% [markdown]
# ## The idea
#
# A training step consists of multiplications and additions, nearly all of them in products of matrices. Count them
# once, and you know the cost of every run in advance:
#
# > time = operations per step × steps / (what the machine can do × the share of it that you get)
#
# Here are the presets of this package, from the course's glyphs to the paper's ImageNet. They differ only in their
# numbers:

# %%
print(f"{'':10}{'pixels':>8}{'tokens N':>10}{'codes K':>9}{'blocks':>8}{'width':>7}{'parameters':>13}", end="")
print(f"{'batch':>7}{'steps':>11}")
shapes = {}
for name in ("demo", "glyphs", "full", "paper"):
    config = PRESETS[name]()
    f = config.tokenizer.patch * 2 ** (len(config.tokenizer.multipliers) - 1)
    N, K = (config.images.size // f) ** 2, config.tokenizer.num_codes
    classes = {"full": 200, "paper": 1000}.get(name, 10)
    with torch.device("meta"):  # shapes without memory
        model = Transformer(K, classes, N, **asdict(config.transformer))
    count, shape, training = sum(p.numel() for p in model.parameters()), config.transformer, config.transformer_training
    shapes[name] = (shape, K, N, training, count)
    print(f"{name:10}{config.images.size:>8}{N:>10}{K:>9}{shape.depth:>8}{shape.width:>7}{count:>13,}", end="")
    print(f"{training.batch_size:>7}{training.steps:>11,}")

# %% [markdown]
# ## What a step costs
#
# Applying a matrix of P parameters to one token takes P multiplications and P additions: 2 P. The backward pass takes
# twice that: once for the gradient of the input, and once for the gradient of the weights. That makes **6 operations
# for each parameter and token**. Attention adds two products: q kᵀ and the weighted sum of v. Each takes S × S × D
# multiplications and as many additions in every layer, that is 4 S² D forward and 12 S² D in all. Embeddings are looked
# up and norms are cheap, so we leave out both.
#
# Which matrices are there? A block has four for query, key, value and output, each width × width, and two in the MLP,
# each width × MLP width. After all blocks come the head's matrix, width × width, and the output layer's, width × K.
#
# **Exercise 1 of 3: `training_flops`.** *Medium, about 20 minutes.* Write it in the next cell, or in
# `lessons/exercises/lesson_9.py`, and check it with the cell below. Hints are at the end, under *Exercises*.


# %% tags=["answer"]
def training_flops(depth, width, mlp_width, num_codes, sequence, batch_size):
    """Floating-point operations of one training step of a transformer: forward and backward, without the optimizer.

    sequence: tokens of each sample, S in the formulas. Count matrices and attention's two products only.
    """
    raise NotImplementedError


# %%
check("training_flops")

# %%
my_training_flops = mine(estimate.training_flops)
shape, K, N, training, _ = shapes["demo"]
numbers = (shape.depth, shape.width, shape.mlp_width, K, N + 1, training.batch_size)  # N tokens and the class
print(f"computed {my_training_flops(*numbers):,.0f}")

model = Transformer(K, 10, N, **asdict(shape))
tokens, labels = torch.randint(K, (training.batch_size, N)), torch.zeros(training.batch_size, dtype=torch.long)
with FlopCounterMode(display=False) as counter:
    mvtm_loss(model, tokens, labels, draw_masks(*tokens.shape, cosine)).backward()
print(f"counted  {counter.get_total_flops():,} by PyTorch, while it ran one step")

# %% [markdown]
# The formula also counts the head and the output layer at the class token, where the model skips both. And PyTorch's
# counter may not know the attention kernel of your processor. Then it leaves out attention's two products. So PyTorch
# may count a little less.
#
# ## How fast is this machine?
#
# A float32 number has 32 bits. bfloat16 has 16: the same range, but only 8 bits of precision. Recent GPUs and some
# processors have circuits that multiply bfloat16 matrices several times faster. Other processors have to emulate
# bfloat16 and take many times *longer*. No list says which is which, so the package briefly times both once, and
# `--precision auto` uses the faster one.
#
# **Predict before you run.** Which one is faster on the machine in front of you?

# %%
predict("9 precision", "Which is faster on this processor, 32 bits or 16?", ["fp32", "bf16"])

# %%
device = torch.device("cpu")
for precision, found in speeds(device).items():
    print(f"{precision}: {found['product']:7.1f} GFLOP/s in a product, {found['convolution']:7.1f} in a convolution")
fast = fast_precision(device)
print(f"on one core of {described(machine(device))}; everything below is computed in {fast}")
outcome("9 precision", fast)

# %% [markdown]
# The other speed is in tokens. Each step trains on all tokens of all its samples. Add up the tokens of all steps, and
# divide by the seconds that the steps took. You will watch this number during every long run.
#
# **Exercise 2 of 3: `tokens_per_second`.** *Easy, about 5 minutes.*


# %% tags=["answer"]
def tokens_per_second(batch_size, num_tokens, steps, seconds):
    """Tokens trained on per second, if `steps` steps took `seconds` s; num_tokens: of each sample."""
    raise NotImplementedError


# %%
check("tokens_per_second")

# %% [markdown]
# **Predict before you run.** The machine reaches its best speed in one large matrix product. What share of that speed
# does a training step reach: 90 %, 50 %, 10 %? (This share is called MFU, *model FLOPs utilisation*.)

# %%
predict("9 share", "What share of the machine's best does a training step reach, from 0 to 1?")

# %%
my_tokens_per_second = mine(estimate.tokens_per_second)


def seconds_of(work, repeats):
    """Seconds per repeat, after one to warm up."""
    work()
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - began) / repeats


updates = make_optimizers(training, model, fast).values()


def step():
    with autocast(device, fast):
        loss = mvtm_loss(model, tokens, labels, draw_masks(*tokens.shape, cosine))
    loss.backward()
    for optimizer, _ in updates:
        optimizer.step()
        optimizer.zero_grad()


side, steps = 1024, 10
a = torch.randn(side, side, dtype=DTYPES[fast])
best = 2 * side**3 / seconds_of(lambda: a @ a, steps)  # operations per second
taken = seconds_of(step, steps)
reached = my_training_flops(*numbers) / taken
print(f"in {fast}, on all cores")
print(f"a matrix product {best / 1e9:8.1f} GFLOP/s")
print(f"a training step  {reached / 1e9:8.1f} GFLOP/s, that is {reached / best:.0%} of it")
print(f"tokens per second{my_tokens_per_second(training.batch_size, N, steps, taken * steps):8.0f}")
outcome("9 share", reached / best)

# %% [markdown]
# With both numbers you can write a price list. For a machine that you cannot measure, take its best speed from the data
# sheet and guess the share; for large models on good GPUs, 30 to 50 % is usual.

# %%
machines = {
    "this machine, as measured": reached,
    "a GPU of 100 TFLOP/s, 40 %": 0.4 * 100e12,
    "one of 1000 TFLOP/s, 40 %": 0.4 * 1000e12,
}
print(f"{'transformer only':<30}" + "".join(f"{name:>14}" for name in shapes))
work = {}
for name, (shape, K, N, training, _) in shapes.items():
    one = my_training_flops(shape.depth, shape.width, shape.mlp_width, K, N + 1, training.batch_size)
    work[name] = one * training.steps
print(f"{'operations':<30}" + "".join(f"{total:>14.1e}" for total in work.values()))
for name, rate in machines.items():
    hours = [total / rate / 3600 for total in work.values()]
    units = [("days", 1 / 24, 48), ("h", 1, 1), ("min", 60, 1 / 60), ("s", 3600, 0)]  # the first that is large enough
    told = [next(f"{h * per:,.1f} {unit}" for unit, per, least in units if h > least) for h in hours]
    print(f"{name:<30}" + "".join(f"{text:>14}" for text in told))
print(f"{'weights and AdamW, MB':<30}" + "".join(f"{16 * count / 1e6:>14,.0f}" for *_, count in shapes.values()))

# %% [markdown]
# (16 bytes per parameter: the weight, its gradient and AdamW's two averages, 4 bytes each. All these presets but the
# paper's train their matrices with *Muon*, which keeps one average and so needs a quarter less. It makes the step of a
# matrix equally large in all directions. Activations need additional memory, which grows with the batch.) The cost of
# the paper's run shows why you should estimate first.
#
# ## A real run in miniature
#
# We train a small tokenizer and a small transformer on a few classes of Tiny ImageNet at 32 × 32 pixels, for a few
# hundred steps each. That is far too little for good pictures, but enough to see every stage work on photographs.
#
# The notebook looks for the data in the folder that the environment variable `MINIMASKGIT_DATA` names, or else in
# `data/tiny-imagenet`. Without the data, the same run uses glyphs.

# %%
place = Path(os.environ.get("MINIMASKGIT_DATA", notebook.ROOT / "data" / "tiny-imagenet"))
photographs = any(place.glob("**/*.parquet"))
if photographs:
    print("Tiny ImageNet was found: a run on photographs")
    classes = PRESETS["demo-real"]().images.classes
else:
    print("Tiny ImageNet was NOT found: a run on glyphs in its place. To change that: set MINIMASKGIT_DATA, or see")
    print("the README on --data; nothing else in this lesson depends on it")
    classes = ()

config = replace(
    demo(),
    data=str(place) if photographs else "glyphs",
    images=ImagesConfig(size=32, count=2000, classes=classes, flip=photographs),
    tokenizer=TokenizerConfig(width=64, multipliers=(1,), blocks=1, patch=4, num_codes=256, code_dim=16),
    tokenizer_training=replace(demo().tokenizer_training, steps=240, perceptual_weight=0.0, gan_weight=0.0),
    transformer=replace(demo().transformer, width=64, depth=3, mlp_width=256),
    transformer_training=replace(demo().transformer_training, steps=300),
    report_every=10,
)
folder = Path("../runs/lessons/miniature")
shutil.rmtree(folder, ignore_errors=True)
train(config, folder, ("tokenizer", "transformer"), device="cpu")

# %% [markdown]
# The tokenizer's reconstructions of pictures that it has not seen:

# %%
alt = "Pictures and what the tokenizer makes of them: colours and coarse shapes remain, thin parts are lost."
show(Image.open(folder / "tokenizer" / "reconstructions.png"), alt, width=760)

# %% [markdown]
# The transformer's pictures, one column for each class:

# %%
alt = "Samples, four of each class: blurred blots in fitting colours, in which hardly a thing can be recognised."
show(Image.open(folder / "transformer" / "samples.png"), alt, width=760)

# %% [markdown]
# ## Reading the curves
#
# A stage writes a line of means to `metrics.jsonl` every `report_every` steps. (`tensorboard --logdir runs` shows the
# same.)
#
# **Predict before you run.** At what value does the transformer's loss begin? Then look at the rest of the curve.
# Where does it fall fastest, and has it stopped falling at the end?

# %%
predict("9 first", "What is the mean loss of the first ten steps, in nats, with 256 codes?")


# %%
def metric(stage, name):
    """(step, value) of each line."""
    lines = [json.loads(line) for line in (stage / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line[name]) for line in lines if name in line]


log_k = torch.tensor(float(config.tokenizer.num_codes)).log().item()
loss = metric(folder / "transformer", "loss")
print(f"log K is {log_k:.2f}; the first mean is {loss[0][1]:.2f}, the last {loss[-1][1]:.2f} nats per hidden token")
outcome("9 first", loss[0][1])
usage, perplexity = metric(folder / "tokenizer", "usage"), metric(folder / "tokenizer", "perplexity")
print(f"share of the codes in a batch: {usage[0][1]:.0%} at first, {usage[-1][1]:.0%} at last;", end=" ")
print(f"as many as {perplexity[-1][1]:.0f} equally frequent ones")
curves = {"loss": loss, "log K, knowing nothing": [(loss[0][0], log_k), (loss[-1][0], log_k)]}
alt = "The loss begins near the flat line of log K, falls fast at first and then ever more slowly."
show(figures.curves(curves, "step", "masked loss, nats"), alt, width=600)

# %% [markdown]
# Look for these things, in this order:
# - *The first value.* log K, or a little below. Far above: the initial weights are too large, or labels are wrong.
# - *The early fall.* The model learns which codes are frequent. That alone paints nothing.
# - *The slope.* Each doubling of the steps lowers the loss about as much as the last one did. It looks flat but is not.
# - *The end.* In long runs with a short cooldown, the loss falls quickly once more when the learning rate falls. Here
#   the rate falls over most of the run, and no such bend shows.
# - *Jumps, spikes, NaN.* The cause is nearly always the learning rate. (`grad_norm` in the same file shows it first.)
# - *For the tokenizer*, the share of codes in use. A falling loss is no progress if codes die (lesson 1).
#
# And remember from lesson 3 that a lower loss does not mean better pictures if the question has changed.
#
# ## The learning rate's shape
#
# The learning rate rises over the first steps (*warm-up*), stays level, and falls over the last part (*cooldown*): a
# trapezoid. While it is level, you can still decide to make the run longer; only the fall depends on where the run
# ends.
#
# The rise is (step + 1) / warm-up, so that the last step of the warm-up is the first at the peak. The fall, over the
# last part of all T steps, is (T − step) / (cooldown · T), which would be 0 at step T. Nothing is above 1, and where
# rise and fall overlap, they multiply. There may be no warm-up (0) or no cooldown (0).
#
# **Exercise 3 of 3: `trapezoid`.** *Easy, about 15 minutes.*


# %% tags=["answer"]
def trapezoid(step, steps, warmup, cooldown):
    """Learning rate of step 0..T-1 as a fraction of its peak: a linear rise, a plateau, a linear fall to zero; T steps.

    warmup: steps of the rise. cooldown: the part of all steps that falls, from 0 to 1.
    """
    raise NotImplementedError


# %%
check("trapezoid")

# %%
my_trapezoid = mine(optimizers.trapezoid)
shown = {"trapezoid": my_trapezoid, "half a cosine": lambda step, steps, warmup, _: cosine_decay(step, steps, warmup)}
lines = {name: [(s, curve(s, 500, 60, 0.4)) for s in range(500)] for name, curve in shown.items()}
alt = "Both rates rise alike. The trapezoid then stays at the peak before it falls; half a cosine falls at once."
show(figures.curves(lines, "step, of 500", "learning rate, of its peak"), alt, width=600)

# %% [markdown]
# ## Kill it, and go on
#
# A run of several days *will* be interrupted. So every `save_every` steps, the package writes the whole state to a
# temporary file, forces it to disk and renames it. The whole state consists of the weights, the optimizers' averages,
# the number of steps done, and the sums for the next report. The random state is not saved but *computed*: everything
# random in step t is drawn after seeding with (run, stage, t).
#
# We train a tiny tokenizer twice: once undisturbed, and once in another process. We kill that process with no chance to
# save, as a power cut would, and then resume it.
#
# **Predict before you run.** How many of the final weights will differ in any bit?

# %%
predict("9 bits", "How many of the final weights will differ in any bit?")

# %%
tiny = replace(
    demo(),
    images=ImagesConfig(count=300),
    tokenizer=TokenizerConfig(width=32, multipliers=(1,), blocks=1, patch=4, num_codes=64, code_dim=8),
    tokenizer_training=replace(
        demo().tokenizer_training, steps=200, batch_size=8, perceptual_weight=0.0, gan_weight=0.0
    ),
    save_every=20,
)
peaceful, killed = Path("../runs/lessons/peaceful"), Path("../runs/lessons/killed")
for run in (peaceful, killed):
    shutil.rmtree(run, ignore_errors=True)
train(tiny, peaceful, ("tokenizer",), device="cpu")

save_config(tiny, killed / "config.json")
command = [sys.executable, "-m", "minimaskgit.train", "--resume", "--stage", "tokenizer", "--device", "cpu"]
process = subprocess.Popen([*command, "--out", killed], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while process.poll() is None and len(checkpoints(killed / "tokenizer")) < 2:
    time.sleep(0.01)
process.kill()  # SIGKILL: nobody can catch it
process.wait()
print("\nkilled; left on disk:", [path.name for path in checkpoints(killed / "tokenizer")])
print("a finished model:", (killed / "tokenizer" / "model.safetensors").exists())

# %%
train(tiny, killed, ("tokenizer",), resume=True, device="cpu")
files = [run / "tokenizer" / "model.safetensors" for run in (peaceful, killed)]
for run, file in zip((peaceful, killed), files):
    print(f"{run.name:10}", hashlib.sha256(file.read_bytes()).hexdigest())
one, other = (load_file(file) for file in files)
outcome("9 bits", sum((one[name] != other[name]).sum().item() for name in one))

# %% [markdown]
# The package's tests do the same at random moments of the stages. Now look at a checkpoint that forgets something. We
# train a little model and cut the power in step 37 of 60. The last checkpoint is from step 30.


# %%
def session(folder, power_cut, forget):
    """60 steps, or those that are left; the power is cut in that step, if any."""
    torch.manual_seed(0)
    model = torch.nn.Linear(8, 1)
    optimizer = torch.optim.AdamW(model.parameters(), 0.05)

    def step(step):
        if step == power_cut:
            raise InterruptedError
        x = torch.randn(32, 8)  # drawn after seeding by the step
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    parts = {"model": model} if forget else {"model": model, "optimizer": optimizer}
    fit(folder, 60, step, parts, save_every=10, report_every=10)
    return model.weight.detach()


def little_run(name, cut=None, forget=False):
    """Weights after 60 steps; cut: the step of a power cut, after which it goes on; forget: AdamW's averages."""
    folder = Path("../runs/lessons/little", name, "stage")  # its last name is part of the seed
    shutil.rmtree(folder, ignore_errors=True)
    if cut is not None:
        with contextlib.suppress(InterruptedError):
            session(folder, cut, forget)
    return session(folder, None, forget)


peace = little_run("peace")
off = {
    name: (little_run(name, cut=37, forget=forget) - peace).abs().max().item()
    for name, forget in {"all saved": False, "AdamW forgotten": True}.items()
}
for name, difference in off.items():
    print(f"cut and resumed, {name:16} largest difference from the uninterrupted run {difference:.2g}")

# %% [markdown]
# This is not a catastrophe, and that is the trap: there is no error, but the model is not the one that you described.
#
# ## Break it: the learning rate
#
# We use the miniature's tokens, the paper's order of norms (after the sums) and AdamW. Four runs start from the same
# weights and see the same batches.
#
# **Predict before you run.** One peak is moderate and one is 30 times higher, each with and without warm-up. Which of
# the four runs are lost, and what does "lost" look like: NaN, a zigzag, or a flat line? What loss does a model reach
# that knows only how frequent each code is?

# %%
predict("9 lost", "How many of the four end no better than a model that knows only frequencies?", [0, 1, 2, 3, 4])

# %%
cached = load_file(folder / "tokens.safetensors")
train_tokens, train_labels = cached["tokens"].long(), cached["labels"]
K, N = config.tokenizer.num_codes, train_tokens.shape[1]


def descend(peak, warmup, steps=200, batch=16):
    """The training loss, (step, mean over 10 steps)."""
    torch.manual_seed(0)
    model = Transformer(K, 10, N, width=64, depth=4, heads=4, mlp_width=256, dropout=0.0, pre_norm=False)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.96))
    losses = []
    for step in range(steps):
        chosen = torch.randint(len(train_tokens), (batch,))
        optimizer.param_groups[0]["lr"] = peak * my_trapezoid(step, steps, warmup, 0.4)
        loss = mvtm_loss(model, train_tokens[chosen], train_labels[chosen], draw_masks(batch, N, cosine))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return [(end, sum(losses[end - 10 : end]) / 10) for end in range(10, steps + 1, 10)]


runs = {f"{peak:g}; {f'warm-up {w}' if w else 'no warm-up'}": (peak, w) for peak in (0.001, 0.03) for w in (50, 0)}
curves = {name: descend(*settings) for name, settings in runs.items()}
for name, points in curves.items():
    print(f"{name:20} last mean {points[-1][1]:.3f}")
frequency = torch.bincount(train_tokens.flatten(), minlength=K) / train_tokens.numel()
ignorant = -torch.special.xlogy(frequency, frequency).sum().item()
print(f"{'frequencies only':20} {ignorant:.3f}")
outcome("9 lost", sum(not points[-1][1] < ignorant - 0.1 for points in curves.values()))  # NaN is lost, too
alt = "Four training losses: at the low rate both fall steadily; at the high rate both end on a plateau far above."
show(figures.curves(curves, "step", "masked loss, nats"), alt, width=600)

# %% [markdown]
# A rate that is too high does not always make the loss explode. Often it moves the weights to a place from which
# training cannot recover, in the first steps or when the warm-up nears the peak. From then on the model only predicts
# how frequent each code is: a flat line at "frequencies only". Such a run looks healthy if you only watch for NaN. Did
# warm-up save it here? Read it from the figure. In deep models with norms after the sums, warm-up is what makes
# training possible (Xiong et al. 2020). A norm *before* each sublayer (`pre_norm`, this package's default) makes it
# less necessary. If a loss becomes NaN, the package stops and reports the step, and `nan.json` lists the samples that
# it came from.
#
# ## The recipe for a GPU
#
# On a GPU you use the same commands with other presets. For Tiny ImageNet at 64 × 64 on one GPU:
#
#     python -m minimaskgit.train --full --data FOLDER --out runs/full
#     tensorboard --logdir runs/full
#     python -m minimaskgit.train --resume --out runs/full            # after an interruption
#     python -m minimaskgit.evaluate --run runs/full                  # lesson 8's numbers
#
# - *Precision.* `auto` (the default) chooses bf16 wherever it is faster, as on recent GPUs. There it also halves the
#   memory of activations. Weights stay in float32.
# - *Too little memory?* `--accumulate 2` processes each batch in two parts. But for dropout, the transformer's step
#   stays the same.
# - *Several GPUs.* `torchrun --nproc-per-node 8 -m minimaskgit.train` and the rest as above. Each GPU has a copy of the
#   model (or, with `--shard`, a part of it), and the batch is split among them. `batch_size` always refers to the whole
#   step, so nothing else changes.
# - *Before a long run*: `--max-steps 50` runs every stage briefly. Look at the pictures.
# - *One number to watch*: tokens per second. If it falls, check the data loading and other users of the machine.
#
# ## Exercises
#
# <details><summary><b>training_flops</b>: the idea</summary>Matrices cost 6 per parameter and token; attention grows
# with the square of the sequence.
# <details><summary>the shape</summary>Six whole numbers → one float, of the whole batch.
# <details><summary>pseudo-code</summary><pre>a block: 4 matrices of width x width, 2 of width x mlp_width
# the head: width x width and width x codes
# 6 * (blocks + head) * sequence + 12 * depth * sequence^2 * width, for each sample</pre>
# <!-- answer training_flops --></details></details></details>
#
# <details><summary><b>tokens_per_second</b>: the idea</summary>All tokens trained on, divided by the time.
# <details><summary>the shape</summary>Four numbers → one.
# <details><summary>pseudo-code</summary><pre>samples per step * tokens per sample * steps / seconds</pre>
# <!-- answer tokens_per_second --></details></details></details>
#
# <details><summary><b>trapezoid</b>: the idea</summary>A rise and a fall, each at most 1, multiplied.
# <details><summary>the shape</summary>step in 0..steps−1 → a fraction, more than 0 and at most 1.
# <details><summary>pseudo-code</summary><pre>rise = (step + 1) / warmup, at most 1, and 1 without warm-up
# fall = (steps - step) / (cooldown * steps), at most 1, and 1 without cooldown
# rise * fall</pre>
# <!-- answer trapezoid --></details></details></details>
#
# Further, without a check:
# 1. How many steps of the `full` preset can your machine do in one night? What preset of your own would fit?
# 2. Double the batch and halve the steps. Which estimates change? Train the miniature this way: does the loss agree?
# 3. Flip one bit of a checkpoint and resume. What does the package say, and what does it do?

# %%
summary()  # your predictions, of all lessons

# %% [markdown]
# ## What the paper did
#
# - Section 4.1: one configuration for everything, 24 layers, 8 heads, width 768, MLP 3072; Adam with β = 0.9, 0.96,
#   dropout 0.1, label smoothing 0.1, batch 256, on 4 × 4 TPU chips; 300 epochs on ImageNet, 200 on Places2.
# - Released code: learning rate 1e-4, weight decay 0.045, warm-up of 5,000 steps, norm after each sum.
# - The paper's 227 million parameters include both stages. This package's `paper` preset has as many; its tests count
#   them.
#
# ## What to read next
#
# - Kaplan et al. 2020 and Hoffmann et al. 2022 (*Chinchilla*): how large a model, and how much data, for a given cost.
# - Hägele et al. 2024, *Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations*: why the trapezoid.
# - Chang et al. 2023, *Muse*: this recipe at 3 billion parameters.
#
# You have rebuilt the whole paper: tokens, masks, transformer, decoding, rival, editing, measures, scale. Next is
# lesson 10: what others have changed since.
