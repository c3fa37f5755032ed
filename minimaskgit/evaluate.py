"""Measure a trained run: `python -m minimaskgit.evaluate --run runs/demo --json quality.json` (lesson 8; section 4.1).

    held-out real images ─┬─> reference ────────────┐
                          └─> second sample ──────> network ──> metrics: what real images score, the best to hope for
    generated images, the classes in turn ────────> network ──> metrics: what the model scores

The network is the judge, the package's own classifier of this data, trained on real images; so a "FD" here is a
Frechet distance in that classifier's features and not comparable with a published FID. `--features inception` takes
the network of the published ones. Everything is measured twice, on generated and on equally many real images.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure
from torchmetrics.image.fid import FrechetInceptionDistance
from tqdm.auto import tqdm

from minimaskgit import cli
from minimaskgit.classifier import Classifier, classification_loss
from minimaskgit.config import ScheduleName
from minimaskgit.data import ImageData, flip, load_data, to_float
from minimaskgit.errors import UserError
from minimaskgit.files import write_json, written_aside
from minimaskgit.generate import choose_labels, decoding_settings
from minimaskgit.glyphs import palette_of
from minimaskgit.judge import load_judge
from minimaskgit.machine import machine
from minimaskgit.metrics import (
    density_coverage,
    feature_statistics,
    frechet_distance,
    inception_score,
    precision_recall,
)
from minimaskgit.precision import AnyPrecision
from minimaskgit.runs import Run, open_run
from minimaskgit.samplers import (
    DIFFUSION_STEPS,
    Draw,
    Sampler,
    autoregressive_sampler,
    diffusion_sampler,
    gan_sampler,
    maskgit_sampler,
)
from minimaskgit.train import code_use, psnr
from minimaskgit.training import batch_indices, cosine_decay, set_learning_rate

# FD and the rest are our own functions although torchmetrics has FD and IS: all of them then share one pass of the
# network, its features can be kept, and lesson 8 shows what is run. The tests check them against torchmetrics, from
# which SSIM and the Inception network come.
FEATURE_METRICS = ("fd", "is", "precision-recall", "density-coverage")
METRICS = (*FEATURE_METRICS, "cas", "class", "palette", "tokenizer")
SPLITS = 10  # of the inception score, as published
NEIGHBOURS = {"precision-recall": 3, "density-coverage": 5}  # k, as published
BATCH = 100  # images decoded, or looked at, at once

# Key in the JSON file: what the table calls it, and whether more of it is better.
NAMES = {
    "fd": ("Frechet distance (FD)", False),
    "is": ("inception score (IS)", True),
    "precision": ("precision", True),
    "recall": ("recall", True),
    "density": ("density", True),
    "coverage": ("coverage", True),
    "cas": ("classification accuracy score (CAS)", True),
    "class_accuracy": ("of the asked class", True),
    "palette_accuracy": ("of one palette", True),
    "reconstruction_fd": ("tokenizer: FD of reconstructions", False),
    "psnr": ("tokenizer: PSNR, dB", True),
    "ssim": ("tokenizer: SSIM", True),
    "code_usage": ("tokenizer: fraction of codes used", True),
    "code_perplexity": ("tokenizer: perplexity of the codes", True),
}


@dataclass(frozen=True)
class Options:
    """What to measure; decoding settings left out are those of the run's configuration."""

    run: Path  # run folder, as made by python -m minimaskgit.train
    metrics: tuple[str, ...] = ()  # fd is precision-recall density-coverage cas class palette tokenizer; default all
    samples: int = 2000  # generated images, the classes in turn
    reference: int = 10_000  # held-out real images they are compared with, at most half of those there are
    decoder: Literal["maskgit", "autoregressive", "gan", "diffusion"] = "maskgit"  # who generates
    features: Literal["classifier", "inception"] = "classifier"  # the network of FD, IS, precision, recall, ...
    k: int | None = None  # neighbours; default as published: 3 in precision and recall, 5 in density and coverage
    steps: int | None = None  # MaskGIT's decoding steps T, or those of diffusion
    schedule: ScheduleName | None = None  # MaskGIT's mask schedule
    temperature: float | None = None  # of MaskGIT's choice noise at the first step
    guidance: float | None = None  # MaskGIT's classifier-free guidance weight
    seed: int = 0  # of the generated images, and of the classifier that CAS trains
    json: Path | None = None  # file to write; default RUN/evaluation/DECODER.json
    device: str = "auto"  # auto, cpu, cuda or mps
    precision: AnyPrecision = "auto"  # of matrix products; auto: the one that is fast here


