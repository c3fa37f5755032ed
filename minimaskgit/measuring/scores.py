"""Scores of a set of pictures compared with real ones: FD, IS, precision, recall, CAS (lesson 8; paper section 4.1).

pictures ──network──> features, logits ──metrics.py──> numbers
"""

from collections.abc import Sequence

import torch
from tqdm.auto import tqdm

from minimaskgit.classifier import Classifier, classification_loss
from minimaskgit.data.glyphs import palette_of
from minimaskgit.data.images import flip, to_float
from minimaskgit.data.strays import with_strays
from minimaskgit.measuring.networks import Network, Seen, judge_network, look
from minimaskgit.measuring.pictures import BATCH, Pictures, through_tokenizer
from minimaskgit.metrics import (
    density_coverage,
    feature_statistics,
    frechet_distance,
    inception_score,
    precision_recall,
    psnr,
)
from minimaskgit.runs.run import Run
from minimaskgit.tokenizer import code_use
from minimaskgit.training.batches import batch_indices
from minimaskgit.training.optimizers import cosine_decay, set_learning_rate

# FD and IS are our own functions, although torchmetrics has them too: this way all metrics share one pass of the
# network, its features can be cached, and lesson 8 shows the code that is used. The tests check them against
# torchmetrics, which provides SSIM and the Inception network.
FEATURE_METRICS = ("fd", "is", "precision-recall", "density-coverage")
GLYPH_METRICS = ("palette", "strays")  # of pictures whose drawing is known

SPLITS = 10  # of the inception score, as published
NEIGHBOURS = {"precision-recall": 3, "density-coverage": 5}  # k, as published

Scores = dict[str, float]


def fd(seen: Seen, reference: Seen) -> float:
    """Fréchet distance between the features and those of the reference."""
    return frechet_distance(*feature_statistics(seen.features), *feature_statistics(reference.features)).item()


def feature_scores(metrics: Sequence[str], seen: Seen, reference: Seen, k: int | None = None) -> Scores:
    """Compute those of FEATURE_METRICS that are in `metrics`."""
    scores = {}
    if "fd" in metrics:
        scores["fd"] = fd(seen, reference)
    if "is" in metrics:
        scores["is"] = inception_score(seen.logits.softmax(-1), min(SPLITS, len(seen.logits)))[0].item()
    # Equal counts on both sides: precision rises with the number of real balls, recall with that of fake balls.
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
    """Fraction that the judge classifies as the requested class; of glyphs, those of one palette and without strays."""
    scores = {}
    if "class" in metrics:
        scores["class_accuracy"] = accuracy(run, judge, pictures)
    if "palette" in metrics:
        palettes = torch.cat([palette_of(to_float(part)) for part in pictures.images.split(BATCH)])
        scores["palette_accuracy"] = (palettes >= 0).double().mean().item()
    if "strays" in metrics:
        scores["without_strays"] = without_strays(run, pictures)
    return scores


def without_strays(run: Run, pictures: Pictures) -> float:
    """Fraction of glyphs without strays."""
    parts = zip(pictures.images.split(BATCH), pictures.labels.split(BATCH))
    strays = torch.cat([with_strays(to_float(images), labels, run.label_names) for images, labels in parts])
    return (~strays).double().mean().item()


def classification_accuracy_score(run: Run, pictures: Pictures, test: Pictures, seed: int) -> float:
    """Accuracy on real test images of a new classifier trained on `pictures` alone (Ravuri and Vinyals 2019).

    It is trained like the run's perceptual network, but without random crops, and with the same number of steps for any
    number of pictures.
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
    """Fraction of pictures that the classifier assigns to their label."""
    predicted = look(run, judge_network(classifier), pictures.images).logits.argmax(-1)
    return (predicted == pictures.labels).double().mean().item()


def tokenizer_scores(run: Run, network: Network, reference: Seen, pictures: Pictures) -> Scores:
    """How well the tokenizer reconstructs real images, and how much of the codebook they use.

    The FD of the reconstructions uses the same reference as the FD of generated images, so the two can be compared: no
    model of these tokens can be expected to do better.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure  # takes seconds to import

    codes, decoded = through_tokenizer(run, pictures)
    scores = []
    for original, image in zip(pictures.images.split(BATCH), decoded.split(BATCH)):
        both = to_float(image), to_float(original)
        likeness = torch.stack([psnr(*both), structural_similarity_index_measure(*both, data_range=1.0)])
        scores.append(len(image) / len(decoded) * likeness.double())  # the last part may be smaller
    use = code_use(codes, run.tokenizer().num_codes)
    psnr_, ssim = sum(scores).tolist()
    shown, glyphs = Pictures(decoded, pictures.labels), run.config.data == "glyphs"
    return {
        "reconstruction_fd": fd(look(run, network, decoded), reference),
        **({"reconstruction_without_strays": without_strays(run, shown)} if glyphs else {}),
        "psnr": psnr_,
        "ssim": ssim,
        "code_usage": use["usage"].item(),
        "code_perplexity": use["perplexity"].item(),
    }
