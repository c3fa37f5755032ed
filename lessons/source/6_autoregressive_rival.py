# %% [markdown]
# # Lesson 6: the autoregressive rival
#
# Before MaskGIT, models painted with tokens as people write: from left to right, from top to bottom, one token after
# another. GPT does it with words. VQGAN did it with pictures, and MaskGIT was made to beat it.
#
# Here you build that rival: what it reads (`shift_right`), how it draws (`sample_next`), and its step with a cache
# (`cached_step`), without which it would not stand a chance. Then the two race side by side, and you find out which one
# wins *when*, and why. The rival in the race uses *your* functions. Until you have written one, the package's own takes
# its place.
#
# *Paper: figures 2 and 4, table 1. Package: `autoregressive.py`, two pages, and `measuring/race.py`. Time: about an
# hour, and 45 minutes for the exercises.*

# %%
import math
from unittest.mock import patch

import torch

from minimaskgit import autoregressive, figures, notebook, transformer
from minimaskgit.autoregressive import generate, next_token_loss, raster_steps
from minimaskgit.building import check, mine
from minimaskgit.classifier import class_accuracy
from minimaskgit.data.glyphs import glyphs
from minimaskgit.data.images import to_float
from minimaskgit.decoding import decode, decode_steps
from minimaskgit.measuring import race
from minimaskgit.notebook import generator, show
from minimaskgit.predictions import outcome, predict, summary
from minimaskgit.transformer import KVCache, Transformer

notebook.road_map(6)

# %% [markdown]
# ## The idea
#
# The probability of a whole picture is a product of N simple ones, each of *one* token given those before it:
#
# > p(t<sub>1</sub> … t<sub>N</sub> | class) = p(t<sub>1</sub> | class) · p(t<sub>2</sub> | class, t<sub>1</sub>) · … ·
# p(t<sub>N</sub> | class, t<sub>1</sub> … t<sub>N−1</sub>)
#
# This is no approximation. A network that learns the factors knows the whole, and drawing a picture means drawing N
# times from a list of K codes. The price: you cannot draw token i before token i − 1 is known. Here is the twin of
# lesson 5's model at work. It has the same tokens, the same blocks and the same training.

# %%
run = notebook.trained_run(train=False)  # True: train your own models first
tokenizer, judge = run.tokenizer(), notebook.trained_judge(run)
masked, causal = run.transformer(), run.autoregressive()
names, settings = run.label_names, run.config.decoding
N, K = causal.num_tokens, causal.num_codes

heart = torch.tensor([names.index("heart")])
tokens = generate(causal, heart, generator=generator(3))  # (1, N)
passes = torch.tensor([1, 5, 12, 20, 28, 36, 48, N])
ahead = torch.arange(N) >= passes[:, None]  # (8, N), not made yet
strip = figures.masked_canvas(tokenizer.decode(tokens).expand(8, -1, -1, -1), ahead, tokenizer.grid)
alt = "A heart appears row by row from the top, one token in each pass, and is complete after all 64."
show(figures.grid(strip, columns=8, titles=[f"pass {k} of {N}" for k in passes.tolist()]), alt)

# %% [markdown]
# ## What it reads: one to the right
#
# To learn all N factors in *one* pass, the network reads the row shifted by one. At the place of token i it reads token
# i − 1, and at the first place the class. Its answer at place i is about token i. So no place reads the token that it
# must predict.
#
# **Exercise 1 of 3: `shift_right`.** *Easy, about 5 minutes.* Write it in the next cell, or in
# `lessons/exercises/lesson_6.py`, and check it with the cell below. Hints are at the end, under *Exercises*.


# %% tags=["answer"]
def shift_right(tokens, start):
    """What a causal model reads to predict `tokens`: (B, N) and (B, 1) to [start, t1, ..., tN-1], (B, N)."""
    raise NotImplementedError


# %%
check("shift_right")

