# %% [markdown]
# # Lesson 10: after the paper
#
# MaskGIT's loop answers three questions: which tokens to keep, how many, and whether a kept one may be given up again
# (never). Since 2022, others have answered each question differently. Most of their answers need no new training: the
# model stays the same, and only the loop around it changes.
#
# In this lesson you try their answers on one trained model, and you build three functions: an order that needs no
# training, the probability of taking a token back, and the loss of a critic that learns which token to take back. The
# rest of the notebook uses *your* functions. Until you write a function, the notebook uses the package's own.
#
# *After lessons 5 and 8. Package: `decoders/`, a file for each question. Time: about an hour, and an hour for the
# exercises.*

# %%
from unittest.mock import patch

import torch
import torch.nn.functional as F

from minimaskgit import figures, notebook
from minimaskgit.building import check, mine
from minimaskgit.classifier import class_accuracy
from minimaskgit.data.glyphs import glyphs
from minimaskgit.data.images import to_float
from minimaskgit.decoders import correction, counts, loop, orders
from minimaskgit.decoders import critic as critics
from minimaskgit.decoders.loop import Decoder
from minimaskgit.decoding import sample_categorical
from minimaskgit.masking import draw_masks
from minimaskgit.notebook import generator, show
from minimaskgit.predictions import outcome, predict, summary
from minimaskgit.schedules import cosine

notebook.road_map(10)

# %% [markdown]
# ## The idea
#
# In one step of parallel decoding, the tokens that are drawn together do not see one another. Each is likely, but two
# of them may not fit together. MaskGIT can keep such a pair for good, because it never masks a known token again. Look
# for the results.

# %%
run = notebook.trained_run(train=False)  # True: train your own tokenizer and transformer first
tokenizer, model, judge = run.tokenizer(), run.transformer(), notebook.trained_judge(run)
names = run.label_names
N, MASK = model.num_tokens, model.mask_id
SIDE = int(N**0.5)

ONE_PIECE = ["star", "heart", "airplane", "telephone", "anchor"]  # of real pictures of these, all ink hangs together
labels = torch.tensor([names.index(name) for name in ONE_PIECE]).repeat_interleave(20)  # 20 of each
PAPER = Decoder(orders.confidence(2.0), counts.scheduled(cosine))  # MaskGIT's own answers


def decoded(decoder, steps=8, labels=labels):
    """All steps of a decoding; the last one has the answer."""
    return list(loop.run(decoder, model, labels, steps=steps, generator=generator(0)))


first = decoded(PAPER)[-1].tokens
alt = "Twenty stars by MaskGIT: most are clean, some have a loose blob or a ragged arm."
show(figures.grid(tokenizer.decode(first[:20]), columns=10, heading="MaskGIT's stars, T = 8"), alt)

# %% [markdown]
# Do you see a blob that floats where nothing belongs, or an arm that has come off? That is what happens when two tokens
# did not see each other.
#
# **Predict before you run.** A judge says what share of the pictures shows the right class (lesson 5). Will it notice
# the blobs? Will a count of the pieces of ink?

# %%
predict("10 blobs", "Which of the two finds more faulty pictures?", ["the judge", "the count of pieces"])


# %%
def pieces(images):
    """How many separate pieces of ink each picture (B, 3, H, W) has: (B,)."""
    background = images[..., [0, -1]].median(-1, keepdim=True).values  # of each row: there is a gradient
    contrast = (images - background).norm(dim=1)  # (B, H, W)
    ink = (contrast > 0.5 * contrast.flatten(1).quantile(0.98, dim=1)[:, None, None]).float()
    own = ink * torch.arange(1.0, ink[0].numel() + 1).view(ink.shape[1:])  # every pixel has a number
    spread, before = own, None
    while before is None or not spread.equal(before):  # the greatest number floods its piece
        spread, before = F.max_pool2d(spread, 3, stride=1, padding=1) * ink, spread
    return ((spread == own) & (ink > 0)).sum((1, 2))  # only one pixel of a piece keeps its own


def whole(tokens):
    """The share of pictures whose ink is in one piece."""
    return (pieces(tokenizer.decode(tokens)) == 1).double().mean().item()


real, real_labels = glyphs(1700, seed=3)
real = to_float(real)
fair = torch.isin(real_labels, labels)
with torch.no_grad():
    tokens = torch.cat([tokenizer.encode(part) for part in real.split(100)])
