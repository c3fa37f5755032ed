# %% [markdown]
# # Lesson 3: masking and schedules
#
# A picture is now a row of N tokens, numbers between 0 and K − 1 (lesson 1). How do you teach a model to write such
# rows? MaskGIT's answer: hide a part, ask for it, and train with *every* amount hidden, from a single token to all of
# them.
#
# Here you build all of that: how much to hide (the schedule γ), which tokens to hide, and what to ask. Then you train
# two small models with your functions. One sees every amount hidden. The other is trained much as BERT was, a language
# model that was always asked for 15 % of its words. You compare their losses and their pictures. Until you write a
# function, the notebook uses the package's own.
#
# *Paper: sections 3.1 and 3.3. Package: `schedules.py` and `masking.py`, two pages. Time: about an hour, and an hour
# for the exercises.*

# %%
import math
from unittest.mock import patch

import torch
import torch.nn.functional as F  # noqa: F401 (your masked_cross_entropy may want it)

from minimaskgit import figures, masking, notebook, schedules
from minimaskgit.building import check, mine
from minimaskgit.classifier import class_accuracy
from minimaskgit.data.glyphs import glyphs
from minimaskgit.data.images import to_float
from minimaskgit.decoding import decode
from minimaskgit.masking import draw_masks, mvtm_loss
from minimaskgit.notebook import generator, show
from minimaskgit.predictions import outcome, predict, summary
from minimaskgit.schedules import bert
from minimaskgit.transformer import Transformer

notebook.road_map(3)

# %% [markdown]
# ## The idea
#
# A model that fills in *one* missing token of a complete picture has an easy task: it copies the neighbours. A model
# that gets a blank canvas has nothing to copy. Painting starts at the blank canvas and ends at the complete picture, so
# the model must have seen everything in between.
#
# Here is what it will see: pictures with a share of their tokens hidden. The tokenizer is already trained; its 8 × 8
# grid has N = 64 tokens.

# %%
run = notebook.trained_run(train=False)  # True: train your own tokenizer and transformer first
tokenizer = run.tokenizer()
pictures, labels = glyphs(8, seed=5)
tokens = tokenizer.encode(to_float(pictures))  # (8, 64)
print(f"tokens {tuple(tokens.shape)}, between {tokens.min()} and {tokens.max()}; the first row of the first picture:")
print(tokens[0, :8].tolist())


def hidden(share: float):
    """The pictures with about this share of their tokens hidden."""
    masks = masking.random_mask(torch.full((8,), round(share * 64)), 64, generator(0))
    return figures.grid(figures.masked_canvas(tokenizer.decode(tokens), masks, 8), columns=8)


alt = "Eight pictures, with the chosen share of their 8 by 8 tokens hidden behind grey squares."
notebook.knob(hidden, alt, share=[0.05, 0.15, 0.3, 0.5, 0.64, 0.8, 0.9, 0.97, 1.0])

# %% [markdown]
# ## How much to hide
#
# Draw a number r between 0 and 1, the *progress*: at 0 nothing is known yet, at 1 everything is. The **mask schedule**
# γ turns it into the share of tokens to hide. Any γ that falls from γ(0) = 1 to γ(1) = 0 will do. The paper compares
# these (section 3.3 and table 3):
#
# | schedule | γ(r) | shape |
# | --- | --- | --- |
# | exponential | 1 − N<sup>r−1</sup> | concave |
# | cubic | 1 − r³ | concave |
# | square | 1 − r² | concave |
# | **cosine** | cos(π r / 2) | concave |
# | linear | 1 − r | straight |
# | square root | 1 − √r | convex |
# | logarithmic | −log<sub>N</sub> r, at most 1 | convex |
#
# *Concave* curves lie above the straight line: for two thirds of all r or more, they hide over half of the tokens. The
# exponential begins at 1 − 1/N, so it always shows at least one token. At r = 0 the logarithm is infinite, and γ is 1
# there. N may be a number, or a tensor of r's shape when pictures differ in size.
#
# **Exercise 1 of 4: the schedules `cosine`, `linear`, `square`, `cubic`, `exponential`, `square_root` and
# `logarithmic`.** *Easy, about 15 minutes.* Each is one line. Write them in the next cell, or in
# `lessons/exercises/lesson_3.py`, and check them with the cell below.


