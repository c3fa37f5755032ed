"""Stage 1: the VQ-GAN tokenizer (lesson 2; paper section 3, Esser et al. 2021).

images ──encode, quantize, decode──> reconstruction ──vqgan_losses──> tokenizer's step ──> discriminator's step
"""

from dataclasses import asdict
from functools import partial

import torch
from torch import Tensor

from minimaskgit import figures
from minimaskgit.adversary import PatchDiscriminator, discriminator_loss, vqgan_losses
from minimaskgit.metrics import psnr
from minimaskgit.runs.models import load_model
from minimaskgit.tokenizer import Tokenizer, code_use
from minimaskgit.training.classifier import train_classifier
from minimaskgit.training.initial import initial
from minimaskgit.training.log import mean_metrics
from minimaskgit.training.optimizers import clip_gradient, cosine_decay, set_learning_rate, tokenizer_optimizers
from minimaskgit.training.session import Session, finish, finished


def train_tokenizer(session: Session) -> Tokenizer:
    """Train the VQ-GAN by `vqgan_losses`; the discriminator joins late, at `gan_start` of the steps."""
    folder, settings = session.folder / "tokenizer", session.config.tokenizer_training
    if finished(session, folder):
        return load_model(Tokenizer, folder).to(session.device)
    features = None
    if settings.steps and settings.perceptual_weight:
        features = train_classifier(session).requires_grad_(False).features
    torch.manual_seed(session.config.seed)
    model = initial(session, "tokenizer")
    model = model or Tokenizer(session.config.images.size, **asdict(session.config.tokenizer))
    model = model.train().to(session.device)
    optimizers = tokenizer_optimizers(settings, model, session.config.precision)
    parts = {"model": model} | {name: optimizer for name, (optimizer, _) in optimizers.items()}
    trained = [session.prepare(model)]
    model.quantizer.gather = session.accelerator.gather  # or each process would have its own dead codes
    if settings.gan_weight:
        discriminator = PatchDiscriminator(settings.gan_width, settings.gan_layers).to(session.device)
        d_optimizer = torch.optim.AdamW(discriminator.parameters(), settings.gan_learning_rate, betas=(0.5, 0.9))
        parts |= {"discriminator": discriminator, "d_optimizer": d_optimizer}
        trained.append(session.prepare(discriminator))

    def learn(images: Tensor, adversarial: bool) -> dict[str, Tensor]:
        """Accumulate the gradients of one micro-batch and return its metrics."""
        if adversarial:
            discriminator.requires_grad_(False)  # frozen while the tokenizer's gradients are computed
        with session.autocast():
            reconstruction, quantized = trained[0](images)
            reconstruction = reconstruction.float()
            metrics = vqgan_losses(
                images,
                reconstruction,
                quantized,
                settings.l1_weight,
                settings.l2_weight,
                features=features,
                perceptual_weight=settings.perceptual_weight,
                discriminator=discriminator if adversarial else None,
                gan_weight=settings.gan_weight,
                last_layer_gradient=partial(last_layer_gradient, session, model),
            )
        session.accelerator.backward(metrics.pop("loss"))
        if adversarial:
            discriminator.requires_grad_(True)
            with session.autocast():
                metrics["discriminator"] = discriminator_loss(trained[1], images, reconstruction)
            session.accelerator.backward(metrics["discriminator"])
        codes = session.accelerator.gather(quantized.codes)
        return metrics | {"psnr": psnr(reconstruction, images)} | code_use(codes, model.num_codes)

    def step(step: int) -> dict[str, Tensor]:
        adversarial = settings.gan_weight > 0 and step >= settings.gan_start * settings.steps
        learners = [*optimizers.values()]
        if adversarial:
            learners.append((d_optimizer, settings.gan_learning_rate))
        for learner, peak in learners:
            set_learning_rate(learner, peak * cosine_decay(step, settings.steps, settings.warmup))
            learner.zero_grad()
        metrics = []
        for images, _ in session.micro_batches(step, settings.batch_size):
            with session.accelerator.accumulate(*(trained if adversarial else trained[:1])):
                metrics.append(learn(images, adversarial))
        norm = clip_gradient(model, settings.clip)
        for learner, _ in learners:
            learner.step()
        return mean_metrics(metrics) | {"grad_norm": norm}

    def picture(done: int) -> None:
        if not session.accelerator.is_main_process:
            return
        model.eval()
        images = session.valid_images(16)[0]
        with torch.no_grad(), session.autocast():
            sheet = figures.reconstructions(images, model.decode(model.encode(images)), f"tokenizer, step {done}")
        model.train()
        figures.save_png(sheet, folder / "pictures" / f"step_{done:06d}.png")

    batch, speed = partial(session.indices, len(session.train), settings.batch_size), session.speed(settings.batch_size)
    seconds = session.fit(folder, settings.steps, step, parts, picture, batch=batch, speed=speed)

    def evaluate() -> dict:
        evaluation = {"seconds": seconds} | evaluate_tokenizer(session, model)
        sheet = figures.reconstructions(session.valid_images(16)[0], evaluation.pop("pictures"), "validation images")
        print(f"reconstructions: {figures.save_png(sheet, folder / 'reconstructions.png')}")
        return evaluation

    return finish(session, model, folder, evaluate)


def last_layer_gradient(session: Session, model: Tokenizer, loss: Tensor) -> Tensor:
    """The gradient of a loss at the decoder's last layer, averaged over all processes so that they agree on it."""
    (gradient,) = torch.autograd.grad(loss, model.decoder.last_layer, retain_graph=True)
    return session.accelerator.reduce(gradient, "mean")


@torch.no_grad()
def evaluate_tokenizer(session: Session, model: Tokenizer) -> dict:
    """PSNR, code usage and perplexity on at most 1000 validation images, and the first 16 reconstructions."""
    images, _ = session.valid_images(1000)
    with session.autocast():
        codes = torch.cat([model.encode(part) for part in images.split(100)])
        decoded = torch.cat([model.decode(part) for part in codes.split(100)])
    use = {name: value.item() for name, value in code_use(codes, model.num_codes).items()}
    return {"images": len(images), "psnr": psnr(decoded, images).item(), **use, "pictures": decoded[:16]}