print(f"real pictures through the tokenizer: {whole(tokens[fair]):4.0%} in one piece")
right = class_accuracy(judge, tokenizer.decode(first), labels)
print(f"MaskGIT, T = 8, {len(first)} pictures:       {whole(first):4.0%} in one piece")
print(f"and what the judge says of them:     {right:4.0%} right")
outcome("10 blobs", "the judge" if right < whole(first) else "the count of pieces")

# %% [markdown]
# For the judge, a star with a blob is still a star. So in this lesson we measure the share of pictures in one piece.
# With 100 pictures, do not trust a difference of less than about ten points. Keep that in mind below.
#
# ## Which order
#
# **Confidence** keeps the tokens of which the model is surest. These often lie close together, and neighbours are
# exactly the tokens that should see each other. **Margin** asks how far the best code is ahead of the second.
# **Random** asks nothing. **Halton** (Besnier et al. 2025) goes one step further: in each step it keeps tokens that are
# *far apart*. It needs no model, only a sequence that fills the grid evenly:
#
# > point i = 1, 2, ... is at row ⌊h φ₂(i)⌋ and column ⌊w φ₃(i)⌋, where φ<sub>b</sub>(i) is i in base b, its digits
# > mirrored at the point
#
# By hand: 6 is 110 in base 2, mirrored .011, which is 3/8. It is 20 in base 3, mirrored .02, which is 2/9. On a grid of
# 8 by 8 the sixth point is at row 3, column 1. A point that falls on a position that was already visited is skipped.
#
# How many points do you need for 64 positions? More than 64: continue until all are visited. Compute in whole numbers.
# A point often lies on the edge of a cell, and rounding may put a float on the wrong side of it.
#
# **Exercise 1 of 3: `halton_order`.** *Medium, about 25 minutes.* Write it in the next cell, or in
# `lessons/exercises/lesson_10.py`, and check it with the cell below. Hints are at the end, under *Exercises*.


# %% tags=["answer"]
def halton_order(height, width):
    """All positions of a grid, row-major, in the order in which the Halton sequence visits them: int64 (N,)."""
    raise NotImplementedError


# %%
check("halton_order")

# %%
my_halton_order = mine(orders.halton_order)
order = my_halton_order(SIDE, SIDE)
print("the first four (row, column):", [divmod(position, SIDE) for position in order[:4].tolist()])


def visited(k):
    """The first k positions: of the Halton sequence, drawn at random, row by row."""
    ways = {"Halton": order, "random": torch.randperm(N, generator=generator(0)), "row by row": torch.arange(N)}
    masks = torch.ones(len(ways), N, dtype=torch.bool)
    for mask, way in zip(masks, ways.values()):
        mask[way[:k]] = False
    blue = torch.tensor([0.0, 0.45, 0.7]).view(3, 1, 1).expand(len(ways), 3, SIDE, SIDE)
    return figures.grid(figures.masked_canvas(blue, masks, SIDE), 3, 1, list(ways))


alt = "The first k positions of three orders: Halton's are spread evenly, random ones clump, row by row fills the top."
notebook.knob(visited, alt, k=[1, 2, 3, 4, 8, 16, 24, 32, 48, 64])

# %% [markdown]
# **Predict before you run.** We compare five orders with the same counts; the fifth keeps neighbours, row by row. (Each
# picture begins at a random point of the Halton order, so the maps of Halton differ.) In the maps, white positions are
# kept in the first step, and darker ones later. Which order leaves the fewest blobs, and which the most?

# %%
predict(
    "10 order",
    "Which order leaves the most pictures in one piece?",
    ["confidence", "margin", "random", "Halton", "row by row"],
)


# %%
def row_by_row(view):
    return -torch.arange(N).expand(view.tokens.shape).float()


ORDERS = {
    "confidence": orders.confidence(2.0),
    "margin": orders.margin(),
    "random": orders.random,
    "Halton": orders.halton,
    "row by row": row_by_row,
}
shown = torch.arange(0, 100, 10)  # two pictures of each class
rows, in_one = {}, {}
for name, way in ORDERS.items():
    with patch.object(orders, "halton_order", lambda height, width, device: my_halton_order(height, width)):
        steps = decoded(Decoder(way, counts.scheduled(cosine)))
    in_one[name] = whole(steps[-1].tokens)
    when = torch.stack([step.masked for step in steps]).sum(0)[shown]  # (10, N) in how many steps it was masked
    rows[f"{name}\n{in_one[name]:.0%} in one piece"] = tokenizer.decode(steps[-1].tokens[shown])
    rows[f"{name}: when"] = (1 - when / 8).view(-1, 1, SIDE, SIDE).expand(-1, 3, -1, -1)
