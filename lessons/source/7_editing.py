# %% [markdown]
# # Lesson 7: editing
#
# You can paint from a blank canvas (lesson 5). But the decoder does not need a *blank* canvas: it only needs to know
# which tokens are known. Give it a picture with a hole, and it fills the hole. Name another class, and it paints that
# class there. Put the picture on a larger canvas, and it continues beyond the edge. None of this needs extra training.
#
# You build the two ends of the pipe, from pixels to tokens (`box_to_token_mask`) and back (`blend`). Then you edit
# pictures with them, let the autoregressive rival try the same, and see what goes wrong if known tokens are not held.
# Until you write a function, the notebook uses the package's own.
#
# *Paper: section 4.3 and figures 1 and 6. Package: `editing.py`, and the command `python -m minimaskgit.edit`. Time:
# about an hour, and an hour for the exercises.*

# %%
from dataclasses import replace
from unittest.mock import patch

import torch
import torch.nn.functional as F  # noqa: F401 (your blend may want it)

from minimaskgit import editing, figures, notebook
from minimaskgit.building import check, mine
from minimaskgit.classifier import class_accuracy
from minimaskgit.data.glyphs import glyphs, palette_of
from minimaskgit.data.images import to_float
from minimaskgit.decoders import counts, loop, orders
from minimaskgit.decoders.loop import next_canvas
from minimaskgit.decoding import decode, sample_categorical
from minimaskgit.editing import autoregressive_edit, box_to_mask, composite, edit, inpaint, soften
from minimaskgit.figures.edits import outlined
from minimaskgit.measuring.class_edits import measure_class_edits
from minimaskgit.notebook import generator, show
from minimaskgit.outpainting import outpaint_steps
from minimaskgit.predictions import outcome, predict, summary
from minimaskgit.schedules import cosine

notebook.road_map(7)

# %% [markdown]
# ## The idea
#
# Encode the picture, mask the tokens of a region, decode as *another class*, and put the result back. First we do all
# of it with the package's function, and then part by part.

# %%
run = notebook.trained_run(train=False)  # True: train your own models first
tokenizer, model, judge = run.tokenizer(), run.transformer(), notebook.trained_judge(run)
names, N, K, MASK = run.label_names, model.num_tokens, model.num_codes, model.mask_id
S, grid, f = tokenizer.image_size, tokenizer.grid, tokenizer.downsampling  # pixels, tokens per side, pixels per token

pictures, labels = glyphs(400, seed=7)  # none of them was trained on
pictures = to_float(pictures)


def of_class(name, count=1):
    """The first pictures of a class."""
    return pictures[labels == names.index(name)][:count]


def canvas(images, region):
    """Pictures (B, 3, S, S) with the tokens of a region, bool (B, N), hidden behind grey."""
    return figures.masked_canvas(images, region.expand(len(images), -1), grid)


def framed(images, box):
    """Pictures (B, 3, S, S), enlarged, with a line around a box."""
    large = canvas(images, torch.zeros(1, N, dtype=torch.bool))
    scale = large.shape[-1] // S
    return outlined(large, box_to_mask(tuple(scale * x for x in box), scale * S, scale * S))


box = (f, f, S - f, S - f)  # all but the outermost tokens
before = of_class("anchor")
targets = torch.tensor([names.index(name) for name in ("star", "heart", "umbrella", "sun", "airplane")])
result = edit(
    tokenizer, model, before.expand(5, -1, -1, -1), box_to_mask(box, S, S), targets, dilate=0, generator=generator(0)
)
none = torch.zeros(1, N, dtype=torch.bool)
cells = torch.cat([framed(before, box), canvas(before, result.region[:1]), canvas(result.images, none)])
alt = "An anchor, the same with all but its rim hidden, and five attempts at another thing in the same two colours."
show(figures.grid(cells, columns=7, titles=["before", "what it sees", *(names[t] for t in targets)]), alt)

