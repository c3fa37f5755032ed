# %% [markdown]
# # Lesson 2: VQ-GAN
#
# The tokenizers of lesson 1 returned pictures that look as if seen through a steamed-up window. More training helps,
# but slowly, because their loss rewards blur. Here you ask for something better, with two critics. One network says
# whether two pictures *look* alike. Another says whether a picture looks *real*, and it learns while the tokenizer
# trains.
#
# You write both critics' losses: five functions of one or two lines each. Then you train tokenizers with them, and
# break the game in two ways. Until you write a function, the notebook uses the package's own.
#
# *Paper: section 3, first stage; Esser et al. 2021 (VQ-GAN), section 3.1. Package: `adversary.py`, a page and a half.
# Time: about an hour, and an hour for the exercises.*

# %%
import copy

import torch
import torch.nn.functional as F

from minimaskgit import adversary, figures, notebook
from minimaskgit.adversary import PatchDiscriminator
from minimaskgit.building import check, mine
from minimaskgit.classifier import Classifier
from minimaskgit.data.glyphs import glyphs
from minimaskgit.data.images import to_float
from minimaskgit.notebook import generator, show
from minimaskgit.predictions import outcome, predict, summary
from minimaskgit.runs.models import load_model
from minimaskgit.tokenizer import Tokenizer

notebook.road_map(2)

# %% [markdown]
# ## The idea
#
# A tokenizer has few bits, so it does not know everything: was the edge here, or one pixel further? Let x be a picture
# and x̂ what the tokenizer returns. A loss of pixels, the mean of |x − x̂| (*L1*) or of its square (*L2*), clearly says
# what to do when in doubt: *hedge*. Take two sharp pictures that are equally likely, and three possible answers.
#
# **Predict before you run.** Which of the answers has the smallest error on average: the one picture, the other, or the
# blurred mean of both? And which would you choose?

# %%
predict("2 hedge", "Which answer has the smallest squared error (L2)?", ["the one", "the other", "their mean"])

# %%
pictures, labels = glyphs(400, seed=21)
pictures = to_float(pictures)
here, there = pictures[:8], pictures[:8].roll(2, dims=-1)  # the same, two pixels to the right
mean = (here + there) / 2
rows, squared = {}, {}
for name, answer in {"the one": here, "the other": there, "their mean": mean}.items():
    l1 = [F.l1_loss(answer, truth).item() for truth in (here, there)]
    l2 = [F.mse_loss(answer, truth).item() for truth in (here, there)]
    squared[name] = sum(l2) / 2
    rows[f"{name}\nL1 {sum(l1) / 2:.4f}, L2 {squared[name]:.4f}"] = answer
outcome("2 hedge", min(squared, key=squared.get))
alt = "Eight glyphs, the same two pixels to the right, and the mean of both, whose edges are blurred."
show(figures.labelled_rows(rows), alt)

# %% [markdown]
# L2 rewards the blur: it has half the error of a sharp guess. L1 does not distinguish between the three. With more
# possibilities it prefers the median of each pixel, which is not a picture either. Neither asks what the answer looks
# like *as a whole*.
#
# ## How alike
#
# So do not compare pixels: compare what a network sees in them. The network here is a small classifier of glyphs,
# trained by the package. Its *feature maps*, the outputs of its layers, show edges and corners in the first layer, and
# parts of things in later layers. We call those of layer l φ<sub>l</sub>. (The paper's network is VGG, trained on
# ImageNet.)
#
# > perceptual loss = mean over layers of mean |φ<sub>l</sub>(x) − φ<sub>l</sub>(x̂)|²
#
# **Exercise 1 of 5: `perceptual_loss`.** *Easy, about 15 minutes.* Write it in the next cell, or in
# `lessons/exercises/lesson_2.py`, and check it with the cell below. Hints are at the end, under *Exercises*.


# %% tags=["answer"]
def perceptual_loss(features_a, features_b):
    """Mean squared difference of each layer's feature maps, averaged over the layers; a scalar.

    features_a, features_b: a list each, with one tensor a layer; layers may differ in shape.
    """
    raise NotImplementedError