outcome("10 order", max(in_one, key=in_one.get))
alt = "Pictures by five orders, and maps of when each token was kept: bands for row by row, speckles for the others."
show(figures.labelled_rows(rows), alt, width=900)

# %% [markdown]
# Confidence and margin tend to work inwards from the border, where there is only background. The maps differ a lot. Do
# the results differ as much? Is even row by row usable on such a small grid? On ImageNet, with larger grids and 32
# steps, the Halton paper reports a lower FID than confidence reaches. Do your numbers agree? Remember the ten points
# before you answer; four times as many pictures would halve them.
#
# ## How many
#
# The cosine keeps few tokens at first and more later. The Halton paper has its own curve, (2/π) arcsin r, which keeps
# even more at the very end. Another way is to ask the model: keep as many tokens as are sure enough *together*. How
# unsure it is of a token is the *entropy* of its probabilities: 0 if it expects one code only. The entropies of all
# kept tokens but the least sure may add up to a bound, and no more. This limits how much the tokens that are drawn at
# once depend on each other (arXiv 2505.24857; the bound is in nats).
#
# **Predict before you run.** The last of the three gets 16 steps. How many will it use? And how does the arcsine do,
# which leaves about a third of the canvas to the last of 8 steps?

# %%
predict("10 steps", "How many of its 16 steps does the entropy use, on average?")

# %%
COUNTS = {"cosine": counts.scheduled(cosine), "arcsine": counts.arcsine, "by entropy": counts.entropy_bound(8.0)}
curves = {}
for name, how_many in COUNTS.items():
    steps = decoded(Decoder(orders.entropy(), how_many), steps=16 if name == "by entropy" else 8)
    known = [0.0] + [(~step.masked).sum(1).double().mean().item() for step in steps]
    used = sum(step.masked.any(1).double().mean().item() for step in steps) + 1  # the step that leaves none counts, too
    curves[f"{name}: {used:.1f} steps, {whole(steps[-1].tokens):.0%} in one piece"] = list(enumerate(known))
outcome("10 steps", used)  # of the last one, by entropy
alt = "Tokens known by step: the arcsine leaps in the last step; by entropy, the curve flattens and ends later."
show(figures.curves(curves, "step", f"tokens known, of {N}"), alt, width=700)

# %% [markdown]
# With the entropy, each picture has its own number of steps: easy pictures finish early. That saves time when pictures
# are decoded one by one; in a batch, the slowest one decides. The arcsine was designed for 32 steps: with 8, the last
# step draws many tokens at once.
#
# ## Taking back
#
# Why must a kept token stay? In training, any set of tokens may be hidden, and the model does not depend on what was
# known before. **ReMDM** (Wang et al. 2025) masks known tokens again, each with probability σ (sigma), and reveals as
# many more in their place. The plan does not change: a fraction *before* is known before the step, and a fraction
# *after* is known after it.
#
# > σ ≤ min(1, (1 − after) / before), and of the masked tokens each is revealed with probability
# > (after − (1 − σ) before) / (1 − before)
#
# Where does the second formula come from? Of the known tokens, before · (1 − σ) stay. The rest of *after* has to come
# from the masked ones, of which there are 1 − before. The first formula makes sure that the second is a probability.
#
# What should it return at before = 0, where nothing is known, and at before = 1, where nothing is masked? The formulas
# divide by zero there. In the first case nothing can be taken back, and in the second nothing can be revealed, so that
# answer is 0.
#
# **Exercise 2 of 3: `remdm_probability`.** *Medium, about 20 minutes.*


# %% tags=["answer"]
def remdm_probability(before, after, sigma):
    """Probabilities that a known token is masked again, and that a masked one is revealed, in one step of ReMDM.

    before, after: the fraction of the tokens that is known before the step and after it, in [0, 1], before <=
    after. sigma: how often to take a known token back, in [0, 1]. All three are float tensors of one shape, as are both
    answers. Sigma is cut off at min(1, (1 - after) / before).
    """
    raise NotImplementedError


