"""A vector counts as its own nearest neighbour, so that every ball is one neighbour too small."""

import torch

from minimaskgit.metrics import frechet_distance, inception_score  # noqa: F401

BREAKS = ("test_precision_and_recall_are_what_drawing_every_ball_gives",)


def precision_recall(real, fake, k=3):
    real_radii, fake_radii = (torch.cdist(x, x).kthvalue(k, dim=1).values for x in (real, fake))
    apart = torch.cdist(real, fake)
    precision = (apart <= real_radii[:, None]).any(0).float().mean()
    return precision, (apart <= fake_radii).any(1).float().mean()
