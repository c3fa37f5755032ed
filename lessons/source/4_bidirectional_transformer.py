# %% [markdown]
# # Lesson 4: the bidirectional transformer
#
# In lesson 3 you asked questions: here is a canvas with holes, what was in them? Now you build the network that
# answers. Every token, hidden or not, looks at every other and takes from each what it needs, several times in a row.
# There is no first and no last.
#
# You write attention, heads and the block, about twenty lines in all, and put them into trained models, whose answers
# must stay the same. Then you look inside: who sees whom, and where does the model look? Until you have written a part,
# the package's own takes its place.
#
# *Paper: section 3.1 and its appendix; Vaswani et al. 2017, section 3.2. Package: `transformer.py`. Time: about an
# hour, and an hour and a half for the exercises.*

# %%
import copy

import torch
import torch.nn.functional as F

from minimaskgit import figures, notebook, transformer
from minimaskgit.building import check, mine
from minimaskgit.classifier import class_accuracy
from minimaskgit.data.glyphs import glyphs, palette_of
from minimaskgit.data.images import to_float
from minimaskgit.decoding import decode
from minimaskgit.editing import autoregressive_edit, box_to_token_mask, composite, edit_tokens
from minimaskgit.figures.edits import outlined
from minimaskgit.masking import draw_masks, mvtm_loss, random_mask
from minimaskgit.notebook import generator, show
from minimaskgit.predictions import outcome, predict, summary
from minimaskgit.schedules import cosine
from minimaskgit.transformer import Transformer

notebook.road_map(4)

# %% [markdown]
# ## The idea
#
# A hidden token knows its place and the class, and nothing else. To guess what it was, it must ask the others. Each
# position has a vector x. At first, that is the sum of two learned vectors: one for its token (its *embedding*) and one
# for its place. In *attention* it makes three vectors from x, by three matrices:
#
# - a **query** q: what do I want to know?
# - a **key** k: what can I tell about?
# - a **value** v: what do I tell?
#
# Where the query of one position fits the key of another, the other's value flows to the first. All of it happens at
# once, for all positions, in two matrix products and a softmax. What each position has gathered is added to its x, and
# a small network (an *MLP*) works on the result. That is one *block*. After the last one come one more dense layer, a
# GELU and a LayerNorm. The product of the result with each code's embedding, plus a bias, is that code's logit.
# (Another LayerNorm stands before the first block, or with pre-norm after the last.)
#
# Two trained models are ready: the painter, whose positions see all others, and its twin, the printer of lesson 6,
# whose positions see only what comes before them. Both have the same blocks and the same size.

# %%
run = notebook.trained_run(train=False)  # True: train your own first
tokenizer, judge = run.tokenizer(), notebook.trained_judge(run)
painter, printer = run.transformer(), run.autoregressive()
pictures, labels = glyphs(100, seed=21)
pictures = to_float(pictures)
with torch.no_grad():
    tokens = tokenizer.encode(pictures)  # (B, N)
N, K, grid = painter.num_tokens, painter.num_codes, tokenizer.grid
print(f"{len(painter.blocks)} blocks of width D = {painter.width} with {painter.heads} heads, for N = {N} tokens")

# %% [markdown]
# ## Attention
#
# > attention(q, k, v) = softmax( q k<sup>T</sup> / √d ) v
#
# q k<sup>T</sup> has a score for each pair: how well does the query of position i fit the key of position j? Softmax
# turns a row of scores into weights that sum to 1, and the answer is the mean of the values with these weights. d is
# the width of q and k. You will see what the root is for when you leave it out, at the end of this lesson.
#
# The printer's attention is *causal*: it sets the scores of all later keys to −∞, and so their weights to 0. A position
# still sees itself.
#
# **Exercise 1 of 4: `attention`.** *Medium, about 25 minutes.* Write it in the next cell, or in
# `lessons/exercises/lesson_4.py`, and check it with the cell below. Hints are at the end, under *Exercises*.


