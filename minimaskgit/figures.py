"""Pictures of what the models do: sample grids, reconstructions, decoding strips, animations and plots.

    images (B, 3, H, W) ──> cells, each up-scaled by a whole number ──> rows ──> sheet with heading and margin

Every function takes tensors and gives a new `PIL.Image`; only `save_png` and `animation` touch the disk. A
picture is built from boxes (an up-scaled image, some text) put beside or below one another. Images are floats
in [0, 1] or uint8. Token masks are boolean, N = grid_size² in raster order, True = still masked.
"""

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import BinaryIO

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from PIL import Image, ImageColor, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from minimaskgit.decoding import mask_plan
from minimaskgit.schedules import Schedule

# Okabe and Ito's colours, which colour-blind readers can tell apart; the first two belong to the decoders.
MASKGIT, AUTOREGRESSIVE = "#0072B2", "#D55E00"
OTHERS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C", "#222222")
PAPER, INK, MUTED, TRACK = "#FFFFFF", "#222222", "#6B6B6B", "#E6E6E6"
MASKED, MASKED_EDGE = 226, 206  # grey levels of a token that is not there yet, and of its border
MARGIN, GAP, CELL = 16, 6, 96  # pixels; the shorter side of an image takes at least CELL on the sheet
SMALL, MEDIUM, LARGE = 12, 14, 18  # font sizes in pixels


# --- From tensors to pixels ---