# %% tags=["answer"]
def cosine(r, num_tokens):
    """r in [0, 1], any shape, to gamma(r), the same shape; num_tokens is N."""
    raise NotImplementedError


def linear(r, num_tokens):
    raise NotImplementedError


def square(r, num_tokens):
    raise NotImplementedError


def cubic(r, num_tokens):
    raise NotImplementedError


def exponential(r, num_tokens):
    raise NotImplementedError


def square_root(r, num_tokens):
    raise NotImplementedError


def logarithmic(r, num_tokens):
    raise NotImplementedError


# %%
check("cosine")
check("linear")
check("square")
check("cubic")
check("exponential")
check("square_root")
check("logarithmic")

# %%
falling = {
    "exponential": mine(schedules.exponential),
    "cubic": mine(schedules.cubic),
    "square": mine(schedules.square),
    "cosine": mine(schedules.cosine),
    "linear": mine(schedules.linear),
    "square_root": mine(schedules.square_root),
    "logarithmic": mine(schedules.logarithmic),
}
my_cosine = falling["cosine"]
alt = "Seven curves fall from 1 to 0. Concave ones fix few tokens at first and many at last, convex ones the reverse."
show(figures.schedule_plot(falling, num_tokens=64, steps=8), alt)

# %% [markdown]
# The left plot shows the curves. The right plot reads them the other way, as lesson 5 will: when decoding takes 8
# steps, how many of 64 tokens does each step fix? Concave schedules fix few tokens at first, when little is known.
#
# Here a painter from lesson 5 follows the curve that you choose. The bars below the curve show how much stays masked
# after each step. The numbers below the small pictures show how many tokens each step fixes.
#
# In the plot above, one schedule fixes half of the 64 tokens in the first of 8 steps. (Put r = 1/8 into its formula to
# see why.)
#
# **Predict, then try.** What will a picture look like that follows this schedule? Choose it under *Mask schedule* and
# try a few seeds. Then drag the dots: which curve paints the worst picture that you can get?

# %%
notebook.playground(run, "play", schedule="cosine", steps=8, label=run.label_names.index("heart"), seed=1)

# %% [markdown]
# **Predict before you run.** In training r is uniform. Under the cosine, what share of all tokens is hidden on average:
# about 1/2, 0.64 or 0.75? (A hint: the average of γ is the area below its curve.)

# %%
predict("3 share", "What share of the tokens does the cosine hide on average?", [0.5, 0.64, 0.75])

# %%
r = torch.rand(100_000, generator=generator(0))
for name, gamma in falling.items():
    print(f"{name:12} hides {gamma(r, 64).mean():.3f} of the tokens on average")
print(f"{'2 / pi':12}       {2 / math.pi:.3f}")
average = my_cosine(r, 64).mean().item()
outcome("3 share", min(0.5, 0.64, 0.75, key=lambda share: abs(share - average)))

# %% [markdown]
# ## A ratio for every picture
#
# Every picture of a batch draws its own r, so a batch contains canvases from almost blank to almost complete. Then
# exactly n = ⌈γ(r) · N⌉ of its tokens are hidden. Rounding *up* leaves at least one token to ask for, unless γ(r) is 0.
# Hide one even then.
#
# Compute γ(r) · N in double precision. A number that should be exactly 12 may be 12.000001 in single precision.
# Rounded up, that is 13.
#
# **Exercise 2 of 4: `mask_counts`.** *Easy, about 10 minutes.*


