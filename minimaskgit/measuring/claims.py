"""The paper's claims, each with the numbers measured here and a verdict computed from them."""

import json
from collections.abc import Sequence
from pathlib import Path


def claims(result: dict) -> list[dict[str, str]]:
    """The paper's claims with its numbers (ImageNet-256: table 1, figures 4 and 6), ours, and a verdict.

    The verdict only states whether the measured numbers are in the claimed order.
    """
    rows = {row["name"]: row for row in result["rows"]}
    maskgit, rivals = result["rows"][0], {"GAN": rows["GAN"], "diffusion": rows["diffusion, 250 steps"]}
    twin, naive = rows["autoregressive, cache"], rows["autoregressive, no cache"]
    small, large = str(result["batches"][0]), str(result["batches"][-1])

    def score(row: dict, key: str) -> float:
        return row["scores"][key]

    def faster(row: dict, batch: str) -> float:
        return maskgit["batch"][batch]["images_per_second"] / row["batch"][batch]["images_per_second"]

    found = [
        _claim(
            "it needs far fewer passes than an autoregressive model",
            "8 against 256",
            f"{maskgit['passes']} against {twin['passes']}",
            maskgit["passes"] < twin["passes"],
        ),
        _claim(
            "it decodes many times faster than an autoregressive model",
            "30 to 64 times, cache not stated",
            "; ".join(
                f"batch {batch}: {faster(twin, batch):.2g} x with a cache, {faster(naive, batch):.2g} x without"
                for batch in (small, large)
            ),
            min(faster(row, batch) for row in (twin, naive) for batch in (small, large)) > 1,
        ),
        _claim(
            "it makes better images than an autoregressive model on the same kind of tokens",
            "FID 6.18 against 18.65",
            f"FD {score(maskgit, 'fd'):.3g} against {score(twin, 'fd'):.3g}",
            score(maskgit, "fd") < score(twin, "fd"),
        ),
    ]
    published = {"GAN": ("BigGAN-deep", "6.95"), "diffusion": ("ADM", "10.94")}
    for name, rival in rivals.items():
        found.append(
            _claim(
                f"it makes better images than {'a GAN' if name == 'GAN' else 'a diffusion model'}",
                f"FID 6.18 against {published[name][1]} ({published[name][0]})",
                f"FD {score(maskgit, 'fd'):.3g} against {score(rival, 'fd'):.3g}",
                score(maskgit, "fd") < score(rival, "fd"),
            )
        )
    found += [
        _claim(
            "it is faster than diffusion",
            "8 passes against 250",
            f"batch {large}: {faster(rivals['diffusion'], large):.3g} x",
            faster(rivals["diffusion"], large) > 1,
        ),
        _claim(
            "its images are more diverse than a GAN's",
            "recall .51 against .28",
            f"recall {score(maskgit, 'recall'):.2f} against {score(rivals['GAN'], 'recall'):.2f}",
            score(maskgit, "recall") > score(rivals["GAN"], "recall"),
        ),
        _claim(
            "a classifier learns more from its images (CAS)",
            "63.1 % against 53.1 % (autoregressive), 44.0 % (BigGAN-deep)",
            f"{score(maskgit, 'cas'):.1%} against {score(twin, 'cas'):.1%}, {score(rivals['GAN'], 'cas'):.1%}",
            score(maskgit, "cas") > max(score(twin, "cas"), score(rivals["GAN"], "cas")),
        ),
    ]
    for region, edited in (result["edits"] or {}).items():
        ours, theirs = edited["MaskGIT"], edited["autoregressive"]
        found.append(
            _claim(
                f"it edits images as an autoregressive model cannot: {region}",
                "figures 1 and 6, pictures only",
                f"asked class {ours['asked_class']:.1%} against {theirs['asked_class']:.1%},"
                f" palette kept {ours['kept_palette']:.1%} against {theirs['kept_palette']:.1%}",
                min(ours.values()) > min(theirs.values()),
            )
        )
    return found


def _claim(claim: str, paper: str, here: str, holds: bool) -> dict[str, str]:
    return {"claim": claim, "paper": paper, "here": here, "verdict": "holds" if holds else "does not hold here"}


def claims_table(found: Sequence[dict[str, str]]) -> str:
    """The claims as a Markdown table."""
    lines = ["| the article says | it reports | measured here | verdict |", "| --- | --- | --- | --- |"]
    return "\n".join(lines + [f"| {' | '.join(claim.values())} |" for claim in found])


def load(path: Path) -> dict:
    """Read the showdown's results from a compare.json."""
    return json.loads(path.read_text("utf-8"))["showdown"]