# %%
check("remdm_probability")

# %%
my_remdm_probability = mine(correction.remdm_probability)
before, sigma = torch.linspace(0, 1, 6), torch.full((6,), 0.3)
after = (before + 0.2).clamp(max=1)
taken, revealed = my_remdm_probability(before, after, sigma)
print(f"{'before':>8}{'after':>8}{'taken':>8}{'revealed':>10}{'known on average':>18}")
for a, b, t, r in zip(before.tolist(), after.tolist(), taken.tolist(), revealed.tolist()):
    print(f"{a:8.2f}{b:8.2f}{t:8.2f}{r:10.2f}{a * (1 - t) + (1 - a) * r:18.2f}")

# %% [markdown]
# The whole sampler fits in a cell. It needs no exception for the last step: there *after* is 1, so nothing may be taken
# back and everything is revealed.


# %%
@torch.no_grad()
def remdm(steps, sigma, probability=my_remdm_probability):
    """Of every step the sampled tokens, what is masked after it, and what was taken back: (B, N) each."""
    draw, tokens = generator(0), torch.full((len(labels), N), MASK)
    for step in range(steps):
        known = tokens != MASK
        before = known.double().mean(1, keepdim=True)  # (B, 1)
        after = 1 - cosine(torch.full_like(before, (step + 1) / steps), N)
        taken, revealed = probability(before, after, torch.full_like(before, sigma))
        sampled = torch.where(known, tokens, sample_categorical(model(tokens, labels), draw))
        chance = torch.rand(tokens.shape, generator=draw)
        kept = torch.where(known, chance >= taken, chance < revealed)
        tokens = sampled.masked_fill(~kept, MASK)
        yield sampled, ~kept, known & ~kept


frames = list(remdm(8, sigma=0.3))
images = torch.stack([tokenizer.decode(sampled[:1])[0] for sampled, _, _ in frames])
captions = [f"step {i + 1}\n{back[0].sum()} taken back" for i, (_, _, back) in enumerate(frames)]
alt = "Eight steps: tokens are kept and some taken back, while the guess turns from a blot to a star."
show(figures.decoding_strip(images, torch.stack([hidden[0] for _, hidden, _ in frames]), SIDE, captions), alt)

# %% [markdown]
# **Predict before you run.** T is 16. With σ = 0, nothing is taken back and tokens are revealed at random; larger
# values take back more and more. Do the blobs go away? Which wins, ReMDM or MaskGIT with the same number of steps?

# %%
predict(
    "10 back",
    "Who wins in 16 steps, the best ReMDM or MaskGIT?",
    ["ReMDM, by ten points or more", "MaskGIT, by ten points or more", "nobody, it is closer"],
)

# %%
by_sigma = {}
for sigma in (0.0, 0.02, 0.1, 0.3):
    frames = list(remdm(16, sigma))
    back = torch.stack([back.sum(1) for _, _, back in frames]).sum(0).double().mean()
    by_sigma[sigma] = whole(frames[-1][0])
    print(f"sigma {sigma:4}: {back:5.1f} tokens taken back per picture, {by_sigma[sigma]:.0%} in one piece")
sixteen = decoded(PAPER, steps=16)[-1].tokens
print(f"MaskGIT:      0.0 tokens taken back per picture, {whole(sixteen):.0%} in one piece")
lead = round(100 * (max(by_sigma.values()) - whole(sixteen)))  # in points
winner = "ReMDM" if lead > 0 else "MaskGIT"
outcome("10 back", f"{winner}, by ten points or more" if abs(lead) >= 10 else "nobody, it is closer")

# %% [markdown]
# Did taking back help, and did it help enough to beat MaskGIT, which takes nothing back? The ReMDM paper's gains come
# with more steps. You can see why: tokens are taken back *at random*, so many right ones go with each wrong one. This
# raises a question.
#
# ## A critic
#
# Which token is wrong? **Token-Critic** (Lezama et al. 2022) learns the answer. Take a real picture, hide a part, let
# the model fill it in, and ask of every token: is this the original one? The right answers cost nothing, because we
# made the errors ourselves and know where they are. The loss is that of any yes-or-no question:
#
# > mean over all tokens of −log p where the token is wrong, −log (1 − p) where it is right, p = sigmoid(score)
#
# The mean may also be over only some tokens, the *counted* ones. Beware of a score of 1000: its sigmoid is exactly 1,
# and log (1 − p) is −∞.
#
# **Exercise 3 of 3: `critic_loss`.** *Easy, about 15 minutes.*


