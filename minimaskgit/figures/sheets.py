"""Sheets of images: sample grids, labelled rows, reconstructions, comparisons and decoding strips.

    images (B, 3, H, W) ──> cells, each enlarged by a whole number ──> rows ──> sheet with heading and margin

The drawing functions take tensors and return a new `PIL.Image`, which formats.py saves. A sheet is built from boxes (an
enlarged image, some text) placed side by side or below one another. Images are floats in [0, 1] or uint8. Token masks
are boolean, N = grid_size² in raster order, True = still masked.
"""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from minimaskgit.figures.fonts import REGULAR, font_for, spelled
from minimaskgit.figures.style import INK, MASKED, MASKED_EDGE, MUTED, PAPER, colours_of

MARGIN, GAP, CELL = 16, 6, 96  # pixels; the shorter side of an image takes at least CELL on the sheet
SMALL, MEDIUM, LARGE = 12, 14, 18  # font sizes in pixels

# --- From tensors to pixels ---


def to_uint8(images: Tensor) -> np.ndarray:
    """Convert images (B, 3, H, W), floats in [0, 1] (clipped) or uint8, to uint8 (B, H, W, 3).

    Raises ValueError for any other shape or type.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.numel():
        raise ValueError(f"images have shape {tuple(images.shape)}; expected (B, 3, H, W), B > 0")
    if images.is_floating_point():
        images = images.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    if images.dtype != torch.uint8:
        raise ValueError(f"images are {images.dtype}; expected floats in [0, 1] or uint8: convert them first")
    return images.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def masked_canvas(images: Tensor, masks: Tensor, grid_size: int | tuple[int, int], scale: int | None = None) -> Tensor:
    """Hide the masked tokens of each image behind neutral grey cells.

    images (B, 3, H, W), masks bool (B, N). grid_size: rows and columns of tokens, or one number if they are equal. The
    images are first enlarged by `scale`, so that a cell has room for a border; by default their shorter side becomes at
    least CELL pixels. Returns uint8 (B, 3, scale * H, scale * W). Raises ValueError if the masks or the image size do
    not match the token grid.
    """
    pixels = _bytes(images)
    count, _, height, width = pixels.shape
    rows, columns = (grid_size, grid_size) if isinstance(grid_size, int) else grid_size
    if tuple(masks.shape) != (count, rows * columns):
        raise ValueError(f"masks have shape {tuple(masks.shape)}; expected {(count, rows * columns)}, (B, N)")
    if height % rows or width % columns:
        raise ValueError(f"{height}x{width} pixels do not divide into {rows}x{columns} tokens")
    scale = scale or _default_scale(images)
    cell = torch.full((scale * height // rows, scale * width // columns), MASKED, dtype=torch.uint8)
    if min(cell.shape) >= 4:  # a border would fill a smaller cell
        cell[-1, :] = cell[:, -1] = MASKED_EDGE
    hidden = masks.bool().cpu().view(count, 1, rows, columns)
    return torch.where(_enlarge(hidden, *cell.shape), cell.repeat(rows, columns), _enlarge(pixels, scale, scale))


def _bytes(images: Tensor) -> Tensor:
    return torch.from_numpy(to_uint8(images)).permute(0, 3, 1, 2)


def _enlarge(x: Tensor, rows: int, columns: int) -> Tensor:
    # No smoothing: the sheet should show the model's own pixels.
    return x.repeat_interleave(rows, dim=-2).repeat_interleave(columns, dim=-1)


def _default_scale(images: Tensor) -> int:
    return math.ceil(CELL / min(images.shape[-2:]))


def to_cells(images: Tensor, scale: int | None = None) -> list[Image.Image]:
    scale = scale or _default_scale(images)
    return [Image.fromarray(array) for array in to_uint8(_enlarge(_bytes(images), scale, scale))]


# --- Boxes and text ---


def joined(boxes: Sequence[Image.Image], down: bool, gap: int = GAP, align: float = 0.0) -> Image.Image:
    """Place boxes below one another (`down`) or side by side; align 0 is left or top, 1 is right or bottom."""
    widths, heights = [box.width for box in boxes], [box.height for box in boxes]
    gaps = gap * (len(boxes) - 1)
    size = (max(widths), sum(heights) + gaps) if down else (sum(widths) + gaps, max(heights))
    joined, along = Image.new("RGB", size, PAPER), 0
    for box in boxes:
        slack = round(align * (joined.width - box.width if down else joined.height - box.height))
        joined.paste(box, (slack, along) if down else (along, slack))
        along += gap + (box.height if down else box.width)
    return joined


def _widened(box: Image.Image, width: int, align: float = 0.0) -> Image.Image:
    wide = Image.new("RGB", (width, box.height), PAPER)
    wide.paste(box, (round(align * (width - box.width)), 0))
    return wide


def blank_sheet(body: Image.Image, heading: str | None = None) -> Image.Image:
    """Finish a sheet: add the heading and the margin."""
    if heading:
        title = draw_text(heading, max(body.width, 4 * CELL), LARGE, bold=True)
        body = joined([title, body], down=True, gap=2 * GAP)
    return ImageOps.expand(body, MARGIN, PAPER)


@cache
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def draw_text(
    text: str,
    width: int | None = None,
    size: int = SMALL,
    bold: bool = False,
    colour: str = INK,
    align: float = 0.0,
) -> Image.Image:
    """Draw `text`, wrapped to `width` pixels, as a box, in a font that has its glyphs (see `fonts`)."""
    text = spelled(text)
    font = _font(font_for(text, bold) or REGULAR, size)
    lines, line_height = _wrap(text, font, width), sum(font.getmetrics())
    widths = [math.ceil(font.getlength(line)) for line in lines]
    box = Image.new("RGB", (max(1, *widths), line_height * len(lines)), PAPER)
    draw = ImageDraw.Draw(box)
    for i, line in enumerate(lines):
        draw.text((round(align * (box.width - widths[i])), i * line_height), line, fill=colour, font=font)
    return box


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int | None) -> list[str]:
    """Break at spaces into lines of at most `width` pixels; a longer word is cut and ends in an ellipsis."""
    lines = [""]
    for word in text.split():
        while width and len(word) > 1 and font.getlength(word) > width:
            word = word.rstrip("…")[:-1] + "…"
        longer = f"{lines[-1]} {word}".strip()
        if width and lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _label(text: str, width: int | None = None, align: float = 0.0) -> Image.Image:
    """Draw a label; if it has several lines, the first is bold and the others are grey."""
    first, *more = text.split("\n")
    lines = [draw_text(first, width, bold=bool(more), align=align)]
    lines += [draw_text(line, width, colour=MUTED, align=align) for line in more]
    return joined(lines, down=True, gap=0, align=align)


# --- Still pictures ---


def grid(
    images: Tensor,
    columns: int | None = None,
    scale: int | None = None,
    titles: Sequence[str] | None = None,
    heading: str | None = None,
) -> Image.Image:
    """Draw images (B, 3, H, W) as a tidy grid.

    columns: by default about as many as rows. scale: drawn pixels per pixel, by default enough to make the shorter side
    at least CELL pixels. titles: one per image, drawn below it. Raises ValueError for any other number of titles.
    """
    return blank_sheet(tiled(to_cells(images, scale), columns, titles), heading)


def tiled(cells: list[Image.Image], columns: int | None = None, titles: Sequence[str] | None = None) -> Image.Image:
    if titles is not None:
        if len(titles) != len(cells):
            raise ValueError(f"{len(titles)} titles for {len(cells)} images; expected one per image")
        labels = [_label(title, cell.width, align=0.5) for title, cell in zip(titles, cells)]
        cells = [joined(pair, down=True, gap=2, align=0.5) for pair in zip(cells, labels)]
    columns = columns or _default_columns(len(cells))
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    return joined([joined(row, down=False) for row in rows], down=True)


def _default_columns(count: int) -> int:
    """The fewest columns that make a full rectangle that is a little wider than high, or else about a square."""
    root = math.ceil(math.sqrt(count))
    return next((columns for columns in range(root, 2 * root) if count % columns == 0), root)


def labelled_rows(rows: dict[str, Tensor], heading: str | None = None, columns: int | None = None) -> Image.Image:
    """Draw a row of images (B, 3, H, W) for each key, with the key on the left.

    If a key has several lines, the first is bold. columns: images per row before a new block of rows begins, by
    default all. Raises ValueError if there are no rows.
    """
    cells = {key: to_cells(images) for key, images in _at_least_one(rows).items()}
    longest = max(len(row) for row in cells.values())
    columns = columns or longest
    blocks = [
        _labelled([(key, row[start : start + columns]) for key, row in cells.items() if row[start:]])
        for start in range(0, longest, columns)
    ]
    return blank_sheet(joined(blocks, down=True, gap=3 * GAP), heading)


def _at_least_one(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    if not rows:
        raise ValueError("no rows to draw; expected at least one row of images (B, 3, H, W)")
    return rows


def _labelled(rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    labels = [_label(text) for text, _ in rows]
    width = max(label.width for label in labels) + GAP
    lines = [[_widened(label, width), *boxes] for label, (_, boxes) in zip(labels, rows)]
    return joined([joined(line, down=False, align=0.5) for line in lines], down=True)


def reconstructions(originals: Tensor, reconstructed: Tensor, heading: str | None = None) -> Image.Image:
    """Draw originals (B, 3, H, W) above their reconstructions, in blocks of 8 images.

    Raises ValueError if their shapes differ.
    """
    if originals.shape != reconstructed.shape:
        shapes = f"originals {tuple(originals.shape)}, reconstructed {tuple(reconstructed.shape)}"
        raise ValueError(f"{shapes}; expected the same shape")
    return labelled_rows({"original": originals, "reconstruction": reconstructed}, heading, columns=8)


def comparison(rows: dict[str, Tensor], columns: int = 8) -> Image.Image:
    """Draw samples (B, 3, H, W) of several decoders below one another, each decoder in its own colour.

    The keys are captions such as "MaskGIT, 8 passes, 12 ms per image": the decoder's name comes before the first
    comma. Raises ValueError if there are no rows.
    """
    names, _, notes = zip(*(caption.partition(",") for caption in _at_least_one(rows)))
    colours, blocks = colours_of(names), []
    for name, note, images in zip(names, notes, rows.values()):
        caption = [draw_text(name, None, MEDIUM, True, colours[name]), draw_text(note, None, MEDIUM, colour=MUTED)]
        block = joined([joined(caption, down=False), tiled(to_cells(images), columns)], down=True)
        bar = Image.new("RGB", (4, block.height), colours[name])
        blocks.append(joined([bar, block], down=False, gap=2 * GAP))
    return blank_sheet(joined(blocks, down=True, gap=4 * GAP))


def decoding_strip(
    step_images: Tensor,
    step_masks: Tensor,
    grid_size: int,
    captions: Sequence[str] | None = None,
    columns: int = 8,
) -> Image.Image:
    """Draw how a canvas fills, one column per step: the tokens kept so far and, below them, the model's full guess.

    step_images (T, 3, H, W): the full sample decoded after each step; step_masks bool (T, N): tokens still masked
    after it. Several samples, (S, T, 3, H, W) and (S, T, N), get a pair of rows each. captions: one per step, by
    default "step 1" and how many tokens are kept. If there are more steps than `columns`, evenly spaced ones are drawn,
    including the first and the last. Raises ValueError if shapes or captions do not match.
    """
    if step_images.ndim == 4:
        step_images, step_masks = step_images[None], step_masks[None]
    steps = step_images.shape[1]
    captions = _step_captions(step_masks) if captions is None else captions
    if len(captions) != steps or step_masks.shape[:2] != step_images.shape[:2]:
        raise ValueError(f"{steps} steps, but {len(captions)} captions and masks {tuple(step_masks.shape)}")
    chosen = torch.linspace(0, steps - 1, min(columns, steps)).round().long()
    width = step_images.shape[-1] * _default_scale(step_images)
    rows = [("", [_widened(_label(captions[t], width, align=0.5), width, align=0.5) for t in chosen])]
    for images, masks in zip(step_images[:, chosen], step_masks[:, chosen]):
        rows.append(("tokens\nkept so far", to_cells(masked_canvas(images, masks, grid_size))))
        rows.append(("full guess\nof the model", to_cells(images)))
        rows.append(("", [draw_text("")]))  # space before the next sample
    return blank_sheet(_labelled(rows[:-1]))


def _step_captions(step_masks: Tensor) -> list[str]:
    """The step numbers, with how many tokens are kept if that is the same for all samples (S, T, N)."""
    tokens, kept = step_masks.shape[-1], (~step_masks.bool()).sum(-1)  # (S, T)
    same = bool((kept == kept[:1]).all())
    return [f"step {t + 1}" + (f"\n{n} of {tokens}" if same else "") for t, n in enumerate(kept[0].tolist())]
