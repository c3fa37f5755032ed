# %% [markdown]
# # Lesson 1: images to tokens
#
# A transformer reads and writes rows of whole numbers. A picture is thousands of pixels. Between the two stands the
# **tokenizer**. It turns a picture into a small grid of whole numbers, the *tokens*, and turns tokens back into a
# picture. Each token is the number of an entry in a list of vectors, the *codebook*. Everything later in this course is
# painted in tokens.
#
# Here you build its heart, the *vector quantizer*: four functions of a few lines each. Then you train small tokenizers
# with them in half a minute each, and break them in two ways. Until you have written a function, the package's own
# takes its place.
#
# *Paper: section 3, first stage; van den Oord et al. 2017 (VQ-VAE), section 3. Package: `tokenizer.py`. Time: about an
# hour, and an hour for the exercises.*

# %%
import math

import torch
import torch.nn.functional as F

from minimaskgit import figures, notebook, tokenizer
from minimaskgit.building import check, mine
from minimaskgit.data.glyphs import glyphs
from minimaskgit.data.images import to_float
from minimaskgit.notebook import generator, show
from minimaskgit.predictions import outcome, predict, summary
from minimaskgit.tokenizer import Tokenizer, VectorQuantizer

notebook.road_map(1)

# %% [markdown]
# ## The idea
#
# > picture → **encoder** → a vector z for each patch → the *nearest* entry of the codebook; its number is the token →
# > that entry, z<sub>q</sub> → **decoder** → picture
#
# Watch a trained one at work. The grey row is what is handed on. The shades are not colours of the picture: they show
# the tokens, which are only numbers.

# %%
run = notebook.trained_run(train=False)  # True: train your own first
trained = run.tokenizer()
pictures = to_float(glyphs(400, seed=11)[0])
with torch.no_grad():
    tokens = trained.encode(pictures)  # (B, N)
    back = trained.decode(tokens)
grid, K = trained.grid, trained.num_codes
as_grey = (tokens.view(-1, 1, grid, grid) / (K - 1)).expand(-1, 3, -1, -1)  # the number as a shade
rows = {"picture": pictures[:8], f"tokens\n{grid} x {grid} numbers": as_grey[:8], "back from\nthe tokens": back[:8]}
bits = trained.num_tokens * math.log2(K)
print(f"{pictures[0].numel() * 8} bits became {trained.num_tokens} tokens of {math.log2(K):.0f} bits: {bits:.0f}")
alt = "Eight glyphs, their tokens as 8 by 8 grey squares, and the glyphs restored from them, nearly unchanged."
show(figures.labelled_rows(rows), alt)

# %% [markdown]
# **Predict before you run.** We change *one* token of a picture, the one in the middle, to another entry. How much of
# the picture changes: its patch of 4 × 4 pixels (16), the patch and its surroundings (about 100), or everything (1024)?

# %%
predict("1 token", "About how many of a picture's 1024 pixels change so that one might see it?", [16, 100, 1024])

# %%
middle = grid // 2 * grid + grid // 2
changed = tokens[:8].clone()
changed[:, middle] = tokens[8:16, 0]  # the corner of another picture
with torch.no_grad():
    other = trained.decode(changed)
change = (other - back[:8]).abs().amax(1, keepdim=True)  # of the colour that changes most
pixels = (change > 0.02).double().sum((1, 2, 3)).mean().item()  # 0.02 are 5 of 255 shades
print(f"{pixels:.0f} pixels per picture change by more than 0.02, and one patch has 16")
outcome("1 token", min(16, 100, 1024, key=lambda count: abs(math.log(count / pixels))))
difference = 3 * change.expand(-1, 3, -1, -1)
rows = {"as it was": back[:8], "one token\nexchanged": other, "difference\n3 times": difference}
alt = "Eight glyphs before and after one token was exchanged: they differ near the middle, mostly in a few pixels."
show(figures.labelled_rows(rows), alt)

# %% [markdown]
# A token is local, but not sealed: the decoder's convolutions look at the neighbours too. So a token does not mean a
# fixed patch of pixels. It means "here, among those neighbours, something like this".
#
# ## Looking up
#
# The encoder returns a vector z of width D for each of the N places. The codebook has K entries e<sub>k</sub> of the
# same width. The token, or *code*, is the number of the nearest entry:
#
# > code = argmin over k of |z − e<sub>k</sub>|² = argmin over k of ( |z|² − 2 z·e<sub>k</sub> + |e<sub>k</sub>|² )
#
# The second form needs one matrix product for all distances at once. And |z|² is the same for every k, so you can leave
# it out.
#
# **Exercise 1 of 4: `nearest_codes`.** *Easy, about 15 minutes.* Write it in the next cell, or in
# `lessons/exercises/lesson_1.py`, and check it with the cell below. Hints are at the end, under *Exercises*.