def to_uint8(images: Tensor) -> np.ndarray:
    """Turn images into bytes: (B, 3, H, W), floats in [0, 1] (clipped) or uint8, to uint8 (B, H, W, 3).

    Raises ValueError for any other shape or type.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.numel():
        raise ValueError(f"images have shape {tuple(images.shape)}; expected (B, 3, H, W), B > 0")
    if images.is_floating_point():
        images = images.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    if images.dtype != torch.uint8:
        raise ValueError(f"images are {images.dtype}; expected floats in [0, 1] or uint8: convert them first")
    return images.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def masked_canvas(images: Tensor, masks: Tensor, grid_size: int, scale: int | None = None) -> Tensor:
    """Hide the masked tokens of each image behind neutral grey cells.

    images (B, 3, H, W), masks bool (B, N). The images are first up-scaled by `scale`, by default until they
    are seen well, so that a cell has room for a border. Returns uint8 (B, 3, scale * H, scale * W). Raises
    ValueError where tokens and pixels do not fit together.
    """
    pixels = _bytes(images)
    count, _, height, width = pixels.shape
    if tuple(masks.shape) != (count, grid_size**2):
        raise ValueError(f"masks have shape {tuple(masks.shape)}; expected {(count, grid_size**2)}, (B, N)")
    if height % grid_size or width % grid_size:
        raise ValueError(f"{height}x{width} pixels do not divide into {grid_size}x{grid_size} tokens")
    scale = scale or _default_scale(images)
    rows, columns = scale * height // grid_size, scale * width // grid_size  # pixels of one token
    blank = torch.full((rows, columns), MASKED, dtype=torch.uint8)
    if min(rows, columns) >= 4:  # a border would fill a smaller cell
        blank[-1, :] = blank[:, -1] = MASKED_EDGE
    hidden = masks.bool().cpu().view(count, 1, grid_size, grid_size)
    canvas = blank.repeat(grid_size, grid_size)
    return torch.where(_enlarge(hidden, rows, columns), canvas, _enlarge(pixels, scale, scale))


def _bytes(images: Tensor) -> Tensor:
    return torch.from_numpy(to_uint8(images)).permute(0, 3, 1, 2)


def _enlarge(x: Tensor, rows: int, columns: int) -> Tensor:
    # Without smoothing: a reader should see the model's own pixels.
    return x.repeat_interleave(rows, dim=-2).repeat_interleave(columns, dim=-1)


def _default_scale(images: Tensor) -> int:
    return math.ceil(CELL / min(images.shape[-2:]))


def _cells(images: Tensor, scale: int | None = None) -> list[Image.Image]:
    scale = scale or _default_scale(images)
    return [Image.fromarray(array) for array in to_uint8(_enlarge(_bytes(images), scale, scale))]


# --- Boxes and text ---


def _join(boxes: Sequence[Image.Image], down: bool, gap: int = GAP, align: float = 0.0) -> Image.Image:
    """Put boxes below one another (`down`) or side by side; align 0 is left or top, 1 right or bottom."""
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


def _sheet(body: Image.Image, heading: str | None = None) -> Image.Image:
    """Finish a picture: heading above, margin around."""
    if heading:
        title = _text(heading, max(body.width, 4 * CELL), LARGE, bold=True)
        body = _join([title, body], down=True, gap=2 * GAP)
    return ImageOps.expand(body, MARGIN, PAPER)


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


def _text(
    text: str,
    width: int | None = None,
    size: int = SMALL,
    bold: bool = False,
    colour: str = INK,
    align: float = 0.0,
) -> Image.Image:
    """A box around `text`, wrapped to `width` pixels."""
    font = _font(size, bold)
    lines, line_height = _wrap(text, font, width), sum(font.getmetrics())
    widths = [math.ceil(font.getlength(line)) for line in lines]
    box = Image.new("RGB", (max(1, *widths), line_height * len(lines)), PAPER)
    draw = ImageDraw.Draw(box)
    for i, line in enumerate(lines):
        draw.text((round(align * (box.width - widths[i])), i * line_height), line, fill=colour, font=font)
    return box


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int | None) -> list[str]:
    """Break at spaces into lines of at most `width` pixels; a longer word is cut and gets an ellipsis."""
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
    """A first line that says what, bold where more lines follow, in grey, that say more."""
    first, *more = text.split("\n")
    lines = [_text(first, width, bold=bool(more), align=align)]
    lines += [_text(line, width, colour=MUTED, align=align) for line in more]
    return _join(lines, down=True, gap=0, align=align)


# --- Still pictures ---


def grid(
    images: Tensor,
    columns: int | None = None,
    scale: int | None = None,
    titles: Sequence[str] | None = None,
    heading: str | None = None,
) -> Image.Image:
    """Draw images (B, 3, H, W) as a tidy grid.

    columns: by default about as many as rows. scale: drawn pixels a pixel, by default until images are seen
    well. titles: one an image, below it. Raises ValueError for another number of titles.
    """
    return _sheet(_tiles(_cells(images, scale), columns, titles), heading)


def _tiles(cells: list[Image.Image], columns: int | None = None, titles: Sequence[str] | None = None) -> Image.Image:
    if titles is not None:
        if len(titles) != len(cells):
            raise ValueError(f"{len(titles)} titles for {len(cells)} images; expected one an image")
        labels = [_label(title, cell.width, align=0.5) for title, cell in zip(titles, cells)]
        cells = [_join(pair, down=True, gap=2, align=0.5) for pair in zip(cells, labels)]
    columns = columns or _default_columns(len(cells))
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    return _join([_join(row, down=False) for row in rows], down=True)


def _default_columns(count: int) -> int:
    """The fewest columns that give a full rectangle which is wider than high, though not by much."""
    root = math.ceil(math.sqrt(count))
    return next((columns for columns in range(root, 2 * root) if count % columns == 0), root)


def labelled_rows(rows: dict[str, Tensor], heading: str | None = None, columns: int | None = None) -> Image.Image:
    """Draw a row of images (B, 3, H, W) for each key, the key at the left.

    A line break in a key ends a bold first line. columns: begin a new block of rows after so many images, by
    default never. Raises ValueError when there are no rows.
    """
    cells = {key: _cells(images) for key, images in _some(rows).items()}
    longest = max(len(row) for row in cells.values())
    columns = columns or longest
    blocks = [
        _labelled([(key, row[start : start + columns]) for key, row in cells.items() if row[start:]])
        for start in range(0, longest, columns)
    ]
    return _sheet(_join(blocks, down=True, gap=3 * GAP), heading)


def _some(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    if not rows:
        raise ValueError("no rows to draw; expected at least one, of images (B, 3, H, W)")
    return rows


def _labelled(rows: Sequence[tuple[str, Sequence[Image.Image]]]) -> Image.Image:
    labels = [_label(text) for text, _ in rows]
    width = max(label.width for label in labels) + GAP
    lines = [[_widened(label, width), *boxes] for label, (_, boxes) in zip(labels, rows)]
    return _join([_join(line, down=False, align=0.5) for line in lines], down=True)


def reconstructions(
    originals: Tensor,
    reconstructed: Tensor,
    heading: str | None = None,
    difference: bool = False,
    columns: int = 8,
) -> Image.Image:
    """Draw originals (B, 3, H, W) above what the tokenizer makes of them, in blocks of `columns` images.

    difference: add a row of absolute differences, black where there is none. Raises ValueError when their
    shapes differ.
    """
    if originals.shape != reconstructed.shape:
        raise ValueError(f"originals {tuple(originals.shape)}, reconstructed {tuple(reconstructed.shape)}")
    rows = {"original": _bytes(originals), "reconstruction": _bytes(reconstructed)}
    if difference:
        before, after = rows.values()
        rows["difference"] = (before.int() - after.int()).abs().byte()
    return labelled_rows(rows, heading, columns)


def comparison(rows: dict[str, Tensor], heading: str | None = None, columns: int = 8) -> Image.Image:
    """Draw samples (B, 3, H, W) of several decoders below one another, each decoder in its colour.

    The keys are captions such as "MaskGIT, 8 passes, 12 ms an image", with the decoder's name before the
    first comma. Raises ValueError when there are no rows.
    """
    names, _, notes = zip(*(caption.partition(",") for caption in _some(rows)))
    colours, blocks = _colours(names), []
    for name, note, images in zip(names, notes, rows.values()):
        caption = [_text(name, None, MEDIUM, True, colours[name]), _text(note, None, MEDIUM, colour=MUTED)]
        block = _join([_join(caption, down=False), _tiles(_cells(images), columns)], down=True)
        bar = Image.new("RGB", (4, block.height), colours[name])
        blocks.append(_join([bar, block], down=False, gap=2 * GAP))
    return _sheet(_join(blocks, down=True, gap=4 * GAP), heading)


def decoding_strip(
    step_images: Tensor,
    step_masks: Tensor,
    grid_size: int,
    captions: Sequence[str] | None = None,
    heading: str | None = None,
    columns: int = 8,
) -> Image.Image:
    """Draw how a canvas fills, a column a step: the tokens kept so far, below them the model's full guess.

    step_images (T, 3, H, W): the full sample decoded after each step; step_masks bool (T, N): tokens still
    masked after it. Several samples, (S, T, 3, H, W) and (S, T, N), give a pair of rows each. captions: one a
    step, by default "step 1" and how many tokens are kept. Of more steps than `columns`, evenly chosen ones
    are drawn, the first and the last among them. Raises ValueError where shapes or captions do not fit.
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
        rows.append(("tokens\nkept so far", _cells(masked_canvas(images, masks, grid_size))))
        rows.append(("full guess\nof the model", _cells(images)))
        rows.append(("", [_text("")]))  # some air before the next sample
    return _sheet(_labelled(rows[:-1]), heading)


