# %% [markdown]
# # Lesson 0: painter or printer?
#
# A printer makes a picture from the top left to the bottom right, dot by dot, and never looks back. A painter sketches
# the whole canvas, keeps what is good, and then redoes the rest.
#
# For years, the models that made pictures out of *tokens* were printers. In 2021, the first models filled the whole
# canvas at once (*VQ-Diffusion*, *Unleashing Transformers*), in a hundred passes or so. In 2022, MaskGIT did it in
# eight, the surest tokens first. In this lesson you only watch and play: you see a race and an edit at which a printer
# fails. At the end is a map of the ten lessons in which you build everything yourself.
#
# *Paper: Chang et al. 2022, "MaskGIT: Masked Generative Image Transformer", section 1 and figures 1 and 2. Time: twenty
# minutes.*
#
# First, play. The cell below puts the trained painter into a page that runs in your browser. The painter fills a
# picture of 8 × 8 pieces, its *tokens*, in 8 passes over the canvas.
#
# **Predict, then try.** How many of the 64 tokens does it keep after the first pass, and where are they: on the object
# or in the background? Write it down. Then run the cell, step through the passes with ← and →, and try another *Class*
# and a *New seed*.

# %%
import torch

from minimaskgit import figures, notebook
from minimaskgit.autoregressive import raster_steps
from minimaskgit.classifier import class_accuracy
from minimaskgit.data.glyphs import glyphs
from minimaskgit.data.images import to_float
from minimaskgit.decoding import decode, decode_steps
from minimaskgit.editing import autoregressive_edit, box_to_mask, box_to_token_mask, composite, edit, edit_tokens
from minimaskgit.figures.edits import outlined
from minimaskgit.measuring.class_edits import measure_class_edits
from minimaskgit.measuring.race import contestants, measure, table
from minimaskgit.notebook import generator, show

run = notebook.trained_run(train=False)  # True: train your own models first
tokenizer, painter, printer = run.tokenizer(), run.transformer(), run.autoregressive()
judge, names = notebook.trained_judge(run), run.label_names
notebook.playground(run, label=names.index("umbrella"), seed=1)

# %% [markdown]
# It keeps very few at first, although it has guessed them all: the first guesses, made on a blank canvas, fit together
# worst. Further down, the page has a race, an eraser and a drawing sheet. Come back to them when the lesson reaches
# them.
#
# ## What they learned from
#
# They learned from small pictures that the package draws itself: ten things in eight pairs of colours, each slightly
# rotated, shifted and scaled. Training on them takes minutes on a laptop, and, as you will see, generated ones can be
# *checked*. (In a cell, `alt` says what its picture shows, for readers who cannot see it. Predict before you read it.)

# %%
pictures, labels = glyphs(40, seed=3)
pictures = to_float(pictures)
alt = "Twenty small pictures of things such as a star, a knight and a telephone, each in one pair of colours."
show(figures.grid(pictures[:20], columns=10, titles=[names[label] for label in labels[:20]]), alt)

# %% [markdown]
# ## The idea
#
# Neither model makes pixels. A *tokenizer* (lesson 1) turns a picture into a few numbers, its **tokens**, and turns
# tokens back into a picture. To make a picture, a model only has to choose its tokens. Here are one picture, its
# tokens, and the picture restored from the tokens alone.

# %%
with torch.no_grad():
    tokens = tokenizer.encode(pictures[:1])
    back = tokenizer.decode(tokens)
print(f"{pictures[0].numel()} numbers of 0..255 became {tokens.numel()} of 0..{tokenizer.num_codes - 1}:")
print("\n".join(" ".join(f"{token:3}" for token in row) for row in tokens.view(tokenizer.grid, -1).tolist()))
alt = "A star and what comes back from its tokens: the same star with slightly rougher edges."
show(figures.grid(torch.cat([pictures[:1], back]), columns=2, titles=["picture", "back from its tokens"]), alt)