# %%
my_shift_right = mine(transformer.shift_right)
pictures, labels = glyphs(500, seed=6)
seen = torch.cat([tokenizer.encode(to_float(part)) for part in pictures.split(250)])  # (500, N), all unseen
start = K + labels[:, None]  # (500, 1), the class tokens' ids follow the codes'
print("reads ", my_shift_right(seen, start)[0, :8].tolist(), "...")
print("asked ", seen[0, :8].tolist(), "...")

# %% [markdown]
# That alone is not enough: attention lets every place look at every other, and token i stands at place i + 1, in plain
# sight. The **causal mask** closes that door: place i attends only to places up to i.
#
# You can *measure* which answer depends on which token. Change token j and see which answers i change. Rows are the
# answers i, columns are the changed tokens j. The bluer a square, the more the answer changes; white means not at all.


# %%
@torch.no_grad()
def influence(model, row, label):
    """How much answer i changes when token j does, (N, N), of one picture's tokens (N,)."""
    changed = torch.where(torch.eye(N, dtype=torch.bool), (row + 1) % K, row)  # (N, N), in line j token j is another
    before, after = (model(x, label.expand(len(x))).log_softmax(-1) for x in (row[None], changed))
    return (after - before).abs().mean(-1).T  # (i, j)


def chart(matrix, size=4):
    """A matrix (N, N) as a picture (3, H, W): white where it is exactly 0."""
    shade = torch.where(matrix > 0, 0.2 + 0.8 * (matrix / matrix.max()).sqrt(), 0)
    blue = torch.tensor([0.0, 0.45, 0.70])[:, None, None]
    return (1 - shade * (1 - blue)).repeat_interleave(size, -1).repeat_interleave(size, -2)


charts = torch.stack([chart(influence(model, seen[0], labels[:1])) for model in (causal, masked)])
titles = ["autoregressive\nrow i: columns j < i only", "MaskGIT\nall columns"]
alt = "Which answer depends on which token: a triangle below the diagonal for the rival, a full square for MaskGIT."
show(figures.grid(charts, columns=2, scale=1, titles=titles), alt)

# %% [markdown]
# The lower triangle, without its diagonal: that is what "autoregressive" means. Keep this picture in mind; below, one
# wrong line will spoil it.
#
# ## What it is asked
#
# The model is asked about every token of every picture at once. For each token, the cost is −log p of the right code,
# in *nats*. The mean of the costs is the loss. Their *sum* over a picture is exactly −log p of the whole picture.
# (MaskGIT has no such number: each of its answers is about one token alone, and their product is not the probability of
# all of them together.)


# %%
@torch.no_grad()
def nats(model, tokens, labels):
    """−log p of each token, (B, N)."""
    log_p = model(tokens, labels).log_softmax(-1)  # (B, N, K)
    return -log_p.gather(-1, tokens[..., None]).squeeze(-1)


with patch.object(transformer, "shift_right", my_shift_right), torch.no_grad():  # the model reads what yours gives it
    cost = nats(causal, seen, labels)
    print(f"mean {cost.mean():.4f}, the package's loss {next_token_loss(causal, seen, labels):.4f}")
whole = cost.sum(1).mean().item()
print(f"a whole picture: {whole:.0f} nats, that is {whole / math.log(2):.0f} bits")
print(f"{N} codes written down without a model: {N * math.log2(K):.0f} bits")

# %% [markdown]
# **Predict before you run.** These are unseen pictures of 8 × 8 tokens. Where in the picture is the model most
# surprised, that is, where is −log p largest? Think of what it knows at the first token, in the second row, at the
# glyph's upper edge and in the last row.

# %%
predict("6 surprise", "In which row of tokens, from the top, is it surprised most?", list(range(1, 9)))