# %% tags=["answer"]
def nearest_codes(z, codebook):
    """Number of the codebook entry nearest to each vector: (..., D) and (K, D) to int64 (...)."""
    raise NotImplementedError


# %%
check("nearest_codes")

# %%
my_nearest_codes = mine(tokenizer.nearest_codes)
with torch.no_grad():
    z = trained.encoder(pictures).movedim(1, -1)  # (B, h, w, D)
    codebook = trained.quantizer.entries()  # (K, D)
print(f"z {tuple(z.shape)}, codebook {tuple(codebook.shape)}")
print("the same as the slow way:", my_nearest_codes(z[0], codebook).equal(torch.cdist(z[0], codebook).argmin(-1)))

# %% [markdown]
# You cannot draw sixteen dimensions, but you can draw two. Here are 600 vectors in four clouds and a codebook of six
# random entries (crosses). Vectors of one colour share their nearest entry. An entry that no vector chose is grey.

# %%
centres = torch.tensor([[-2.0, -1.0], [-1.5, 1.5], [1.5, 1.2], [2.0, -1.5]])
cloud = (centres[:, None] + 0.35 * torch.randn(4, 150, 2, generator=generator(0))).flatten(0, 1)  # (600, 2)
start = torch.randn(6, 2, generator=generator(19))
alt = "Four clouds of points, coloured by the nearest of the crosses. The cross that is nearest to no point is grey."
show(figures.planes({"a random codebook": (cloud, my_nearest_codes(cloud, start), start)}), alt, width=500)

# %% [markdown]
# ## A choice has no gradient
#
# The decoder should teach the encoder: "had z been a little more like this, the picture would have been better". But
# between them sits argmin, a choice. Move z a little and the entry stays the same: the gradient is zero wherever it
# exists. VQ-VAE's trick is a lie. In the forward pass, hand on the entry; in the backward pass, pretend that it was z.
#
# > out = z + sg(z<sub>q</sub> − z)
#
# sg, *stop gradient*, is `.detach()`: its value counts, its gradient does not. So the value of the sum is
# z<sub>q</sub>. Its gradient flows to z unchanged, and none flows to z<sub>q</sub>.
#
# **Exercise 2 of 4: `straight_through`.** *Easy, about 5 minutes.*


# %% tags=["answer"]
def straight_through(z, z_q):
    """The value of z_q with the gradient of z; both of one shape, and so is the result."""
    raise NotImplementedError


# %%
check("straight_through")

# %%
my_straight_through = mine(tokenizer.straight_through)
entries = torch.tensor([[0.0], [1.0]])
for name, through in {"without": lambda z, z_q: z_q, "with": my_straight_through}.items():
    z = torch.tensor([0.8], requires_grad=True)
    out = through(z, entries[my_nearest_codes(z, entries)])
    loss = (out - 3) ** 2  # some decoder that would like a 3
    gradient = torch.autograd.grad(loss, z)[0].item() if loss.requires_grad else "none: nothing flows back"
    print(f"{name:8} z = {z.item():.1f} is handed on as {out.item():.1f}; gradient at z: {gradient}")

# %% [markdown]
# ## Who moves
#
# Straight-through is a good lie only while z and its entry are close together. Two losses keep them close. Both measure
# the same distance; they differ only in which side moves (VQ-VAE equation 3):
#
# > codebook loss = |sg(z) − z<sub>q</sub>|² (the entry moves to the vectors that chose it)<br>
# > commitment loss = β |z − sg(z<sub>q</sub>)|² (the vector moves to its entry, but β = 0.25 times as strongly)
#
# The entries have no other teacher, so they must follow fast. The encoder has another teacher, the decoder, so this
# loss should hold it back without pinning it down. That is why β is on the *encoder's* side. Here |…|² is a *mean* over
# all elements, as in `F.mse_loss`, so each loss is a single number.
#
# **Exercise 3 of 4: `vq_losses`.** *Medium, about 20 minutes.*


# %% tags=["answer"]
def vq_losses(z, z_q, beta):
    """The codebook loss and the commitment loss, in this order, means over all elements: a tuple of two scalars."""
    raise NotImplementedError


# %%
check("vq_losses")

