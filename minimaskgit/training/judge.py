"""The judge: a classifier of real images that says what generated ones show (lesson 8).

Trained on images drawn with another seed, larger than the perceptual network and never shown a generated image: it
is independent of all that it judges. Its last features are those of the Frechet distance.
"""

import json
from dataclasses import replace

from minimaskgit.classifier import Classifier
from minimaskgit.runs.config import ClassifierConfig, Config
from minimaskgit.runs.models import load_model
from minimaskgit.runs.run import Run
from minimaskgit.training.classifier import train_classifier
from minimaskgit.training.session import start_session


def load_judge(run: Run) -> Classifier:
    """The run's judge, trained now if it is not yet."""
    folder = run.folder / "judge" / "classifier"
    if (folder / "model.safetensors").exists():
        return load_model(Classifier, folder).to(run.device)
    config = run.config
    other = replace(config, seed=config.seed + 1, classifier=judge_settings(config), precision=run.precision)
    return train_classifier(start_session(other, run.folder / "judge", run.device.type))


def judge_settings(config: Config) -> ClassifierConfig:
    """The judge is twice as wide as the perceptual network, and trains twice as long."""
    return replace(config.classifier, width=2 * config.classifier.width, steps=2 * config.classifier.steps)


def judge_accuracy(run: Run) -> float:
    """Fraction of the run's real validation images that its judge, trained before, is right on."""
    evaluation = json.loads((run.folder / "judge" / "classifier" / "evaluation.json").read_text("utf-8"))
    return evaluation["valid_accuracy"]
