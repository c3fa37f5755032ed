"""Lesson 8, exercises: how good are the pictures? (notebook 8_measuring_and_rivals)

Replace each `raise NotImplementedError`, then `make check-8`. Never write into an argument; work on a copy.
N pictures, D features, C classes.
"""

from torch import Tensor


def frechet_distance(mu1: Tensor, sigma1: Tensor, mu2: Tensor, sigma2: Tensor) -> Tensor:
    """|mu1 - mu2|^2 + Tr(sigma1 + sigma2 - 2 (sigma1 sigma2)^(1/2)): mu (D,) and sigma (D, D), a scalar in float64.

    A sigma may be singular, as that of fewer pictures than features is.

    >>> one = torch.eye(2)
    >>> round(frechet_distance(torch.tensor([0.0, 3.0]), one, torch.zeros(2), 4 * one).item(), 6)  # 9 + 2 (1 + 4 - 4)
    11.0
    """
    raise NotImplementedError


def inception_score(probs: Tensor, splits: int = 1) -> tuple[Tensor, Tensor]:
    """exp(mean over x of KL(p(y|x) || p(y))), from class probabilities (N, C): its mean and deviation over splits.

    The N pictures, in order, are cut into `splits` parts of about the same size (torch.tensor_split). The deviation is
    that of the population: the squared deviations are divided by `splits`, so that a single part has the deviation 0.

    >>> mean, deviation = inception_score(torch.eye(4))  # sure of every picture, all classes equally frequent
    >>> round(mean.item(), 6), deviation.item()
    (4.0, 0.0)
    """
    raise NotImplementedError


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[Tensor, Tensor]:
    """Improved precision and recall of features (N, D) and (M, D): two scalars in 0..1.

    Around each vector lies a ball that reaches to its k-th nearest other vector of its own cloud. Precision: the
    fraction of the fakes that lie in any real ball. Recall: the fraction of the real ones that lie in any fake ball.

    >>> real, fake = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([[0.5], [0.6]])
    >>> precision, recall = precision_recall(real, fake, k=1)
    >>> round(precision.item(), 3), round(recall.item(), 3)
    (1.0, 0.0)
    """
    raise NotImplementedError