# %% [markdown]
# The old picture sets the palette, the colours of background and glyph. The new class asks for a shape. Which of the
# five would you recognise? (The glyph is *new*; only the background was kept.)
#
# ## From pixels to tokens
#
# A user draws a box in pixels, half-open: x<sub>0</sub> ≤ x < x<sub>1</sub>. A token is f × f pixels. Which tokens does
# the box *touch*? One pixel is enough. Then the region grows by one or more tokens on every side, and at the corners:
# it is *dilated*. You will see why below. A box may reach beyond the picture; only the part inside the picture counts.
# An empty box touches nothing, however much it is dilated. The answer lists the tokens in *raster order*: row by row,
# beginning at the top left.
#
# **Exercise 1 of 2: `box_to_token_mask`.** *Medium, about 25 minutes.* Write it in the next cell, or in
# `lessons/exercises/lesson_7.py`, and check it with the cell below. Hints are at the end, under *Exercises*.


# %% tags=["answer"]
def box_to_token_mask(box, image_size, grid, dilate):
    """The tokens that a box x0, y0, x1, y1 in pixels touches, dilated: bool (N,) in raster order, N = grid^2.

    image_size: side in pixels, a multiple of grid. dilate: the region grows by this many tokens on every side.
    """
    raise NotImplementedError


# %%
check("box_to_token_mask")

# %%
my_box_to_token_mask = mine(editing.box_to_token_mask)
small = (9, 6, 21, 15)
grown = [my_box_to_token_mask(small, S, grid, dilate)[None] for dilate in (0, 1, 2)]
cells = torch.cat([framed(before, small), *(canvas(before, region) for region in grown)])
titles = ["the box", *(f"dilate {d}\n{region.sum()} tokens" for d, region in enumerate(grown))]
alt = "A box on an anchor, and the tokens that it hides: those that it touches, then one and two more on every side."
show(figures.grid(cells, columns=4, titles=titles), alt)

# %% [markdown]
# ## Decoding from the middle
#
# We use lesson 5's loop with two changes: it starts from this canvas, and at a later step. The schedule's first steps
# fix very few tokens, which makes sense when nothing is known, but here much is known. The released code starts at step
# 2 of 12.
#
# **Predict before you run.** How many of the *known* tokens will the decoder change?

# %%
predict("7 known", "How many of the known tokens will the decoder change?")

# %%
image, region = before.expand(6, -1, -1, -1), my_box_to_token_mask(box, S, grid, 0).expand(6, -1)
tokens = tokenizer.encode(image)
heart = torch.full((6,), names.index("heart"))
edited = decode(model, heart, tokens.masked_fill(region, MASK), steps=12, start_step=2, generator=generator(1))
print(f"of {(~region).sum()} known tokens it changed {(edited != tokens)[~region].sum()}")
outcome("7 known", (edited != tokens)[~region].sum().item())
print(f"of {region.sum()} masked ones {(edited != tokens)[region].sum()}")

# %% [markdown]
# ## Back to pixels
#
# Is the picture unchanged outside the region? Not yet. Its *tokens* are, but encoding and decoding lose detail, and the
# decoder looks beyond a token's own cell. So we put the original pixels back where nothing was to change. To hide the
# seam, we mix the two pictures along a soft rim: the mask, blurred by a Gaussian, which is a bell-shaped curve.
#
# > picture = α · generated + (1 − α) · original, where α is the weighted mean of the mask around a pixel
#
# > weight at a distance of d pixels = exp(−d² / (2 · radius²)), divided by the sum of all weights
#
# The bell is cut off at ⌈3 · radius⌉ pixels. Beyond the picture's edge, the mask keeps its value at the edge. Radius 0
# is a hard edge. Outside the rim, not a bit of the original may change.
#
# **Exercise 2 of 2: `blend`.** *Medium, about 35 minutes.* You can apply a Gaussian blur along the rows first and then
# along the columns.


# %% tags=["answer"]
def blend(original, generated, mask, radius):
    """The generated pixels inside the mask, the original ones outside, and a soft rim between the two.

    Images (B, 3, H, W), mask bool (B, H, W) or (H, W). radius: standard deviation of the Gaussian, in pixels.
    """
    raise NotImplementedError


# %%
check("blend")