def _step_captions(step_masks: Tensor) -> list[str]:
    """The steps' numbers, and how many tokens are kept where that is the same for all samples (S, T, N)."""
    tokens, kept = step_masks.shape[-1], (~step_masks.bool()).sum(-1)  # (S, T)
    same = bool((kept == kept[:1]).all())
    return [f"step {t + 1}" + (f"\n{n} of {tokens}" if same else "") for t, n in enumerate(kept[0].tolist())]


# --- Animations ---


def race(
    masked_images: Tensor,
    masked_masks: Tensor,
    raster_images: Tensor,
    raster_masks: Tensor,
    grid_size: int,
    stride: int | None = None,
) -> list[Image.Image]:
    """Draw both ways of filling a canvas side by side, pass by network pass; the side that is done waits.

    masked_images (T, S, 3, H, W), masked_masks bool (T, S, N): S samples after each pass of parallel decoding
    (left); raster_images, raster_masks: the same after each pass of raster order. stride: passes a frame, by
    default so many that there are at most 64 frames or so; the last pass is always drawn.
    """
    totals = len(masked_images), len(raster_images)
    stride = stride or math.ceil(max(totals) / 64)
    frames = []
    for k in sorted({*range(stride, max(totals) + 1, stride), max(totals)}):
        left, right = passes = min(k, totals[0]), min(k, totals[1])
        masked = masked_canvas(masked_images[left - 1], masked_masks[left - 1], grid_size)
        raster = masked_canvas(raster_images[right - 1], raster_masks[right - 1], grid_size)
        frames.append(race_frame(masked, raster, passes, totals))
    return frames


