# %% [markdown]
# # Lesson 8: measuring, and the rivals
#
# "Looks good" is not a measurement. In this lesson you build the metrics that papers report: the Fréchet distance, the
# inception score, and precision and recall, each in a few lines. Then you try to *fool* them with blurred pictures,
# with the same twenty pictures over and over, and with copies of the training set. Each metric is blind to something.
# All tables below are made with *your* functions. Until you write a function, the notebook uses the package's own.
#
# At the end you read how MaskGIT's rivals work: a GAN and a diffusion model. The models that come with the project do
# not include them; one command trains both.
#
# *Paper: sections 4.1 and 4.2, table 1. Package: `metrics.py`, two pages, and the commands `python -m
# minimaskgit.evaluate` and `python -m minimaskgit.compare --showdown`. Time: about an hour, and an hour for the
# exercises.*

# %%
import json

import torch
import torch.nn.functional as F

from minimaskgit import figures, metrics, notebook
from minimaskgit.autoregressive import generate
from minimaskgit.building import check, mine
from minimaskgit.classifier import Classifier
from minimaskgit.data.glyphs import glyphs
from minimaskgit.data.images import to_float
from minimaskgit.decoding import decode
from minimaskgit.measuring.samplers import diffusion_sampler, gan_sampler
from minimaskgit.metrics import feature_statistics, neighbour_distances
from minimaskgit.notebook import generator, show
from minimaskgit.predictions import outcome, predict, summary
from minimaskgit.rivals.diffusion import add_noise

notebook.road_map(8)

# %% [markdown]
# ## The idea
#
# A generated picture has no right answer to compare it with. So compare *crowds*: many real pictures with many
# generated ones. Do not compare pixels, but what a network sees in the pictures: each picture becomes a vector of D
# features, and a set of pictures becomes a cloud of points. The question is then whether two clouds are alike.
#
# The network here is the package's judge, a classifier trained on real glyphs. (Papers use Inception, trained on
# ImageNet, and call the numbers below FID and IS.)

# %%
run = notebook.trained_run(train=False)  # True: train your own models first
tokenizer, model, judge = run.tokenizer(), run.transformer(), notebook.trained_judge(run)
names, C = run.label_names, len(run.label_names)


@torch.no_grad()
def look(network, images):
    """Features (N, D) and class probabilities (N, C) of pictures (N, 3, H, W)."""
    features = torch.cat([network.features(part)[-1].mean((2, 3)) for part in images.split(250)])
    return features, network.final(features).softmax(-1)


@torch.no_grad()
def painted(labels, seed=0):
    """Pictures by MaskGIT, (N, 3, H, W)."""
    how = {"steps": run.config.decoding.steps, "temperature": run.config.decoding.temperature}
    draw = generator(seed)
    parts = [tokenizer.decode(decode(model, part, generator=draw, **how)) for part in labels.split(100)]
    return torch.cat(parts)