# %%
my_blend = mine(editing.blend)
painted = tokenizer.decode(edited)
mask = box_to_mask(box, S, S)
outside = ~mask
radius = S / 16 - 1  # the released code's, in pixels
far = soften(mask, radius) == 0  # beyond the rim
changes = (painted - image)[..., outside], (my_blend(image, painted, mask, radius) - image)[..., far]
print("largest change of a pixel outside the box, decoded:", round(changes[0].abs().max().item(), 3))
print("largest change of a pixel beyond the rim, blended:    ", changes[1].abs().max().item())

# %%
alphas = torch.stack([soften(mask, radius) for radius in (0.0, 1.0, 2.5)])[:, None].expand(-1, 3, -1, -1)
pasted = torch.cat([my_blend(image[:1], painted[:1], mask, radius) for radius in (0.0, 1.0, 2.5)])
apart = (pasted - image[:1]).abs()
rows = {"α\nwhite: generated": alphas, "blended": pasted, "change\nfrom before": apart}
alt = "With a larger radius, α's white square gets a softer edge; the blended pictures hardly differ."
show(figures.labelled_rows(rows, "radius 0, 1 and 2.5"), alt)

# %% [markdown]
# ## Experiment: three edits, one loop
#
# *Inpaint*: the hole is filled as the picture's own class. *Class edit*: it is filled as another class. *Without a
# class*: the model gets no class and has to guess from what is left.
#
# **Predict, then try.** Here is an anchor to edit into a sun. How much of it must you erase before the answer is a sun
# and nothing else: a corner, half, or all but the outermost tokens? Which colours will it have? Untick *Also repaint a
# rim*, drag over the tokens to erase, choose *sun* and press *Repaint*. Press *Undo* and try another part.

# %%
notebook.playground(run, "edit", label=names.index("anchor"), seed=1)

# %% [markdown]
# Now apply all three edits to six pictures with the same hole.
#
# **Predict before you run.** The box hides the right half. In which of the three edits does the new half fit the old?