# %%
check("perceptual_loss")

# %%
my_perceptual_loss = mine(adversary.perceptual_loss)
run = notebook.trained_run(train=False)  # True: train your own first
network = load_model(Classifier, run.folder / "classifier").requires_grad_(False)
judge = notebook.trained_judge(run)  # another classifier, trained separately, for measuring
features = network.features(here)
print("feature maps:", [tuple(layer.shape[1:]) for layer in features])
print(f"a picture and its blurred mean: {my_perceptual_loss(features, network.features(mean)):.4f}")
print(f"a picture and itself: {my_perceptual_loss(features, features):.4f}")

# %% [markdown]
# **Predict before you run.** Here are four ways to damage a picture: blur it, shift it by a pixel, make it a little
# darker, or add noise. Which raises L1 most, and which raises the perceptual loss most?

# %%
predict("2 damage L1", "Which damage has the largest L1?", ["blurred", "shifted", "darker", "noisy"])

# %%
predict("2 damage", "Which damage has the largest perceptual loss?", ["blurred", "shifted", "darker", "noisy"])

# %%
damaged = {
    "blurred": F.avg_pool2d(F.pad(here, [1] * 4, mode="replicate"), 3, stride=1),
    "shifted": here.roll(1, dims=-1),
    "darker": 0.85 * here,
    "noisy": (here + 0.1 * torch.randn(here.shape, generator=generator(0))).clamp(0, 1),
}
rows, l1, unlike = {"as it was": here}, {}, {}
for name, answer in damaged.items():
    l1[name] = F.l1_loss(answer, here).item()
    unlike[name] = my_perceptual_loss(network.features(answer), features).item()
    rows[f"{name}\nL1 {l1[name]:.3f}, perceptual {unlike[name]:.3f}"] = answer
for ruler, values in {"L1": l1, "perceptual": unlike}.items():
    print(f"{ruler:10} from most to least: {', '.join(sorted(values, key=values.get, reverse=True))}")
outcome("2 damage L1", max(l1, key=l1.get))
outcome("2 damage", max(unlike, key=unlike.get))
alt = "Eight glyphs as they were, blurred, shifted, darker and noisy. L1 and perceptual loss stand beside each row."
show(figures.labelled_rows(rows), alt)

# %% [markdown]
# Compare the two orders above. Neither is *right*: a network that was trained to name things cares about what tells
# them apart. That is an opinion, but a better one than "pixels count one by one".
#
# ## The critic
#
# Tricks can fool a fixed network. A *discriminator* D learns to see through them. It returns a score for each patch of
# a picture, high for real patches and low for fake ones; `PatchDiscriminator` is a few convolutions. Its loss
# is the hinge: real scores should be above 1 and fake ones below −1. Scores beyond these limits cost nothing and teach
# nothing.
#
# > L<sub>D</sub> = ½ mean max(0, 1 − D(x)) + ½ mean max(0, 1 + D(x̂))
#
# **Exercise 2 of 5: `hinge_d_loss`.** *Easy, about 10 minutes.*


# %% tags=["answer"]
def hinge_d_loss(real, fake):
    """The discriminator's loss, from scores of real and of fake patches, of any shapes; a scalar."""
    raise NotImplementedError


# %%
check("hinge_d_loss")

# %%
my_hinge_d_loss = mine(adversary.hinge_d_loss)
torch.manual_seed(0)
discriminator = PatchDiscriminator(width=16, layers=2)
real, fake = discriminator(here), discriminator(mean)
print(f"scores {tuple(real.shape)}: {real.shape[-1]} x {real.shape[-1]} patches, before any training")
print(f"loss {my_hinge_d_loss(real, fake):.3f}; a critic that says 0 to everything has 1")

# %% [markdown]
# ## The forger
#
# The tokenizer wants the opposite: its pictures should score high. Its loss has no hinge, so it is never satisfied.
#
# > L<sub>G</sub> = − mean D(x̂)
#
# **Exercise 3 of 5: `hinge_g_loss`.** *Easy, about 5 minutes.*


