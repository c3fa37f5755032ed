"""MaskGIT, small, right and fast: the codebase from which people learn masked generative image transformers."""

import os

# PyTorch's threads on a CPU spin while they wait for each other, and where another program wants a core too, the ones
# that spin keep it from the one that all wait for: a training step beside one other busy process took up to ten times
# as long. So they spin briefly, then sleep. GNU's OpenMP reads this when torch is first imported, hence here.
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

__version__ = "0.1.0"