# %% tags=["answer"]
def attention(q, k, v, causal):
    """softmax(q k^T / sqrt(d)) v: queries (B, heads, S, d), keys and values (B, heads, S', d) to (B, heads, S, d).

    causal: query i sees keys 0..i only (then S = S').
    """
    raise NotImplementedError


# %%
check("attention")

# %% [markdown]
# Let the values be the rows of the identity matrix: the value of place j is 1 at j and 0 elsewhere. Then the answers
# are the weights themselves. Each row sums to 1. The causal weights are zero above the diagonal.

# %%
my_attention = mine(transformer.attention)
q, k = torch.randn(2, 1, 1, 4, 8, generator=generator(0))  # each (B, heads, S, d)
for causal in (False, True):
    print(f"causal {causal}: row i has the weights of query i")
    for weights in my_attention(q, k, torch.eye(4).view(1, 1, 4, 4), causal)[0, 0].tolist():
        print("   ", "  ".join(f"{weight:.2f}" for weight in weights))

# %% [markdown]
# ## Several heads
#
# One softmax can look for one kind of thing. So the width is cut into slices, and each slice, a **head**, does its own
# attention: one may look to the left, another for things of the same colour. Cutting and merging only changes shapes.
#
# **Exercise 2 of 4: `split_heads`.** *Easy, about 10 minutes.* Head h gets the h-th slice of the width, at every place.


# %% tags=["answer"]
def split_heads(x, heads):
    """(B, S, D) to (B, heads, S, D / heads): head h gets the h-th slice of the width."""
    raise NotImplementedError


# %%
check("split_heads")

# %% [markdown]
# **Exercise 3 of 4: `merge_heads`.** *Easy, about 10 minutes.* Undo what `split_heads` does.


# %% tags=["answer"]
def merge_heads(x):
    """(B, heads, S, d) to (B, S, heads * d), the inverse of split_heads."""
    raise NotImplementedError


# %%
check("merge_heads")

# %%
my_split_heads, my_merge_heads = mine(transformer.split_heads), mine(transformer.merge_heads)
x = torch.randn(2, 10, 32, generator=generator(1))
print(f"{tuple(x.shape)} split into 4 heads: {tuple(my_split_heads(x, 4).shape)}")
print("merging undoes splitting:", my_merge_heads(my_split_heads(x, 4)).equal(x))

# %% [markdown]
# ## The block
#
# Attention moves information between positions. Then an MLP of two layers works at each position by itself. Both *add*
# to x, so a block can leave alone what it has nothing to say about. A *LayerNorm* keeps the sums in bounds: it shifts
# and scales the numbers of each vector to mean 0 and variance 1, and then by learned numbers. There are two common
# places for it:
#
# > BERT's order, and the paper's: x ← norm<sub>1</sub>(x + attend(x)), then x ← norm<sub>2</sub>(x + mlp(x))<br>
# > pre-norm, easier to train: x ← x + attend(norm<sub>1</sub>(x)), then x ← x + mlp(norm<sub>2</sub>(x))
#
# `attend(x)` has five steps: the layer `qkv` makes queries, keys and values side by side; split each of the three into
# heads; attention; merge the heads; the layer `out`. `mlp(x)` has three: the layer `up`, `F.gelu`, the layer `down`.
# There is no dropout here.
#
# **Exercise 4 of 4: `Block`.** *Hard, about 45 minutes.* Write `forward` only, and any methods of your own that it
# calls. Call your three functions. Hand `self.causal` on to attention.


# %% tags=["answer"]
class Block(transformer.Block):
    """Attention and MLP, each with a residual sum and a LayerNorm.

    It has, from the package: the linear layers qkv (D to 3 D: queries, keys and values, in this order), out (D to D),
    up (D to the MLP's width) and down (back to D); norm1 and norm2; and heads, causal and pre_norm as attributes.
    """

    def forward(self, x):
        """(B, S, D) to (B, S, D), in BERT's order or, with self.pre_norm, in the other."""
        raise NotImplementedError