# %% tags=["answer"]
def critic_loss(scores, wrong, counted=None):
    """Mean binary cross-entropy of "this token is not the original one", a scalar in nats.

    scores (B, N): float logits, the greater the more suspicious. wrong, counted: bool (B, N). The mean is over the
    counted tokens of all samples together, right and wrong ones; without `counted`, over all. Where no token counts,
    the loss is 0.
    """
    raise NotImplementedError


# %%
check("critic_loss")

# %% [markdown]
# Here the critic is small: it has two layers and trains in seconds. Its input is what the frozen transformer computes
# at each position after its last block. It also gets the token at that position, and the probability that the model
# itself assigns to it.


# %%
my_critic_loss = mine(critics.critic_loss)


@torch.no_grad()
def spoiled(tokens, labels, draw):
    """Real tokens with a part hidden and filled in by the model, and where they are wrong."""
    mask = draw_masks(len(tokens), N, cosine, generator=draw)
    filled = sample_categorical(model(tokens.masked_fill(mask, MASK), labels), draw)
    return torch.where(mask, filled, tokens), mask & (filled != tokens)


@torch.no_grad()
def looked_at(tokens, labels):
    """What the critic sees, (B, N, 2 D + 1), and the model's own log-probability of each token that it sees, (B, N)."""
    x = model.trunk(torch.cat([model.num_codes + labels[:, None], tokens], dim=1))[:, 1:]
    own = model.logits(x).log_softmax(-1).gather(-1, tokens[..., None])
    return torch.cat([x, model.embedding(tokens), own], dim=-1), own.squeeze(-1)


draw, canvases, errors, seen = generator(1), [], [], []
for part, classes in zip(tokens.split(100), real_labels.split(100)):
    canvas, wrong = spoiled(part, classes, draw)
    canvases.append(canvas), errors.append(wrong), seen.append(looked_at(canvas, classes)[0])
canvases, errors, seen = torch.cat(canvases), torch.cat(errors), torch.cat(seen)

torch.manual_seed(0)
critic = torch.nn.Sequential(
    torch.nn.LayerNorm(seen.shape[-1]), torch.nn.Linear(seen.shape[-1], 128), torch.nn.GELU(), torch.nn.Linear(128, 1)
)
optimizer, losses, STEPS = torch.optim.AdamW(critic.parameters(), lr=3e-3), [], 300
for step in range(STEPS):
    optimizer.param_groups[0]["lr"] = 3e-3 * min(1, 2 * (1 - step / STEPS))  # falls over the second half
    chosen = torch.randint(1500, (64,))  # the last 200 are kept for the test
    loss = my_critic_loss(critic(seen[chosen]).squeeze(-1), errors[chosen])
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
curve = [(step, sum(losses[step - 20 : step]) / 20) for step in range(20, STEPS + 1, 20)]
alt = "The critic's loss over training: it falls fast at first and then slowly."
show(figures.curves({"critic": curve}, "training step", "loss, nats per token"), alt, width=600)

# %% [markdown]
# How good is it? Take one wrong and one right token at random. How often does the wrong one get the higher score? That
# share is called the AUROC: 50 % for a coin, 100 % for a critic that is always right.
#
# **Predict before you run.** The critic has a rival that costs nothing: the model's own probability of a token that it
# *sees*. The model was never trained to predict visible tokens, because its loss counts only hidden ones (lesson 3). So
# is this probability worth anything? We try two kinds of errors: those used in training, and six tokens of each picture
# replaced by what the model draws on a blank canvas.

# %%
predict(
    "10 free",
    "Six tokens exchanged: is the AUROC of the model's own p nearer to a coin's or to the critic's?",
    ["a coin", "the critic"],
)


# %%
def auroc(scores, wrong):
    return (scores[wrong][:, None] > scores[~wrong]).double().mean().item()


@torch.no_grad()
def suspicions(tokens, labels):
    """Of each token how suspicious it is, (B, N): at random, by the model's own probability, by the critic."""
    features, own = looked_at(tokens, labels)
    return {
        "at random": torch.rand(tokens.shape, generator=generator(4)),
        "the model's own p": -own,
        "the critic": critic(features).squeeze(-1),
    }


