"""What every mask schedule is measured with: the same tokenizer, judge and images (lesson 3; paper table 3)."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from minimaskgit.classifier import Classifier
from minimaskgit.common.precision import AnyPrecision
from minimaskgit.decoders.named import DecoderName
from minimaskgit.measuring.networks import Seen, cached_reference, judge_network, look
from minimaskgit.measuring.pictures import compared, through_tokenizer
from minimaskgit.measuring.scores import fd
from minimaskgit.runs.choices import DecodingOptions, Unprefixed, choose_labels
from minimaskgit.runs.config import Count, Samples, Seed
from minimaskgit.runs.run import Run
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.training.judge import load_judge

# In the paper's order, from the most concave to the most convex: shape, and the paper's best T, FID and NLL (table 3,
# ImageNet at 256 x 256; the table has no constant).
PAPER = {
    "exponential": ("concave", 8, 7.89, 4.83),
    "cubic": ("concave", 9, 7.26, 4.63),
    "square": ("concave", 10, 6.35, 4.38),
    "cosine": ("concave", 10, 6.06, 4.22),
    "linear": ("linear", 16, 7.51, 3.75),
    "square_root": ("convex", 32, 12.33, 3.34),
    "logarithmic": ("convex", 60, 29.17, 3.08),
    "bert": ("constant", None, None, None),
}
STEPS, QUICK_STEPS = (1, 2, 4, 6, 8, 12, 16, 24, 32, 64), (1, 2, 4, 8, 16, 32, 64)  # T, at most the number of tokens
SAMPLES, QUICK_SAMPLES = 2000, 500
QUICK_TRAINING = 600  # steps
COMMON_STEPS = 8  # the T at which all schedules are compared as well


@dataclass(frozen=True)
class Options:
    """What to compare; all settings but the schedule are the same for every transformer."""

    run: Path  # run folder with a tokenizer
    schedules: tuple[str, ...] = ()  # mask schedules (default: the paper's seven, and bert, the constant 15 percent)
    quick: bool = False  # fewer training steps, samples and values of T
    # training steps of each transformer; 0: decode the run's own instead (default: the run's; --quick: at most 600)
    train_steps: Count | None = None
    steps: tuple[int, ...] = ()  # decoding steps T (default: 1 2 4 6 8 12 16 24 32 64; --quick: without 6 12 24)
    decoder: DecoderName | None = None  # how to decode; maskgit is the paper's way (default: the run's)
    decoding: Unprefixed = field(default_factory=DecodingOptions)
    samples: Samples | None = None  # images generated for each schedule and T (default: 2000; --quick: 500)
    reference: Samples = 10_000  # held-out real images to compare with, at most half of all held-out images
    seed: Seed = 0  # seed of the generated images and of the masks on held-out tokens
    # folder for the results and the transformers (default: RUN/ablation or RUN/ablation-quick)
    out: Path | None = None
    device: str = "auto"  # device to run on: auto, cpu, cuda or mps
    precision: AnyPrecision = "auto"  # precision of matrix products; auto: the faster of bf16 and fp32 here


class Yardstick(NamedTuple):
    """What all schedules are measured with."""

    tokenizer: Tokenizer
    judge: Classifier
    reference: Seen  # features of real images reconstructed by the tokenizer: the best that tokens can draw
    real: Seen  # features of the same images, untouched
    tokens: Tensor  # (M, N), of held-out images that are not in the reference
    labels: Tensor  # (M,)


def make_yardstick(run: Run, options: Options) -> tuple[Yardstick, dict]:
    """Prepare the yardstick, and measure the floor: the FDs of other real images, reconstructed and untouched.

    FD compares with real images *reconstructed by the tokenizer*. The tokenizer loses the same for all schedules, but
    at this scale so much that it would hide their differences: a spotty picture may match the sharpness of real ones
    better than a clean one. The FD from the untouched real images is measured too.
    """
    reference, second = compared(run, options.reference, choose_labels(run, options.samples))
    tokenizer, judge = run.tokenizer(), load_judge(run)
    network = judge_network(judge)
    seen = look(run, network, through_tokenizer(run, reference)[1])
    real = cached_reference(run, network, "classifier", reference)
    tokens, decoded = through_tokenizer(run, second)
    reconstructed = look(run, network, decoded)
    floor = {
        "second": len(second.labels),
        "fd": fd(reconstructed, seen),
        "reconstruction_fd_real": fd(reconstructed, real),
        "fd_real": fd(look(run, network, second.images), real),
    }
    return Yardstick(tokenizer, judge, seen, real, tokens, second.labels.to(run.device)), floor