# %%
half, region_half = box_to_mask((S // 2, 0, S, S), S, S), my_box_to_token_mask((S // 2, 0, S, S), S, grid, 0)[None]
six = torch.cat([of_class(name) for name in ("heart", "umbrella", "airplane", "anchor", "club", "star")])
own = torch.tensor([names.index(name) for name in ("heart", "umbrella", "airplane", "anchor", "club", "star")])
how = {"dilate": 0, "temperature": run.config.decoding.temperature}
rows = {
    "before": canvas(six, none),
    "what it sees": canvas(six, region_half),
    "inpainted\nits own class": inpaint(tokenizer, model, six, half, own, generator=generator(0), **how).images,
    "class edit\nto a sun": edit(
        tokenizer, model, six, half, torch.full((6,), names.index("sun")), generator=generator(0), **how
    ).images,
    "without a class": inpaint(tokenizer, model, six, half, generator=generator(0), **how).images,
}
rows = {name: canvas(shown, none) if shown.is_floating_point() else shown for name, shown in rows.items()}
alt = "Right halves repainted: as their own class and without a class they fit; as a sun they mix both things."
show(figures.labelled_rows(rows), alt, width=760)

# %% [markdown]
# When half an anchor is left and you ask for a sun, the model paints a compromise: the known tokens count as well as
# the class. "Without a class", [MASK] stands in the class's place. The models that come with the project sometimes got
# it there in training (`class_dropout`, for guidance). For a model that always got a class, this row is a guess.
#
# ## Experiment: the rival on the same boxes
#
# You can also force the autoregressive model to keep known tokens: outside the region, the picture's own token replaces
# the drawn one. Read how:

# %%
notebook.source(autoregressive_edit)

# %% [markdown]
# **Predict before you run.** We edit to another class in two boxes of the same picture. The first leaves a rim of
# background all around. The second leaves only the lowest row of tokens. In which box will the rival lose the palette
# more often?

# %%
predict("7 palette", "Where does the rival lose the palette more often?", ["all but the rim", "all but the lowest row"])

# %%
causal = run.autoregressive()
boxes = {"all but the rim": box, "all but the lowest row": (0, 0, S, S - f)}
sky = of_class("club", 4)
sky_tokens, to_star = tokenizer.encode(sky), torch.full((4,), names.index("star"))
rows = {"before": canvas(sky, none)}
for name, place in boxes.items():
    hole = my_box_to_token_mask(place, S, grid, 0).expand(4, -1)
    start = sky_tokens.masked_fill(hole, MASK)
    made = {
        "MaskGIT": decode(model, to_star, start, steps=12, start_step=2, generator=generator(2)),
        "autoregressive": autoregressive_edit(causal, sky_tokens, hole, to_star, generator(2)),
    }
    for who, codes in made.items():
        rows[f"{who}\n{name}"] = canvas(composite(tokenizer, sky, codes, hole), none)
alt = "Clubs repainted as stars: only the rival that was given just the lowest row paints them in other colours."
show(figures.labelled_rows(rows), alt, width=640)

# %% [markdown]
# It is easy to see what you want to see. So count: we edit 200 unseen pictures to another class each. A judge says
# whether the picture shows the asked class, and a measurement says whether the palette is the same as before.

# %%
scores = {name: measure_class_edits(run, judge, count=200, box=place) for name, place in boxes.items()}
print(f"{'':26}{'asked class':>28}{'palette kept':>28}")
print(f"{'region':<26}" + 2 * f"{'MaskGIT':>13}{'autoregressive':>15}")
for name, by_decoder in scores.items():
    shares = [by_decoder[who][key] for key in ("asked_class", "kept_palette") for who in by_decoder]
    print(f"{name:<26}" + "".join(f"{share:>{width}.1%}" for share, width in zip(shares, (13, 15, 13, 15))))
outcome("7 palette", min(scores, key=lambda name: scores[name]["autoregressive"]["kept_palette"]))

# %% [markdown]
# The rim's upper edge comes first in raster order, so the rival can read the palette there. (What about the class? The
# rim on the right and below overwrites whatever the rival had begun to paint there.) Without the upper edge, the
# palette that it should keep comes *after* everything that it paints, so it has to guess one of eight. For MaskGIT it
# does not matter on which side the known tokens are. That is the benefit of "bidirectional".
#
# ## Experiment: beyond the edge
#
# *Outpainting*: the picture lies on a larger canvas, and the rest is unknown. The transformer still reads N tokens, so
# a window slides outwards, half a window at a time. At each stop, the unknown tokens in the window are filled as in an
# edit.
#
# **Predict, then try.** The model has only seen glyphs in the middle of a picture. What will it paint to the right of
# one, and what below it? Then choose *music* and use *Extend by half a picture* to the right. Press *Undo* and extend
# it downwards.

# %%
notebook.playground(run, "edit", label=names.index("music"), seed=1)

# %% [markdown]
# Now do the same with the package, step by step and to both sides, on a picture that was drawn and not generated:

# %%
margins, music = (S // 2, 0, S // 2, 0), torch.tensor([names.index("music")])  # left, top, right, bottom
states = list(outpaint_steps(tokenizer, model, of_class("music"), margins, music, generator=generator(0)))
chosen = torch.linspace(0, len(states) - 1, 6).round().long().tolist()


def wide(state):
    """A canvas of any size with its unknown tokens grey, (1, 3, H, W)."""
    hidden = (state.tokens == MASK).repeat_interleave(f, 1).repeat_interleave(f, 2)[:, None]
    return torch.where(hidden, 0.88, state.images)


for side, x in {"left": 0, "right": 2 * S - S // 2}.items():
    new = states[-1].images[..., x : x + S // 2].repeat(1, 1, 1, 2)  # twice, for palettes are known of squares
    same = palette_of(new) == palette_of(of_class("music"))
    print(f"on the {side}: {'its palette goes on' if same else 'another palette'}")
strip = torch.cat([wide(states[i]) for i in chosen])
alt = "A note in the middle of a canvas twice as wide: the grey parts beside it fill up step by step."
show(figures.grid(strip, columns=3, titles=["at first", *(f"after step {i}" for i in chosen[1:])]), alt)

# %% [markdown]
# The lines above the picture say on which side the palette goes on. Look for seams and for pieces of a second glyph. In
# every training picture, one whole glyph was in the middle. The model has never seen a window with half a glyph at its
# edge, so it tends to begin another. A model paints what it has seen, and the paper's had seen landscapes.
#
# ## The same on photographs
#
# No function of this lesson knows about glyphs. Here they edit a seashore, which is generated first.
#
# **Predict before you run.** The glyphs obeyed the class in almost every edit. Will photographs?

# %%
photos = notebook.photo_run()
painter, photo_tokenizer, number = photos.transformer(), photos.tokenizer(), photos.label_names.index
things = ["school bus", "pizza", "goldfish", "beacon", "seashore"]
asked, beach = torch.tensor([number(thing) for thing in things]), torch.tensor([number("seashore")])
with torch.no_grad():
    shore = photo_tokenizer.decode(decode(painter, beach, steps=16, temperature=20.0, generator=generator(3)))
middle = box_to_mask((12, 12, 52, 52), 64, 64)
five = shore.expand(5, -1, -1, -1)
made = edit(photo_tokenizer, painter, five, middle, asked, temperature=20.0, generator=generator(0))
alt = "A seashore and its middle repainted as five things: all fit the light, few look like what was asked for."
show(figures.grid(torch.cat([shore, made.images]), columns=6, titles=["before", *things]), alt, photo=True)

# %% [markdown]
# The light and the horizon fit, but few things are what was asked for. The rim has a vote too, and to this model a
# beach says more than the name of a class. The last picture asks for the class that it had, so it is inpainted.
#
# ## Break it: no dilation
#
# A box may be smaller than the thing it should remove. Tokens around its edge then show pieces of the old glyph, or
# were encoded from pixels near it. They are known, so the decoder must fit them.
#
# **Predict before you run.** We edit a box over the glyph's middle to another class, dilated by 0, 1 and 2 tokens. How
# does the share of pictures with the asked class change? How much of the old picture is kept?

# %%
predict("7 dilation", "With which dilation do most pictures show the asked class?", [0, 1, 2])

# %%
middle = (S // 4, S // 4, S - S // 4, S - S // 4)
count = 200
images, olds = pictures[:count], labels[:count]
news = (olds + torch.randint(1, 10, (count,), generator=generator(0))) % 10
rows, by_dilation = {"before": framed(images[:8], middle)}, {}
for dilate in (0, 1, 2):
    result = edit(tokenizer, model, images, box_to_mask(middle, S, S), news, dilate=dilate, generator=generator(0))
    right = by_dilation[dilate] = class_accuracy(judge, result.images, news)
    palette = (palette_of(result.images) == palette_of(images)).double().mean()
    rows[f"dilate {dilate}\n{right:.0%} of the asked class\n{palette:.0%} keep the palette"] = canvas(
        result.images[:8], none
    )
outcome("7 dilation", max(by_dilation, key=by_dilation.get))
print("asked for:", ", ".join(names[new] for new in news[:8]))
alt = "A box repainted as another thing: with dilation 0 the old one remains, at 1 it is gone, at 2 so are the colours."
show(figures.labelled_rows(rows), alt, width=900)

# %% [markdown]
# Without dilation, parts of the old glyph stay, and the new one has to fit around them. One more token makes room. With
# a box of this size, two more tokens cover the whole canvas: check how much of the picture you are about to lose, and
# look at the palettes in the last row.
#
# ## Break it: known tokens overwritten
#
# Bug 7 in the [list of known bugs](bugs.md)
# of public MaskGIT code: the loop samples *all* tokens and does not hold the known ones. Two rules hold them. Below,
# the package's loop runs with a step in which either rule can be left out.
#
# **Predict before you run.** What becomes of the background? (Which tokens did the training loss ask about?)

# %%
predict("7 background", "Without both rules, what share of the known tokens changes, from 0 to 1?")


# %%
def careless(keep=True, sure=True):
    """The package's step from one canvas to the next, without the rules that hold known tokens."""

    def step(decoder, view):
        if not keep:  # rule 1, that a known token keeps its value, is missing
            view = replace(view, sampled=sample_categorical(view.logits, view.generator))
        if not sure:  # rule 2, that a known token is never masked, is missing
            view = replace(view, known=torch.zeros_like(view.known))
        return next_canvas(decoder, view)

    return step


PAPER = loop.Decoder(orders.confidence(0.0), counts.scheduled(cosine))
some, new = images[:6], news[:6]
codes, hole = tokenizer.encode(some), my_box_to_token_mask(box, S, grid, 0).expand(6, -1)
rows = {"before": canvas(some, none)}
for name, switches in {
    "as it should be": {},
    "not kept": {"keep": False},
    "not sure": {"sure": False},
    "neither": {"keep": False, "sure": False},
}.items():
    with patch.object(loop, "next_canvas", careless(**switches)):
        *_, last = loop.run(PAPER, model, new, codes.masked_fill(hole, MASK), generator=generator(0))
    made = last.tokens
    changed = (made != codes)[~hole].double().mean().item()
    rows[f"{name}\n{changed:.0%} of the known\ntokens changed"] = canvas(tokenizer.decode(made), none)
outcome("7 background", changed)
alt = "If known tokens are not kept, blots replace the picture. If they are kept but not sure, it still looks right."
show(figures.labelled_rows(rows, "asked for: " + ", ".join(names[t] for t in new)), alt, width=760)

# %% [markdown]
# The loss counted only hidden tokens (lesson 3), so the model's answers at *known* places were never trained: they do
# not copy what is there. "Not sure" is the hardest to notice: it repaints known tokens only where the model finds them
# unlikely, so the picture stays plausible, but it is no longer the user's. One line of a test finds all three: known
# tokens before = known tokens after.
#
# ## Exercises
#
# <details><summary><b>box_to_token_mask</b>: the idea</summary>You can treat rows and columns separately: a token is
# touched if both its row and its column are.
# <details><summary>the shape</summary>bool (grid, 1) and bool (1, grid) → bool (grid, grid) → (N,).
# <details><summary>pseudo-code</summary><pre>cut the box to the picture; nothing left: no token
# first token = first pixel // f, last token = last pixel // f (the last is end - 1)
# from first - dilate to last + dilate</pre>
# The package shrinks the mask of the pixels and then dilates it, both with <code>max_pool2d</code>. So
# it takes regions of any shape.
# <!-- answer box_to_token_mask --> <!-- answer mask_to_token_mask --></details></details></details>
#
# <details><summary><b>blend</b>: the idea</summary>α is 1 inside, 0 outside, and between them a mean over neighbours
# of the mask, weighted by a bell.
# <details><summary>the shape</summary>mask (H, W) or (B, H, W) → α (B, 1, H, W), which all three colours share.
# <details><summary>pseudo-code</summary><pre>radius 0: alpha is the mask
# bell of 2 * ceil(3 radius) + 1 numbers, sum 1
# extend the mask beyond the edge by its outermost pixels; blur along rows, then columns
# original + alpha * (generated - original); exactly one of them where alpha is 0 or 1</pre>
# <!-- answer blend --> <!-- answer soften --></details></details></details>
#
# Further, without a check:
# 1. `python -m minimaskgit.edit --pretrained glyphs --sample 3 --box 4,4,28,28 --dilate 0 --label heart --rival` does
#    this lesson on the command line. Draw a mask of your own in any paint program and pass it with `--mask`.
# 2. Edit the edited picture again, ten times, back and forth between two classes. What gets lost?
# 3. Sweep `start_step` from 0 to 11. When does an edit begin to look like lesson 5's picture painted in one step?

# %%
summary()  # your predictions, of all lessons

# %% [markdown]
# ## What the paper did
#
# - Section 4.3 and figure 6: class-conditional editing, a box and another class; the model is the class-conditional one
#   of section 4.2, with no further training. A soft mask blends the result into the picture.
# - Section 4.3 and figure 1: inpainting and outpainting on Places2, photographs of places, at 512 × 512, compared with
#   GANs built for it.
# - In the released code: the box dilated by one token, decoding from step 2 of 12, the mask blurred with radius
#   image size / 16 − 1.
#
# ## What to read next
#
# - Lugmayr et al. 2022, *RePaint*: how a diffusion model, which has no tokens, fills a hole.
# - Chang et al. 2023, *Muse*: the same editing, from text and without a mask.
# - Li et al. 2023, *MAGE*: one masked model that paints and recognises.
#
# Next is lesson 8: how good are all these pictures, and how can you tell?