# %%
surprise = cost.mean(0).view(tokenizer.grid, tokenizer.grid)
print("rows, from the top, nats per token:", [round(x, 2) for x in surprise.mean(1).tolist()])
print(f"the first token of all: {surprise[0, 0]:.2f} · log 8, one of eight palettes: {math.log(8):.2f}")
outcome("6 surprise", 1 + surprise.mean(1).argmax().item())
picture = (1 - surprise / surprise.max()).expand(1, 3, -1, -1)
alt = "Mean surprise by place: black at the first token, dark in the top row and middle, pale at the right and below."
show(figures.grid(picture, columns=1, scale=24, titles=["mean surprise: black is most"]), alt)

# %% [markdown]
# At the first token the model must guess the palette, so the first row costs most. From then on it knows the
# background, which is cheap where it is expected, as in the last row. The glyph stays costly: the model has to find out
# its place, size and angle as it goes.
#
# ## Drawing
#
# Each code must be drawn as often as softmax says. One way is to draw a number u between 0 and 1 for each sample, and
# take the first code at which the running sum of the probabilities exceeds u. Draw all random numbers from the
# generator that is handed in.
#
# **Exercise 2 of 3: `sample_next`.** *Medium, about 20 minutes.*


# %% tags=["answer"]
def sample_next(logits, generator=None):
    """Draw the next token of each sample from softmax(logits): (B, K) to int64 (B,)."""
    raise NotImplementedError


# %%
check("sample_next")

# %%
my_sample_next = mine(autoregressive.sample_next)
logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]]).expand(100_000, -1)
drawn = my_sample_next(logits, generator(0))
print("wanted", [round(x, 3) for x in logits[0].softmax(-1).tolist()])
print("drawn ", [round(x, 3) for x in (drawn.bincount(minlength=4) / len(drawn)).tolist()])

# %% [markdown]
# Now comes the whole painter. It reads the row, draws the next token, puts it in its place, and reads *everything*
# again. The tokens in later places do not matter, because the model does not look there. At first they are all 0.


# %%
@torch.no_grad()
def paint_without_cache(model, labels, generator=None):
    tokens = torch.zeros(len(labels), N, dtype=torch.long)
    for i in range(N):
        logits = model(tokens, labels)[:, i]  # (B, K), the answer about token i
        tokens[:, i] = my_sample_next(logits, generator)
    return tokens


ten = torch.arange(10)
with patch.object(transformer, "shift_right", my_shift_right):
    slowly = paint_without_cache(causal, ten, generator(1))
alt = "Ten glyphs drawn token by token, a star to a club, with clean edges and hardly a stray spot."
show(figures.grid(tokenizer.decode(slowly), columns=10, titles=names), alt, width=900)

# %% [markdown]
# ## The cache
#
# Pass 40 computes the keys and values of places 1 to 39 again, although pass 39 has just computed them. If they come
# out the same, we can keep them, in a *cache*. Then a pass reads only *one* id, the newest.
#
# **Predict before you run.** Each twin reads 20 ids, then 40 that begin with the same 20. We compare the keys and
# values at the first 20 places in the last block. Whose have changed by more than rounding?

# %%
predict("6 cache", "Whose keys and values have changed?", ["nobody's", "autoregressive", "MaskGIT", "both"])


# %%
@torch.no_grad()
def remembered(model, ids):
    """Keys and values of the last block for all places read."""
    cache = KVCache(model, len(ids))
    model.trunk(ids, cache)
    return torch.cat([part[:, :, : ids.shape[1]] for part in cache.layers[-1]], dim=-1)


row, changed = torch.cat([start[:1], seen[:1]], dim=1), []
for name, model in {"autoregressive": causal, "MaskGIT": masked}.items():
    change = (remembered(model, row[:, :40])[:, :, :20] - remembered(model, row[:, :20])).abs().max()
    print(f"{name:15} largest change {change:.6f}")
    changed += [name] * (change > 1e-3).item()
outcome("6 cache", "both" if len(changed) == 2 else changed[0] if changed else "nobody's")

