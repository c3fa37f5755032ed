"""Tools for the lessons' notebooks: a trained run, the map of the course, pictures and sliders.

    lessons/3_*.ipynb ──> trained_run(), learn(model, loss, ...), scores(images, labels, judge)
                          road_map(3), show(picture, alt), film(frames, alt), source(function), knob(draw, alt, T=[8])
                          playground(run, "race") ──> playground-glyphs.html beside the notebook, in a frame

Only notebooks import this module, and no other module depends on Jupyter.
"""

import base64
import html
import inspect
import io
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode

import torch
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image
from torch import Tensor

from minimaskgit import figures
from minimaskgit.classifier import Classifier, class_accuracy
from minimaskgit.common.errors import needed
from minimaskgit.common.files import write_text
from minimaskgit.data.glyphs import glyphs
from minimaskgit.data.images import to_float
from minimaskgit.data.strays import with_strays
from minimaskgit.metrics import feature_statistics, frechet_distance
from minimaskgit.runs.models import is_finished, load_model
from minimaskgit.runs.run import PRETRAINED, ROOT, Run, open_run
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.transformer import Transformer
from minimaskgit.web.build import build

GLYPHS, PHOTOS, DEMO, OWN = PRETRAINED / "glyphs", PRETRAINED / "photos", ROOT / "runs/demo", ROOT / "runs/lessons/own"

# Each lesson's title, subtitle, place on the map (column, row), and the lessons that it builds on.
MAP = {
    1: ("1 · tokens", "encoder, codebook,\ndecoder", (0, 1), ()),
    2: ("2 · critics", "perceptual loss,\ndiscriminator", (0, 2), (1,)),
    3: ("3 · masking", "how much to hide,\nwhat to ask", (1, 1), (1,)),
    4: ("4 · transformer", "everyone sees\neveryone", (2, 1), (3,)),
    5: ("5 · decoding", "all at once,\nthe surest first", (3, 1), (4,)),
    6: ("6 · the rival", "one token\nafter another", (3, 0), (4,)),
    7: ("7 · editing", "repaint a part,\nkeep the rest", (3, 2), (5,)),
    8: ("8 · measuring", "how good,\nagainst whom", (4, 1), (5, 6)),
    9: ("9 · scale up", "photographs,\none GPU", (4, 2), (8,)),
    10: ("10 · afterwards", "which order,\ntaking back", (4, 0), (8,)),
}

# --- Trained models ---


def trained_run(train: bool = False) -> Run:
    """A run with trained models: the one that comes with the project, else runs/demo, else one trained here.

    train: always train your own (in runs/lessons/own; resumed if it was interrupted).
    """
    if not train:
        for folder in (GLYPHS, DEMO):
            if is_finished(folder / "transformer"):
                print(f"models from {folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder}")
                return open_run(folder, "cpu")
    from minimaskgit.runs.presets import demo  # imported here, because training imports are slow
    from minimaskgit.training.stages import limit_steps
    from minimaskgit.training.stages import train as train_all

    print(f"training a small model into {OWN.relative_to(ROOT)}, once")
    train_all(limit_steps(demo(), 800), OWN, resume=(OWN / "config.json").exists(), device="cpu")
    return open_run(OWN, "cpu")


def photo_run() -> Run:
    """The run of photographs that comes with the project: Tiny ImageNet, 64 x 64 pixels, 200 classes."""
    return open_run(PHOTOS, "cpu")


def trained_judge(run: Run) -> Classifier:
    """A classifier trained on real pictures: the run's judge, or else its perceptual network."""
    judge = run.folder / "judge" / "classifier"
    return load_model(Classifier, judge if judge.exists() else run.folder / "classifier")


# --- Small experiments ---


class Scores(NamedTuple):
    right: float  # share of the pictures in which the judge sees the class that was asked for
    clean: float  # share without strays: one whole glyph, with no spots, holes or lost parts
    fd: float  # Fréchet distance to 1000 real glyphs (lesson 8); lower is better