# %% tags=["answer"]
def mask_counts(r, num_tokens, schedule):
    """How many tokens of each sample to mask, ceil(gamma(r) * N): r (B,) in [0, 1] to int64 (B,) in 1..N.

    schedule: called as schedule(r, num_tokens).
    """
    raise NotImplementedError


# %%
check("mask_counts")

# %%
my_mask_counts = mine(masking.mask_counts)
r = torch.rand(8, generator=generator(1))
print("r       ", [round(x, 2) for x in r.tolist()])
print("hidden  ", my_mask_counts(r, 64, my_cosine).tolist())

# %% [markdown]
# ## Which tokens
#
# Choose any n of N positions, with all choices equally likely. Every picture has its own n. All random numbers come
# from the generator that is passed in, so that the same seed hides the same tokens.
#
# **Exercise 3 of 4: `random_mask`.** *Medium, about 15 minutes.* The first hint shows a way without a loop.


# %% tags=["answer"]
def random_mask(counts, num_tokens, generator=None):
    """Choose exactly `counts` positions of each sample uniformly: (B,) to bool (B, N), True where masked."""
    raise NotImplementedError


# %%
check("random_mask")

# %%
my_random_mask = mine(masking.random_mask)
counts = my_mask_counts(r, 64, my_cosine)
mask = my_random_mask(counts, 64, generator(2))
print("hidden:", mask.sum(1).tolist())
canvases = figures.masked_canvas(tokenizer.decode(tokens), mask, 8)
alt = "Eight pictures, each with its own number of hidden tokens, from about a third to all 64."
show(figures.grid(canvases, columns=8, titles=[f"{n} of 64" for n in counts.tolist()]), alt)

# %% [markdown]
# ## What the model is asked
#
# In the place of a hidden token the model reads a special id, [MASK]. It returns K logits for every position, but the
# loss counts *only* the hidden ones (paper equation 1):
#
# > L = − mean over hidden i of log p(y<sub>i</sub> | Y<sub>M</sub>)
#
# where y<sub>i</sub> is the token that was there and Y<sub>M</sub> the canvas with its masks. (Equation 1 has the sum
# for each picture; the mean is over all hidden tokens of a batch. With the natural logarithm, the unit of the loss is
# the *nat*.) Asking for visible tokens too would reward copying what is in plain
# sight.
#
# The paper smooths the labels by s = 0.1: the target is 1 − s on the right code, plus s / K on every code.
#
# **Exercise 4 of 4: `masked_cross_entropy`.** *Medium, about 20 minutes.* The mean is over all hidden tokens of the
# batch, not over each picture first.


# %% tags=["answer"]
def masked_cross_entropy(logits, targets, mask, label_smoothing=0.0):
    """Mean negative log-likelihood over the masked positions only; a scalar.

    logits (B, N, K), targets (B, N) in 0..K-1, mask bool (B, N) with at least one True.
    """
    raise NotImplementedError


# %%
check("masked_cross_entropy")

# %%
my_masked_cross_entropy = mine(masking.masked_cross_entropy)
logits = torch.randn(8, 64, 256, generator=generator(3))
print("loss of random logits", my_masked_cross_entropy(logits, tokens, mask).item())
print("log K                ", math.log(256), "(what a model pays that knows nothing and says so)")

# %% [markdown]
# Together, these functions are the training objective. Read it: it calls your functions.

# %%
notebook.source(draw_masks, mvtm_loss)

# %% [markdown]
# ## Experiment: two schedules, two painters
#
# We train the same small transformer twice on three kinds of glyphs: once with the cosine, and once as BERT is trained,
# always with 15 % of the tokens hidden. Everything else is the same: initial weights, batches, steps.
#
# **Predict before you run.**
# 1. Which of the two ends with the lower training loss?
# 2. Which of the two paints better from a blank canvas?
# 3. We then hide 5 %, 15 %, ... 100 % of unseen pictures and ask both. Where does each model do better?

# %%
predict("3 loss", "Which of the two ends with the lower training loss?", ["cosine", "BERT's 15 %"])