# %% tags=["answer"]
def hinge_g_loss(fake):
    """The generator's loss, which falls as the scores of its fakes rise: scores of any shape to a scalar."""
    raise NotImplementedError


# %%
check("hinge_g_loss")

# %%
my_hinge_g_loss = mine(adversary.hinge_g_loss)
scores, sure = torch.linspace(-3, 3, 61), torch.tensor(9.0)  # of the other kind of patch the critic is sure
series = {
    "critic on a real patch": [(s.item(), my_hinge_d_loss(s, -sure).item()) for s in scores],
    "critic on a fake patch": [(s.item(), my_hinge_d_loss(sure, s).item()) for s in scores],
    "forger on its fake patch": [(s.item(), my_hinge_g_loss(s).item()) for s in scores],
}
alt = "The critic's loss is 0 above +1 for real patches and below −1 for fake ones; the forger's falls without end."
show(figures.curves(series, "score", "loss"), alt, width=600)

# %% [markdown]
# ## Whose step is it
#
# Two players, two losses, one chain: picture → encoder → codes → decoder → x̂ → D. Each loss must move only its own
# player. In the critic's step the fakes are *detached*: they count as plain pictures, wherever they came from. In the
# forger's step the critic's weights do not change.
#
# **Exercise 4 of 5: `discriminator_loss`.** *Medium, about 15 minutes.* Call your `hinge_d_loss`.


# %% tags=["answer"]
def discriminator_loss(discriminator, real, fake):
    """`hinge_d_loss` of two batches of images (B, 3, H, W); no gradient may reach the generator that made `fake`.

    discriminator: called as discriminator(images), returns scores.
    """
    raise NotImplementedError


# %%
check("discriminator_loss")

# %%
my_discriminator_loss = mine(adversary.discriminator_loss)
fake = mean.clone().requires_grad_()  # stands for what a decoder made
loss = my_discriminator_loss(discriminator, here, fake)
loss.backward()
print(f"loss {loss.item():.3f}, gradient at the fakes: {fake.grad}")

# %% [markdown]
# ## Two losses in balance
#
# How much weight should the forger's loss have relative to the reconstruction's? Scores have no unit, and the critic
# changes all the time. VQ-GAN measures how strongly each loss pulls at the decoder's last layer, through which all
# gradients pass.
#
# > λ = |∇ reconstruction| / ( |∇ L<sub>G</sub>| + 10<sup>−6</sup> )
#
# Here ∇ is the gradient at that layer, and |∇| its length, if all its numbers are read as one vector.
#
# With this weight both pull equally, however strongly the critic pulls, and one fixed factor says which of them leads
# (`GAN` below; 0.1 in the demo). If the critic does not pull at all, λ would be huge, so it is limited to 10,000. And
# no gradient may flow through λ: it is detached.
#
# **Exercise 5 of 5: `adaptive_weight`.** *Easy, about 15 minutes.*


# %% tags=["answer"]
def adaptive_weight(rec_grad, gan_grad):
    """λ from the gradients of the two losses at the decoder's last layer, of one shape; a scalar."""
    raise NotImplementedError


# %%
check("adaptive_weight")

# %%
my_adaptive_weight = mine(adversary.adaptive_weight)
rec_grad, gan_grad = torch.randn(2, 50, generator=generator(1))
for scale in (1.0, 0.01, 0.0):
    print(f"the critic's pull times {scale:4}: weight {my_adaptive_weight(rec_grad, scale * gan_grad).item():.2f}")

# %% [markdown]
# ## Experiment: three tokenizers
#
# First we train one small tokenizer on L1 alone. Then we continue its training three times, from the same weights and
# for the same number of steps: with L1 as before; with the perceptual loss added; and with the discriminator added too.
# The last of these uses all five of your functions. The last two arguments of `learn` are there for breaking it.

# %%
train_pictures = to_float(glyphs(4000, seed=22)[0])
PERCEPTUAL, GAN = 0.3, 0.3  # the weights
START, STEPS = 500, 250  # training steps without critics, and then with them