@torch.no_grad()
def scores(images: Tensor, labels: Tensor, judge: Classifier) -> Scores:
    """How good pictures (B, 3, S, S) of labels (B,) are, by three rulers; the judge is the most easily content."""
    right, strays = class_accuracy(judge, images, labels), with_strays(images, labels).double().mean().item()
    distance = frechet_distance(*_statistics(judge, images), *_real(judge))
    return Scores(right, 1 - strays, distance.item())


@lru_cache(maxsize=1)
def _real(judge: Classifier) -> tuple[Tensor, Tensor]:
    return _statistics(judge, to_float(glyphs(1000, seed=5)[0]))


def _statistics(judge: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    return feature_statistics(torch.cat([judge.pooled(part) for part in images.split(250)]))


@torch.no_grad()
def three_classes(tokenizer: Tokenizer, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Tokens (M, N) and labels (M,) of the stars, hearts and umbrellas among `count` glyphs."""
    pictures, labels = glyphs(count, seed)
    pictures, labels = pictures[labels < 3], labels[labels < 3]
    return torch.cat([tokenizer.encode(to_float(part)) for part in pictures.split(250)]), labels


def learn(
    model: Transformer,
    loss: Callable[[Tensor, Tensor], Tensor],
    tokens: Tensor,
    labels: Tensor,
    steps: int = 400,
    batch: int = 32,
    every: int = 50,
) -> list[tuple[int, float]]:
    """Train a small transformer by `loss` of tokens (B, N) and labels (B,).

    Returns pairs (step, mean loss since the last pair), one for every `every` steps.
    """
    from minimaskgit.runs.config import TransformerTraining  # imported here, because training imports are slow
    from minimaskgit.training.optimizers import make_optimizers

    optimizers = make_optimizers(TransformerTraining(muon_learning_rate=0.01), model, "fp32").values()
    curve, losses = [], []
    for step in range(steps):
        chosen = torch.randint(len(tokens), (batch,))
        value = loss(tokens[chosen], labels[chosen])
        value.backward()
        for optimizer, rate in optimizers:
            optimizer.param_groups[0]["lr"] = rate * min(1, 2 * (1 - step / steps))  # falls over the second half
            optimizer.step()
            optimizer.zero_grad()
        losses.append(value.item())
        if (step + 1) % every == 0:
            curve.append((step + 1, sum(losses[-every:]) / every))
    model.eval()
    return curve


# --- What a notebook shows ---


def show(picture: Image.Image, alt: str = "", width: int | None = None, photo: bool = False):
    """Show a picture in 128 colours, to keep the notebook small.

    alt: what it shows, for readers who cannot see it; width: in pixels; photo: in all colours, as JPEG.
    """
    data, kind = io.BytesIO(), "jpeg" if photo else "png"
    if photo:
        picture.convert("RGB").save(data, kind, quality=75)
    else:
        # Of Pillow's ways, the one that keeps small areas of one colour, such as the line that marks a model.
        few = picture.quantize(128, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
        few.save(data, kind, optimize=True)
    if "JPY_SESSION_NAME" in os.environ:
        return _tag(data.getvalue(), kind, alt, width)  # JupyterLab 4 does not read the alternative text of an Image
    return needed("IPython.display").Image(data.getvalue(), width=width, alt=alt)


def film(frames: Sequence[Image.Image], alt: str = "animation"):
    """Show frames of the same size as a looping animation that pauses on the last frame; alt: what it shows."""
    with tempfile.TemporaryDirectory() as folder:
        data = figures.animation(frames, Path(folder) / "film.gif", seconds_per_frame=0.15, hold_last=3).read_bytes()
    return _tag(data, "gif", alt)  # because nbconvert's pages do not show image/gif


def _tag(data: bytes, kind: str, alt: str, width: int | None = None):
    """A picture as an <img>."""
    size = f' width="{width}"' if width else ""
    address = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return needed("IPython.display").HTML(f'<img alt="{html.escape(alt)}"{size} src="{address}">')


def source(*functions: Callable) -> None:
    """Print the source code of functions of the package."""
    print("\n\n".join(inspect.getsource(function).rstrip() for function in functions))


def knob(draw: Callable[..., Image.Image], alt: str = "", **values: Sequence):
    """Show a slider for each argument of `draw` in JupyterLab; elsewhere, the middle values and their picture.

    alt: what the pictures show; values: the values that each argument may take, in order.
    """
    middle = {name: list(choices)[len(choices) // 2] for name, choices in values.items()}
    if "JPY_SESSION_NAME" not in os.environ:  # set by Jupyter's server, where sliders work
        chosen = ", ".join(f"{name} = {value}" for name, value in middle.items())
        print(f"{chosen}; {'a slider' if len(middle) == 1 else 'sliders'} in JupyterLab")
        return show(draw(**middle), alt)
    widgets = needed("ipywidgets")
    sliders = {
        name: widgets.SelectionSlider(options=list(choices), value=middle[name], description=name)
        for name, choices in values.items()
    }
    return widgets.interactive(lambda **chosen: show(draw(**chosen), alt), **sliders)


def playground(run: Run, section: str = "", **settings: object):
    """Show a run's playground in a frame; its page lies beside the notebook, so that the notebook stays small.

    section: the only one to show, of play, race, edit, draw and inside; settings: those of its link, such as steps=8.
    """
    page = build(run)
    for note in page.notes:
        print(note)
    path = Path(f"playground-{run.folder.resolve().name}.html")  # notebooks run in their own folder
    if not path.exists() or path.read_text("utf-8", "replace") != page.html:
        write_text(path, page.html)
    link = urlencode({"show": section} | settings if section else settings, safe=",")
    address = html.escape(quote(path.name) + "#" * bool(link) + link)
    height = {"": 1100, "play": 900}.get(section, 760)  # pixels; the film of all steps is then in sight
    return needed("IPython.display").HTML(
        f'<iframe src="{address}" title="The playground" width="100%" height="{height}" loading="lazy"'
        ' style="border: 1px solid #dfe1dd; border-radius: 8px"></iframe>\n'
        f'<p>No page here? Run this cell: it writes <a href="{address}" target="_blank">{html.escape(path.name)}</a>'
        " beside the notebook, and any browser opens that.</p>"
    )


def road_map(lesson: int):
    """Show the map of the course up to a lesson, with that lesson filled in; for lesson 0, the whole map."""
    drawn = {number: MAP[number] for number in range(1, (lesson or len(MAP)) + 1)}
    columns = 1 + max(place[0] for *_, place, _ in drawn.values())
    rows = [place[1] for *_, place, _ in drawn.values()]
    low, high = min(rows), max(rows)
    figure = Figure(figsize=(0.5 + 1.9 * columns, 0.3 + 1.0 * (high - low + 1)), dpi=80, facecolor=figures.PAPER)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-0.6, columns - 0.4), ylim=(low - 0.55, high + 0.55))
    axes.axis("off")
    for number, (title, text, (x, y), before) in drawn.items():
        here = number == lesson
        face, ink = (figures.MASKGIT, figures.PAPER) if here else ("#E8F1F8", figures.INK)
        box = FancyBboxPatch((x - 0.38, y - 0.32), 0.76, 0.64, boxstyle="round,pad=0,rounding_size=0.08")
        box.set(facecolor=face, edgecolor=figures.MASKGIT, linewidth=1.2)
        axes.add_patch(box)
        axes.text(x, y + 0.13, title, color=ink, weight="bold", size=10, ha="center", va="center")
        axes.text(x, y - 0.12, text, color=ink, size=8.5, ha="center", va="center")
        for other in before:
            x0, y0 = drawn[other][2]
            dx, dy = (0.38 * (x > x0), 0.32 * ((y > y0) - (y < y0)) * (x == x0))
            arrow = {"arrowstyle": "-|>", "color": figures.MUTED, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (x - dx, y - dy), (x0 + dx, y0 + dy), arrowprops=arrow)
    lessons = [
        title.replace(" ·", "") + f" (after {' and '.join(map(str, before))})" * bool(before)
        for title, _, _, before in drawn.values()
    ]
    here = f" You are at {lesson}." if lesson else ""
    return show(figures.rendered(figure), f"Map of the lessons: {', '.join(lessons)}.{here}")


def generator(seed: int) -> torch.Generator:
    """A random generator with a fixed seed, so that results repeat."""
    return torch.Generator().manual_seed(seed)
