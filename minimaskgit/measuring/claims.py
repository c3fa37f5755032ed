"""The paper's claims, each with the numbers measured here and a verdict computed from them."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from minimaskgit.measuring.intervals import side

VERDICTS = {-1: "does not hold here", 0: "cannot be told", 1: "holds"}  # from the worst to the best


def claims(result: dict) -> list[dict[str, str]]:
    """The paper's claims with its numbers (ImageNet-256: table 1, figures 4 and 6), ours, and a verdict.

    The verdict only says whether the measured numbers are in the claimed order, beyond chance: whether the 95 %
    interval of their difference, over the seeds, or of a speed, over the repeats, leaves zero out. It knows nothing of
    the chance in training: each model was trained once.
    """
    rows = {row["name"]: row for row in result["rows"]}
    maskgit, rivals = result["rows"][0], {"GAN": rows["GAN"], "diffusion": rows["diffusion, 250 steps"]}
    twin, naive = rows["autoregressive, cache"], rows["autoregressive, no cache"]
    small, large = str(result["batches"][0]), str(result["batches"][-1])

    def score(row: dict, key: str) -> float:
        return row["scores"][key]

    def by_seed(row: dict, key: str) -> list[float]:
        return [scores[key] for scores in row["by_seed"]]

    def faster(row: dict, batch: str) -> float:
        return maskgit["batch"][batch]["images_per_second"] / row["batch"][batch]["images_per_second"]

    def gains(row: dict, batch: str) -> list[float]:
        """How much faster MaskGIT is in each repeat, as logarithms."""
        ours, theirs = (each["batch"][batch]["times"] for each in (maskgit, row))
        return [math.log(their / our) for our, their in zip(ours, theirs)]

    found = [
        _claim(
            "it needs far fewer passes than an autoregressive model",
            "8 against 256",
            f"{maskgit['passes']} against {twin['passes']}",
            "holds" if maskgit["passes"] < twin["passes"] else "does not hold here",
        ),
        _claim(
            "it decodes many times faster than an autoregressive model",
            "30 to 64 times, cache not stated",
            "; ".join(
                f"batch {batch}: {faster(twin, batch):.2g} x with a cache, {faster(naive, batch):.2g} x without"
                for batch in (small, large)
            ),
            all_of(verdict(gains(row, batch)) for row in (twin, naive) for batch in (small, large)),
        ),
        _claim(
            "it makes better images than an autoregressive model on the same kind of tokens",
            "FID 6.18 against 18.65",
            f"FD {score(maskgit, 'fd'):.3g} against {score(twin, 'fd'):.3g}",
            verdict(_minus(by_seed(twin, "fd"), by_seed(maskgit, "fd"))),
        ),
    ]
    published = {"GAN": ("BigGAN-deep", "6.95"), "diffusion": ("ADM without guidance", "10.94")}
    for name, rival in rivals.items():
        found.append(
            _claim(
                f"it makes better images than {'a GAN' if name == 'GAN' else 'a diffusion model'}",
                f"FID 6.18 against {published[name][1]} ({published[name][0]})",
                f"FD {score(maskgit, 'fd'):.3g} against {score(rival, 'fd'):.3g}",
                verdict(_minus(by_seed(rival, "fd"), by_seed(maskgit, "fd"))),
            )
        )
    found += [
        _claim(
            "it is faster than diffusion",
            "8 passes against 250",
            f"batch {large}: {faster(rivals['diffusion'], large):.3g} x",
            verdict(gains(rivals["diffusion"], large)),
        ),
        _claim(
            "its images are more diverse than a GAN's",
            "recall .51 against .28",
            f"recall {score(maskgit, 'recall'):.2f} against {score(rivals['GAN'], 'recall'):.2f}",
            verdict(_minus(by_seed(maskgit, "recall"), by_seed(rivals["GAN"], "recall"))),
        ),
        _claim(
            "a classifier learns more from its images (CAS)",
            "63.1 % against 53.1 % (autoregressive), 44.0 % (BigGAN-deep)",
            f"{score(maskgit, 'cas'):.1%} against {score(twin, 'cas'):.1%}, {score(rivals['GAN'], 'cas'):.1%}",
            all_of(verdict(_minus(by_seed(maskgit, "cas"), by_seed(row, "cas"))) for row in (twin, rivals["GAN"])),
        ),
    ]
    for region, edited in (result["edits"] or {}).items():
        ours, theirs = edited["MaskGIT"], edited["autoregressive"]
        least = {name: [min(scores[name].values()) for scores in edited["by_seed"]] for name in edited["by_seed"][0]}
        found.append(
            _claim(
                f"it edits images better than an autoregressive model: {region}",
                "figures 1 and 6, pictures only",
                f"asked class {ours['asked_class']:.1%} against {theirs['asked_class']:.1%},"
                f" palette kept {ours['kept_palette']:.1%} against {theirs['kept_palette']:.1%}",
                verdict(_minus(least["MaskGIT"], least["autoregressive"])),
            )
        )
    return found


def verdict(gains: Sequence[float]) -> str:
    """Whether gains are above zero, below it, or neither beyond chance."""
    return VERDICTS[side(gains)]


def all_of(verdicts: Iterable[str]) -> str:
    """The verdict on several claims at once: the worst of them."""
    return min(verdicts, key=list(VERDICTS.values()).index)


def _minus(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(ours, theirs)]


def _claim(claim: str, paper: str, here: str, verdict: str) -> dict[str, str]:
    return {"claim": claim, "paper": paper, "here": here, "verdict": verdict}


def claims_table(found: Sequence[dict[str, str]]) -> str:
    """The claims as a Markdown table."""
    lines = ["| the article says | it reports | measured here | verdict |", "| --- | --- | --- | --- |"]
    return "\n".join(lines + [f"| {' | '.join(claim.values())} |" for claim in found])


def load(path: Path) -> dict:
    """Read the showdown's results from a compare.json."""
    return json.loads(path.read_text("utf-8"))["showdown"]
