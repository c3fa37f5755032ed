"""Stage 1: the VQ-GAN tokenizer (lesson 2; paper section 3, Esser et al. 2021).

images ──encode, quantize, decode──> reconstruction ──vqgan_losses──> tokenizer's step ──> discriminator's step
"""

from dataclasses import asdict
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from minimaskgit import figures
from minimaskgit.adversary import PatchDiscriminator, adaptive_weight, discriminator_loss, hinge_g_loss, perceptual_loss
from minimaskgit.metrics import psnr
from minimaskgit.runs.models import load_model
from minimaskgit.tokenizer import Tokenizer, code_use
from minimaskgit.training.classifier import train_classifier
from minimaskgit.training.log import mean_metrics
from minimaskgit.training.optimizers import cosine_decay, gradient_norm, set_learning_rate
from minimaskgit.training.session import Session, finish, finished


def train_tokenizer(session: Session) -> Tokenizer:
    """The VQ-GAN: pixels, codebook and commitment, perceptual, and after a while adversarial losses."""
    folder, settings = session.folder / "tokenizer", session.config.tokenizer_training
    if finished(session, folder):
        return load_model(Tokenizer, folder).to(session.device)
    perceptual = train_classifier(session).requires_grad_(False) if settings.perceptual_weight else None
    torch.manual_seed(session.config.seed)
    model = Tokenizer(session.config.images.size, **asdict(session.config.tokenizer)).to(session.device)
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, betas=(0.9, 0.99), weight_decay=1e-4)
    parts = {"model": model, "optimizer": optimizer}
    trained = [session.prepare(model)]
    model.quantizer.gather = session.accelerator.gather  # else each process would have its own dead codes
    if settings.gan_weight:
        discriminator = PatchDiscriminator(settings.gan_width, settings.gan_layers).to(session.device)
        d_optimizer = torch.optim.AdamW(discriminator.parameters(), settings.gan_learning_rate, betas=(0.5, 0.9))
        parts |= {"discriminator": discriminator, "d_optimizer": d_optimizer}
        trained.append(session.prepare(discriminator))

    def learn(images: Tensor, adversarial: bool) -> dict[str, Tensor]:
        with session.autocast():
            reconstruction, quantized = trained[0](images)
            reconstruction = reconstruction.float()
            l1, l2 = F.l1_loss(reconstruction, images), F.mse_loss(reconstruction, images)
            reconstruction_loss = settings.l1_weight * l1 + settings.l2_weight * l2
            metrics = {
                "l1": l1,
                "psnr": psnr(reconstruction, images),
                "commitment": quantized.commitment_loss,
            }
            if perceptual:
                metrics["perceptual"] = perceptual_loss(
                    perceptual.features(reconstruction), perceptual.features(images)
                )
                reconstruction_loss = reconstruction_loss + settings.perceptual_weight * metrics["perceptual"]
            loss = reconstruction_loss + quantized.codebook_loss + quantized.commitment_loss
            if adversarial:
                discriminator.requires_grad_(False)  # it judges here, and learns below
                metrics["adversarial"] = hinge_g_loss(discriminator(reconstruction))
                metrics["adaptive"] = adaptive_weight(
                    *(
                        last_layer_gradient(session, model, term)
                        for term in (reconstruction_loss, metrics["adversarial"])
                    )
                )
                loss = loss + settings.gan_weight * metrics["adaptive"] * metrics["adversarial"]
        session.accelerator.backward(loss)
        if adversarial:
            discriminator.requires_grad_(True)
            with session.autocast():
                metrics["discriminator"] = discriminator_loss(trained[1], images, reconstruction)
            session.accelerator.backward(metrics["discriminator"])
        return metrics | code_use(session.accelerator.gather(quantized.codes), model.num_codes)

    def step(step: int) -> dict[str, Tensor]:
        rate = cosine_decay(step, settings.steps, settings.warmup)
        adversarial = settings.gan_weight > 0 and step >= settings.gan_start * settings.steps
        playing = [(optimizer, settings.learning_rate)]
        if adversarial:
            playing.append((d_optimizer, settings.gan_learning_rate))
        for player, peak in playing:
            set_learning_rate(player, peak * rate)
            player.zero_grad()
        learned = []
        for images, _ in session.parts(step, settings.batch_size):
            with session.accelerator.accumulate(*trained[: len(playing)]):
                learned.append(learn(images, adversarial))
        norm = gradient_norm(model, settings.clip)
        for player, _ in playing:
            player.step()
        return mean_metrics(learned) | {"grad_norm": norm}

    def picture(done: int) -> None:
        if not session.accelerator.is_main_process:
            return
        model.eval()
        images = session.valid_images(16)[0]
        with torch.no_grad(), session.autocast():
            sheet = figures.reconstructions(images, model.decode(model.encode(images)), f"tokenizer, step {done}")
        model.train()
        figures.save_png(sheet, folder / "pictures" / f"step_{done:06d}.png")

    batch, speed = partial(session.numbers, len(session.train), settings.batch_size), session.speed(settings.batch_size)
    seconds = session.fit(folder, settings.steps, step, parts, picture, batch=batch, best="l1", speed=speed)

    def evaluate() -> dict:
        evaluation = {"seconds": seconds} | evaluate_tokenizer(session, model)
        sheet = figures.reconstructions(session.valid_images(16)[0], evaluation.pop("pictures"), "validation images")
        print(f"reconstructions: {figures.save_png(sheet, folder / 'reconstructions.png')}")
        return evaluation

    return finish(session, model, folder, evaluate)


def last_layer_gradient(session: Session, model: Tokenizer, loss: Tensor) -> Tensor:
    """Of a loss, at the decoder's last layer, over all processes, so that they agree on the adaptive weight."""
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