# %%
my_vq_losses = mine(tokenizer.vq_losses)
z, z_q = torch.tensor([1.0], requires_grad=True), torch.tensor([3.0], requires_grad=True)
for what, loss in zip(("codebook loss", "commitment loss"), my_vq_losses(z, z_q, 0.25)):
    at_z, at_entry = torch.autograd.grad(loss, (z, z_q), allow_unused=True, materialize_grads=True)
    pulls = 0 - at_z.item(), 0 - at_entry.item()
    print(f"{what:16} {loss.item():.2f}: pulls z by {pulls[0]:+.2f}, the entry by {pulls[1]:+.2f}")

# %% [markdown]
# **Predict before you run.** We train the codebook of the clouds above for 200 steps, by the codebook loss alone. Where
# do the six entries end up? Does each of the four clouds get one?

# %%
predict("1 idle", "How many of the six entries does no vector choose after the 200 steps?", range(6))


# %%
def learn(codebook, steps, revive_after=0):
    """Move the entries by gradient; those idle for `revive_after` steps restart at a random vector."""
    codebook, idle, draw = codebook.clone().requires_grad_(), torch.zeros(len(codebook)), generator(2)
    for _ in range(steps):
        codes = my_nearest_codes(cloud, codebook.detach())
        my_vq_losses(cloud, codebook[codes], beta=0.0)[0].backward()
        with torch.no_grad():
            codebook -= codebook.grad
            codebook.grad = None
            idle = torch.where(torch.bincount(codes, minlength=len(codebook)) > 0, 0, idle + 1)
            if revive_after:
                dead = idle >= revive_after
                codebook[dead] = cloud[torch.randint(len(cloud), (int(dead.sum()),), generator=draw)]
                idle[dead] = 0
    return cloud, my_nearest_codes(cloud, codebook.detach()), codebook.detach()


panels = {"at the start": learn(start, 0), "after 200 steps": learn(start, 200)}
outcome("1 idle", 6 - len(panels["after 200 steps"][1].unique()))
panels["the same, dead ones revived"] = learn(start, 200, revive_after=20)
alt = "After training, each cloud has a cross, one is between them, and the grey one has not moved until it is revived."
show(figures.planes(panels), alt)

# %% [markdown]
# Look at the grey crosses. Entries learn only from vectors that chose them. An entry that no vector chooses gets no
# gradient, so it does not move, and so it is not chosen the next time either: it is **dead**. The remedy is crude but
# works: move each entry that has been idle for a while onto some vector, where it will be chosen (third panel). This is
# called *revival*.
#
# ## How many codes are in use
#
# If most of K entries are dead, the codebook is really a small one. Counting the codes that occur is too kind, because
# occurring once is enough to count. The **perplexity** is better. It is the exponential of the entropy of the codes'
# frequencies p<sub>k</sub>:
#
# > perplexity = exp( − sum over k of p<sub>k</sub> log p<sub>k</sub> )
#
# It is K if all codes are equally frequent, and 1 if only one occurs. Here log is the natural logarithm. Mind the codes
# that never occur: count 0 log 0 as 0.
#
# **Exercise 4 of 4: `code_perplexity`.** *Easy, about 15 minutes.*


# %% tags=["answer"]
def code_perplexity(codes, num_codes):
    """exp(entropy) of the codes' frequencies: int64 of any shape, in 0..K-1, to a scalar tensor in 1..K."""
    raise NotImplementedError


# %%
check("code_perplexity")

# %%
my_code_perplexity = mine(tokenizer.code_perplexity)
print("perplexity", my_code_perplexity(tokens, K).item())
print("in use    ", len(tokens.unique()), "of", K, "codes at least once in", len(tokens), "pictures")

# %% [markdown]
# Put together, your functions make the package's quantizer: look up, compute the losses, hand on. Read it. It has a few
# options: it can look up on the unit sphere (`l2_norm`), move entries by a running mean (`ema`), or rotate the gradient
# (`rotate`).

# %%
notebook.source(VectorQuantizer.forward)

# %% [markdown]
# ## Experiment: how large a codebook?
#
# Now train whole tokenizers, with your functions inside. The encoder and decoder are small ones from the package.


