"""Lesson 7, variants: tokens that a region covers enough of, and a rim that lies inside of it."""

import random
from string import Template

AROUND = {
    "cross": [(0, 1), (0, -1), (1, 0), (-1, 0)],
    "row": [(0, 1), (0, -1)],
    "column": [(1, 0), (-1, 0)],
    "diagonals": [(1, 1), (1, -1), (-1, 1), (-1, -1)],
}
WORDS = {
    "cross": "left, right, above and below",
    "row": "left and right",
    "column": "above and below",
    "diagonals": "at its four corners, not at its sides",
}


def draw(rng: random.Random) -> dict:
    """part / parts: the share of a token that must be covered; around: how a region grows; width, king: of the rim."""
    part, parts = rng.choice([(1, 4), (1, 3), (1, 2), (2, 3), (3, 4)])
    rim = {"width": rng.choice([2, 3, 4]), "king": rng.random() < 0.5}
    return {"part": part, "parts": parts, "around": rng.choice(sorted(AROUND)), **rim}


def stub(drawn: dict) -> str:
    moves = "a side or a corner" if drawn["king"] else "a side, not just a corner,"
    rim = [round(min(1.0, pixel / drawn["width"]), 4) for pixel in range(1, 6)]
    share = f"{drawn['part']}/{drawn['parts']}"
    texts = {"share": share, "words": WORDS[drawn["around"]], "width": drawn["width"], "moves": moves}
    return Template(STUB).substitute(texts, rim=str([0.0, *rim]))


STUB = '''
def covered_tokens(pixels: Tensor, grid: int, grown: bool) -> Tensor:
    """The tokens of which a region covers at least $share: bool (H, W) pixels to bool (grid, grid).

    H and W are multiples of grid, and may differ; a token has H / grid x W / grid pixels. grown: also take
    each such token's neighbours $words, once, and none beyond the picture's edge.
    Count in whole numbers: shares of floats round. (Difficulty 2 of 3, 15 minutes.)

    >>> pixels = torch.zeros(4, 4, dtype=torch.bool)
    >>> pixels[:2, :2] = True
    >>> covered_tokens(pixels, grid=2, grown=False)
    tensor([[ True, False],
            [False, False]])
    """
    raise NotImplementedError


def blend_inside(original: Tensor, generated: Tensor, mask: Tensor) -> Tensor:
    """Blend so that the soft rim lies inside the mask: no pixel outside it changes at all.

    Images (B, 3, H, W), mask bool (B, H, W). A pixel's depth is the least number of moves from it to a pixel outside of
    the mask, where a move leads to a pixel that shares $moves with it. The picture's edge is not outside: no move
    leads through it, and a mask without an outside is infinitely deep. alpha = min(1, depth / $width), and the answer
    is alpha generated + (1 - alpha) original. (Difficulty 3 of 3, 30 minutes.)

    >>> mask = torch.tensor([[[False, True, True, True, True, True]]])
    >>> blended = blend_inside(torch.zeros(1, 3, 1, 6), torch.ones(1, 3, 1, 6), mask)
    >>> [round(alpha, 4) for alpha in blended[0, 0, 0].tolist()]
    $rim
    """
    raise NotImplementedError
'''