def learn(model, steps, perceptual=0.0, gan=0.0, balanced=True, detached=True):
    """Train a copy of a tokenizer further; returns it and its (step, value) curves by name."""
    torch.manual_seed(0)
    model, critic = copy.deepcopy(model).train(), PatchDiscriminator(width=16, layers=2)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.99))
    critic_optimizer = torch.optim.AdamW(critic.parameters(), 1e-3, betas=(0.5, 0.9))
    record = {"real": [], "fake": [], "weight": []}
    for step in range(steps):
        real = train_pictures[torch.randint(len(train_pictures), (32,))]
        fake, quantized = model(real)
        reconstruction = F.l1_loss(fake, real)
        if perceptual:
            alike = my_perceptual_loss(network.features(fake), network.features(real))
            reconstruction = reconstruction + perceptual * alike
        loss = reconstruction + quantized.codebook_loss + quantized.commitment_loss
        optimizer.zero_grad()
        if gan:
            critic.requires_grad_(False)  # the forger's step
            forged = my_hinge_g_loss(critic(fake))
            pulls = (
                torch.autograd.grad(term, model.decoder.last_layer, retain_graph=True)[0]
                for term in (reconstruction, forged)
            )
            weight = my_adaptive_weight(*pulls) if balanced else torch.ones(())
            loss = loss + gan * weight * forged
            critic.requires_grad_(True)  # the critic's step
            critic_optimizer.zero_grad()
            if detached:
                my_discriminator_loss(critic, real, fake).backward()
            else:
                loss = loss + my_hinge_d_loss(critic(real), critic(fake))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = 4e-3 * min(1, 2 * (1 - step / steps))  # falls over the second half
        optimizer.step()
        if gan:
            critic_optimizer.step()
            if (step + 1) % 10 == 0:
                with torch.no_grad():
                    values = critic(real).mean().item(), critic(fake).mean().item(), weight.item()
                for name, value in zip(record, values):
                    record[name].append((step + 1, value))
    return model.eval(), record


torch.manual_seed(0)
untrained = Tokenizer(
    32, width=32, multipliers=(1,), blocks=1, patch=4, num_codes=128, code_dim=8, l2_norm=False, revive_after=30
)
start, _ = learn(untrained, START)

# %% [markdown]
# How blurred is a picture? We measure the mean difference of neighbouring pixels and divide it by that of the real
# pictures: 1 is as sharp as real, less is blurred, more is noise. A network that took no part in training measures how
# alike the pictures are.
#
# **Predict before you run.** Who wins in L1? Who in sharpness?

# %%
predict("2 L1", "Which of the three has the lowest L1?", ["L1", "L1, perceptual", "L1, both critics"])

# %%
predict("2 sharp", "Which of the three is nearest to 1 in sharpness?", ["L1", "L1, perceptual", "L1, both critics"])


# %%
def edges(images):
    return (images.diff(dim=-1).abs().mean() + images.diff(dim=-2).abs().mean()).item()


l1, sharp = {}, {}  # what was measured, by the name of the row


@torch.no_grad()
def row(name, model):
    """A line of pictures with its numbers."""
    images = model.decode(model.encode(pictures))
    l1[name] = F.l1_loss(images, pictures).item()
    alike = my_perceptual_loss(judge.features(images), judge.features(pictures)).item()
    sharp[name] = edges(images) / edges(pictures)
    return {f"{name}\nL1 {l1[name]:.3f}\nunlike {alike:.3f}\nsharp {sharp[name]:.2f}": images[:8]}


more, _ = learn(start, STEPS)
perceptual, _ = learn(start, STEPS, perceptual=PERCEPTUAL)
both, record = learn(start, STEPS, perceptual=PERCEPTUAL, gan=GAN)
rows = {"real": pictures[:8]} | row("L1", more) | row("L1, perceptual", perceptual) | row("L1, both critics", both)
outcome("2 L1", min(l1, key=l1.get))
outcome("2 sharp", min(sharp, key=lambda name: abs(sharp[name] - 1)))
alt = "Real glyphs and three tokenizers': L1 makes clouds, the perceptual loss shapes, and the critics add little."
show(figures.labelled_rows(rows), alt)