def race_frame(left: Tensor, right: Tensor, passes: tuple[int, int], totals: tuple[int, int]) -> Image.Image:
    """Draw one frame of the race: parallel decoding at the left, raster order at the right.

    left, right (S, 3, H, W): what `masked_canvas` gives. passes: network passes made so far by each side, of
    `totals` that each needs.
    """
    sides = []
    for name, canvases, done, total in zip(("MaskGIT", "autoregressive"), (left, right), passes, totals):
        colour, tiles = _colours([name])[name], _tiles(_cells(canvases))
        bar = Image.new("RGB", (max(tiles.width, 2 * CELL), 6), TRACK)
        bar.paste(colour, (0, 0, round(bar.width * done / total), bar.height))
        state = f"pass {done} of {total}" + (", done" if done == total else "")
        lines = [_text(name, size=LARGE, bold=True, colour=colour), _text(state, size=MEDIUM, colour=MUTED)]
        sides.append(_join([*lines, bar, tiles], down=True))
    return _sheet(_join(sides, down=False, gap=2 * MARGIN))


def animation(
    frames: Sequence[Image.Image],
    path: str | os.PathLike,
    seconds_per_frame: float = 0.25,
    hold_last: float = 1.5,
) -> Path:
    """Write frames as a GIF that loops for ever, holding the last for `hold_last` seconds; returns its path.

    Folders are made, and a reader never sees half a file. Raises ValueError when there are no frames or
    their sizes differ.
    """
    sizes = {frame.size for frame in frames}
    if len(sizes) != 1:
        raise ValueError(f"frames of sizes {sorted(sizes)}; expected at least one frame, and all of one size")
    frames = [frame.convert("RGB") for frame in frames]
    palette = _shared_palette(frames)
    first, *others = [_indexed(frame, palette) for frame in frames]
    milliseconds = [round(1000 * seconds_per_frame)] * len(others) + [round(1000 * hold_last)]
    with _replacing(path) as file:
        first.save(file, "GIF", save_all=True, append_images=others, duration=milliseconds, loop=0)
    return Path(path)


def _shared_palette(frames: Sequence[Image.Image]) -> np.ndarray:
    """At most 256 colours (256, 3) for all frames, found from a dozen of them; our flat ones are exact."""
    chosen = {round(i) for i in np.linspace(0, len(frames) - 1, 12)}
    pixels = np.concatenate([np.asarray(frames[i]).reshape(-1, 3) for i in sorted(chosen)])
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    weights = np.ceil(np.sqrt(counts)).astype(int)  # large areas shall not crowd out the rest
    flat = [ImageColor.getrgb(name) for name in (PAPER, TRACK, MASKGIT, AUTOREGRESSIVE)]
    flat += [(grey, grey, grey) for grey in (MASKED, MASKED_EDGE)]
    mixed = Image.fromarray(colours.repeat(weights, axis=0)[None])
    found = mixed.quantize(256 - len(flat), Image.Quantize.MEDIANCUT, kmeans=3)
    return np.concatenate([flat, np.reshape(found.getpalette(), (-1, 3))]).astype(np.uint8)