# %%
check("Block")

# %% [markdown]
# Now replace the blocks of both trained models by yours, and keep the weights. If your block is right, the models'
# answers stay the same, up to rounding. (The difference is exactly 0 while the package's block is in use.)

# %%
my_Block = mine(transformer.Block)


class Transplant(my_Block):
    """Your block, called as the package's model calls its own: with a memory too, which only lesson 6 needs."""

    def forward(self, x, cache=None, layer=0):
        return super().forward(x)


def with_my_blocks(model):
    """A copy of a model with the same weights and your blocks."""
    model = copy.deepcopy(model)
    for block in model.blocks:
        block.__class__ = Transplant
    return model


ids = torch.cat([K + labels[:, None], tokens], dim=1)  # (B, N + 1): the class has an id of its own, after the codes
my_painter, my_printer = with_my_blocks(painter), with_my_blocks(printer)
with torch.no_grad():
    for name, old, new in (("painter", painter, my_painter), ("printer", printer, my_printer)):
        difference = (new.trunk(ids[:8, :N]) - old.trunk(ids[:8, :N])).abs().max().item()
        print(f"{name}: largest difference from the package's after {len(old.blocks)} blocks {difference:.1e}")

# %% [markdown]
# You now know enough to count the weights of the whole model. If D is the width and M the width of the MLP, a block has
# 4 D² + 2 D M weights in its matrices, and some vectors. For the paper's model:


# %%
def count_weights(K, C, N, D, L, M):
    block = (4 * D * D + 4 * D) + (2 * D * M + M + D) + 4 * D  # qkv and out, up and down, two norms
    table = (K + C + 1) * D + (N + 1) * D + 2 * D  # embeddings of ids and places, one norm
    head = (D * D + D) + 2 * D + (K + C + 1)  # a dense layer, a norm, a bias a word; the table is used again
    return table + L * block + head


with torch.device("meta"):  # shapes without memory
    paper = Transformer()
print(f"counted  {count_weights(1024, 1000, 256, 768, 24, 3072):,}")
print(f"package  {sum(p.numel() for p in paper.parameters()):,}")

# %% [markdown]
# ## Who sees whom
#
# Take a picture's tokens, exchange token j, and see which answers change. Do so for every j.
#
# **Predict before you run.** Sketch the result: rows i are the answers, columns j are the exchanged tokens, white where
# an answer changes. What does the painter's square look like, and what does the printer's?

# %%
predict("4 painter", "For what share of all pairs (i, j) does answer i change with token j in the painter, 0 to 1?")

# %%
predict("4 printer", "And in the printer, from 0 to 1?")