class Pictures(NamedTuple):
    images: Tensor  # uint8 (B, 3, S, S), as they would be saved, on the CPU
    labels: Tensor  # int64 (B,) the class asked for, or the true one


class Seen(NamedTuple):
    features: Tensor  # float32 (B, D), on the CPU
    logits: Tensor  # float32 (B, C)


Network = Callable[[Tensor], Seen]  # looks at images, uint8 (B, 3, S, S) on the run's device
Scores = dict[str, float]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the JSON file."""
    options = cli.parse(Options, "Measure the quality of a trained run.", argv=argv)
    run = open_run(options.run, options.device, options.precision)
    path = options.json or run.folder / "evaluation" / f"{options.decoder}.json"
    if path.is_dir():
        raise UserError(f"--json {path} is a folder; expected a file to write")
    result = evaluate(run, options)
    print(table(result))
    write_json(path, result)
    print(path)


def evaluate(run: Run, options: Options) -> dict:
    """All that was asked for; gives what is written to the JSON file."""
    metrics = check_options(run, options)
    generates, compares = set(metrics) != {"tokenizer"}, bool({*FEATURE_METRICS, "tokenizer"} & set(metrics))
    sampler = make_sampler(run, options) if generates else None
    reference, second = held_out(run, options.reference, options.samples)
    check_neighbours(metrics, options.k, min(options.samples, len(reference.labels), len(second.labels)))
    own = options.features == "classifier"
    judge = load_judge(run) if "class" in metrics or (compares and own) else None
    network = (judge_network(judge) if own else inception_network(run.device)) if compares else None

    found, expected = {}, {}  # scores of what the run made, and of as many real images
    if compares:
        target, real = cached_reference(run, network, options.features, reference), look(run, network, second.images)
        expected |= feature_scores(metrics, real, target, options.k)
    if generates:
        generated = sample(run, sampler.draw, choose_labels(run, None, options.samples), options.seed)
        if set(FEATURE_METRICS) & set(metrics):
            found |= feature_scores(metrics, look(run, network, generated.images), target, options.k)
        for scores, pictures in ((found, generated), (expected, second)):
            scores |= picture_scores(run, metrics, judge, pictures)
    if "cas" in metrics:
        for scores, pictures in ((found, generated), (expected, training_pictures(run, options.samples))):
            scores["cas"] = classification_accuracy_score(run, pictures, second, options.seed)
    if "tokenizer" in metrics:
        found |= tokenizer_scores(run, network, target, second)
        expected["reconstruction_fd"] = fd(real, target)
    return {
        "run": str(run.folder),
        "decoder": options.decoder if generates else None,
        "decoding": sampler.settings if generates else None,
        "samples": options.samples if generates else 0,
        "samples_per_class": options.samples / len(run.label_names) if generates else 0,
        "seed": options.seed,
        "real": {"data": run.config.data, "reference": len(reference.labels), "second": len(second.labels)},
        "features": feature_names(run, options.features),
        "neighbours": {name: options.k or k for name, k in NEIGHBOURS.items() if name in metrics},
        "metrics": {name: {"value": found[name], "real": expected.get(name)} for name in NAMES if name in found},
        "notes": notes(run, options, metrics, len(second.labels), real.features.shape[1] if compares else 0),
        "machine": machine(run.device),
    }


# --- Checks ---


def check_options(run: Run, options: Options) -> tuple[str, ...]:
    """The metrics to measure; UserError for what cannot be measured."""
    glyphs, least = run.config.data == "glyphs", 2 * len(run.label_names)
    metrics = tuple(dict.fromkeys(options.metrics)) or tuple(m for m in METRICS if glyphs or m != "palette")
    for name in metrics:
        if name not in METRICS:
            raise UserError(f"--metrics {name}: expected some of {', '.join(METRICS)}")
    if "palette" in metrics and not glyphs:
        raise UserError(f"--metrics palette: {run.folder} is a run on {run.config.data}; only glyphs have palettes")
    if options.samples < least:
        raise UserError(f"--samples {options.samples}: expected {least} or more, two for each of {least // 2} classes")
    if options.reference < 2:
        raise UserError(f"--reference {options.reference}: expected 2 or more")
    return metrics


def check_neighbours(metrics: Sequence[str], k: int | None, count: int) -> None:
    """UserError unless each of `count` images has the k neighbours that the metrics ask for."""
    for name, published in NEIGHBOURS.items():
        wanted = published if k is None else k
        if name in metrics and not 1 <= wanted < count:
            raise UserError(
                f"--metrics {name}: {wanted} neighbours of {count} images; expected 1 to {count - 1}:"
                " a smaller --k, or more --samples and --reference"
            )


# --- Pictures: real and generated ---


def real_images(run: Run, split: str, count: int) -> ImageData:
    """At most `count` images of one split of the run's data."""
    settings = run.config.images
    columns = {"image_column": settings.image_column, "label_column": settings.label_column}
    return load_data(run.config.data, split, settings.size, count, settings.classes, seed=run.config.seed, **columns)


