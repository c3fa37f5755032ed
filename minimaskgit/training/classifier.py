"""Stage 0: a small classifier for the perceptual loss; the judge is a separate one (lessons 2 and 8).

images, labels ──Classifier──> cross-entropy ──AdamW──> RUN/classifier
"""

from functools import partial

import torch
from torch import Tensor

from minimaskgit.classifier import Classifier, class_accuracy, classification_loss
from minimaskgit.runs.models import load_model
from minimaskgit.training.log import mean_metrics
from minimaskgit.training.optimizers import cosine_decay, set_learning_rate
from minimaskgit.training.session import Session, finish, finished


def train_classifier(session: Session) -> Classifier:
    """Train the classifier whose features the perceptual loss compares, or load it if it is finished."""
    folder, settings = session.folder / "classifier", session.config.classifier
    if finished(session, folder):
        return load_model(Classifier, folder).to(session.device)
    torch.manual_seed(session.config.seed)
    model = Classifier(session.train.num_classes, settings.width).to(session.device)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=0.01)
    trained = session.prepare(model)

    def learn(images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        with session.accelerator.accumulate(trained):
            with session.autocast():
                loss = classification_loss(trained, images, labels)
            session.accelerator.backward(loss)
        return {"loss": loss}

    def step(step: int) -> dict[str, Tensor]:
        set_learning_rate(optimizer, settings.learning_rate * cosine_decay(step, settings.steps, settings.steps // 10))
        optimizer.zero_grad()
        metrics = mean_metrics([learn(*part) for part in session.micro_batches(step, settings.batch_size)])
        optimizer.step()
        return metrics

    parts = {"model": model, "optimizer": optimizer}
    batch, speed = partial(session.indices, len(session.train), settings.batch_size), session.speed(settings.batch_size)
    seconds = session.fit(folder, settings.steps, step, parts, batch=batch, speed=speed)

    def evaluate() -> dict:
        return {"seconds": seconds, "valid_accuracy": class_accuracy(model, *session.valid_images(1000))}

    return finish(session, model, folder, evaluate)
