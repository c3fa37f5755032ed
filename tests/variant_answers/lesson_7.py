"""Right and wrong answers to lesson 7's variants, by what is drawn."""

import numpy as np
import torch
from scipy import ndimage
from test_variants_7 import AROUND

from minimaskgit import editing


def right(drawn: dict) -> dict:
    def covered_tokens(pixels, grid, grown):
        height, width = pixels.shape
        counts = pixels.view(grid, height // grid, grid, width // grid).sum((1, 3))
        taken = (counts * drawn["parts"] >= drawn["part"] * (height // grid) * (width // grid)).numpy()
        near = np.array([[AROUND[drawn["around"]](dy, dx) for dx in (-1, 0, 1)] for dy in (-1, 0, 1)])
        return torch.from_numpy(ndimage.binary_dilation(taken, near) if grown else taken)

    def blend_inside(original, generated, mask):
        metric = "chessboard" if drawn["king"] else "taxicab"
        inside = [ndimage.distance_transform_cdt(one, metric) if not one.all() else one * 999 for one in mask.numpy()]
        alpha = torch.from_numpy(np.stack(inside) / drawn["width"]).float().clamp(max=1)[:, None]
        return torch.where(alpha > 0, alpha * generated + (1 - alpha) * original, original)

    return {"covered_tokens": covered_tokens, "blend_inside": blend_inside}


def wrong(drawn: dict) -> dict[str, tuple[str, dict]]:
    good = right(drawn)

    def more_than(pixels, grid, grown):
        return right({**drawn, "part": 100 * drawn["part"] + 1, "parts": 100 * drawn["parts"]})["covered_tokens"](
            pixels, grid, grown
        )

    def touched(pixels, grid, grown):
        return editing.mask_to_token_mask(pixels, grid, int(grown)).view(grid, grid)

    others = {"cross": "row", "row": "column", "column": "diagonals", "diagonals": "cross"}
    otherwise = right({**drawn, "around": others[drawn["around"]]})["covered_tokens"]
    edge_is_outside = lambda a, b, mask: good["blend_inside"](
        *(torch.nn.functional.pad(x, (1, 1, 1, 1)) for x in (a, b)), torch.nn.functional.pad(mask, (1, 1, 1, 1))
    )[..., 1:-1, 1:-1]
    taken = "test_a_token_is_taken_if_enough_of_it_is_covered_or_if_that_is_so_of_its_neighbour"
    rim = "test_alpha_is_nothing_outside_and_inside_one_step_more_than_at_the_outermost_neighbour"
    mixed = "test_both_pictures_are_mixed_by_the_same_alpha_and_outside_not_a_bit_changes"
    return {
        "more than the share": (taken, {"covered_tokens": more_than}),
        "touched is enough": (taken, {"covered_tokens": touched}),
        "it grows another way": (taken, {"covered_tokens": otherwise}),
        "the package's rim": (rim, {"blend_inside": lambda a, b, mask: editing.blend(a, b, mask, 1.0)}),
        "a hard edge": (rim, {"blend_inside": lambda a, b, mask: editing.blend(a, b, mask, 0)}),
        "wider": (rim, {"blend_inside": right({**drawn, "width": drawn["width"] + 1})["blend_inside"]}),
        "other moves": (rim, {"blend_inside": right({**drawn, "king": not drawn["king"]})["blend_inside"]}),
        "the edge is outside": (rim, {"blend_inside": edge_is_outside}),
        "the two exchanged": (mixed, {"blend_inside": lambda a, b, mask: good["blend_inside"](a, b.flip(1), mask)}),
    }