def held_out(run: Run, reference: int, samples: int) -> tuple[Pictures, Pictures]:
    """Validation images, on which nothing was trained, in two parts: the reference and a second sample.

    Where there are too few for that, the reference is half of them and the second sample no more than the rest.
    """
    data = real_images(run, "valid", reference + samples)
    if len(data) < 4:
        raise UserError(f"{run.config.data}: {len(data)} validation images; expected 4 or more to compare with")
    everything = torch.arange(len(data))
    first = reference if len(data) == reference + samples else min(reference, len(data) // 2)
    return Pictures(*data.batch(everything[:first])), Pictures(*data.batch(everything[first : first + samples]))


def training_pictures(run: Run, count: int) -> Pictures:
    """As many of the run's training images, or all there are."""
    data = real_images(run, "train", min(count, run.config.images.count or count))
    return Pictures(*data.batch(torch.arange(len(data))))


def make_sampler(run: Run, options: Options) -> Sampler:
    """The one asked for; UserError if it is not trained, or for settings that it does not have."""
    if options.decoder == "maskgit":
        return maskgit_sampler(run, decoding_settings(run.config.decoding, options))
    for name in ("steps", "schedule", "temperature", "guidance"):
        if getattr(options, name) is not None and (options.decoder, name) != ("diffusion", "steps"):
            raise UserError(f"--{name} is a setting of MaskGIT's; leave it out with --decoder {options.decoder}")
    if options.decoder == "autoregressive":
        return autoregressive_sampler(run)
    if options.decoder == "gan":
        return gan_sampler(run)
    return diffusion_sampler(run, DIFFUSION_STEPS if options.steps is None else options.steps)


@torch.no_grad()
def sample(run: Run, draw: Draw, labels: Tensor, seed: int, quiet: bool = False) -> Pictures:
    """Images of the classes asked for (B,), rounded as a file would hold them; quiet: without a progress bar."""
    generator = torch.Generator(run.device).manual_seed(seed)
    images = []
    bar = tqdm(total=len(labels), desc="generating", unit="image", dynamic_ncols=True, disable=quiet)
    with run.autocast(), bar:
        for part in labels.split(BATCH):
            images.append(to_bytes(draw(part, generator)))
            bar.update(len(part))
    return Pictures(torch.cat(images), labels.cpu())


def to_bytes(images: Tensor) -> Tensor:
    """Floats in [0, 1] to uint8 on the CPU."""
    return (255 * images).round().byte().cpu()


# --- The networks that look at them ---


def judge_network(judge: Classifier) -> Network:
    """The judge's last features, averaged over the picture, and what it makes of them."""

    def network(images: Tensor) -> Seen:
        features = judge.features(to_float(images))[-1].mean((2, 3))
        return Seen(features, judge.final(features))

    return network


def inception_network(device: torch.device) -> Network:
    """The Inception network of published FIDs; UserError if its package or its weights cannot be had."""
    advice = "or leave out --features inception to use the run's own classifier"
    try:
        inception = FrechetInceptionDistance(feature=2048).inception.eval().to(device)
    except ModuleNotFoundError:
        raise UserError(f"--features inception needs torch-fidelity: pip install torch-fidelity, {advice}") from None
    except Exception as error:  # no network, and a broken download, have many shapes
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"--features inception: the network's weights cannot be had ({reason});"
            f" try where there is network, {advice}"
        ) from None

    def network(images: Tensor) -> Seen:
        features = inception(images)
        return Seen(features, features @ inception.fc.weight.T)  # without the bias, as published

    return network