def _indexed(frame: Image.Image, palette: np.ndarray) -> Image.Image:
    """The frame in the palette's nearest colours.

    Not by Pillow's look-up, which rounds to multiples of 4 and so tints white paper; and without dithering,
    which would make still parts flicker and the file several times larger.
    """
    codes, index = np.unique(np.asarray(frame).reshape(-1, 3) @ [1 << 16, 1 << 8, 1], return_inverse=True)
    colours = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)  # each colour of the frame once
    distances = torch.cdist(torch.tensor(colours).float(), torch.tensor(palette).float())
    nearest = distances.argmin(1).byte().numpy()
    indexed = Image.fromarray(nearest[index].reshape(frame.height, frame.width))
    indexed.putpalette(palette.tobytes())
    return indexed


def save_png(image: Image.Image, path: str | os.PathLike) -> Path:
    """Write a picture as PNG and return its path; folders are made, and a reader never sees half a file."""
    with _replacing(path) as file:
        image.save(file, "PNG", optimize=True)
    return Path(path)


@contextmanager
def _replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Give a file beside `path` to write to; it takes the place of `path` once it is whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with aside.open("wb") as file:
            yield file
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


# --- Plots ---


def curves(
    series: dict[str, Sequence[tuple[float, float]]], xlabel: str, ylabel: str, heading: str | None = None
) -> Image.Image:
    """Plot a line for each key, such as a loss over training: sequences of (step, value)."""
    figure, (axes,) = _figure(1, heading)
    for (name, points), colour in zip(series.items(), _colours(series).values()):
        axes.plot(*zip(*points), label=name, color=colour, linewidth=1.8)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    if series:
        axes.legend(frameon=False)
    return rendered(figure)


def scatter(
    points: dict[str, tuple[float, float]], xlabel: str, ylabel: str, heading: str | None = None
) -> Image.Image:
    """Plot a named point (x, y) for each key, both axes logarithmic.

    Names that are equal up to their first comma are of one family, such as one model with several numbers of steps:
    they share a colour, are joined by a line, and bear the rest of their names.
    """
    figure, (axes,) = _figure(1, heading)
    colours, families = _colours(points), {}
    for name in points:
        families.setdefault(_family(name), []).append(name)
    for family, names in families.items():
        colour, line = colours[names[0]], sorted(points[name] for name in names)
        axes.plot(*zip(*line), color=colour, linewidth=1, alpha=0.5, marker="o", markersize=7)
        beside = {"textcoords": "offset points", "ha": "center", "color": colour}
        axes.annotate(family, line[0], (0, 9), weight="bold", **beside)
        for name in names:
            member = name.removeprefix(family).strip(":, ")
            axes.annotate(member, points[name], (0, -18), fontsize=9, **beside)
    axes.set(xlabel=xlabel, ylabel=ylabel, xscale="log", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.margins(x=0.15, y=0.25)
    return rendered(figure)


def schedule_plot(schedules: dict[str, Schedule], num_tokens: int, steps: int) -> Image.Image:
    """Plot mask schedules by name, and beside them how many of N tokens each of T decoding steps fixes."""
    figure, (masked, fixed) = _figure(2)
    r = torch.linspace(0, 1, 201, dtype=torch.double)
    unknown = torch.tensor([num_tokens])
    for (name, gamma), colour in zip(schedules.items(), _colours(schedules).values()):
        masked.plot(r, gamma(r, num_tokens), color=colour, label=name.replace("_", " "))
        left = torch.cat([unknown, mask_plan(unknown, steps, gamma)[:, 0]])  # (T + 1,) tokens still masked
        fixed.plot(range(1, steps + 1), -left.diff(), color=colour, marker="o", markersize=4)
    masked.set(xlabel="progress r", ylabel="fraction masked γ(r)", xlim=(0, 1), ylim=(0, 1.02))
    fixed.set(xlabel=f"step, of {steps}", ylabel=f"tokens newly fixed, of {num_tokens}", ylim=0)
    fixed.xaxis.get_major_locator().set_params(integer=True)
    figure.legend(loc="outside right center", frameon=False)
    return rendered(figure)


def planes(panels: dict[str, tuple[Tensor, Tensor, Tensor]]) -> Image.Image:
    """Plot a panel for each key: vectors (M, 2), their codes (M,) as colours, and the codebook (K, 2) as crosses.

    Entries that no vector has chosen are grey.
    """
    figure, axes = _figure(len(panels))
    figure.set_size_inches(3 * len(panels), 3.2)
    palette = [MASKGIT, AUTOREGRESSIVE, *OTHERS[:4]]
    for panel, (title, (vectors, codes, codebook)) in zip(axes, panels.items()):
        in_use = set(codes.tolist())
        panel.scatter(*vectors.T, s=5, c=[palette[code % len(palette)] for code in codes.tolist()], alpha=0.6)
        ink = [INK if code in in_use else OTHERS[4] for code in range(len(codebook))]
        panel.scatter(*codebook.T, s=90, c=ink, marker="X", edgecolors=PAPER, linewidths=0.8)
        panel.set_title(title, size=10, color=INK)
        panel.set(xticks=[], yticks=[], aspect="equal")
        panel.spines[:].set_visible(False)
    for panel in axes[1:]:
        panel.sharex(axes[0])
        panel.sharey(axes[0])
    return rendered(figure)


def _figure(panels: int, heading: str | None = None) -> tuple[Figure, list[Axes]]:
    # A bare Figure, not pyplot's: nothing is registered, shown or left behind.
    figure = Figure(figsize=(9, 3.8), dpi=100, layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, panels, squeeze=False)[0])
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="y", color=TRACK)
        panel.set_axisbelow(True)
    if heading:
        figure.suptitle(heading, x=0.01, ha="left", weight="bold", color=INK)
    return figure, axes