fresh, fresh_labels = tokens[1500:], real_labels[1500:]
with torch.no_grad():
    blank = sample_categorical(model(torch.full_like(fresh, MASK), fresh_labels), generator(5))
planted = torch.rand(fresh.shape, generator=generator(6)).argsort(1).argsort(1) < 6
exchanged = torch.where(planted, blank, fresh)
tests = {"as in training": (canvases[1500:], errors[1500:]), "six exchanged": (exchanged, exchanged != fresh)}
for kind, (spoilt, wrong) in tests.items():
    found = {name: auroc(scores, wrong) for name, scores in suspicions(spoilt, fresh_labels).items()}
    print(f"{kind:15} {wrong.double().mean():4.0%} wrong: ", ", ".join(f"{name} {x:.3f}" for name, x in found.items()))
free = found["the model's own p"]  # where six are exchanged
outcome("10 free", "a coin" if free - 0.5 < found["the critic"] - free else "the critic")

few = torch.arange(8)
heat = suspicions(exchanged[few], fresh_labels[few])["the critic"].sigmoid().view(-1, 1, SIDE, SIDE)
rows = {"six exchanged": tokenizer.decode(exchanged[few]), "the critic:\nwhite is wrong": heat.expand(-1, 3, -1, -1)}
rows["the truth"] = (exchanged != fresh)[few].float().view(-1, 1, SIDE, SIDE).expand(-1, 3, -1, -1)
alt = "Glyphs with six tokens exchanged, the critic's suspicion and the truth: most of the wrong ones stand out."
show(figures.labelled_rows(rows), alt, width=800)

# %% [markdown]
# How far does the model's own probability, never trained for this, fall behind the critic, which was? A transformer
# that has learned how tokens go together also notices a token that does not fit. Compare the two kinds of errors: where
# is the trained critic further ahead?
#
# Now use the critic. Paint in 8 steps, look once, take back the four most suspicious tokens, and draw them again: that
# takes two more passes. For a fair race, MaskGIT also gets ten passes, and then 16.


# %%
@torch.no_grad()
def second_look(tokens, suspicion, count=4):
    worst = suspicion.argsort(1, descending=True).argsort(1) < count
    return torch.where(worst, sample_categorical(model(tokens.masked_fill(worst, MASK), labels), generator(3)), tokens)


answers = {"MaskGIT, 8 passes": first, "MaskGIT, 10 passes": decoded(PAPER, steps=10)[-1].tokens}
answers["MaskGIT, 16 passes"] = sixteen
for name, suspicion in suspicions(first, labels).items():
    answers[f"8 + 2, {name}"] = second_look(first, suspicion)
rows = {f"{name}\n{whole(answer):.0%} in one piece": tokenizer.decode(answer[:10]) for name, answer in answers.items()}
alt = "Ten stars painted in each of six ways; a few have loose blobs. Beside each row: the share in one piece."
show(figures.labelled_rows(rows), alt, width=900)

# %% [markdown]
# Does it matter *whether* tokens are taken back, or *which*? Compare the row that takes four tokens back at random with
# the two rows that choose them, and with MaskGIT's 16 passes. (The last three rows start from the same pictures, so
# smaller differences than ten points count.) Whether this needs a *trained* critic is another
# question: compare the last two rows. The package's critic (`decoders/critic.py`) needs no extra pass: it uses the
# features of the pass that decoding makes anyway.
#
# ## Break it
#
# **Predict** what each change does.
#
# 1. *The labels inverted.* The critic learns which tokens are right. (Its scores then have the opposite sign, so you do
#    not need to train it again.)
# 2. *σ not cut off.* More is taken back than the plan allows, even in the last step.
# 3. *Point 0.* The Halton sequence begins one point too early. Where?

# %%
predict(
    "10 upside down",
    "With the labels inverted, what becomes of the share of pictures in one piece?",
    ["ten points lower or more", "about the same", "ten points higher or more"],
)


# %%
def not_cut_off(before, after, sigma):
    return sigma, my_remdm_probability(before, after, sigma)[1]