# %% [markdown]
# Look at the pictures first, and then compare their numbers. Does the lowest L1 look best? The perceptual loss turns
# clouds into shapes and restores edges. In so few steps the discriminator changes little: compare the last two rows.
# Where the tokens do not say what was there, both critics make up something plausible that is not always true. (The
# tokenizer in lesson 1's first picture had the same losses and more time.)
#
# Now look at the game itself, step by step.

# %%
curves = {f"{name} patches": record[name] for name in ("real", "fake")}
alt = "Mean scores over training: those of real patches rise, those of fake patches fall, and the gap grows."
show(figures.curves(curves, "step", "mean score"), alt, width=600)

# %% [markdown]
# In a good game the critic stays a little ahead: real patches score higher than fake ones, but not by much. Where the
# two curves move far beyond +1 and −1, the critic has won: most patches cost it nothing and teach it nothing more, and
# it can hardly tell a better fake from a worse one. Which of the two do you see? Telling blots from glyphs is easier
# than drawing glyphs, so a critic usually wins against a weak forger.
#
# Now look at the balance: by how much was the forger's loss multiplied so that both pulled equally?

# %%
alt = "The adaptive weight over training: it falls steeply in the first steps and then stays small."
show(figures.curves({"adaptive weight": record["weight"]}, "step", "λ"), alt, width=600)

# %% [markdown]
# A surer critic has steeper scores, and so λ is smaller. Without λ, a winning critic would overwhelm the
# reconstruction.
#
# ## Break it: no detach
#
# Bug 9 in the [list of known bugs](bugs.md) of public MaskGIT code: the fakes are not detached in the critic's loss,
# and one `backward` computes all gradients. The decoder then gets the gradient of *both* losses of the game: one asks
# it to raise D(x̂), the other to lower D(x̂).
#
# **Predict before you run.** Does it crash? Will the reconstruction loss reveal the bug? Will the pictures?

# %%
predict("2 leak", "What does the bug do to the sharpness?", ["less", "within 0.05 the same", "more"])

# %%
leaking, leaks = learn(start, STEPS, perceptual=PERCEPTUAL, gan=GAN, detached=False)
rows = row("as it should be", both) | row("not detached", leaking)
sharper = sharp["not detached"] - sharp["as it should be"]
outcome("2 leak", "within 0.05 the same" if abs(sharper) <= 0.05 else "more" if sharper > 0 else "less")
alt = "Restored glyphs, fakes detached and not: the shapes are alike, but those of the second row have more specks."
show(figures.labelled_rows(rows), alt)

# %% [markdown]
# It does not crash. The forger now helps the critic, because its loss falls when it is caught. Look for patterns that
# no picture needs, and at the sharpness, which should be 1. How visible the bug is depends on which pull is stronger,
# and that changes from run to run. How far apart are the scores of real and fake patches now?

