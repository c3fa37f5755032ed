"""Search for a decoding policy on frozen weights: how many tokens each step keeps, and with what noise (AutoNAT).

    training images ──tokenizer──> reference                       RUN/search/T8.json: scores and plan, to resume from
    settings x ──policy──> N images ──judge──> FD, precision, recall ──> objective ──> the next settings
                  ^─────────────────── an evolution strategy ───────────────────┘

The objective is 1 for the run's own settings, and lower is better:

    (FD / FD of the start + misses / misses of the start) / 2
    misses = sqrt(((1 - precision)^2 + (1 - recall)^2 + strays^2) / 3)

strays is the fraction of glyphs that have some, and 0 for other data. Neither half can be won alone: surer decoding
raises precision, but its pictures are all alike, which costs both recall and FD. The reference consists of training
images that went through the tokenizer, so that only the transformer's decoding is measured. Held-out images and the
seeds of `evaluate` stay unseen, for an honest judgement later.

The FD of so few images is mostly the bias of a small sample, which is about the same for all policies. That helps:
without the bias the FD would be close to zero here, and a ratio of two such numbers would be noise.

A score of N images is noisy, by about 10 %. An evolution strategy copes with that: each generation moves the settings
to a weighted mean of its better half, in which the noise averages out. But it only finds the nearest valley, so it
starts from the best of a few points that are far apart (STARTS). Its result replaces the run's own settings only if it
is better on seeds that the search has not used.
"""

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from minimaskgit.common.errors import UserError
from minimaskgit.common.files import read_kept, write_json
from minimaskgit.common.precision import AnyPrecision
from minimaskgit.common.tables import text_table
from minimaskgit.common.timing import refresh_interval
from minimaskgit.decoders.critic import Critic
from minimaskgit.decoders.loop import run as decode_with
from minimaskgit.decoders.policy import LARGEST, Policy, decoder_of, papers_policy
from minimaskgit.decoders.sampling import late_guidance
from minimaskgit.measuring.evaluation import check_neighbours, check_samples
from minimaskgit.measuring.networks import Network, Seen, judge_network, look
from minimaskgit.measuring.pictures import sample, through_tokenizer, training_pictures
from minimaskgit.measuring.samplers import generate
from minimaskgit.measuring.scores import NEIGHBOURS, fd, without_strays
from minimaskgit.metrics import precision_recall
from minimaskgit.runs.choices import check_guidance, check_steps, choose_labels, decoding_loop, recorded
from minimaskgit.runs.config import DecodingConfig, Rate, Samples, Seed
from minimaskgit.runs.models import digest
from minimaskgit.runs.run import Run
from minimaskgit.runs.searched import Found
from minimaskgit.schedules import SCHEDULES
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training.judge import load_judge
from minimaskgit.transformer import Transformer

CANDIDATES = 10  # policies in a generation
SPREAD, SHRINK = 0.6, 0.8  # standard deviation of x in the first generation, and its factor from one to the next
GENERATIONS = 15  # at most: by then the spread is 4 % of the first
# Where to start, as x of `policy_at`: the run's own settings; fewer tokens early and more noise in their choice; the
# same with all that makes decoding surer; and the run's own settings with less guidance.
STARTS = ((0.0,) * 7, (0.7, 2.0, *(0.0,) * 5), (0.7, 2.0, 0.0, 0.0, -1.0, 2.0, 1.0), (*(0.0,) * 5, -1.0, 0.0))
CHECKS = 6  # seeds of the final comparison, the same for all policies and not used in the search


@dataclass(frozen=True)
class Options:
    """What to search for: a decoding policy for each number of steps."""

    run: Path  # run folder with a trained transformer
    steps: tuple[int, ...] = (4, 8, 12, 16)  # numbers of decoding steps T, each searched by itself
    minutes: Rate | None = None  # time for each T, for 1 to 15 generations (default: half a minute per step)
    samples: Samples = 400  # images of one evaluation
    reference: Samples = 4000  # training images to compare with, reconstructed by the tokenizer
    seed: Seed = 0  # seed of the search, from which its images get seeds of their own
    device: str = "auto"  # device to run on: auto, cpu, cuda or mps
    precision: AnyPrecision = "auto"  # precision of matrix products; auto: the faster of bf16 and fp32 here