upside_down = second_look(first, -suspicions(first, labels)["the critic"])
points = round(100 * (whole(upside_down) - whole(first)))
print(f"1. in one piece: {whole(first):.0%} at first, {whole(upside_down):.0%} after the second look")
*_, (_, hidden, _) = remdm(8, 0.3, probability=not_cut_off)
print(f"2. [MASK] left in the first ten answers: {hidden.sum(1)[:10].tolist()}")
print(f"3. position 0, the corner, is visited as number {order.tolist().index(0) + 1}; with point 0 it comes first")
moved = f"ten points {'higher' if points > 0 else 'lower'} or more" if abs(points) >= 10 else "about the same"
outcome("10 upside down", moved)

# %% [markdown]
# The first change is the most dangerous, because nothing fails. The *best* tokens are taken back and mostly drawn again
# as they were, and you might conclude that critics do not help. The second is obvious if anyone looks: many tokens of
# every picture are still [MASK]. The third changes so little that only a law finds it.
#
# ## Exercises
#
# <details><summary><b>halton_order</b>: the idea</summary>Mirror the digits of i; remember where you have been.
# <details><summary>the shape</summary>Two whole numbers → int64 (height · width,). Keep φ as two whole numbers, above
# and below the line: in floats 9 · 7/9 may be less than 7.
# <details><summary>pseudo-code</summary><pre>i = 0; until all positions are visited:
#   i = i + 1
#   above, below = 0, 1; while i has digits left: take the last one, d
#     above = above * base + d; below = below * base
#   row = height * above // below in base 2, column likewise in base 3
#   keep row * width + column, if it is new</pre>
# The package keeps the order in a cache, and takes the device on which it is wanted.
# <!-- answer halton_order --> <!-- answer radical_inverse --></details></details></details>
#
# <details><summary><b>remdm_probability</b>: the idea</summary>σ, but not more than can be made up for; then what is
# missing, among the masked.
# <details><summary>the shape</summary>Three tensors of one shape → two of the same. `torch.where` for before = 0 and 1.
# <details><summary>pseudo-code</summary><pre>most = (1 - after) / before, and 0 where before is 0
# taken = the lesser of sigma and most
# revealed = (after - (1 - taken) * before) / (1 - before), and 0 where before is 1</pre>
# <!-- answer remdm_probability --></details></details></details>
#
# <details><summary><b>critic_loss</b>: the idea</summary>One yes-or-no question for each token, and the mean over those
# that count.
# <details><summary>the shape</summary>scores, wrong, counted (B, N) → a scalar.
# <details><summary>pseudo-code</summary><pre>loss of each = log(1 + exp(-score)) if wrong, log(1 + exp(score)) if right
#   (torch has it, from logits and without overflow)
# sum over the counted / how many are counted, at least 1</pre>
# <!-- answer critic_loss --></details></details></details>
#
# Further, without a check:
# 1. Look two or three times, and take back fewer tokens each time. When do the pictures stop getting better?
# 2. Let ReMDM take tokens back by suspicion: distribute σ among the known tokens by the critic's scores.
# 3. Combine the best answers to the three questions. Do their gains add up?

# %%
summary()  # your predictions, of all lessons

# %% [markdown]
# ## What the paper did
#
# - MaskGIT, section 3.2: it keeps tokens by confidence, follows the cosine and never takes a token back, in 8 to 12
#   steps.
# - Token-Critic trains a second transformer as its critic, and asks it at every step which tokens to accept.
# - ReMDM's strategies (cap, rescale, by confidence, in a loop) are four ways to choose σ; it gains most with many
#   steps.
# - The Halton paper leaves the model as it is and drops the noise on the choice, which its order does not need.
#
# ## What to read next
#
# - Besnier et al. 2025, *Halton Scheduler for Masked Generative Image Transformer* (arXiv 2503.17076).
# - Wang et al. 2025, *Remasking Discrete Diffusion Models with Inference-Time Scaling* (arXiv 2503.00307).
# - Lezama et al. 2022, *Improved Masked Image Generation with Token-Critic* (arXiv 2209.04439).
# - Ni et al. 2024, *Revisiting Non-Autoregressive Transformers for Efficient Image Synthesis* (AutoNAT, arXiv
#   2406.05478): they search all settings of the loop at once, with frozen weights. Here: `python -m
#   minimaskgit.search`.
#
# This was the last lesson. Every idea in it came from asking about one line of the loop: does it have to be so? Now ask
# about a line that nobody has questioned yet.
