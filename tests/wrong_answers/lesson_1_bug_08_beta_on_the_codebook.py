"""Bug 8: beta scales the loss that moves the codebook, not the one that moves the encoder."""

import torch.nn.functional as F

from minimaskgit.tokenizer import code_perplexity, nearest_codes, straight_through  # noqa: F401

BREAKS = ("test_beta_scales_the_commitment_loss_and_not_the_codebook_loss",)


def vq_losses(z, z_q, beta):
    return beta * F.mse_loss(z_q, z.detach()), F.mse_loss(z, z_q.detach())