# %%
@torch.no_grad()
def influence(model, tokens, label):
    """How much answer i changes when token j is exchanged, (N, N) of i and j: half the sum of |p - p'|, 0..1."""
    exchanged = tokens.repeat(N, 1)
    exchanged[range(N), range(N)] = (tokens + K // 2) % K
    before, after = model(tokens[None], label).softmax(-1), model(exchanged, label.expand(N)).softmax(-1)  # (j, i, K)
    return (before - after).abs().sum(-1).T / 2


both = {"painter": my_painter, "printer": my_printer}
squares = {name: influence(model, tokens[0], labels[:1]) for name, model in both.items()}
for name, square in squares.items():
    share = (square > 0).double().mean().item()
    print(f"{name}: answer i changes with token j in {share:.0%} of all pairs (i, j)")
    outcome(f"4 {name}", share)
shades = torch.stack([square.sqrt().expand(3, N, N) for square in squares.values()])
alt = "The painter's square is grey all over, its diagonal white. The printer's is black on and above the diagonal."
show(figures.grid(shades, columns=2, scale=5, titles=list(squares)), alt)

# %% [markdown]
# The printer's answer i does not see token i or any after it, so its square is a triangle. That is why it can be
# trained on all N answers at once: none can look at its own token. The painter sees everything, its own token too (the
# diagonal). Only [MASK] keeps it honest.
#
# ## Where it looks
#
# Hide two thirds of a picture, choose a hidden position (outlined), and draw the weights with which it looks at the
# others. White is the largest weight of a map. There is a row for each block, a column for each head, and one small
# 8 × 8 map in each.
#
# **Predict before you run.** Does the position look at its neighbours? At hidden positions, where there is nothing to
# see? And where does the printer look from the same place, given the whole picture?


# %%
@torch.no_grad()
def looks(model, ids):
    """The attention weights of every block, (L, heads, S, S), for ids (1, S)."""
    weights = []

    def watch(layer, inputs, output):  # output: what a block's qkv gives
        q, k, _ = (my_split_heads(part, model.heads) for part in output.chunk(3, dim=-1))
        positions = torch.eye(q.shape[2]).expand(1, model.heads, -1, -1)  # as values: what comes out are the weights
        weights.append(my_attention(q, k, positions, model.causal)[0])

    hooks = [block.qkv.register_forward_hook(watch) for block in model.blocks]
    model.trunk(ids)
    for hook in hooks:
        hook.remove()
    return torch.stack(weights)


place = 3 * grid + 3
mask = random_mask(torch.tensor([2 * N // 3]), N, generator(4))
mask[0, place] = True
seen = ids[:1].clone()
seen[:, 1:][mask] = painter.mask_id
of_painter = looks(my_painter, seen)[:, :, place + 1, 1:]  # (L, heads, N); row 0 and column 0 are the class token
of_printer = F.pad(looks(my_printer, ids[:1, :N])[:, :, place, 1:], (0, 1))  # it reads one place to the left

scale = 3
cell = torch.zeros(grid, grid, dtype=torch.bool)
cell.view(-1)[place] = True
cell = cell.repeat_interleave(4 * scale, 0).repeat_interleave(4 * scale, 1)
canvases = [figures.masked_canvas(pictures[:1], hidden, grid, scale) for hidden in (mask, mask & False)]
alt = "A picture with one token outlined: for the painter two thirds of it are hidden, for the printer nothing is."
show(figures.grid(outlined(torch.cat(canvases), cell), columns=2, scale=1, titles=["painter", "printer"]), alt)


# %%
def as_maps(weights):
    """(heads, N) as small pictures (heads, 3, grid, grid), each scaled to its largest weight."""
    return (weights / weights.amax(-1, keepdim=True)).view(-1, 1, grid, grid).expand(-1, 3, -1, -1)


gap = torch.ones(1, 3, grid, grid)
rows = {
    f"block {layer}\npainter | printer": torch.cat([as_maps(left), gap, as_maps(right)])
    for layer, (left, right) in enumerate(zip(of_painter, of_printer), 1)
}
alt = "Maps of attention, five blocks by four heads: the painter's reach all over, the printer's end at its own place."
show(figures.labelled_rows(rows), alt, width=900)

# %% [markdown]
# The printer's maps are black from its own place on: it cannot see that part of the picture. The painter's heads differ
# from one another and from block to block. Numbers say it more briefly: where does the weight of all hidden positions
# go?

# %%
predict("4 hidden", "Which block looks more from hidden places at hidden places?", ["the first", "the last"])

# %%
weights = looks(my_painter, seen)[:, :, 1:][:, :, mask[0]].mean((1, 2))  # (L, N + 1), mean over heads and hidden places
print(f"{(~mask).double().mean():.0%} of the tokens are known. Weight on")
print("block   the class   known tokens   hidden ones")
for layer, row in enumerate(weights, 1):
    print(f"{layer:5} {row[0]:11.2f} {row[1:][~mask[0]].sum():14.2f} {row[1:][mask[0]].sum():13.2f}")
first, *_, last = weights[:, 1:][:, mask[0]].sum(1).tolist()
outcome("4 hidden", "the last" if last > first else "the first")

# %% [markdown]
# The first blocks look mostly at what is known: at the known tokens and, in the very first, at the class as well. The
# last ones look more at hidden positions. These are not useless by then: they hold what they have gathered in the
# blocks before. They are where the model keeps its sketch.
#
# ## Where am I?
#
# Attention does not know what "left" is. It sees a *set* of vectors: shuffle the tokens, and the answers are shuffled
# in the same way. The model knows a token's place only from a vector that is added to it, learned, one for each place.
# How alike are these vectors? Each small map compares one place's vector with all others; white means alike.

# %%
vectors = painter.positions[1:].detach()  # (N, D), without the class token's
vectors = F.normalize(vectors - vectors.mean(0), dim=-1)
chosen = [0, 3, 2 * grid + 2, 3 * grid + 4, 5 * grid + 6, N - 1]
alike = (vectors @ vectors.T)[chosen].clamp(0, 1)  # (6, N), cosines
maps = alike.view(-1, 1, grid, grid).expand(-1, 3, -1, -1)
alt = "Six maps: inner places are most like those around them, corners most like the whole border."
show(figures.grid(maps, columns=6, titles=[f"place {i}" for i in chosen]), alt)

# %% [markdown]
# The inner places are most like their neighbours, above and below as well as left and right: the model has found out
# that the places form a grid. Nobody told it so; the vectors began as random numbers. The corners are like the whole
# border, where there is mostly background.
#
# ## Experiment: half a picture
#
# Being bidirectional matters. Take away the upper or the lower half of a picture, tell both models its class, and let
# them complete it. (Lesson 7 explains edits. The printer goes through the places in its usual order and is forced to
# write the given tokens where there are any.)
#
# **Predict before you run.** In which of the four cases will the halves not fit together? We count the pictures that
# keep their palette, the two colours of their background and their glyph.

# %%
CASES = [f"{name}, {half} half hidden" for half in ("upper", "lower") for name in ("painter", "printer")]
predict("4 halves", "In which case do the fewest pictures keep their palette?", CASES)

# %%
rows, palettes = {}, {}
for title, box in {"upper half hidden": (0, 0, 32, 16), "lower half hidden": (0, 16, 32, 32)}.items():
    region = box_to_token_mask(box, 32, grid, dilate=0).expand(len(tokens), -1)
    rows[title] = figures.masked_canvas(pictures[:8], region[:8], grid, scale=3).float() / 255
    with torch.no_grad():
        answers = {
            "painter": edit_tokens(my_painter, tokens, region, labels, temperature=2.0, generator=generator(0)),
            "printer": autoregressive_edit(printer, tokens, region, labels, generator(0)),
        }
        for name, answer in answers.items():
            images = composite(tokenizer, pictures, answer, region)  # with the given half as it was
            share = palettes[f"{name}, {title}"] = (palette_of(images) == palette_of(pictures)).double().mean().item()
            rows[f"{name}\n{title}\n{share:.0%} keep theirs"] = images[:8]
for case, share in palettes.items():
    print(f"{case}: {share:.0%} keep their palette")
outcome("4 halves", min(palettes, key=palettes.get))
alt = "Completed halves: only where the printer paints the upper half, its colours do not match the given half."
show(figures.labelled_rows(rows), alt)

# %% [markdown]
# With the lower half hidden, the task suits the printer: everything given comes before what it must choose. With the
# upper half hidden, it must choose before it has read any of the given tokens. For the painter the two are alike.
#
# ## Break it: no root
#
# Scores are sums of d products. If the entries of q and k have size 1, the scores have size √d. Softmax of large
# numbers is nearly a maximum: one weight is near 1, the others are near 0, and so is the gradient.
#
# **Predict before you run.** Take 64 random keys and one random query. How large is the largest weight, with and
# without the root, as d grows?

# %%
predict("4 root", "Without the root, how large is the largest of 64 weights at d = 256, from 0 to 1?")

# %%
series = {"with the root": [], "without": []}
for d in (1, 2, 4, 8, 16, 32, 64, 128, 256):
    q, k = torch.randn(200, 1, d, generator=generator(d)), torch.randn(200, 64, d, generator=generator(d + 1))
    scores = (q @ k.transpose(-1, -2)).squeeze(1)  # (200, 64)
    for name, scaled in {"with the root": scores / d**0.5, "without": scores}.items():
        series[name].append((d, scaled.softmax(-1).amax(-1).mean().item()))
outcome("4 root", series["without"][-1][1])
alt = "As d grows, the largest weight stays low with the root; without it, the weight climbs steeply towards 1."
show(figures.curves(series, "d, the width of a head", "largest of 64 weights, mean"), alt, width=600)

# %% [markdown]
# ## Break it: a bag of tokens
#
# What happens without the places? We take the trained painter and break it in three ways: make the queries √d times as
# large, which undoes the root; shuffle the vectors of the places; set all of these vectors to zero.
#
# **Predict before you run.** Which hurts least, and what do the pictures without places look like?

# %%
predict("4 broken", "Which hurts least?", ["no root", "places shuffled", "places all zero"])

# %%
asked = torch.arange(10).repeat_interleave(10)


def painted(model, labels=asked):
    """Pictures, and the share that the judge finds right."""
    with torch.no_grad():
        images = tokenizer.decode(decode(model, labels, steps=8, temperature=2.0, generator=generator(0)))
    return images, class_accuracy(judge, images, labels)


broken = {name: copy.deepcopy(my_painter) for name in ("no root", "places\nshuffled", "places\nall zero")}
with torch.no_grad():
    for block in broken["no root"].blocks:
        for part in (block.qkv.weight, block.qkv.bias):
            part[: painter.width] *= (painter.width // painter.heads) ** 0.5  # the first third makes the queries
    broken["places\nshuffled"].positions[1:] = painter.positions[1:][torch.randperm(N, generator=generator(0))]
    broken["places\nall zero"].positions[1:] = 0
rows, judged = {}, {}
for name, model in {"as it is": my_painter, **broken}.items():
    images, judged[name] = painted(model)
    rows[f"{name}\n{judged[name]:.0%} right"] = images[::10]
outcome("4 broken", max(broken, key=judged.get).replace("\n", " "))
alt = "Glyphs are clear as it is, somewhat broken without the root, and mere specks with places shuffled or zero."
show(figures.labelled_rows(rows), alt, width=900)

# %% [markdown]
# That was not fair: the model had learned to rely on places. So train two small models from scratch on three of the
# classes. One has places, the other never has any.
#
# **Predict before you run.** The model without places sees which tokens there are and how many, but not where. What can
# it still get right: the shape, the colours, nothing?

# %%
SHARES = ["under 20 %", "20 to 80 %", "over 80 %"]
predict("4 bag", "Without places, how many of 120 pictures does the judge find right?", SHARES)


# %%
def train(places):
    """A small masked transformer, as in lesson 3, and its training loss (step, mean over 50 steps)."""
    torch.manual_seed(0)
    model = Transformer(K, 10, N, width=64, depth=3, heads=4, mlp_width=128, dropout=0.0, pre_norm=True)
    model = with_my_blocks(model)
    if not places:
        model.positions.data.zero_()
        model.positions.requires_grad_(False)
    loss = lambda tokens, labels: mvtm_loss(model, tokens, labels, draw_masks(*tokens.shape, cosine))
    return model, notebook.learn(model, loss, *notebook.three_classes(tokenizer, 6000, seed=0), steps=200)


three = torch.arange(3).repeat_interleave(40)
rows, curves = {}, {}
for name, places in {"with places": True, "without": False}.items():
    model, curves[name] = train(places)
    images, right = painted(model, three)
    rows[f"{name}\n{right:.0%} right"] = images[[0, 1, 2, 40, 41, 42, 80, 81, 82]]
outcome("4 bag", SHARES[(right >= 0.2) + (right > 0.8)])
alt = "With places there are rough stars, hearts and umbrellas; without, only specks in fitting colours."
show(figures.labelled_rows(rows, "Stars, hearts and umbrellas"), alt)

# %%
alt = "Training losses: with places the loss falls far; without, it soon stops falling and stays much higher."
show(figures.curves(curves, "step", "training loss, nats per hidden token"), alt, width=600)

# %% [markdown]
# Without places the canvas is a *bag of tokens*. The colours can still agree, because a bag is enough for that. But the
# model cannot know where to put them: on a blank canvas its answer is the same at every place.
#
# ## Exercises
#
# The package's `attention` calls PyTorch's fused kernel, which computes the formula above; its `Block` can also
# remember what it has read (lesson 6).
#
# <details><summary><b>attention</b>: the idea</summary>Scores, perhaps −∞ for what lies ahead, softmax over the
# keys, mean of the values.
# <details><summary>the shape</summary>q (…, S, d), k (…, S', d) → scores and weights (…, S, S') → (…, S, d).
# <details><summary>pseudo-code</summary><pre>scores = q times k transposed / sqrt(d)
# if causal: -infinity where the key's number is greater than the query's
# softmax over the last dimension, times v</pre>
# <!-- answer attention --></details></details></details>
#
# <details><summary><b>split_heads</b>: the idea</summary>Cut the last dimension in two, then move the heads forward.
# <details><summary>the shape</summary>(B, S, D) → (B, S, heads, d) → (B, heads, S, d).
# <details><summary>pseudo-code</summary><pre>unflatten the last dimension into heads and d
# exchange dimensions 1 and 2</pre>
# <!-- answer split_heads --></details></details></details>
#
# <details><summary><b>merge_heads</b>: the idea</summary>Undo the two steps. After an exchange of dimensions the memory
# is still in the old order, so `view` fails; `reshape` and `flatten` work.
# <details><summary>the shape</summary>(B, heads, S, d) → (B, S, heads, d) → (B, S, D).
# <details><summary>pseudo-code</summary><pre>exchange dimensions 1 and 2
# flatten the last two</pre>
# <!-- answer merge_heads --></details></details></details>
#
# <details><summary><b>Block.forward</b>: the idea</summary>There are two sublayers, each added to x. Only the place of
# the norm differs.
# <details><summary>the shape</summary>x (B, S, D) → qkv (B, S, 3 D) → three times
# (B, heads, S, d) → (B, S, D) → (B, S, D).
# <details><summary>pseudo-code</summary><pre>attend(x): qkv, cut in three, split heads, attention, merge heads, out
# mlp(x):    up, GELU, down
# pre-norm:  x + f(norm(x)), for both in turn
# else:      norm(x + f(x)), for both in turn</pre>
# <!-- answer Block --></details></details></details>
#
# Further, without a check:
# 1. Draw `looks` for another picture and place, or with nothing hidden at all. Which heads change?
# 2. Replace the learned places by sines and cosines of row and column. Does the small model learn faster?
# 3. Train the small model with `causal=True` on the masked task (with `model.blocks` changed only). What does it lose?

# %%
summary()  # your predictions, of all lessons

# %% [markdown]
# ## What the paper did
#
# - Section 3.1: BERT's architecture, bidirectional self-attention; section 4.1: 24 layers, 8 heads, width 768, MLP
#   3072, learned places, LayerNorm, truncated normal initialisation, dropout 0.1. With the tokenizer, 227 million
#   parameters.
# - The class is one more token at the front. Output weights are the embedding's, used again.
# - The released code has BERT's order, with the norm after the sum, and 16 heads, which changes no count.
#
# ## What to read next
#
# - Vaswani et al. 2017, *Attention Is All You Need*, section 3.2; footnote 4 there is this lesson's first break.
# - Devlin et al. 2019, *BERT*, figure 3: models that look one way and models that look both ways, side by side.
# - Xiong et al. 2020, *On Layer Normalization in the Transformer Architecture*: why the place of the norm matters.
#
# Next is lesson 5: this model paints.
