"""MaskGIT, small, right and fast: a codebase for learning masked generative image transformers.

the paper    schedules, masking           how much to mask, and the training objective (sections 3.1 and 3.3)
             tokenizer, adversary         the VQ-GAN and its losses (section 3); classifier: perceptual loss, judge
             transformer, positions       bidirectional, or causal for the autoregressive twin (section 3.1)
             decoding, autoregressive     eight passes for a whole image, or one per token (section 3.2)
             editing, outpainting         a region, or beyond the edges (section 4.3)
             metrics                      FD, IS, precision, recall (section 4.1)
commands     demo train generate edit compare evaluate playground search ablate passes recipe bench export
             import_weights imagenet assignment grade: python -m minimaskgit.NAME
lessons      notebook, building, predictions: what the notebooks share
rooms        common data decoders rivals runs figures web training measuring grading: everything else
"""

import os
import signal
import sys
from types import FrameType

# PyTorch's CPU threads spin while they wait for each other. If another program needs a core, spinning threads keep it
# from the thread that all others wait for: next to one busy process, a training step took up to ten times as long. So
# they spin briefly, then sleep. GNU's OpenMP reads this when torch is first imported, so it is set here.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")


def stop_at_once(number: int, frame: FrameType | None) -> None:
    """End this process as after Ctrl-C; a handler of signals."""
    try:
        os.write(2, b"\nstopped\n")
    finally:  # whether anybody reads that or not
        os._exit(130)


# A command imports torch and others for seconds. Ctrl-C would meanwhile print a traceback, or be lost in a library's
# own handling of errors. Nothing has been written yet, so it ends the process, until common/cli.py handles it.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, stop_at_once)

__version__ = "0.1.0"
