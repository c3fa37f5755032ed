"""Class edits of glyphs, measured: do they show the new class and keep the picture's palette? (paper section 4.3)"""

from dataclasses import replace

import torch
from torch import Tensor

from minimaskgit.classifier import Classifier, class_accuracy
from minimaskgit.common.errors import UserError
from minimaskgit.common.precision import double
from minimaskgit.data.glyphs import palette_of
from minimaskgit.data.images import to_float
from minimaskgit.data.sources import load_data
from minimaskgit.editing import STEPS, Box, autoregressive_edit, box_to_token_mask, composite, edit_tokens
from minimaskgit.runs.choices import editing_options
from minimaskgit.runs.config import DecodingConfig
from minimaskgit.runs.run import Run


def measure_class_edits(
    run: Run,
    judge: Classifier,
    count: int = 200,
    seed: int = 0,
    box: Box | None = None,
    decoding: DecodingConfig | None = None,
) -> dict[str, dict[str, float]]:
    """How often a class edit of a glyph shows the requested class and keeps the picture's palette, by decoder.

    Each of `count` validation pictures is edited to another class, drawn with `seed`. box: the region in pixels, not
    dilated; by default all but the outermost tokens, which covers the glyph and leaves only background as a clue to the
    palette. decoding: its settings but for the number of steps, which is that of edits; by default the run's.
    """
    tokenizer, masked, causal = run.tokenizer(), run.transformer(), run.autoregressive()
    images, labels = (part.to(run.device) for part in _glyphs(run, count))
    generator = torch.Generator(run.device).manual_seed(seed)
    others = torch.randint(1, masked.num_classes, labels.shape, generator=generator, device=run.device)
    labels = (labels + others) % masked.num_classes
    size, f = images.shape[-1], tokenizer.downsampling
    region = box_to_token_mask(box or (f, f, size - f, size - f), size, tokenizer.grid, 0).expand(count, -1)
    region = region.to(run.device)
    how = editing_options(run, replace(decoding or run.config.decoding, steps=STEPS), seed)
    with run.autocast(), torch.no_grad():
        tokens = tokenizer.encode(images)
        edited = {
            "MaskGIT": edit_tokens(masked, tokens, region, labels, **how),
            "autoregressive": autoregressive_edit(causal, tokens, region, labels, generator),
        }
        pictures = {name: composite(tokenizer, images, codes, region) for name, codes in edited.items()}
    return {
        name: {
            "asked_class": class_accuracy(judge, shown, labels),
            "kept_palette": double(palette_of(shown) == palette_of(images)).mean().item(),
        }
        for name, shown in pictures.items()
    }


def _glyphs(run: Run, count: int) -> tuple[Tensor, Tensor]:
    if run.config.data != "glyphs":
        raise UserError(f"{run.folder} is trained on {run.config.data}; only glyphs have a palette to keep")
    images = run.config.images
    data = load_data("glyphs", "valid", images.size, count, images.classes, seed=run.config.seed)
    return to_float(data.images), data.labels
