"""One loop for all decoders: predict, sample, take back, keep.

    canvas ──> logits ──sampling──> a token for every [MASK] ──order, counts──> some are kept ──┐
      ^                                          correction: some known tokens become [MASK] ──┤
      └────────────────────────────────── T times ─────────────────────────────────────────────┘

Its parts are functions of a `View`, in orders.py, counts.py, sampling.py and correction.py. With the paper's parts it
draws from the same distribution as `decoding.decode`. `decode` is faster: this loop computes logits everywhere, because
a part may look at any token. Nothing in the loop waits for the device, except on Apple's MPS (`precision.double`).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from minimaskgit.decoders.critic import Critic, with_features
from minimaskgit.decoding import Step, guided_logits, sample_categorical
from minimaskgit.transformer import Transformer


@dataclass(frozen=True)
class View:
    """What the parts of a decoder see in one step."""

    step: int  # t = 0..T-1
    steps: int  # T
    tokens: Tensor  # (B, N) the canvas before the step
    known: Tensor  # bool (B, N): not [MASK]
    given: Tensor  # bool (B, N): known from the start, such as the rest of an edited picture; never changed
    logits: Tensor  # (B, N, K) with guidance, before the sampling temperature
    sampled: Tensor  # (B, N) a token for every position; known ones as they are
    sure: Tensor  # (B, N) the probability of each token: of known ones when they were kept, of others now
    offset: Tensor  # (B,) a random number in [0, 1) for each sample, the same in all steps
    mask_id: int
    generator: torch.Generator | None = None
    doubt: Tensor | None = None  # (B, N) the critic's logits that a token, where known, is wrong; None without a critic

    @property
    def progress(self) -> float:
        """r = (t+1)/T at the end of the step."""
        return (self.step + 1) / self.steps

    @property
    def last(self) -> bool:
        return self.step == self.steps - 1

    def uniform(self) -> Tensor:
        """Random numbers in [0, 1), (B, N)."""
        return torch.rand(self.tokens.shape, generator=self.generator, device=self.tokens.device)

    def log_probabilities(self) -> Tensor:
        """log p of every code, (B, N, K)."""
        return self.logits.float().log_softmax(-1)


Order = Callable[[View], Tensor]  # priorities (B, N): of the unknown tokens, those with the greatest are kept
Counts = Callable[[View, Tensor], Tensor]  # and priorities -> tokens still masked after the step, int64 (B,)
Sampling = Callable[[Tensor, float], Tensor]  # logits (B, N, K) and r -> logits to sample from
Correction = Callable[[View], Tensor]  # bool (B, N): known tokens to mask again


@dataclass(frozen=True)
class Decoder:
    """The parts of a decoder; guidance is the weight at progress r."""

    order: Order
    counts: Counts
    sampling: Sampling = lambda logits, r: logits
    correction: Correction | None = None
    guidance: Callable[[float], float] = lambda r: 0.0
    critic: Critic | None = None  # scores the canvas for the correction


@torch.no_grad()
def run(
    decoder: Decoder,
    model: Transformer,
    labels: Tensor,
    tokens: Tensor | None = None,
    steps: int = 8,
    generator: torch.Generator | None = None,
    start_step: int = 0,
) -> Iterator[Step]:
    """Decode and yield every step, as `decoding.decode_steps` does: labels (B,), tokens (B, N) or a blank canvas.

    ValueError unless 0 <= start_step < steps.
    """
    if not 0 <= start_step < steps:
        raise ValueError(f"start_step {start_step} of {steps} steps; expected 0 to {steps - 1}")
    if tokens is None:
        tokens = torch.full((len(labels), model.num_tokens), model.mask_id, device=labels.device)
    given = tokens != model.mask_id
    everywhere = torch.arange(model.num_tokens, device=labels.device).expand(len(labels), -1)
    offset = torch.rand(len(labels), generator=generator, device=labels.device)
    sure = torch.ones(tokens.shape, device=labels.device)
    for step in range(start_step, steps):
        r, known = (step + 1) / steps, tokens != model.mask_id
        predict = partial(guided_logits, model, tokens, labels, everywhere, decoder.guidance(r))
        if decoder.critic:
            logits, features = with_features(model, predict)
            doubt = decoder.critic(features)
        else:
            logits, doubt = predict(), None
        sampled = torch.where(known, tokens, sample_categorical(decoder.sampling(logits, r), generator))
        now = logits.float().softmax(-1).gather(-1, sampled[..., None]).squeeze(-1)
        sure = torch.where(known, sure, now)
        view = View(step, steps, tokens, known, given, logits, sampled, sure, offset, model.mask_id, generator, doubt)
        tokens = next_canvas(decoder, view)
        yield Step(sampled, tokens, tokens == model.mask_id)


def next_canvas(decoder: Decoder, view: View) -> Tensor:
    """The canvas after a step, (B, N): some known tokens are taken back, some new ones kept; the last keeps all."""
    if view.last:
        return view.sampled
    taken = torch.zeros_like(view.known)
    if decoder.correction:
        taken = decoder.correction(view) & view.known & ~view.given
    priority = decoder.order(view).masked_fill(view.known, torch.inf)
    masked = decoder.counts(view, priority)
    # What is taken back stays masked for a step, and as many more tokens are kept in its place.
    masked = torch.minimum((masked - taken.sum(1)).clamp(min=0), (~view.known).sum(1))
    ranks = priority.argsort(dim=1).argsort(dim=1)  # 0 for the first to mask
    return view.sampled.masked_fill((ranks < masked[:, None]) | taken, view.mask_id)