def check_options(run: Run, options: Options) -> None:
    """UserError for invalid options."""
    if not options.steps:
        raise UserError("--steps: expected one or more numbers")
    tokens = run.transformer().num_tokens
    for steps in options.steps:
        check_steps(steps, tokens)
    check_samples(options.samples, len(run.label_names))
    check_neighbours(min(options.samples, options.reference))


# --- The objective ---


class Score(NamedTuple):
    """What one evaluation found."""

    fd: float
    precision: float
    recall: float
    strays: float = 0.0

    @property
    def misses(self) -> float:
        return math.sqrt(((1 - self.precision) ** 2 + (1 - self.recall) ** 2 + self.strays**2) / 3)


def objective(scores: Sequence[Score], start: Sequence[Score]) -> float:
    """The formula above, from the means of a policy's scores and of the start's."""
    ratios = []
    for of in (lambda score: score.fd, lambda score: score.misses):
        ratios.append(fmean(map(of, scores)) / max(fmean(map(of, start)), 1e-6))  # a start may miss nothing
    return fmean(ratios)


# --- What is searched ---


def policy_at(x: Tensor, steps: int, settings: DecodingConfig, num_tokens: int) -> Policy:
    """The policy at x, at most 7 numbers for any T, because its settings are smooth functions of progress r.

    x = 0 is the paper's way with the run's temperatures. A change of x by 1 makes a clear difference:

    x[0]        gamma(r) becomes gamma(r^exp(0.6 x)): fewer tokens early where x > 0
    x[1], x[2]  choice temperature at r = 0 and r = 1
    x[3], x[4]  sampling temperature of the first and of the last step, exp(0.3 x)
    x[5]        guidance: above 0, more in the second half of the steps; below 0, less in all that have some
    x[6]        the share of tokens that a critic may take back
    """
    later, first, last, drawn_first, drawn_last, guided, taken = (*x.tolist(), *[0.0] * 7)[:7]
    gamma = SCHEDULES[settings.schedule]
    paper = papers_policy(steps, lambda r, n: gamma(r ** math.exp(0.6 * later), n), settings.temperature, num_tokens)
    unit = max(settings.temperature / 3, 0.5)
    high, low = min(max(settings.temperature + unit * first, 0.0), LARGEST), max(0.4 * last, 0.0)
    choice, sampling, guidance = [], [], []
    own = late_guidance(settings.guidance, settings.guidance_start)
    for t in range(steps):
        r, along = (t + 1) / steps, t / max(steps - 1, 1)
        choice.append(high * (1 - r) + low * r)
        sampling.append(
            settings.sampling_temperature * math.exp(0.3 * (drawn_first * (1 - along) + drawn_last * along))
        )
        change = 0.5 * guided if guided < 0 or r > 0.5 else 0.0
        guidance.append(max(own(r) + change, 0.0))
    steps_own = {"choice": tuple(choice), "sampling": tuple(sampling), "guidance": tuple(guidance)}
    return replace(paper, **steps_own, doubted=min(max(0.2 * taken, 0.0), 1.0))