# %% [markdown]
# This is why the rival can have a cache: its places see only themselves and what comes before them, so nothing later
# changes them. MaskGIT has none: in its blocks every change reaches every place.
#
# A step with a cache reads one id of each sample, the newest: first the class, then each token as it is drawn. The
# cache is a `KVCache`. `model.trunk(ids, cache)` reads ids (B, S) after those in the cache, adds them to it, and
# returns (B, S, D). Here S is 1. `model.logits` turns (B, D) into logits (B, K) over the codes.
#
# **Exercise 3 of 3: `cached_step`.** *Easy, about 15 minutes.*


# %% tags=["answer"]
def cached_step(model, newest, cache):
    """Logits of the next token, (B, K), from the newest id (B, 1) and the cache of those before, which grows by it."""
    raise NotImplementedError


# %%
check("cached_step")

# %% [markdown]
# With it the painter becomes:

# %%
my_cached_step = mine(autoregressive.cached_step)


@torch.no_grad()
def paint_with_cache(model, labels, generator=None):
    newest, cache, made = (model.num_codes + labels)[:, None], KVCache(model, len(labels)), []
    for _ in range(model.num_tokens):
        newest = my_sample_next(my_cached_step(model, newest, cache), generator)[:, None]
        made.append(newest)
    return torch.cat(made, dim=1)


cached = paint_with_cache(causal, ten, generator(1))
print(f"the same tokens as without: {(cached == slowly).double().mean():.1%}")

# %% [markdown]
# Count what each way of painting costs. A *pass* is one run of the network, and must wait for the one before it. A
# *place* is one position put through all blocks in a pass. The painter without a cache read all places in every pass,
# but it need not read those to come. So we count one place in its first pass, two in the second, and so on.
#
# **Predict before you run.** Who puts the fewest places through the network: MaskGIT in 8 passes, or the cached rival
# in N?

# %%
predict("6 places", "Who puts the fewest places through the network?", ["MaskGIT", "autoregressive, cache"])