# %%
def train(K, beta=0.25, losses=my_vq_losses, revive_after=30, steps=600, batch=32):
    """A small tokenizer, and the perplexity of its batches: (step, mean over 50 steps)."""
    torch.manual_seed(0)
    model = Tokenizer(32, width=32, multipliers=(1,), blocks=1, patch=4, num_codes=K, code_dim=8, l2_norm=False)
    codebook, idle = model.quantizer.codebook, torch.zeros(K)  # (K, D)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99))
    curve, used = [], []
    for step in range(steps):
        images = train_pictures[torch.randint(len(train_pictures), (batch,))]
        z = model.encoder(images).movedim(1, -1)  # (B, h, w, D)
        codes = my_nearest_codes(z.detach(), codebook.detach())
        z_q = codebook[codes]
        out = model.decoder(my_straight_through(z, z_q).movedim(-1, 1))
        loss = F.l1_loss(out, images) + sum(losses(z, z_q, beta))
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = 4e-3 * min(1, 2 * (1 - step / steps))  # falls over the second half
        optimizer.step()
        idle = torch.where(torch.bincount(codes.flatten(), minlength=K) > 0, 0, idle + 1)
        if revive_after and (dead := idle >= revive_after).any():
            vectors = z.detach().flatten(0, 2)
            codebook.data[dead] = vectors[torch.randint(len(vectors), (int(dead.sum()),))]
            idle[dead] = 0
        used.append(my_code_perplexity(codes, K).item())
        if (step + 1) % 50 == 0:
            curve.append((step + 1, sum(used[-50:]) / 50))
    return model.eval(), curve


@torch.no_grad()
def measured(model):
    """Reconstructions of unseen pictures, and numbers: PSNR in dB, perplexity, length of z, its distance to z_q."""
    z = model.encoder(pictures).movedim(1, -1)
    codes = my_nearest_codes(z, model.quantizer.codebook)
    images = model.decode(codes.flatten(1))
    psnr = -10 * F.mse_loss(images, pictures).log10().item()
    apart = (z - model.quantizer.codebook[codes]).norm(dim=-1).mean().item()
    return images, psnr, my_code_perplexity(codes, model.num_codes).item(), z.norm(dim=-1).mean().item(), apart


train_pictures = to_float(glyphs(4000, seed=12)[0])

# %% [markdown]
# **Predict before you run.** We train tokenizers with K = 2, 16 and 128 codes. The grid is always 8 × 8, so a picture
# has 64, 256 and 448 bits. With K = 2 it is 64 times a choice of two. Can you recognise anything?

# %%
rows, sizes = {"picture": pictures[:8]}, {}
for size in (2, 16, 128):
    model, sizes[size] = train(size)
    images, psnr, perplexity, *_ = measured(model)
    rows[f"K = {size}\n{psnr:.1f} dB, perplexity {perplexity:.0f}"] = images[:8]
alt = "Glyphs restored by small tokenizers with 2, 16 and 128 codes: all are blurred, but more codes show more shape."
show(figures.labelled_rows(rows), alt)

# %% [markdown]
# (PSNR is −10 log<sub>10</sub> of the mean squared error, in decibels: 10 more is a tenth of the error. The trained
# tokenizer at the beginning is wider and trained longer.) Even two codes say a good deal, because the decoder sees a
# token's neighbours too. More codes make better pictures, but the transformer that must predict them has a harder task.
# K is a compromise; the paper uses 1024.
#
# ## Break it: let the dead lie
#
# **Predict before you run.** We train with K = 128 and without revival. What is the perplexity at the end, and how much
# worse are the pictures?

# %%
predict("1 dead", "Without revival, what is the perplexity of the 128 codes at the end?")

# %%
model, alone = train(128, revive_after=0)
_, psnr, perplexity, *_ = measured(model)
outcome("1 dead", perplexity)
print(f"without revival: {psnr:.1f} dB, perplexity {perplexity:.0f} on unseen pictures")
curves = {"dead codes revived": sizes[128], "not revived": alone}
alt = "Perplexity over training: with revival it soon rises to most of 128, without revival it ends far lower."
show(figures.curves(curves, "step", "perplexity, of 128"), alt, width=600)

# %% [markdown]
# A good part of the codebook never wakes up. The pictures hardly show it: they are small, and the living codes make up
# for the dead. On photographs, with a large K, dead codes cost more, and published tokenizers have them too: the
# README of [MaskBit](https://github.com/markweberdev/maskbit) (Weber et al. 2024) lists how many codes several use.
#
# ## Break it: beta on the wrong side
#
# Bug 8 in the [list of known bugs](bugs.md) of public MaskGIT code: β multiplies the codebook loss. Nothing crashes.
#
# **Predict before you run.** We train with β = 0.25 on the right side and on the wrong one: how many decibels does the
# bug cost? Then we set β = 0 on either side. On the right side, nothing holds the encoder back. On the wrong side,
# nothing teaches the entries.

# %%
predict("1 beta", "At β = 0.25, how many decibels does the bug cost?", ["less than 1", "1 or more"])


# %%
def wrong_vq_losses(z, z_q, beta):
    codebook_loss, commitment_loss = my_vq_losses(z, z_q, 1.0)
    return beta * codebook_loss, commitment_loss


