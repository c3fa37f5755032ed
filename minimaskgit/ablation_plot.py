"""The plot of the ablation."""

from PIL import Image


def draw(result: dict) -> Image.Image:
    return Image.new("RGB", (200, 200))