def rendered(figure: Figure) -> Image.Image:
    """A figure of matplotlib's as a picture of ours."""
    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())


def _colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each family, which is a name up to its first comma or colon; the decoders have their own."""
    names = list(names)
    families = dict.fromkeys(_family(name) for name in names)
    own = {"maskgit": MASKGIT, "autoregressive": AUTOREGRESSIVE}
    colours = {family: own[word] for family in families for word in own if family.lower().startswith(word)}
    free = cycle(OTHERS if colours else (MASKGIT, AUTOREGRESSIVE, *OTHERS))
    colours = {family: colours.get(family) or next(free) for family in families}
    return {name: colours[_family(name)] for name in names}


def _family(name: str) -> str:
    return re.split("[,:]", name)[0]


def clouds(
    panels: dict[str, dict[str, Tensor]],
    balls: dict[str, tuple[Tensor, Tensor]] | None = None,
    heading: str | None = None,
) -> Image.Image:
    """Plot named clouds of points (N, 2) in a panel each, all panels on the same scale.

    balls: centres (N, 2) and radii (N,) of circles to draw behind the points, by panel.
    """
    figure, axes = _figure(len(panels), heading)
    colours = _colours(name for panel in panels.values() for name in panel)
    points = torch.cat([cloud for panel in panels.values() for cloud in panel.values()])
    low, high = points.amin(0), points.amax(0)
    room = 0.08 * (high - low)
    for (title, panel), place in zip(panels.items(), axes):
        for centre, radius in zip(*(balls or {}).get(title, ((), ()))):
            place.add_patch(Circle(centre.tolist(), float(radius), facecolor=TRACK, alpha=0.5, linewidth=0))
        for name, cloud in panel.items():
            place.plot(*cloud.T.tolist(), ".", color=colours[name], markersize=4, label=name)
        (x0, y0), (x1, y1) = (low - room).tolist(), (high + room).tolist()
        place.set(title=title, xlim=(x0, x1), ylim=(y0, y1), xticks=[], yticks=[])
        place.grid(False)
        place.legend(frameon=False, loc="upper right")
    return rendered(figure)
