"""Sessions of the smallest models, in which tests call one stage of training."""

from dataclasses import replace
from pathlib import Path

from minimaskgit.runs.config import (
    Config,
    ImagesConfig,
    TokenizerConfig,
    TokenizerTraining,
    TransformerConfig,
    TransformerTraining,
)
from minimaskgit.runs.models import save_model
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training.session import Session, start_session


def tiny_session(folder: Path, **settings) -> Session:
    config = Config(
        images=ImagesConfig(size=16, count=64),
        tokenizer=TokenizerConfig(width=8, blocks=1, patch=4, num_codes=16, code_dim=4),
        tokenizer_training=TokenizerTraining(
            steps=2, batch_size=4, perceptual_weight=0, gan_weight=1, gan_start=0, gan_width=8
        ),
        transformer=TransformerConfig(width=16, depth=1, heads=2, mlp_width=16),
        transformer_training=TransformerTraining(steps=2, batch_size=32),
        precision="fp32",
    )
    return start_session(replace(config, **settings), folder, "cpu")


def tiny_run(folder: Path, **settings) -> Session:
    """A session whose tokenizer counts as trained."""
    session = tiny_session(folder, **settings)
    (folder / "tokenizer").mkdir()
    save_model(Tokenizer(16, 8, (1,), 1, 4, 16, 4), folder / "tokenizer")
    return session
