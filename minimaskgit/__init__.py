"""MaskGIT, small, right and fast: masked generative image transformers to learn from."""

__version__ = "0.1.0"
