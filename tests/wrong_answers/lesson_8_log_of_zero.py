"""0 log 0 is not a number where a class has no probability at all."""

import torch

from minimaskgit.metrics import frechet_distance, precision_recall  # noqa: F401

BREAKS = ("test_sure_of_every_picture_and_of_all_classes_alike_scores_their_number",)


def inception_score(probs, splits=1):
    scores = []
    for part in probs.tensor_split(splits):
        kl = (part * (part.log() - part.mean(0).log())).sum(1)
        scores.append(kl.mean().exp())
    scores = torch.stack(scores)
    return scores.mean(), scores.std(correction=0)