# %% [markdown]
# Two transformers of the same size learned to choose tokens. They trained on the same pictures, for equally many steps.
#
# - The **printer** (*autoregressive*, as in GPT) asks: what is the *next* token, given all tokens before it? Each
#   network pass produces one token.
# - The **painter** (*MaskGIT*) asks: what is *every* missing token, given all known tokens, wherever they are? Each
#   pass predicts all of them. The painter keeps those it is surest of and asks again.
#
# **Predict before you run.** Both have the same number of tokens to choose. The painter gets 8 passes. When it has
# finished, what does the printer's canvas show? (`temperature` below is a knob of lesson 5.)

# %%
four = torch.tensor([names.index(name) for name in ("umbrella", "star", "anchor", "heart")])
painted = list(decode_steps(painter, four, steps=8, temperature=2.0, generator=generator(4)))
printed = list(raster_steps(printer, four, generator=generator(2)))
N = painter.num_tokens


@torch.no_grad()
def race(stride):
    """Frames: the canvases of both after each pass, unknown tokens grey."""
    left = torch.stack([tokenizer.decode(step.sampled) for step in painted])  # (T, B, 3, H, W)
    right = tokenizer.decode(printed[-1]).expand(N, -1, -1, -1, -1)  # (N, B, 3, H, W)
    not_yet = torch.arange(N) >= torch.arange(1, N + 1)[:, None]  # (N, N): after pass k the first k are there
    masks = torch.stack([step.masked for step in painted]), not_yet[:, None].expand(-1, len(four), -1)
    return figures.race(left, masks[0], right, masks[1], tokenizer.grid, stride)


alt = "Film of a race: MaskGIT finishes its four pictures in 8 passes, the printer continues row by row to pass 64."
notebook.film(race(stride=2), alt)

# %% [markdown]
# If your reader does not show moving pictures, here is the moment when the painter has finished.

# %%
alt = "After 8 passes, MaskGIT's four pictures are finished, and the printer has only the top row of each."
show(race(stride=8)[0], alt)

# %% [markdown]
# ## But is it faster?
#
# Passes are not seconds. The printer has a trick, a *cache*: it remembers what it computed for the earlier tokens, so
# that each pass processes one token and not all. The painter cannot use one exactly, because every new token may
# change what it computes for all others.
#
# **Predict before you run.** One picture at a time (batch 1), and 16 at a time: who wins, with the cache and without?

# %%
rows = measure(run, contestants(painter, printer, decode_steps, passes=8), batches=(1, 16), repeats=3)
print(table(rows))

# %% [markdown]
# The factors (x) are relative to the painter. Look for two things. For a single picture, the number of passes counts,
# because a small pass leaves most of the machine idle. There the painter should be ahead, and its lead grows with the
# number of operations that the machine can do at once. In large batches nothing is idle, so the amount of arithmetic
# counts. The printer with a cache does less of it, so it catches up, and for long sequences on few cores it wins.
# Lesson 6 measures this properly; the paper's "up to 64 times faster" is for many tokens on a parallel machine.
#
# And are the pictures any good? We ask a *judge*, a classifier that has seen only real pictures: does it see the class
# that was asked for?

# %%
asked = torch.arange(10).repeat_interleave(20)  # 20 of each class
with torch.no_grad():
    by_painter = tokenizer.decode(decode(painter, asked, steps=8, temperature=2.0, generator=generator(0)))
    for by_printer in raster_steps(printer, asked, generator=generator(0)):  # noqa: B007
        pass
    by_printer = tokenizer.decode(by_printer)
rows = {
    f"{who}, {class_accuracy(judge, images, asked):.0%} of {len(asked)} as asked": images[::10]
    for who, images in {"MaskGIT": by_painter, "autoregressive": by_printer}.items()
}
alt = "Twenty pictures each by MaskGIT and the printer: all can be recognised, some of MaskGIT's have stray spots."
show(figures.comparison(rows, columns=10), alt)

# %% [markdown]
# ## Filling holes
#
# A printer knows what lies *before* a token. A painter knows what lies *around* it. Take a picture, cut a hole, and ask
# for something else in the hole. Neither model was trained for this, but the painter always fills in what is missing.
#
# **Predict before you run.** Nobody tells the painter which colours to use: it gets the rim of the picture and one
# word, such as "knight". Which colours will the knight have?

