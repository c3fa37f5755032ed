"""MaskGIT, small, correct and fast: a codebase for learning masked generative image transformers."""

import os

# PyTorch's CPU threads spin while they wait for each other. If another program needs a core, spinning threads keep it
# from the thread that all others wait for: next to one busy process, a training step took up to ten times as long. So
# they spin briefly, then sleep. GNU's OpenMP reads this when torch is first imported, so it is set here.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

__version__ = "0.1.0"