# %%
predict("3 painter", "Which of the two paints better from a blank canvas?", ["cosine", "BERT's 15 %"])


# %%
train_tokens, train_labels = notebook.three_classes(tokenizer, 6000, seed=0)
test_tokens, test_labels = notebook.three_classes(tokenizer, 600, seed=1)
yours = {
    "mask_counts": my_mask_counts,
    "random_mask": my_random_mask,
    "masked_cross_entropy": my_masked_cross_entropy,
}


def train(schedule):
    """A small masked transformer, and its training loss (step, mean over 50 steps)."""
    torch.manual_seed(0)
    model = Transformer(256, 10, 64, width=64, depth=3, heads=4, mlp_width=128, dropout=0.0, pre_norm=True)
    loss = lambda tokens, labels: mvtm_loss(model, tokens, labels, draw_masks(*tokens.shape, schedule))
    with patch.dict(vars(masking), yours):  # the objective calls your functions
        return model, notebook.learn(model, loss, train_tokens, train_labels)


print(f"{len(train_tokens)} pictures to learn from, {len(test_tokens)} to test with")
notebook.source(notebook.learn)  # the plain loop; nothing in it knows of masks

# %%
models, curves = {}, {}
for name, schedule in {"cosine": my_cosine, "BERT's 15 %": bert}.items():
    models[name], curves[name] = train(schedule)
outcome("3 loss", min(curves, key=lambda name: curves[name][-1][1]))
alt = "Both training losses fall, and BERT's is below the cosine's all the time."
show(figures.curves(curves, "step", "training loss, nats per hidden token"), alt, width=600)

# %% [markdown]
# Question 1 is answered, but the answer is a trap: the two losses are means over *different questions*. Now both models
# get the same questions.


# %%
@torch.no_grad()
def loss_by_share(model):
    points = []
    for count in (3, 10, 20, 32, 45, 55, 61, 64):
        mask = my_random_mask(torch.full((len(test_tokens),), count), 64, generator(0))
        logits = model(test_tokens.masked_fill(mask, model.mask_id), test_labels)
        points.append((100 * count / 64, my_masked_cross_entropy(logits, test_tokens, mask).item()))
    return points


by_share = {name: loss_by_share(model) for name, model in models.items()}
alt = "With few tokens hidden, BERT's loss is slightly lower. With nearly all hidden, it is far above the cosine's."
show(figures.curves(by_share, "hidden, % of the tokens", "loss on unseen pictures, nats"), alt, width=600)

# %% [markdown]
# Compare the two curves where few tokens are missing, and where most are. In training, BERT's model never saw a nearly
# blank canvas. How does its loss at 100 % compare with log K above, the loss of a blind guess? Painting starts from the
# blank canvas. (Lesson 5 explains how a canvas is filled in 8 steps; here it only shows what the models learned.)

# %%
judge = notebook.trained_judge(run)
wanted = torch.arange(3).repeat_interleave(40)
rows, accuracy = {}, {}
for name, model in models.items():
    painted = tokenizer.decode(decode(model, wanted, steps=8, temperature=2.0, generator=generator(0)))
    right = accuracy[name] = class_accuracy(judge, painted, wanted)
    rows[f"{name}\n{right:.0%} right"] = painted[[0, 1, 2, 40, 41, 42, 80, 81, 82]]
outcome("3 painter", max(accuracy, key=accuracy.get))
alt = "Painted from a blank canvas: the cosine's glyphs are mostly whole, BERT's are more broken and less varied."
show(figures.labelled_rows(rows, "Stars, hearts and umbrellas, from a blank canvas"), alt)

# %% [markdown]
# The percentage comes from a classifier that was trained on real glyphs; it judged 120 pictures. Look at the pictures
# before you believe it: a judge that can only say "star", "heart" and so on sees a star in many blots. It is also blind
# to variety. How many pairs of colours does each model use?
#
# ## Break it: the inverted mask
#
# A common bug in public code keeps γ(r) N tokens where it should hide them (bug 1). Nothing crashes, and the loss
# falls. **Predict:** what share is hidden on average now?