# %%
chosen = [next(i for i, label in enumerate(labels) if names[label] == name) for name in ("heart", "telephone", "sun")]
box = box_to_mask((4, 4, 28, 28), 32, 32)  # the middle; what stays is a rim of one token
ten = torch.arange(10)
rows = []
for number, i in enumerate(chosen):
    ten_times = pictures[i].expand(10, -1, -1, -1)
    edited = edit(tokenizer, painter, ten_times, box, ten, dilate=0, temperature=2.0, generator=generator(number))
    kept = figures.masked_canvas(pictures[i][None], edited.region[:1], tokenizer.grid, scale=3)
    rows += [figures.masked_canvas(pictures[i][None], edited.region[:1] & False, tokenizer.grid, scale=3), kept]
    rows += figures.masked_canvas(edited.images, edited.region & False, tokenizer.grid, scale=3).split(1)
alt = "The middle of three pictures is repainted as each of ten things, always in the picture's own colours."
show(figures.grid(torch.cat(rows), columns=12, titles=["before", "what it sees", *names] * 3), alt, width=1000)

# %% [markdown]
# The first column is the picture, the second is all that the painter was shown of it, and the others are its ten
# answers.
#
# You can make the printer do the same: force the known tokens and let it choose the others. But when it chooses a
# token, it cannot see the rest of the row or any row below. How often does each model paint the class that was asked
# for, and how often in the picture's own pair of colours?

# %%
for who, score in measure_class_edits(run, judge, count=200).items():
    print(f"{who:15} the asked class {score['asked_class']:.0%}   the picture's colours {score['kept_palette']:.0%}")

# %% [markdown]
# Here the printer still sees something useful: the top rim comes before everything else. So make it harder and show
# only the lower half.
#
# **Predict before you run.** The upper half is hidden and the class is given. Whose halves will fit together?

# %%
upper = box_to_token_mask((0, 0, 32, 16), 32, tokenizer.grid, dilate=0)
i = chosen[0]
with torch.no_grad():
    known, label = tokenizer.encode(pictures[i][None]).expand(6, -1), labels[i].repeat(6)
    answers = {
        "MaskGIT": edit_tokens(painter, known, upper.expand(6, -1), label, temperature=2.0, generator=generator(0)),
        "autoregressive": autoregressive_edit(printer, known, upper.expand(6, -1), label, generator(0)),
    }
    shown = figures.masked_canvas(pictures[i][None], upper[None], tokenizer.grid, scale=3).float() / 255
    rows = {"what they see": shown} | {
        who: composite(tokenizer, pictures[i].expand(6, -1, -1, -1), answer, upper[None])
        for who, answer in answers.items()
    }
alt = "The lower half of a heart and six upper halves by each: MaskGIT's fit, most of the printer's do not."
show(figures.labelled_rows(rows), alt)

# %% [markdown]
# Each has six tries. The printer begins at the top, before it has read a single token of the given half. It has to
# guess, and nothing makes its guess fit the lower half.
#
# Now it is your turn. Choose a picture, where the hole is, and what to paint in it. (JupyterLab shows sliders; on the
# web you see one setting.)


# %%
def cut(picture, left, top, side, thing):
    """A square hole in a picture, filled as `thing`."""
    hole = box_to_mask((left, top, left + side, top + side), 32, 32)
    label = torch.tensor([names.index(thing)])
    done = edit(
        tokenizer, painter, pictures[picture][None], hole, label, dilate=0, temperature=2.0, generator=generator(0)
    )
    whole = figures.masked_canvas(pictures[picture][None], done.region & False, tokenizer.grid, scale=6)
    shown = figures.masked_canvas(pictures[picture][None], done.region, tokenizer.grid, scale=6)
    after = figures.masked_canvas(done.images, done.region & False, tokenizer.grid, scale=6)
    before = outlined(whole, hole.repeat_interleave(6, 0).repeat_interleave(6, 1))
    titles = ["before", "what it sees", f"after: {thing}"]
    return figures.grid(torch.cat([before, shown, after]), columns=3, titles=titles, scale=1)


alt = "A picture with a box on it, the same with the box hidden, and the picture after the box was repainted."
notebook.knob(cut, alt, picture=range(20), left=range(0, 9, 4), top=range(0, 9, 4), side=[8, 16, 24, 32], thing=names)

