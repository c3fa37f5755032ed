"""The judge: a classifier of real images that recognises what generated images show (lesson 8).

It shares no weights with the models that it judges, and never sees a generated image. It is trained with another seed:
on other glyphs or, for other data, on the same training images in another order. It is larger than the perceptual
network. The Fréchet distance compares its last features.
"""

import json
import math
from dataclasses import replace

from minimaskgit.classifier import Classifier
from minimaskgit.runs.config import ClassifierConfig, Config
from minimaskgit.runs.models import load_model
from minimaskgit.runs.run import Run
from minimaskgit.training.classifier import train_classifier
from minimaskgit.training.lock import locked
from minimaskgit.training.processes import connect
from minimaskgit.training.session import start_session


def load_judge(run: Run) -> Classifier:
    """The run's judge; it is trained first if there is none yet, which a line announces.

    UserError if its batches cannot be shared evenly between processes.
    """
    folder = run.folder / "judge" / "classifier"
    if run.has("judge/classifier"):
        return load_model(Classifier, folder).to(run.device)
    config = run.config
    classifier = judge_settings(config)
    other = replace(
        config,
        seed=config.seed + 1,
        classifier=classifier,
        precision=run.precision,
        # The run's number of parts may be chosen for its transformer and not divide the classifier's batch.
        accumulate=math.gcd(config.accumulate, classifier.batch_size),
    )
    print(
        f"training a judge first: {classifier.steps} steps on {config.data}, into {folder}; Ctrl-C saves it, and the"
        " same command resumes",
        flush=True,
    )
    with locked(folder.parent, connect(run.device.type)):
        return train_classifier(start_session(other, folder.parent, run.device.type, ["classifier"], run.folder))


def judge_settings(config: Config) -> ClassifierConfig:
    """The judge is twice as wide as the perceptual network and is trained for twice as many steps."""
    return replace(config.classifier, width=2 * config.classifier.width, steps=2 * config.classifier.steps)


def judge_accuracy(run: Run) -> float:
    """Fraction of the run's real validation images that its judge classifies correctly; it must be trained."""
    evaluation = json.loads((run.folder / "judge" / "classifier" / "evaluation.json").read_text("utf-8"))
    return evaluation["valid_accuracy"]