def feature_names(run: Run, features: str) -> dict[str, str]:
    """What the table and the JSON file call the network, and what the numbers may be compared with."""
    if features == "inception":
        return {"network": "Inception v3", "comparable": "FD is the FID; published ones have other counts and data"}
    own = "glyph-classifier" if run.config.data == "glyphs" else "own-classifier"
    return {
        "network": f"the package's own classifier, {run.folder / 'judge' / 'classifier'}",
        "comparable": f"FD in {own} features; not comparable with published FID",
    }


@torch.no_grad()
def look(run: Run, network: Network, images: Tensor) -> Seen:
    """Features and logits of images, uint8 (B, 3, S, S)."""
    parts = [network(part.to(run.device)) for part in tqdm(images.split(BATCH), desc="looking", delay=2, leave=False)]
    return Seen(*(torch.cat(tensors).float().cpu() for tensors in zip(*parts)))


def cached_reference(run: Run, network: Network, features: str, reference: Pictures) -> Seen:
    """What the network sees in the reference; kept in the run folder under a hash of all that it depends on."""
    weights = b"inception"
    if features == "classifier":
        weights = (run.folder / "judge" / "classifier" / "model.safetensors").read_bytes()
    data = repr((run.config.data, run.config.images, run.config.seed, len(reference.labels)))
    name = hashlib.sha256(weights + data.encode()).hexdigest()[:16]
    path = run.folder / "evaluation" / f"reference-{name}.safetensors"
    if path.exists():
        return Seen(**load_file(path))
    seen = look(run, network, reference.images)
    with written_aside(path) as aside:
        save_file(seen._asdict(), aside)
    return seen


# --- The scores ---


def fd(seen: Seen, reference: Seen) -> float:
    """Frechet distance of the features from those of the reference."""
    return frechet_distance(*feature_statistics(seen.features), *feature_statistics(reference.features)).item()


def feature_scores(metrics: Sequence[str], seen: Seen, reference: Seen, k: int | None = None) -> Scores:
    """Those of the FEATURE_METRICS that are asked for."""
    scores = {}
    if "fd" in metrics:
        scores["fd"] = fd(seen, reference)
    if "is" in metrics:
        scores["is"] = inception_score(seen.logits.softmax(-1), min(SPLITS, len(seen.logits)))[0].item()
    # Equally many on both sides: precision rises with the number of real balls, recall with that of the fake ones.
    count = min(len(seen.features), len(reference.features))
    real, fake = reference.features[:count], seen.features[:count]
    if "precision-recall" in metrics:
        precision, recall = precision_recall(real, fake, k or NEIGHBOURS["precision-recall"])
        scores |= {"precision": precision.item(), "recall": recall.item()}
    if "density-coverage" in metrics:
        density, coverage = density_coverage(real, fake, k or NEIGHBOURS["density-coverage"])
        scores |= {"density": density.item(), "coverage": coverage.item()}
    return scores


def picture_scores(run: Run, metrics: Sequence[str], judge: Classifier | None, pictures: Pictures) -> Scores:
    """Fraction that the judge takes for the class asked for, and, of glyphs, that keep to one palette."""
    scores = {}
    if "class" in metrics:
        scores["class_accuracy"] = accuracy(run, judge, pictures)
    if "palette" in metrics:
        palettes = torch.cat([palette_of(to_float(part)) for part in pictures.images.split(BATCH)])
        scores["palette_accuracy"] = (palettes >= 0).double().mean().item()
    return scores