def candidates(centre: Tensor, spread: float, generator: torch.Generator) -> Tensor:
    """A generation around `centre` (D,), in opposite pairs: (CANDIDATES, D)."""
    offsets = torch.randn(CANDIDATES // 2, len(centre), generator=generator, dtype=torch.double)
    return centre + spread * torch.cat([offsets, -offsets])


def recombined(points: Tensor, objectives: Sequence[float]) -> Tensor:
    """The weighted mean of the better half of `points` (M, D), the best weighing most, as in CMA-ES: (D,)."""
    half = len(points) // 2
    better = torch.tensor(objectives).argsort()[:half]
    weights = math.log(half + 0.5) - torch.arange(1, half + 1, dtype=torch.double).log()
    return weights @ points[better] / weights.sum()


# --- Evaluations, each done once ---


class Laboratory(NamedTuple):
    """What all policies are measured with."""

    run: Run
    options: Options
    tokenizer: Tokenizer
    model: Transformer
    network: Network
    reference: Seen
    labels: Tensor  # (B,) of the images of one evaluation
    critic: Critic | None  # if the run has one


def laboratory(run: Run, options: Options) -> Laboratory:
    """Load the models and look at the reference; train the judge first if there is none yet."""
    check_guidance(run, run.config.decoding)
    tokenizer, model, network = run.tokenizer(), run.transformer(), judge_network(load_judge(run))
    pictures = training_pictures(run, options.reference)
    reference = look(run, network, through_tokenizer(run, pictures)[1])
    check_neighbours(min(options.samples, len(pictures.labels)))
    critic = run.critic() if run.has("critic") else None
    labels = choose_labels(run, options.samples)
    return Laboratory(run, options, tokenizer, model, network, reference, labels, critic)


def plain_policy(lab: Laboratory, steps: int) -> Policy:
    """x = 0: the paper's way, with the run's temperatures."""
    return policy_at(torch.zeros(7), steps, lab.run.config.decoding, lab.model.num_tokens)


def measure(lab: Laboratory, steps: int, policy: Policy | None, seed: int) -> Score:
    """Generate images with the policy, or the run's own decoder, and score them."""
    if policy:
        loop = partial(decode_with, decoder_of(policy, lab.critic), steps=steps)
    else:
        loop = decoding_loop(replace(lab.run.config.decoding, steps=steps), lab.run)

    def draw(labels: Tensor, generator: torch.Generator) -> Tensor:
        return generate(lab.run, lab.tokenizer, lab.model, labels, loop, generator)[1]

    pictures = sample(lab.run, draw, lab.labels, seed, quiet=True)
    seen = look(lab.run, lab.network, pictures.images)
    strays = 1 - without_strays(lab.run, pictures) if lab.run.config.data == "glyphs" else 0.0
    # All of the reference, although there are fewer images: precision is then as strict as with many images.
    precision, recall = precision_recall(lab.reference.features, seen.features, NEIGHBOURS["precision-recall"])
    return Score(fd(seen, lab.reference), precision.item(), recall.item(), strays)


def seed_of(options: Options, steps: int, name: str) -> int:
    """The seed of an evaluation's images, which no other command is likely to use."""
    text = f"search {options.seed} {steps} {name}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7])


class Memory:
    """Every evaluation of one search, saved after each, and its plan: a search that is run again resumes from both."""

    def __init__(self, lab: Laboratory, steps: int):
        self.lab, self.steps = lab, steps
        self.path = lab.run.folder / "search" / f"T{steps}.json"
        names = ["transformer", "tokenizer", "judge/classifier", *(["critic"] if lab.critic else [])]
        folders = (lab.run.folder / name for name in names)
        named = {name: getattr(lab.options, name) for name in ("samples", "reference", "seed")}
        self.facts = named | {
            "models": [digest(folder) for folder in folders],
            "decoding": recorded(lab.run.config.decoding),
            "scores": Score._fields,
        }
        self.facts = json.loads(json.dumps(self.facts))  # as it will be read
        kept = read_kept(self.path, "search from the beginning")
        same = kept.get("facts") == self.facts
        self.evaluations = kept["evaluations"] if same else {}
        self.plans: dict[str, int] = kept.get("plans", {}) if same else {}  # --minutes to generations
        if kept and not same:
            print(f"note: {self.path} comes from a search with other weights or options, so this search starts over")

    def score(self, policy: Policy | None, seed: str) -> Score:
        """The score of images drawn with the policy and the seed of this name."""
        name = f"{seed}: {hashlib.sha256(repr(policy).encode()).hexdigest()[:12]}"
        if name not in self.evaluations:
            start = time.perf_counter()
            found = measure(self.lab, self.steps, policy, seed_of(self.lab.options, self.steps, seed))
            self.evaluations[name] = found._asdict() | {"seconds": time.perf_counter() - start}
            self.save()
        return Score(*(self.evaluations[name][field] for field in Score._fields))

    def generations(self, minutes: float, checked: int) -> int:
        """How many generations fit into the time, by the evaluations so far, when so many policies are checked.

        The first answer for these minutes is kept: a later one would depend on how fast the machine has been since.
        """
        if (key := str(float(minutes))) not in self.plans:
            mean = fmean(evaluation["seconds"] for evaluation in self.evaluations.values())
            rest = 60 * minutes / mean - checked * CHECKS - len(STARTS)
            self.plans[key] = min(max(int(rest / CANDIDATES), 1), GENERATIONS)
            self.save()
        return self.plans[key]

    def save(self) -> None:
        write_json(self.path, {"facts": self.facts, "plans": self.plans, "evaluations": self.evaluations})


# --- The search ---


class Result(NamedTuple):
    """The policies of one T that were compared at the end, and their scores with the same seeds, new to the search."""

    policies: dict[str, Policy | None]  # "before" (None: the run's own decoder), "after", perhaps "earlier"
    scores: dict[str, list[Score]]
    evaluations: int

    def objective(self, name: str) -> float:
        return objective(self.scores[name], self.scores["before"])

    @property
    def best(self) -> str:
        return min(self.policies, key=self.objective)


def search(lab: Laboratory, steps: int, earlier: Policy | None = None) -> Result:
    """Search for a policy of T = `steps` steps, and compare it with the run's settings and with an earlier policy."""
    memory, settings, tokens = Memory(lab, steps), lab.run.config.decoding, lab.model.num_tokens
    usable = torch.ones(7, dtype=torch.double)
    usable[5] = lab.run.config.transformer_training.class_dropout > 0  # guidance needs a model that knows "no class"
    usable[6] = lab.critic is not None
    policies = {"before": None} | ({"earlier": earlier} if earlier else {})
    with tqdm(desc=f"T = {steps}", unit="evaluation", dynamic_ncols=True, mininterval=refresh_interval()) as bar:

        def score(policy: Policy | None, seed: str) -> Score:
            found = memory.score(policy, seed)
            bar.update()
            return found

        def check(policy: Policy | None) -> list[Score]:
            return [score(policy, f"check {number}") for number in range(CHECKS)]

        scores = {name: check(policy) for name, policy in policies.items()}
        minutes = steps / 2 if lab.options.minutes is None else lab.options.minutes
        count = memory.generations(minutes, len(policies) + 1)
        bar.total = (len(policies) + 1) * CHECKS + len(STARTS) + count * CANDIDATES

        def value(x: Tensor, seed: str) -> float:
            return objective([score(policy_at(x, steps, settings, tokens), seed)], scores["before"])

        x = min((usable * torch.tensor(start) for start in STARTS), key=lambda start: value(start, "starts"))
        for number in range(count):
            seed = f"generation {number}"  # the same for all its candidates, so that they share their luck
            points = candidates(
                x, SPREAD * SHRINK**number, torch.Generator().manual_seed(seed_of(lab.options, steps, seed))
            )
            points = points * usable
            values = [value(point, seed) for point in points]
            x = recombined(points, values)
            bar.set_postfix_str(f"objective {fmean(values):.2f}")
        policies["after"] = policy_at(x, steps, settings, tokens)
        scores["after"] = check(policies["after"])
    return Result(policies, scores, bar.n)


def entry(result: Result, options: Options) -> Found:
    """The best policy as it is written to decoding.json."""
    summaries = {
        name: {**summary(scores), "objective": result.objective(name)} for name, scores in result.scores.items()
    }
    named = {name: getattr(options, name) for name in ("samples", "reference", "seed")}
    return Found(result.policies[result.best], named | {"evaluations": result.evaluations, **summaries})


def summary(scores: Sequence[Score]) -> dict[str, list[float]]:
    """Mean and standard deviation of each metric over the seeds."""
    return {name: [fmean(column), stdev(column)] for name, column in zip(Score._fields, zip(*scores))}


def table(results: dict[int, Result]) -> str:
    """Before and after for each T, with the spread over the seeds."""
    rows = []
    for steps, result in results.items():
        for name in result.policies:
            spreads = [f"{mean:.3g} ± {spread:.2g}" for mean, spread in summary(result.scores[name]).values()]
            used = "used from now on" if name == result.best else ""
            rows.append(
                [f"T = {steps}" if name == "before" else "", name, f"{result.objective(name):.2f}", *spreads, used]
            )
    return text_table(["", "", "objective", "FD", "precision", "recall", "strays", ""], rows, left=(0, 1, 7))
