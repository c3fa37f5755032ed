"""The critic of a finished masked transformer, trained on its mistakes (decoders/critic.py).

tokens ──some masked, sampled by the model──> some replaced by random codes ──some masked again──> canvas
canvas ──frozen transformer──> features ──critic──> critic_loss with: does each token differ from the original?
"""

from functools import partial

import torch
from torch import Tensor

from minimaskgit.decoders.critic import Critic, critic_loss, with_features
from minimaskgit.decoding import sample_categorical
from minimaskgit.masking import draw_masks
from minimaskgit.runs.models import load_model
from minimaskgit.schedules import RATIOS, Schedule
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training.optimizers import cosine_decay, set_learning_rate
from minimaskgit.training.session import Session, finish, finished
from minimaskgit.training.tokens import all_tokens, check_source
from minimaskgit.transformer import Transformer

PLANTED = 0.1  # fraction of the held-out tokens that the evaluation replaces by random codes


def train_critic(session: Session) -> Critic:
    """Train the critic on the features of the run's masked transformer, which stays as it is."""
    folder, settings, seed = session.folder / "critic", session.config.critic_training, session.config.seed
    check_source(session, folder, session.folder / "transformer")
    if finished(session, folder):
        return load_model(Critic, folder).to(session.device)
    transformer = load_model(Transformer, session.folder / "transformer").to(session.device)
    tokenizer = load_model(Tokenizer, session.folder / "tokenizer").to(session.device)
    tokens, labels = (x.to(session.device) for x in all_tokens(session, tokenizer))
    torch.manual_seed(seed)
    model = Critic(transformer.width, len(transformer.blocks)).to(session.device)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, weight_decay=0.01)
    schedule = RATIOS[session.config.transformer_training.schedule]
    batch = partial(session.indices, len(tokens), settings.batch_size)

    def step(step: int) -> dict[str, Tensor]:
        chosen = batch(step).to(session.device)
        x, y = tokens[chosen].long(), labels[chosen]
        with session.autocast():
            drawn, hidden = redraw(transformer, x, y, schedule)
            drawn = plant(drawn, settings.random_codes, transformer.num_codes)
            features = features_of(transformer, drawn.masked_fill(hidden, transformer.mask_id), y)
            loss = critic_loss(model(features), drawn != x, ~hidden)
        set_learning_rate(optimizer, settings.learning_rate * cosine_decay(step, settings.steps, settings.steps // 20))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    parts = {"model": model, "optimizer": optimizer}
    seconds = session.fit(folder, settings.steps, step, parts, batch=batch, speed=session.speed(settings.batch_size))
    evaluate = lambda: {"seconds": seconds, **areas(session, model, transformer, tokenizer, schedule)}
    return finish(session, model, folder, evaluate)


# --- Wrong tokens ---


@torch.no_grad()
def redraw(
    model: Transformer, tokens: Tensor, labels: Tensor, schedule: Schedule, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Hide tokens (B, N) as in training and draw them from the model, in one pass.

    Returns all tokens, (B, N), and which of them to hide again, bool (B, N): a random part, from none to all, of those
    drawn, because a critic looks at unfinished canvases.
    """
    mask = draw_masks(*tokens.shape, schedule, tokens.device, generator)
    drawn = sample_categorical(model(tokens.masked_fill(mask, model.mask_id), labels), generator)
    random = partial(torch.rand, generator=generator, device=tokens.device)
    return torch.where(mask, drawn, tokens), mask & (random(tokens.shape) < random(len(tokens), 1))


def plant(tokens: Tensor, share: float, num_codes: int, generator: torch.Generator | None = None) -> Tensor:
    """The tokens (B, N), a random `share` of them replaced by other codes."""
    shift = torch.randint(1, num_codes, tokens.shape, generator=generator, device=tokens.device)  # never 0
    chosen = torch.rand(tokens.shape, generator=generator, device=tokens.device) < share
    return torch.where(chosen, (tokens + shift) % num_codes, tokens)


@torch.no_grad()
def features_of(model: Transformer, tokens: Tensor, labels: Tensor) -> Tensor:
    """The features of a canvas (B, N), (B, N, depth D)."""
    return with_features(model, lambda: model(tokens, labels))[1]


# --- Evaluation ---


@torch.no_grad()
def areas(
    session: Session, critic: Critic, model: Transformer, tokenizer: Tokenizer, schedule: Schedule
) -> dict[str, float]:
    """AUROC of the scores on held-out images: how often a wrong token is doubted more than a right one.

    Once for random codes on complete canvases, and once for the model's own samples on unfinished ones.
    """
    generator = torch.Generator(session.device).manual_seed(session.config.seed)
    images, labels = session.valid_images(1000)
    found = {"auroc_random_codes": [], "auroc_own_samples": []}  # scores, and whether wrong
    for part, y in zip(images.split(100), labels.split(100)):
        with session.autocast():
            x = tokenizer.encode(part)
            planted = plant(x, PLANTED, model.num_codes, generator)
            cases = (planted, torch.zeros_like(x, dtype=torch.bool)), redraw(model, x, y, schedule, generator)
            for pairs, (tokens, hidden) in zip(found.values(), cases):
                scores = critic(features_of(model, tokens.masked_fill(hidden, model.mask_id), y))
                pairs.append((scores[~hidden].float(), tokens[~hidden] != x[~hidden]))
    from torchmetrics.functional.classification import binary_auroc  # here, because its import takes seconds

    return {name: binary_auroc(*map(torch.cat, zip(*pairs))).item() for name, pairs in found.items()}