# %% [markdown]
# ## Break it
#
# If one pass can predict all tokens, why use eight?
#
# **Predict before you run.** We paint in one pass, two, four and eight. What exactly will be wrong with the pictures
# made in one pass?

# %%
rows = {}
for steps in (1, 2, 4, 8):
    with torch.no_grad():
        images = tokenizer.decode(decode(painter, asked, steps=steps, temperature=2.0, generator=generator(0)))
    title = f"{steps} pass{'es' * (steps > 1)}\n{class_accuracy(judge, images, asked):.0%} as asked"
    rows[title] = images[::20]
alt = "Ten things painted in 1, 2, 4 and 8 passes: one pass makes noise, two make blots, eight make clear things."
show(figures.labelled_rows(rows), alt, width=900)

# %% [markdown]
# With one pass, each token is likely but the tokens contradict each other: a single umbrella may mix several pairs of
# colours. How can tokens agree, in how few passes, and which ones should be kept each time? These questions are the
# heart of this course.
#
# ## The same on photographs
#
# Glyphs make experiments quick, but no line of `decode` knows about them. These models learned from 100,000 photographs
# of 200 kinds of things, 64 × 64 pixels each, in minutes on a GPU. A picture is now 256 tokens of 1024 codes.
#
# **Predict before you run.** What will be right in these pictures, and what wrong: colours, textures, layout, shapes?

# %%
photos = notebook.photo_run()
things = ["goldfish", "school bus", "pizza", "seashore", "espresso"]
asked = torch.tensor([photos.label_names.index(thing) for thing in things]).repeat(2)
with torch.no_grad():
    tokens = decode(photos.transformer(), asked, steps=16, temperature=20.0, generator=generator(0))
    images = photos.tokenizer().decode(tokens)
alt = "Ten generated photographs, such as pizza and seashore: right colours and textures, but hardly any shapes."
show(figures.grid(images, columns=5, titles=things * 2), alt, photo=True)

# %% [markdown]
# Colours, textures and layouts come out. The shapes of animals and machines mostly do not. They take a larger model
# and longer training (lesson 9), but no other method.
#
# ## Where the course goes

# %%
notebook.road_map(0)

# %% [markdown]
# | lesson | the question | what you build |
# | --- | --- | --- |
# | 1 | How does a picture become numbers? | the codebook and its gradient through a choice |
# | 2 | Why are its pictures not blurred? | critics: a perceptual loss and a discriminator |
# | 3 | How do you teach a painter? | mask schedules, masks and the loss on what is hidden |
# | 4 | How does every token see every other? | attention and the transformer's block |
# | 5 | How does it paint in 8 passes? | confidence, re-masking, the whole loop |
# | 6 | How does its rival work? | sampling token by token, the cache, a fair race |
# | 7 | How do you edit a picture? | from a box in pixels to tokens and back |
# | 8 | How good is it, and compared with what? | Fréchet distance, precision, recall; a GAN and a diffusion model |
# | 9 | How do you train on photographs? | the arithmetic of training, a real run, the recipe for a GPU |
# | 10 | What came after the paper? | another order, taking tokens back, a critic |
#
# Each lesson explains an idea and gives you stubs. You write the functions, check them in place and use them in
# experiments whose results you predict first. Then you break the idea on purpose. Hints are at the end. `make check-3`
# tests your answers by *laws*, properties that every right answer has, and names the law that yours breaks. Nothing
# needs a GPU or a network.
#
# ## What the paper did
#
# - Section 1 and figure 2: the printer needs one pass for each token, 64 here and 256 on ImageNet; the painter needs
#   about 8 in both cases.
# - Table 1, ImageNet 256 × 256: FID 6.18 in 8 passes, against 18.65 in 256 passes for a printer with the same tokens.
#   Glyphs are easy, so do not expect such a gap here: look at the judge's numbers above, whichever model is ahead.
# - Section 4.3: class-conditional edits, inpainting and outpainting, with nothing trained for them.
#
# ## What to read next
#
# - Figures 1, 2 and 5 of the paper, before any of its text.
# - Esser et al. 2021, *Taming Transformers*: the printer that MaskGIT set out to beat.
#
# Next is lesson 1, `make lab-1`: how a picture becomes 64 numbers.