def classification_accuracy_score(run: Run, pictures: Pictures, test: Pictures, seed: int) -> float:
    """Accuracy on real test images of a fresh classifier that learned from `pictures` alone (Ravuri, Vinyals 2019).

    Trained as the run's perceptual network was, so in the same number of steps whatever the number of pictures.
    """
    settings, flipped = run.config.classifier, run.config.images.flip
    torch.manual_seed(seed)
    model = Classifier(len(run.label_names), settings.width).to(run.device)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=0.01)
    for step in tqdm(range(settings.steps), desc="training for CAS", unit="step", dynamic_ncols=True):
        chosen = batch_indices(len(pictures.labels), settings.batch_size, step, seed)
        images, labels = pictures.images[chosen], pictures.labels[chosen].to(run.device)
        images = to_float((flip(images) if flipped else images).to(run.device))
        with run.autocast():
            loss = classification_loss(model, images, labels)
        set_learning_rate(optimizer, settings.learning_rate * cosine_decay(step, settings.steps, settings.steps // 10))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return accuracy(run, model.eval(), test)


def accuracy(run: Run, classifier: Classifier, pictures: Pictures) -> float:
    """Fraction of pictures that the classifier takes for what their label says."""
    said = look(run, judge_network(classifier), pictures.images).logits.argmax(-1)
    return (said == pictures.labels).double().mean().item()


@torch.no_grad()
def through_tokenizer(run: Run, pictures: Pictures) -> tuple[Tensor, Tensor]:
    """The tokens (M, N) of real images, and what the tokenizer makes of them again, uint8 (M, 3, S, S)."""
    tokenizer, tokens, images = run.tokenizer(), [], []
    with run.autocast():
        for part in tqdm(pictures.images.split(BATCH), desc="reconstructing", delay=2, leave=False):
            tokens.append(tokenizer.encode(to_float(part).to(run.device)))
            images.append(to_bytes(tokenizer.decode(tokens[-1])))
    return torch.cat(tokens), torch.cat(images)


def tokenizer_scores(run: Run, network: Network, reference: Seen, pictures: Pictures) -> Scores:
    """How well real images come back from their tokens, and how much of the codebook they use.

    The FD of the reconstructions is from the same reference as that of generated images, so that the two compare: no
    model of these tokens can be expected to do better.
    """
    codes, decoded = through_tokenizer(run, pictures)
    scores = []
    for original, image in zip(pictures.images.split(BATCH), decoded.split(BATCH)):
        both = to_float(image), to_float(original)
        likeness = torch.stack([psnr(*both), structural_similarity_index_measure(*both, data_range=1.0)])
        scores.append(len(image) / len(decoded) * likeness.double())  # the last part may be short
    use = code_use(codes, run.tokenizer().num_codes)
    psnr_, ssim = sum(scores).tolist()
    return {
        "reconstruction_fd": fd(look(run, network, decoded), reference),
        "psnr": psnr_,
        "ssim": ssim,
        "code_usage": use["usage"].item(),
        "code_perplexity": use["perplexity"].item(),
    }


# --- What is told ---


def notes(run: Run, options: Options, metrics: Sequence[str], second: int, width: int) -> list[str]:
    """What a reader must know to make use of the numbers."""
    lines = [f"{feature_names(run, options.features)['comparable']}"] if width else []
    if {"fd", "tokenizer"} & set(metrics):
        lines.append(
            f"FD falls with more images: compare only equal counts; {second} real images score what 'real' says,"
            " which is the floor"
        )
        if min(second, options.samples, options.reference) <= width:
            lines.append(f"fewer images than the {width} features: the covariances are singular, the FD is rough")
    if second < options.samples:
        lines.append(f"there are only {second} real images for 'real': it is less favourable than it should be")
    if "cas" in metrics:
        lines.append(
            f"CAS: a classifier trained for {run.config.classifier.steps} steps on the generated images, or on as many"
            f" real training images, is right on that fraction of {second} real ones"
        )
    return lines


def table(result: dict) -> str:
    """The result as text: what was measured, a line a metric, and how to read it."""
    real = result["real"]
    lines = [f"{real['data']}: {real['second']} held-out real images against a reference of {real['reference']} others"]
    if result["samples"]:
        lines.append(
            f"{result['decoder']}: {result['samples']} generated images, {result['samples_per_class']:g} a class,"
            f" seed {result['seed']}, {', '.join(f'{key} {value}' for key, value in result['decoding'].items())}"
        )
    lines += [f"features: {result['features']['network']}", "", f"{'':<38}{'this run':>10}{'real':>10}"]
    for key, score in result["metrics"].items():
        name, rises = NAMES[key]
        floor = "" if score["real"] is None else f"{score['real']:.4g}"
        lines.append(f"{name:<38}{score['value']:>10.4g}{floor:>10}  {'higher' if rises else 'lower'} is better")
    return "\n".join([*lines, "", *(f"- {note}" for note in result["notes"])])


if __name__ == "__main__":
    cli.run(main)