# %%
series = {"real, detached": record["real"], "fake, detached": record["fake"]}
series |= {"real, not detached": leaks["real"], "fake, not detached": leaks["fake"]}
for name, points in series.items():
    late = [value for _, value in points[len(points) // 2 :]]
    print(f"{name:20} mean score over the second half {sum(late) / len(late):+.2f}")

# %% [markdown]
# Neither a picture nor a loss curve proves that the code is right. One line does: after the critic's `backward`, the
# fakes have no gradient. That is the law of `discriminator_loss`.
#
# ## Break it: the critic from the first step
#
# VQ-GAN's discriminator joins late, when the tokenizer already does well on the other losses. Let it join at step 0.
# For comparison, train another tokenizer for as many steps without it; everything else is the same.
#
# **Predict before you run.** The critic meets a beginner. How much does that cost, in numbers and to the eye?

# %%
predict("2 early", "Which of the two has the lower L1?", ["no discriminator", "one from step 0"])

# %%
calm, _ = learn(untrained, START, perceptual=PERCEPTUAL)
early, _ = learn(untrained, START, perceptual=PERCEPTUAL, gan=GAN)
rows = row("no discriminator", calm) | row("one from step 0", early)
outcome("2 early", min("no discriminator", "one from step 0", key=l1.get))
alt = "Restored glyphs of two young tokenizers, without a discriminator and with one: both are blurred and mottled."
show(figures.labelled_rows(rows), alt)

# %% [markdown]
# The two differ only in the critic. Compare their numbers and the colours of the backgrounds. How large is the damage?
# At step 0 the critic sees only fog, which is easy to tell from a picture, so it is soon sure. λ limits its pull.
# Without λ, the decoder may have to follow it before it has learned what the tokens mean. First learn what to say, then
# learn to say it well.
#
# ## Exercises
#
# <details><summary><b>perceptual_loss</b>: the idea</summary>A mean square for each layer, then the mean over the
# layers, so that large maps do not outvote small ones.
# <details><summary>the shape</summary>Two lists of (B, channels, h, w), with sizes that differ by layer → a scalar.
# <details><summary>pseudo-code</summary><pre>for each layer: mean of (a - b)^2
# the mean of these</pre>
# <!-- answer perceptual_loss --></details></details></details>
#
# <details><summary><b>hinge_d_loss</b>: the idea</summary>Being right by more than 1 costs nothing.
# <details><summary>the shape</summary>Scores of any two shapes → a mean each → a scalar.
# <details><summary>pseudo-code</summary><pre>half of the mean of max(0, 1 - real)
# and half of the mean of max(0, 1 + fake)</pre>
# <!-- answer hinge_d_loss --></details></details></details>
#
# <details><summary><b>hinge_g_loss</b>: the idea</summary>High scores, low loss; no hinge.
# <details><summary>the shape</summary>Scores of any shape → a scalar.
# <details><summary>pseudo-code</summary><pre>minus the mean</pre>
# <!-- answer hinge_g_loss --></details></details></details>
#
# <details><summary><b>discriminator_loss</b>: the idea</summary>`hinge_d_loss` of two batches of pictures, of which one
# must not remember where it came from.
# <details><summary>the shape</summary>Pictures (B, 3, H, W), twice → scores (B, 1, h, w), twice → a scalar.
# <details><summary>pseudo-code</summary><pre>hinge of
# D(real) and D(stop gradient(fake))</pre>
# <!-- answer discriminator_loss --></details></details></details>
#
# <details><summary><b>adaptive_weight</b>: the idea</summary>How strong one pull is, divided by the other.
# <details><summary>the shape</summary>Two gradients of one shape → two norms → a scalar that has no gradient itself.
# <details><summary>pseudo-code</summary><pre>norm of rec_grad / (norm of gan_grad + 1e-6)
# at most 10,000, detached</pre>
# <!-- answer adaptive_weight --></details></details></details>
#
# Further, without a check:
# 1. Train with `balanced=False` and `gan=1.0`, then 0.01. How wide is the range of fixed weights that works, compared
#    with λ?
# 2. Raise PERCEPTUAL to 10. What does a picture look like when only its features matter and its pixels hardly count?
# 3. Write the non-saturating loss of the authors' code, softplus(−D(x)) + softplus(D(x̂)) and softplus(−D(x̂)).

# %%
summary()  # your predictions, of all lessons

# %% [markdown]
# ## What the paper did
#
# - Section 3: the tokenizer is a VQ-GAN, trained as by Esser et al.; MaskGIT changes nothing in it.
# - The authors' code has the non-saturating loss with an R1 penalty (on the critic's gradient) of weight 10, a
#   perceptual weight of 0.1, an adversarial weight of 0.1 and an entropy term of 0.1. This package keeps VQ-GAN's hinge
#   and λ.
# - VQ-GAN section 3.1 and equation 7: λ at the decoder's last layer, with 10<sup>−6</sup> for stability; the
#   adversarial term starts after a warm-up.
#
# ## What to read next
#
# - Esser et al. 2021, *Taming Transformers for High-Resolution Image Synthesis*, section 3.1.
# - Zhang et al. 2018, *The Unreasonable Effectiveness of Deep Features as a Perceptual Metric*: LPIPS, and how far you
#   can trust it.
# - Isola et al. 2017, *Image-to-Image Translation*, section 3.2.2: why a critic of patches is enough.
#
# Next is lesson 3: the tokenizer is trained and frozen, and you begin to train the painter.