# %%
predict("3 inverted", "What share of the tokens does the inverted cosine hide on average, from 0 to 1?")

# %%
r = torch.rand(20_000, generator=generator(0))
upright = my_random_mask(my_mask_counts(r, 64, my_cosine), 64, generator(1))
for name, mask in {"upright": upright, "inverted": ~upright}.items():
    blank = mask.all(1).double().mean()
    print(f"{name:8} {mask.double().mean():.3f} of the tokens hidden, {blank:.3f} of the canvases blank")
outcome("3 inverted", (~upright).double().mean().item())

# %% [markdown]
# One number tells the two apart before any training: about 2/π or about 1 − 2/π. (Counts are rounded up, which hides a
# little more.) That is why the package's tests check it.
#
# ## Exercises
#
# The table is the only hint that the schedules need.
#
# <details><summary><b>mask_counts</b>: the idea</summary>Each sample has its own r, so each has its own count.
# <details><summary>the shape</summary>r (B,) → γ(r) (B,) → counts int64 (B,), each between 1 and N.
# <details><summary>pseudo-code</summary><pre>share = schedule(r in double precision, N)
# round share * N up, make it whole numbers, keep it in 1..N</pre>
# <!-- answer mask_counts --></details></details></details>
#
# <details><summary><b>random_mask</b>: the idea</summary>The n smallest of N random scores are n positions at random.
# <details><summary>the shape</summary>scores (B, N), ranks (B, N), counts (B,) → (B, 1) to compare them with.
# <details><summary>pseudo-code</summary><pre>scores = uniform random (B, N), from the generator
# ranks = where each score stands in its row's order
# masked where rank &lt; the count of the row</pre>
# <!-- answer random_mask --></details></details></details>
#
# <details><summary><b>masked_cross_entropy</b>: the idea</summary>A loss for every position first; then the mean over
# the masked ones.
# <details><summary>the shape</summary>logits (B, N, K) and targets (B, N) → losses (B, N) → a scalar.
# <details><summary>pseudo-code</summary><pre>losses = cross entropy per position (reduction="none"; it wants flat rows)
# sum of losses where masked / number of masked</pre>
# <!-- answer masked_cross_entropy --></details></details></details>
#
# Further, without a check:
# 1. Train with `falling["logarithmic"]` and add it to both figures. Is its training loss lower than the cosine's? Why?
# 2. Hide one rectangle instead of random positions. What does such a model learn to do better, and what worse?
# 3. In `train`, draw one r for the whole batch. The mean of the loss does not change. What happens to its spread?

# %%
summary()  # your predictions, of all lessons

# %% [markdown]
# ## What the paper did
#
# - Section 3.1: r is drawn for each sample, ⌈γ(r) N⌉ tokens chosen uniformly, the loss over masked positions only, with
#   label smoothing 0.1.
# - Section 3.3: the properties that γ must have, and the three families.
# - Table 3, ImageNet 256 × 256 (the best number of steps T; FID, the lower the better; NLL, the loss of equation 1):
#   cosine 10, 6.06, 4.22; square 10, 6.35, 4.38; cubic 9, 7.26, 4.63; exponential 8, 7.89, 4.83; linear 16, 7.51, 3.75;
#   square root 32, 12.33, 3.34; logarithmic 60, 29.17, 3.08. Of these, the logarithmic has the lowest NLL and the worst
#   FID: the trap of question 1 above.
#
# ## What to read next
#
# - Devlin et al. 2019, *BERT*, section 3.1: where masking came from, and why 15 % works for reading.
# - Ghazvininejad et al. 2019, *Mask-Predict*: the same training for translation, with a uniform ratio.
# - Chang et al. 2023, *Muse*: the same objective at 3 billion parameters, still with the cosine.
#
# Next is lesson 4: the transformer that answers these questions, in which every token sees every other.