COUNT = 1000
reference, _ = glyphs(2 * COUNT, seed=81)  # real pictures; think of them as the training set
held_out, true_labels = glyphs(COUNT, seed=83)  # others of the same kind
reference, held_out = to_float(reference), to_float(held_out)
asked = torch.arange(C).repeat(COUNT // C)
made = painted(asked)
target, real, fake = (look(judge, images)[0] for images in (reference, held_out, made))
D = target.shape[1]

axes = torch.linalg.eigh(feature_statistics(target)[1])[1][:, -2:].float()  # (D, 2), where it varies most
flat = {name: features[:600] @ axes for name, features in {"real": target, "others": real, "MaskGIT": fake}.items()}
panels = {f"real and {name}": {"real": flat["real"], name: cloud} for name, cloud in list(flat.items())[1:]}
print(f"{D} features per picture, shown in the plane in which the real ones vary most; the lumps are classes")
alt = "The same lumps of points twice: other real pictures lie on the real ones, MaskGIT's a little beside them."
show(figures.clouds(panels), alt, width=800)

# %% [markdown]
# ## Two clouds as two Gaussians: the Fréchet distance
#
# Describe each cloud by its mean μ and covariance Σ, and measure how far two Gaussians are apart (Heusel et al. 2017):
#
# > FD = |μ₁ − μ₂|² + Tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)<sup>½</sup>)
#
# In one dimension that is (μ₁ − μ₂)² + (σ₁ − σ₂)²: a difference of places and a difference of widths. In D dimensions
# you need the trace of the root of a matrix. You do not need the root itself, only its eigenvalues.
#
# A covariance may be singular, for example that of 50 pictures with 128 features. Then some eigenvalues are 0, and
# rounding may make them slightly negative. A negative number has no real root.
#
# **Exercise 1 of 3: `frechet_distance`.** *Medium, about 20 minutes.* Write it in the next cell, or in
# `lessons/exercises/lesson_8.py`, and check it with the cell below. Compute in double precision. Hints are at the end,
# under *Exercises*.


# %% tags=["answer"]
def frechet_distance(mu1, sigma1, mu2, sigma2):
    """|mu1 - mu2|^2 + Tr(sigma1 + sigma2 - 2 (sigma1 sigma2)^(1/2)): mu (D,) and sigma (D, D), a scalar in float64."""
    raise NotImplementedError


# %%
check("frechet_distance")

# %%
my_frechet_distance = mine(metrics.frechet_distance)


def fd(a, b):
    """The Fréchet distance of two clouds of features."""
    return my_frechet_distance(*feature_statistics(a), *feature_statistics(b)).item()


line = [torch.tensor(x) for x in ([1.0], [[4.0]], [3.0], [[9.0]])]  # means 1 and 3, widths 2 and 3
print(f"on a line: {my_frechet_distance(*line).item():.4f}, by hand {(1 - 3) ** 2 + (2 - 3) ** 2}")

# %% [markdown]
# **Predict before you run.** What is the Fréchet distance of *real* pictures from other real pictures? If you think
# that it is not zero: why?

# %%
predict(
    "8 floor",
    "How far are real pictures from other real pictures?",
    ["FD 0", "less than a tenth of MaskGIT's FD", "more than a tenth of MaskGIT's FD"],
)

# %%
floor, painters = fd(real, target), fd(fake, target)
print(f"real, {COUNT} others:     {floor:.3f}   <- the floor: less would be suspicious")
print(f"MaskGIT, {COUNT} samples: {painters:.3f}")
size = "FD 0" if floor < 1e-6 else f"{'less' if floor < 0.1 * painters else 'more'} than a tenth of MaskGIT's FD"
outcome("8 floor", size)

# %% [markdown]
# ## Sure of each, and of all kinds: the inception score
#
# The inception score needs only a classifier's opinion, and no real pictures (Salimans et al. 2016). The classifier
# should be sure of the class of each picture: p(y|x) is sharp. All pictures together should cover all classes: p(y),
# their mean, is flat.
#
# > IS = exp( mean over x of KL( p(y|x) ‖ p(y) ) ), from 1 to C
#
# The *Kullback-Leibler divergence* measures how much p differs from q: KL(p ‖ q) is the sum of p · log(p / q) over all
# classes. It is 0 only if both are equal. A probability may be exactly 0, and log 0 is −∞. In that case, 0 · log 0
# counts as 0.
#
# Papers cut their pictures into ten parts, in order, and report the mean and the standard deviation of the parts'
# scores. Divide the squared deviations by the number of parts, so that a single part has the deviation 0.
#
# **Exercise 2 of 3: `inception_score`.** *Medium, about 20 minutes.* Each part has a p(y) of its own.


# %% tags=["answer"]
def inception_score(probs, splits=1):
    """exp(mean over x of KL(p(y|x) || p(y))), from class probabilities (N, C): its mean and deviation over splits.

    The N pictures, in order, are cut into `splits` parts of about the same size (torch.tensor_split).
    """
    raise NotImplementedError


# %%
check("inception_score")

# %%
my_inception_score = mine(metrics.inception_score)
probs = look(judge, made)[1]
print(f"MaskGIT: {my_inception_score(probs)[0]:.2f}, at most {C}")
mean, deviation = my_inception_score(probs, splits=10)
print(f"in ten parts: {mean:.2f}, deviation {deviation:.2f}")

# %% [markdown]
# ## Two questions in place of one: precision and recall
#
# A distance mixes up two failures: pictures that look wrong, and pictures that are missing. So ask twice (Kynkäänniemi
# et al. 2019). Around each real point draw a ball that reaches to its k-th neighbour; all balls together are "where
# real pictures are". **Precision**: what share of the fakes lies in the real balls? Then swap the roles. **Recall**:
# what share of the real pictures lies in the balls of the fakes?
#
# Two traps. A point is at distance 0 from itself, but it is not its own neighbour. And for large clouds, `torch.cdist`
# takes a shortcut whose rounding turns a distance of 0 into a small positive number;
# `compute_mode="donot_use_mm_for_euclid_dist"` turns the shortcut off.
#
# **Exercise 3 of 3: `precision_recall`.** *Medium, about 20 minutes.* The tables below have clouds of 1000 points, so
# a loop over all pairs would be slow.


# %% tags=["answer"]
def precision_recall(real, fake, k=3):
    """Improved precision and recall of features (N, D) and (M, D): two scalars in 0..1.

    Around each vector lies a ball that reaches to its k-th nearest other vector of its own cloud. Precision: the
    fraction of the fakes that lie in any real ball. Recall: the fraction of the real ones that lie in any fake ball.
    """
    raise NotImplementedError


# %%
check("precision_recall")

# %%
my_precision_recall = mine(metrics.precision_recall)
precision, recall = my_precision_recall(target[:COUNT], fake)
print(f"MaskGIT: precision {precision:.2f}, recall {recall:.2f}")

# %% [markdown]
# In the plane you can see the balls. Here the real points lie on a ring. The fakes are half of the ring, and a few
# points that lie near nothing real.

# %%
torch.manual_seed(0)
angle = 6.28 * torch.rand(60)
ring = torch.stack([angle.cos(), angle.sin()], dim=1) + 0.08 * torch.randn(60, 2)
arc = ring[ring[:, 0] > 0] + 0.05 * torch.randn((ring[:, 0] > 0).sum(), 2)  # half of it
blob = torch.cat([arc[:25], 0.25 * torch.randn(8, 2)])  # and some that lie nowhere
panels = {"precision: fakes in real balls": {"real": ring, "fake": blob}}
panels["recall: real ones in fake balls"] = panels["precision: fakes in real balls"]
circles = {title: (c, neighbour_distances(c, 3)) for title, c in zip(panels, (ring, blob))}
precision, recall = my_precision_recall(ring, blob)
print(f"of the picture: precision {precision:.2f}, recall {recall:.2f}")
alt = "Real points on a ring, fakes on half of it and inside. Balls lie around the real ones, then around the fakes."
show(figures.clouds(panels, circles), alt, width=800)

# %% [markdown]
# The right plot shows the weakness of recall: where fakes are sparse, their balls are large, and a large ball may
# "cover" real points that no fake resembles. (*Density* and *coverage*, in `metrics.py`, use only real balls and avoid
# this weakness.)
#
# ## Experiment: fool the metrics
#
# We measure nine sets: real pictures, MaskGIT's pictures, real pictures after the tokenizer alone, and six sets that
# are each wrong in one way.

# %%
with torch.no_grad():
    reconstructed = torch.cat([tokenizer.decode(tokenizer.encode(part)) for part in held_out.split(100)])
blurred = F.avg_pool2d(F.pad(held_out, [1] * 4, mode="replicate"), 3, stride=1)
side = held_out.shape[-1] // 4  # of a patch; there are 16 in a picture
patches = F.unfold(held_out, side, stride=side)  # (N, 3 * side * side, 16)
order = torch.rand(COUNT, 1, 16, generator=generator(0)).argsort(-1).expand_as(patches)
mixed = F.fold(patches.gather(-1, order), 4 * side, side, stride=side)
few = torch.randint(0, 20, (COUNT,), generator=generator(0))
known = (true_labels < C - 3).nonzero()[:, 0].repeat(2)[:COUNT]
swapped = (true_labels + 1) % C
sets = {  # pictures, and the classes that were asked for
    "real, others": (held_out, true_labels),
    "MaskGIT": (made, asked),
    "through tokenizer": (reconstructed, true_labels),
    "blurred": (blurred, true_labels),
    "patches mixed up": (mixed, true_labels),
    "the same 20": (held_out[few], true_labels[few]),
    "3 classes missing": (held_out[known], true_labels[known]),
    "wrong class": (held_out, swapped),
    "training set copied": (reference[:COUNT], look(judge, reference[:COUNT])[1].argmax(1)),
}
alt = "Eight pictures from each of nine sets: to the eye, only the blurred and the mixed-up ones are wrong."
show(figures.labelled_rows({name: images[:8] for name, (images, _) in sets.items()}), alt, width=760)

# %% [markdown]
# **Predict before you run.** We compute six numbers for each set: FD, IS, precision, recall, the share that the judge
# assigns to the asked class, and the pixel distance to the nearest training picture. For each row, write down which
# numbers will reveal the problem. Start with two questions. One set does well by precision and badly by recall: which?
# And which one fools *all* of the first five numbers?

# %%
predict("8 recall", "Which of the nine sets has the lowest recall?", list(sets))

# %%
predict("8 lowest", "Which of the nine sets has the lowest FD?", list(sets))


# %%
def nearest(images):
    """Median over pictures of the distance to the nearest training picture, per pixel."""
    found = [torch.cdist(part.flatten(1), reference.flatten(1)).min(1).values for part in images.split(250)]
    return torch.cat(found).median().item() / images[0].numel() ** 0.5


seen = {name: look(judge, images) for name, (images, _) in sets.items()}
lines = [f"{'':22}{'FD':>8}{'IS':>8}{'precision':>12}{'recall':>9}{'class':>9}{'nearest':>10}"]
distances, recalls = {}, {}
for name, (images, labels) in sets.items():
    features, probs = seen[name]
    distances[name] = fd(features, target)
    precision, recalls[name] = my_precision_recall(target[:COUNT], features)
    right = (probs.argmax(1) == labels).double().mean()
    line = f"{name:<22}{distances[name]:>8.2f}{my_inception_score(probs)[0]:>8.2f}{precision:>12.2f}"
    lines.append(line + f"{recalls[name]:>9.2f}{right:>9.2f}{nearest(images):>10.3f}")
print("\n".join(lines))
outcome("8 recall", min(recalls, key=recalls.get))
outcome("8 lowest", min(distances, key=distances.get))
assert min(distances, key=distances.get) == "training set copied"

# %% [markdown]
# Read the table by columns.
# - **FD** reacts to nearly everything, but it does not say what is wrong. It cannot tell "three classes missing" from
#   "blurred".
# - **IS** notices missing classes and unclear pictures. Twenty pictures satisfy it if they cover many classes: it
#   ignores variety within a class, and it never looks at real pictures.
# - **Precision** rates twenty good pictures highly, and **recall** does not. Together they say *what* is wrong.
# - Only the **class** column knows what was *asked* for: good pictures of the wrong classes are still a perfect crowd.
# - A model that copies the training set has the lowest FD of all, lower even than other real pictures. Only the last
#   column exposes it: distance 0.
#
# Before you blame the transformer for MaskGIT's row, look at "through tokenizer": these are real pictures, encoded to
# tokens and decoded again. A model of these tokens can hardly do better.
#
# ## Experiment: how many pictures?
#
# **Predict before you run.** The same real pictures, the same generator, but we take 50, 100, ... 1000 of them. Does
# the Fréchet distance rise, fall, or only scatter? And a race: 50 real pictures against 1000 of MaskGIT's. Who "wins"?

# %%
predict("8 count", "With more pictures, what does the FD do?", ["rise", "fall", "scatter"])

# %%
predict("8 race", "Whose FD is lower?", ["50 real pictures", "1000 of MaskGIT's"])

# %%
counts, curves = (50, 100, 200, 400, 1000), {"MaskGIT": [], "real: others": []}
for count in counts:
    for name, features in zip(curves, (fake, real)):
        parts = [features[torch.randperm(COUNT, generator=generator(seed))[:count]] for seed in range(5)]
        curves[name].append((1000 / count, sum(fd(part, target) for part in parts) / 5))
for name, points in curves.items():
    print(f"{name:14}" + "".join(f"{count:>6}: {value:6.2f}" for count, (_, value) in zip(counts, points)))
in_turn = [[value for _, value in points] for points in curves.values()]
falls, rises = (all(values == sorted(values, reverse=down) for values in in_turn) for down in (True, False))
outcome("8 count", "fall" if falls else "rise" if rises else "scatter")
alt = "FD against 1000 / number of pictures: the fewer the pictures, the larger it is, for MaskGIT and for real ones."
show(figures.curves(curves, "1000 / number of pictures", "FD from the reference, mean of 5 draws"), alt, width=600)

# %% [markdown]
# Each point is the mean of five draws. With few points, the estimated covariance makes the distance too large, by an
# amount that is roughly proportional to 1/n. Do your points lie near a straight line? A Fréchet distance means nothing
# without its number of pictures. Papers use 50,000. Compare only equal counts, or read where the line meets the left
# edge (Chong and Forsyth 2020 turn that into a metric).
#
# ## Break it: other eyes, fewer pictures
#
# **Predict before you run.** We compute the same table's FD with the features of an *untrained* network, in multiples
# of the score of real pictures. Which flaws does it miss? The cell also repeats the race, with five draws of 50 real
# pictures. How far apart will the five scores be?

# %%
CRIMES = ["blurred", "patches mixed up", "the same 20", "3 classes missing"]
predict("8 eyes", "Which of these crimes does an untrained network see least?", CRIMES)

# %%
torch.manual_seed(0)
untrained = Classifier(C, judge.stages[0][0].out_channels).eval()
blind = look(untrained, reference)[0]
scores = {
    "trained judge": {name: fd(features, target) for name, (features, _) in seen.items()},
    "untrained": {name: fd(look(untrained, images)[0], blind) for name, (images, _) in sets.items()},
}
print(f"{'FD, in multiples of real':<28}" + "".join(f"{who:>16}" for who in scores))
for name in sets:
    print(f"{name:<28}" + "".join(f"{by[name] / by['real, others']:>16.1f}" for by in scores.values()))
outcome("8 eyes", min(CRIMES, key=scores["untrained"].get))
rough = [fd(real[torch.randperm(COUNT, generator=generator(seed))[:50]], target) for seed in range(5)]
print(f"\n50 real pictures: FD {min(rough):.2f} to {max(rough):.2f} · {COUNT} of MaskGIT's: {painters:.2f}")
outcome("8 race", "50 real pictures" if sum(rough) / 5 < painters else "1000 of MaskGIT's")

# %% [markdown]
# Even random features see colours and textures, so the untrained column is not flat. But they do not know what a class
# is, so look at the row with three classes missing, and compare the *order* of the flaws in the two columns. A Fréchet
# distance always depends on the network that looks: never compare distances by different networks. And the race? The
# score of a few dozen real pictures depends mostly on how few they are, and it varies with the draw.
#
# ## The rivals
#
# Besides its autoregressive twin, table 1 compares MaskGIT with two kinds of models:
#
# **A GAN** (BigGAN): a generator turns noise z into a picture in *one* pass; a discriminator learns to tell fakes from
# real pictures, and the generator learns to fool it. GANs are fast and sharp, but hard to train. Nothing in the game
# asks for *all* kinds of pictures. Which column of the table would show that?
#
# **Diffusion** (ADM): add noise to pictures, a little more with every t, and train a network to remove it. Then start
# from pure noise and go back in many small steps. Diffusion is slow and stable, and its pictures vary widely. Here is
# how noise is added to a picture x₀: x<sub>t</sub> = √a x₀ + √(1 − a) ε. ε is Gaussian noise, as large as the picture,
# and a falls from 1 at t = 0 to almost 0 at t = 1 (papers call it ᾱ):

# %%
t = torch.linspace(0, 1, 9)
x0 = (2 * held_out[3:4] - 1).expand(9, -1, -1, -1)
noised = add_noise(x0, torch.randn(1, 3, *x0.shape[2:], generator=generator(0)).expand_as(x0), t)
titles = [f"t = {x:.2f}" for x in t.tolist()]
alt = "A picture at nine times: noise covers it more and more, until nothing else is left."
show(figures.grid(((noised + 1) / 2).clamp(0, 1), columns=9, titles=titles), alt, width=900)

# %% [markdown]
# Masking tokens and adding noise are closely related. The share of masked tokens is to MaskGIT what t is to diffusion.
# Both learn to repair pictures that were destroyed to any degree, and both paint by going back in steps.
#
# Here are all models that this run has, side by side. Each row shows the first picture of each of ten classes,
# not the best:

# %%
ten, samplers = torch.arange(10), {}
for kind, make in {"GAN": gan_sampler, "diffusion": lambda run: diffusion_sampler(run, 50)}.items():
    if (run.folder / kind.lower() / "model.safetensors").exists():
        samplers[kind] = make(run)
    else:
        print(f"no {kind} in this run; compare --showdown, below, trains one")
rows = {f"MaskGIT, passes: {run.config.decoding.steps}": made[:10]}
rows[f"autoregressive, passes: {model.num_tokens}"] = tokenizer.decode(
    generate(run.autoregressive(), ten, generator=generator(0))
)
for kind, sampler in samplers.items():
    rows[f"{kind}, passes: {sampler.passes}"] = sampler.draw(ten, generator(0))
rows["real"] = torch.stack([held_out[true_labels == c][0] for c in range(10)])
alt = "Ten glyphs by each model of this run and ten real ones: all can be recognised, some of MaskGIT's have spots."
show(figures.comparison(rows, columns=10), alt, width=900)

# %% [markdown]
# To compare all models in one table, with times and every metric of this lesson:
#
#     python -m minimaskgit.compare --pretrained glyphs --showdown
#
# This trains the models that are missing, and measures all of them with equal counts, the same judge and the same
# classes. For one model alone, use `python -m minimaskgit.evaluate --pretrained glyphs`. It adds CAS, the
# *classification accuracy score*: a classifier learns from generated pictures only and is tested on real ones.
#
# ## Two rulers, two winners
#
# The models of photographs that come with the project were measured on a GPU, 5000 pictures of each. *CAS* trains a new
# classifier on generated pictures alone and tests it on real ones. The last line is the judge's view.
#
# **Predict before you run.** Do all rulers agree on who is better, MaskGIT or its autoregressive twin?

# %%
measured = json.loads((notebook.PHOTOS / "evaluation.json").read_text("utf-8"))
maskgit, twin = (result["metrics"] for result in measured)
rulers = {"fd": "FD", "precision": "precision", "recall": "recall", "cas": "CAS", "class_accuracy": "as asked"}
print(f"{'':10} {'MaskGIT':>8} {'twin':>8} {'real':>8}")
for key, name in rulers.items():
    print(f"{name:10} {maskgit[key]['value']:8.3f} {twin[key]['value']:8.3f} {maskgit[key]['real']:8.3f}")
assert twin["fd"]["value"] < maskgit["fd"]["value"] and twin["cas"]["value"] < maskgit["cas"]["value"]

# %% [markdown]
# They do not. The twin's cloud is a little nearer to the real one. But MaskGIT's pictures show their class more often,
# and a classifier learns more from them; guidance, which the twin here lacks, pulls each picture towards its class.
# Neither number is wrong. Say first what the pictures are for, and then choose the ruler.
#
# ## Exercises
#
# <details><summary><b>frechet_distance</b>: the idea</summary>Only the trace of the root is needed, so eigenvalues do.
# <details><summary>the shape</summary>(D,), (D, D), twice → a scalar, in double precision.
# <details><summary>pseudo-code</summary><pre>shift = squared length of mu1 - mu2
# roots = square roots of the eigenvalues of sigma1 @ sigma2 (rounding may leave some a little
#   below 0, or with an imaginary part that is none)
# shift + trace + trace - 2 * sum of roots; safer: symmetric roots A, B of both, and the
# singular values of A @ B</pre>
# <!-- answer frechet_distance --> <!-- answer _root --></details></details></details>
#
# <details><summary><b>inception_score</b>: the idea</summary>A Kullback-Leibler divergence for each picture; their
# mean; exp.
# <details><summary>the shape</summary>(N, C) in parts of about N / splits; each has its own p(y), (C,).
# <details><summary>pseudo-code</summary><pre>for each part:
#   q = mean of the rows
#   kl = sum over classes of p log p - p log q, where 0 log 0 is 0
#   score = exp(mean kl)
# mean and standard deviation of the scores (of these, not an estimate: divide by splits)</pre>
# <!-- answer inception_score --></details></details></details>
#
# <details><summary><b>precision_recall</b>: the idea</summary>One function, called twice with the roles swapped.
# <details><summary>the shape</summary>distances (M, N) against radii (N,) → inside any, (M,) → a share.
# <details><summary>pseudo-code</summary><pre>radius of each centre = distance to its k-th nearest *other* centre
# a point is inside if its distance to any centre is at most that centre's radius
# precision: fakes in real balls; recall: real ones in fake balls</pre>
# <!-- answer precision_recall --> <!-- answer neighbour_distances --> <!-- answer _in_balls -->
# <!-- answer _distances --></details></details></details>
#
# Further, without a check:
# 1. Make a set with high precision and a bad FD, and one with low precision and a good FD.
# 2. Let MaskGIT paint with temperature 0 and with 20. Does precision change, or recall?
# 3. Show `judge` pictures of a class it never saw (draw letters with Pillow). What does each number say about them?

# %%
summary()  # your predictions, of all lessons

# %% [markdown]
# ## What the paper did
#
# - Section 4.1 and 4.2, table 1, ImageNet 256 × 256 (FID, IS, precision, recall, passes): MaskGIT 6.18, 182.1, .80,
#   .51, 8; VQGAN 18.65, 80.4, .78, .26, 256; BigGAN-deep 6.95, 198.2, .87, .28, 1; ADM 10.94, 101.0, .69, .63, 250.
#   Read it with the table above in mind: which model is sharp, and which has variety?
# - CAS (top 1): real 76.6, MaskGIT 63.14, VQGAN 53.10, BigGAN-deep 43.99.
# - FID with Inception features of 50,000 pictures. Ours use another network, so they are not comparable.
#
# ## What to read next
#
# - Heusel et al. 2017 (FID), Salimans et al. 2016 (IS), Kynkäänniemi et al. 2019 (precision and recall): short papers.
# - Barratt and Sharma 2018, *A Note on the Inception Score*: what is wrong with it.
# - Jayasumana et al. 2024, *Rethinking FID*: other features, without Gaussians.
#
# Next is lesson 9: photographs, one GPU, and what it costs.