# %%
T = settings.steps
print(f"{'':26}{'passes':>24}{'places per picture':>34}")
print(f"{'tokens per picture':<26}" + 2 * "".join(f"{n:>8}" for n in (64, 256, 1024)))
ways = {
    f"MaskGIT, T = {T}": (lambda n: T, lambda n: T * (n + 1)),
    "autoregressive, cache": (lambda n: n, lambda n: n),
    "autoregressive, no cache": (lambda n: n, lambda n: n * (n + 1) // 2),
}
for name, (count_passes, places) in ways.items():
    print(f"{name:<26}" + "".join(f"{count(n):>8}" for count in (count_passes, places) for n in (64, 256, 1024)))
outcome("6 places", min(ways, key=lambda name: ways[name][1](N)).partition(", T")[0])

# %% [markdown]
# It is the cached rival! MaskGIT does about T times as much arithmetic. It is still called the faster one, because it
# does the work in T large portions instead of N small ones. A processor is quick with large portions but slow to start:
# with one row of 128 numbers it mostly starts one small operation after another. (A large model also waits for its
# weights to arrive from memory.) A batch makes the rival's portions larger, too.
#
# ## The race
#
# First race in your browser. There is one picture, one processor thread for each model, and plain JavaScript, which is
# no faster with large portions than with small ones.
#
# **Predict, then try.** Which one needs fewer passes, and which one finishes first? What if you clear the tick at *The
# twin uses a key-value cache*? Write down your four answers, then race twice.

# %%
notebook.playground(run, "race", steps=8, label=names.index("heart"), seed=1)

# %% [markdown]
# Compare the seconds with the places in the table above. Where only arithmetic counts, the model with the fewest places
# wins, however many passes it takes. PyTorch is quick with large portions, and that changes the race.
#
# **Predict before you run.** We paint 1, 4, 16 and 64 pictures at once and count pictures per second. At which batch is
# MaskGIT's lead largest, and at which does the cached rival do best? (The rival steps and draws with your functions.)

# %%
predict("6 lead", "At which batch is MaskGIT's lead over the cached rival largest?", [1, 4, 16, 64])

# %%
batches, yours = (1, 4, 16, 64), {"sample_next": my_sample_next, "cached_step": my_cached_step}
with patch.dict(vars(autoregressive), yours):
    rows = race.measure(run, race.contestants(masked, causal, decode_steps, passes=8), batches, repeats=2)
speed = {row["decoder"]: [row["batch"][str(b)]["images_per_second"] for b in batches] for row in rows}
print(f"{'pictures per second, batch:':<28}" + "".join(f"{b:>9}" for b in batches))
for name, values in speed.items():
    print(f"{name:<28}" + "".join(f"{value:>9.1f}" for value in values))
ahead = [a / b for a, b in zip(speed["MaskGIT"], speed["autoregressive, cache"])]
print(f"{'MaskGIT over cached rival':<28}" + "".join(f"{f'x {ratio:.2f}':>9}" for ratio in ahead))
outcome("6 lead", batches[ahead.index(max(ahead))])
lines = {name.replace(", ", ": "): list(zip(batches, values)) for name, values in speed.items()}
labelled = {"MaskGIT": "MaskGIT", "autoregressive: cache": "autoregressive", "autoregressive: no cache": "no cache"}
points = {label: lines[name] for name, label in labelled.items()}
alt = "Pictures per second by batch: MaskGIT leads in small batches, the cached rival catches up, no cache is slowest."
show(figures.curves(points, "pictures made at once", "pictures per second"), alt, width=600)

# %% [markdown]
# The smaller the batch and the more parallel the machine, the better for MaskGIT. The larger the batch, the more the
# cached rival catches up; on a CPU it may even overtake. The paper's "30 to 64 times faster" is for 256 and 1024 tokens
# on one accelerator, and the paper does not say whether its rival had a cache.
#
# Watch them. (In JupyterLab, drag the slider. Elsewhere, this is the moment when MaskGIT has finished.)

# %%
four = torch.tensor([0, 3, 5, 8])
left = list(decode_steps(masked, four, steps=T, temperature=settings.temperature, generator=generator(2)))
prefix = list(raster_steps(causal, four, generator=generator(2)))
right_images = tokenizer.decode(prefix[-1])


def after(k):
    """Both canvases after k passes."""
    done = left[min(k, T) - 1]
    canvas = figures.masked_canvas(tokenizer.decode(done.sampled), done.masked, tokenizer.grid)
    rival = figures.masked_canvas(right_images, (torch.arange(N) >= k).expand(4, -1), tokenizer.grid)
    return figures.race_frame(canvas, rival, (min(k, T), k), (T, N))


alt = "Four canvases each after k passes: MaskGIT's are finished after a few, its rival's fill row by row."
notebook.knob(after, alt, k=[1, 2, 4, T, 16, 32, N])

# %% [markdown]
# ## And who paints better?
#
# **Predict before you run.** Both have the same blocks and the same training. One draws its tokens one by one, each
# knowing all before it. The other draws many at once, blind to each other. The judge says which class it sees. It is
# easy to please, so two other measures go further: the share of pictures *without strays* (one whole glyph, with no
# spots, holes or lost parts) and the Fréchet distance to real glyphs (FD, lesson 8; less is better).

# %%
predict(
    "6 better",
    "Which has more pictures without strays, beyond chance: MaskGIT in 8 passes or the rival?",
    ["MaskGIT", "autoregressive", "neither"],
)

# %%
wanted = torch.arange(10).repeat_interleave(20)
how = {"steps": T, "temperature": settings.temperature}
samples = {
    f"MaskGIT, {T} passes": decode(masked, wanted, generator=generator(0), **how),
    f"MaskGIT, {N} passes": decode(masked, wanted, generator=generator(0), **how | {"steps": N}),
}
with patch.dict(vars(autoregressive), yours):
    samples[f"autoregressive, {N} passes"] = generate(causal, wanted, generator=generator(0))
shown, rows, clean = list(range(0, len(wanted), len(wanted) // 10)), {}, {}
for name, made in samples.items():
    images = tokenizer.decode(made)
    right, clean[name], fd = notebook.scores(images, wanted, judge)
    rows[f"{name}, {right:.0%} of the asked class, {clean[name]:.0%} without strays, FD {fd:.2f}"] = images[shown]
chance = max(2 * math.sqrt(2 * share * (1 - share) / len(wanted)) for share in clean.values())  # two standard errors
best, least = max(clean, key=clean.get), min(clean, key=clean.get)
print(f"{len(wanted)} pictures per row: a difference of less than {100 * chance:.0f} points in strays may be chance")
print(
    f"best: {best}, {clean[best]:.0%}; {'no better than' if clean[best] - clean[least] < chance else 'better than'}",
    least,
)
quick, _, rival = clean.values()
outcome("6 better", "neither" if abs(quick - rival) < chance else "MaskGIT" if quick > rival else "autoregressive")
alt = "Ten glyphs each: MaskGIT's in 8 passes have some stray spots, MaskGIT's and the rival's in 64 hardly any."
show(figures.comparison(rows, columns=10), alt, width=900)

# %% [markdown]
# Read the two measures, not the judge, which accepts almost every picture, whoever painted it. How much of the rival's
# lead is left when MaskGIT gets N passes, too? In T passes it draws many tokens blindly, and the rival none. On
# ImageNet the rival was the worse painter (table 1). Why is debated: errors may pile up in a long row, and the order
# suits writing better than painting. So this lesson has not shown that MaskGIT is better, but that it needs only T
# passes.
#
# ## Break it: a mask that leaks
#
# Take the causal mask away and change nothing else. The shift, the loss and the sampling stay as they are.
#
# **Predict before you run.** What does the training loss do? And what do the samples look like?

# %%
predict("6 leak", "With the leak, where does the training loss end?", ["lower", "at about the same height", "higher"])


# %%
def train(leak):
    """A small causal transformer, and its training loss (step, mean over 20 steps)."""
    torch.manual_seed(0)
    shape = {"width": 64, "depth": 3, "heads": 4, "mlp_width": 128, "dropout": 0.0, "pre_norm": True}
    model = Transformer(K, 10, N, causal=True, **shape)
    for block in model.blocks:
        block.causal = not leak  # the one line
    loss = lambda tokens, labels: next_token_loss(model, tokens, labels)
    with patch.object(transformer, "shift_right", my_shift_right):
        return model, notebook.learn(model, loss, train_tokens, train_labels, every=20)


train_tokens, train_labels = notebook.three_classes(tokenizer, 6000, seed=0)
models, curves = {}, {}
for name, leak in {"causal": False, "leaking": True}.items():
    models[name], curves[name] = train(leak)
sound, leaky = (points[-1][1] for points in curves.values())
near = abs(leaky - sound) < 0.1 * sound
outcome("6 leak", "at about the same height" if near else "lower" if leaky < sound else "higher")
alt = "Training losses: the causal one falls and levels off; the leaking one drops to almost zero."
show(figures.curves(curves, "step", "training loss, nats per token"), alt, width=600)

# %% [markdown]
# What a curve! By its loss, this would be the best model ever trained on this data. Now let it paint.

# %%
three, rows = torch.arange(3).repeat_interleave(40), {}
for name, model in models.items():
    painted = tokenizer.decode(generate(model, three, cache=False, generator=generator(0)))
    right = class_accuracy(judge, painted, three)
    rows[f"{name}\n{right:.0%} right"] = painted[[0, 1, 2, 40, 41, 42, 80, 81, 82]]
alt = "Painted by the causal model: rough stars, hearts and umbrellas. By the leaking one: patterns like woven cloth."
show(figures.labelled_rows(rows, "Stars, hearts and umbrellas"), alt, width=900)

# %% [markdown]
# It learned one thing: *look one place to the right and copy*. When it paints, there is nothing to the right yet. (The
# judge takes even pure noise for some class, so it may be right now and then.)
#
# **Predict before you run.** We draw the chart of which answer depends on which token for both. Where will the leak
# show?

# %%
charts = torch.stack([chart(influence(model, train_tokens[0], train_labels[:1])) for model in models.values()])
alt = "The causal chart is blue only below the diagonal. The leaking one is blue everywhere, and most on the diagonal."
show(figures.grid(charts, columns=2, scale=1, titles=list(models)), alt)

# %% [markdown]
# The chart tells the two apart without a single sample, and would do so before any training: whatever is blue on or
# above the diagonal is the leak. Whenever a loss looks too good, look for a leak, and keep such a test. The package's
# is in `test_transformer.py`, `test_a_causal_model_cannot_see_the_future`.
#
# ## Exercises
#
# <details><summary><b>shift_right</b>: the idea</summary>The start comes first, and the last token is never read.
# <details><summary>the shape</summary>(B, 1) and (B, N − 1) side by side give (B, N).
# <details><summary>pseudo-code</summary><pre>join start and all tokens but the last, along the row</pre>
# <!-- answer shift_right --></details></details></details>
#
# <details><summary><b>sample_next</b>: the idea</summary>Codes side by side on a line from 0 to 1, each as long as it
# is likely; a random point hits one.
# <details><summary>the shape</summary>logits (B, K) → summed probabilities (B, K) against u (B, 1) → (B,).
# <details><summary>pseudo-code</summary><pre>p = softmax; c = running sum of p
# u = one uniform number a sample, from the generator
# how many c are not above u? (torch.multinomial does it too; mind that u may exceed a c that
# rounding left below 1)</pre>
# <!-- answer sample_next --> <!-- answer sample_categorical --></details></details></details>
#
# <details><summary><b>cached_step</b>: the idea</summary>Give the network only the newest id. The cache has the rest.
# <details><summary>the shape</summary>(B, 1) → trunk (B, 1, D) → the newest place (B, D) → logits (B, K).
# <details><summary>pseudo-code</summary><pre>x = trunk of the newest id, with the cache
# logits of x at its last place</pre>
# <!-- answer cached_step --></details></details></details>
#
# Further, without a check:
# 1. Leave out the *shift* and keep the causal mask. Predict the loss first, then the chart.
# 2. What is a picture's probability if it is painted from bottom to top? Flip the rows and train both ways: is one
#    order easier to learn?
# 3. Sample at temperature 0.7 (divide the logits by it). Which number rises, and what do you lose?

# %%
summary()  # your predictions, of all lessons

# %% [markdown]
# ## What the paper did
#
# - Section 1 and figure 2: raster order against scheduled parallel decoding, 256 passes against 8.
# - Section 4.2, table 1, ImageNet 256 × 256: VQGAN, of the same size and on the same tokens, FID 18.65 in 256 steps,
#   MaskGIT 6.18 in 8.
# - Figure 4: the transformer's time on one GPU is 30 to 64 times shorter; the more tokens, the larger the gain.
#
# ## What to read next
#
# - Esser et al. 2021, *Taming Transformers for High-Resolution Image Synthesis*: this lesson's rival, VQGAN.
# - Chen et al. 2020, *Generative Pretraining from Pixels*: the same, on pixels.
# - Leviathan et al. 2023, *Fast Inference from Transformers via Speculative Decoding*: how language models came to draw
#   several tokens in a pass after all.
# - Tian et al. 2024, *Visual Autoregressive Modeling*: autoregressive again, but from coarse to fine.
#
# Next is lesson 7: filling a hole in the middle of a picture, which the rival can do only half blind.