print(f"{'':24} PSNR dB   perplexity   length of z   distance to its entry")
rows, decibels = {}, {}
for beta in (0.25, 0.0):
    for side, losses in {"right": my_vq_losses, "wrong": wrong_vq_losses}.items():
        images, *numbers = measured(train(128, beta, losses)[0])
        print(f"beta {beta:4}, {side} side{numbers[0]:13.1f}{numbers[1]:13.0f}{numbers[2]:14.2f}{numbers[3]:15.2f}")
        rows[f"beta {beta}\non the {side} side"] = images[:8]
        decibels[beta, side] = numbers[0]
outcome("1 beta", "1 or more" if decibels[0.25, "right"] - decibels[0.25, "wrong"] >= 1 else "less than 1")
alt = "Restored glyphs: at β = 0.25 both sides look alike; at β = 0 the colours break up, but only on the right side."
show(figures.labelled_rows(rows), alt)

# %% [markdown]
# Compare the first two rows: the bug costs hardly anything here, which is why it survives in public code. It does
# change the third and fourth numbers. An encoder that is pulled at full strength stays close to its entries and makes
# its vectors short.
#
# The other two rows tell the losses apart. Without the commitment loss the encoder runs away: its vectors grow longer
# and longer, the entries chase after them, and the straight-through lie becomes a big one. Without the codebook loss
# the entries stay where they began, and only revival brings them to the vectors.
#
# You cannot see such a bug in a picture. You see it in a gradient. So the law of this lesson asks which loss moves
# which side, and by how much.
#
# ## Exercises
#
# <details><summary><b>nearest_codes</b>: the idea</summary>Compute all distances at once, then take the position of the
# least.
# <details><summary>the shape</summary>z (..., D) and codebook (K, D) → distances (..., K) → int64 (...).
# <details><summary>pseudo-code</summary><pre>distances = |e|^2 - 2 z e^T      (one matrix product)
# argmin over the last dimension</pre>
# <!-- answer nearest_codes --> <!-- answer relative_distances --></details></details></details>
#
# <details><summary><b>straight_through</b>: the idea</summary>Add to z something whose value is z_q − z and which has
# no gradient.
# <details><summary>the shape</summary>Both (...), and so is the result.
# <details><summary>pseudo-code</summary><pre>z + stop gradient(z_q - z)</pre>
# <!-- answer straight_through --></details></details></details>
#
# <details><summary><b>vq_losses</b>: the idea</summary>The same mean square twice, with the other one detached.
# <details><summary>the shape</summary>Two tensors (..., D) → two scalars.
# <details><summary>pseudo-code</summary><pre>mean square of z_q - stop gradient(z)          moves the entries
# beta * mean square of z - stop gradient(z_q)    moves the encoder</pre>
# <!-- answer vq_losses --></details></details></details>
#
# <details><summary><b>code_perplexity</b>: the idea</summary>Count, divide, entropy, exponential. Mind codes that never
# occur: 0 log 0 is 0 and not nan.
# <details><summary>the shape</summary>codes of any shape → counts (K,) → p (K,) → a scalar between 1 and K.
# <details><summary>pseudo-code</summary><pre>p = how often each of 0..K-1 occurs / how many there are
# exp(- sum of p log p, zeros left out)</pre>
# <!-- answer code_perplexity --></details></details></details>
#
# Further, without a check:
# 1. Which pixels does one token see? Change one pixel of a picture and count the tokens that change.
# 2. Train with `patch=8`, a grid of 4 × 4. How large must K be to match 8 × 8 with K = 16, if it can at all?
# 3. Normalise z and the entries to length 1 before looking up (the package's `l2_norm`). What happens to the dead?

# %%
summary()  # your predictions, of all lessons

# %% [markdown]
# ## What the paper did
#
# - Section 3: the first stage is a VQGAN, used as it is; everything new comes after it. Section 4.1: one tokenizer with
#   1024 codes turns 256 × 256 pixels into 16 × 16 tokens.
# - The authors' released tokenizer: only convolutions, GroupNorm and swish, latent width 256, inputs in [0, 1].
# - The sum of the two losses, with β = 0.25 on the encoder's side, is VQ-VAE's.
#
# ## What to read next
#
# - Van den Oord et al. 2017, *Neural Discrete Representation Learning* (VQ-VAE), section 3 and appendix A.1: the
#   losses, and the running mean in place of the codebook loss.
# - Yu et al. 2021, *Vector-quantized Image Modeling with Improved VQGAN*: narrow codes on the unit sphere, hardly any
#   dead.
# - Mentzer et al. 2023, *Finite Scalar Quantization*: no codebook at all, and none of this lesson's troubles.
#
# Next is lesson 2: why the pictures that come back are blurred, and the critics that mend it.
