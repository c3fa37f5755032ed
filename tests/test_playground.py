"""The playground: its engine in JavaScript makes the same tokens as the package, and its page holds what it should.

run ──playground.py──> page ──node tests/playground.js──> what the engine computes, compared with PyTorch
"""

import json
import math
import random
import re
import shutil
import subprocess
import webbrowser
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import error_line
from hypothesis import given
from hypothesis import strategies as st

from minimaskgit import playground
from minimaskgit.autoregressive import raster_steps
from minimaskgit.common.errors import UserError
from minimaskgit.decoders import loop
from minimaskgit.decoders.counts import ROUNDINGS
from minimaskgit.decoders.critic import Critic, with_features
from minimaskgit.decoders.named import DecoderName
from minimaskgit.decoders.policy import decoder_of
from minimaskgit.decoding import decode, guided_logits, mask_plan
from minimaskgit.editing import autoregressive_edit, composite, edit_steps
from minimaskgit.measuring.pictures import to_bytes
from minimaskgit.outpainting import outpaint_steps
from minimaskgit.runs.choices import decoding_loop
from minimaskgit.runs.config import (
    Config,
    CriticTraining,
    DecodingConfig,
    TransformerConfig,
    TransformerTraining,
    save_config,
)
from minimaskgit.runs.models import save_model
from minimaskgit.runs.run import Run, chosen_run, open_run
from minimaskgit.runs.searched import read_searched
from minimaskgit.schedules import SCHEDULES
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.transformer import Transformer
from minimaskgit.web.build import HERE, LIMIT, build
from minimaskgit.web.pack import packed, rounded

DRIVER = Path(__file__).parent / "playground.js"


@pytest.fixture(scope="session")
def node() -> str:
    """Node, which runs the engine outside of a browser."""
    path = shutil.which("node") or pytest.skip("no node here, which runs the playground's JavaScript")
    version = subprocess.run([path, "--version"], capture_output=True, text=True).stdout.strip()
    return path if int(version[1:].split(".")[0]) >= 18 else pytest.skip(f"node {version} here; expected 18 or newer")


@pytest.fixture
def js(node, tmp_path):
    """Computes an expression of JavaScript with a page's engine."""

    def compute(page: Path, code: str):
        (tmp_path / "code.js").write_text(code, "utf-8")
        command = [node, DRIVER, page, tmp_path / "code.js"]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        assert done.returncode == 0 and not done.stderr, done.stderr
        return json.loads(done.stdout)

    return compute


def page_of(run: Run, folder: Path) -> Path:
    """The playground of a run whose weights fit as they are."""
    path, page = folder / "playground.html", build(run)
    assert page.exact
    path.write_text(page.html, "utf-8")
    return path


@pytest.fixture(scope="module")
def glyphs() -> Run:
    return chosen_run(None, "glyphs", "cpu", "fp32")


@pytest.fixture(scope="module")
def page(glyphs, tmp_path_factory) -> Path:
    """The playground of the pretrained weights."""
    return page_of(glyphs, tmp_path_factory.mktemp("glyphs"))


# --- Small runs of every kind, with random weights ---

KINDS = {  # options of the tokenizer and of the transformer
    "the demo's": ({}, {"pre_norm": True}),
    "the released code's": (
        {"blocks": 2, "released_shortcut": True},
        {"pre_norm": False, "norm_eps": 0.01, "gelu": "tanh"},
    ),
    "after the paper": ({"l2_norm": True, "linear": True}, {"qk_norm": True, "rope": True, "count_masks": True}),
    "other sides": (
        {"image_size": 24, "multipliers": (2, 1, 1), "patch": 1, "rotate": True, "ema": True},
        {"rope": True},
    ),
    "odd widths": ({"multipliers": (1,), "patch": 4, "width": 6, "num_codes": 13}, {"width": 12, "heads": 3}),
}


def small_run(folder: Path, kind: str, models: tuple[str, ...] = ("autoregressive", "critic"), **settings) -> Run:
    """A run of 3 classes whose weights are random, with enough variance that its logits differ clearly."""
    torch.manual_seed(0)
    shape, options = ({"num_codes": 12}, {"width": 16, "depth": 2, "heads": 2, "mlp_width": 24})
    tokenizer_options, transformer_options = KINDS[kind]
    shape = {"image_size": 16, "width": 8, "multipliers": (1, 2), "blocks": 1, "patch": 2, "code_dim": 4} | shape
    tokenizer = Tokenizer(**shape | tokenizer_options)
    options |= {"num_codes": tokenizer.num_codes, "num_classes": 3, "num_tokens": tokenizer.num_tokens}
    options |= transformer_options
    made = {"tokenizer": tokenizer, "transformer": Transformer(**options)}
    made |= {
        "autoregressive": Transformer(**options, causal=True),
        "critic": Critic(options["width"], options["depth"]),
    }
    for name, model in made.items():
        with torch.no_grad():
            for parameter in model.parameters() if name != "tokenizer" else ():
                parameter.add_(0.3 * torch.randn(parameter.shape))
        if name in ("tokenizer", "transformer", *models):
            save_model(model, folder / name)
    shape = TransformerConfig(width=options["width"], depth=options["depth"])
    settings = {"transformer_training": TransformerTraining(class_dropout=0.1)} | settings
    save_config(Config(transformer=shape, critic_training=CriticTraining(), **settings), folder / "config.json")
    (folder / "labels.json").write_text('["a", "b", "</script>"]', "utf-8")
    return open_run(folder, "cpu", "fp32")


@pytest.fixture(scope="module", params=KINDS)
def small(request, tmp_path_factory) -> tuple[Run, Path]:
    """A small run and its page."""
    folder = tmp_path_factory.mktemp("small")
    run = small_run(folder, request.param)
    return run, page_of(run, folder)


# --- The models compute what PyTorch's do ---


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_tokens(model: Transformer, seed: int = 0, masked: bool = True) -> torch.Tensor:
    """A canvas (1, N), every third token masked."""
    tokens = torch.randint(model.num_codes, (1, model.num_tokens), generator=generator(seed))
    if masked:
        tokens[0, ::3] = model.mask_id
    return tokens


def some_image(tokenizer: Tokenizer) -> torch.Tensor:
    """A picture (1, 3, S, S) with whole levels of 255, as a canvas has them."""
    side = tokenizer.image_size
    return torch.randint(256, (1, 3, side, side), generator=generator(0)) / 255


def as_picture(image: torch.Tensor) -> dict:
    """(1, 3, H, W) as a canvas has it: RGBA bytes."""
    opaque = torch.cat([to_bytes(image[0]), torch.full_like(to_bytes(image[0, :1]), 255)])
    height, width = image.shape[-2:]
    return {"width": width, "height": height, "data": opaque.movedim(0, -1).flatten().tolist()}


def assert_same_picture(found: dict, wanted: torch.Tensor) -> None:
    """Within one level of 255, because a half may be rounded to either side."""
    wanted = as_picture(wanted)
    assert (found["width"], found["height"]) == (wanted["width"], wanted["height"])
    assert np.abs(np.subtract(found["data"], wanted["data"])).max() <= 1


@torch.no_grad()
def test_logits_codes_and_pictures_are_pytorch_s(js, small):
    run, page = small
    masked, causal, tokenizer, label = run.transformer(), run.autoregressive(), run.tokenizer(), torch.tensor([3])
    tokens, codes, image = some_tokens(masked), some_tokens(masked, masked=False), some_image(tokenizer)
    wanted = [masked(tokens, label)[0], causal(codes, label)[0]]
    found = js(
        page,
        f"""[
            engine.models.transformer.forward({tokens[0].tolist()}, 3, [...Array({masked.num_tokens}).keys()]),
            engine.models.autoregressive.forward({codes[0].tolist()}, 3, [...Array({masked.num_tokens}).keys()]),
            (await answers({json.dumps([{"type": "encode", "picture": as_picture(image)}])}))[0][0],
            engine.models.tokenizer.decode({codes[0].tolist()}).data,
        ]""",
    )
    for logits, expected in zip(found, wanted):
        assert torch.allclose(torch.tensor(logits).view_as(expected), expected, atol=2e-5, rtol=1e-5)
    assert found[2]["tokens"] == tokenizer.encode(image)[0].tolist()
    assert_same_picture(found[2]["picture"], tokenizer.decode(tokenizer.encode(image)))
    decoded = tokenizer.decode(codes)[0].movedim(0, -1).flatten()
    assert torch.allclose(torch.tensor(found[3]), decoded, atol=1e-5, rtol=0)


def some_request(model: Transformer, draw: random.Random) -> dict:
    """A decode request: any class or none, T, schedule, decoder, canvas and noise."""
    N = model.num_tokens
    steps = draw.choice([1, 2, 3, 5, 8, N])
    request = {
        "label": draw.randrange(model.num_classes + 1),
        "steps": steps,
        "schedule": draw.choice(list(SCHEDULES)),
        "temperature": draw.choice([0, 1.5, 4.5]),
        "guidance": draw.choice([0, 0, 0.7]),
        "decoder": draw.choice([*DecoderName.__args__, "maskgit", "maskgit"]),
        "rounding": draw.choice(["exact", "released"]),
        "seed": draw.choice([0, 7, 2**32 + 5, 2**53 - 1]),
    }
    if draw.random() < 0.5:
        request |= {"sampling_temperature": draw.choice([0.3, 1, 1.6]), "top_p": draw.choice([0.5, 0.9, 1])}
        request |= {"guidance_start": draw.choice([0, 0.5])}
    if draw.random() < 0.5:
        request |= {"tokens": some_tokens(model, draw.randrange(99), masked=False)[0].tolist()}
        request |= {"region": [draw.random() < 0.7 for _ in range(N)], "start_step": draw.randrange(steps)}
    return request


def python_s_answer(run: Run, model: Transformer, request: dict) -> list[list[int]]:
    """The canvas after each step of a decode request, by the package."""
    names = ("label", "seed", "tokens", "region", "start_step")
    settings = DecodingConfig(**{name: value for name, value in request.items() if name not in names})
    decoding, labels = decoding_loop(settings, run), torch.tensor([request["label"]])
    how = {"generator": generator(request["seed"])}
    if "region" in request:
        region, tokens = torch.tensor([request["region"]]), torch.tensor([request["tokens"]])
        how |= {"loop": decoding, "steps": settings.steps, "start_step": request["start_step"]}
        steps = edit_steps(model, tokens, region, labels, **how)
    else:
        steps = decoding(model, labels, **how)
    return [step.tokens[0].tolist() for step in steps]


def canvases(js, page: Path, requests: list[dict]) -> list[list[list[int]]]:
    """The canvas after each step of decode requests, by the engine."""
    requests = [{"type": "decode", **request} for request in requests]
    brief = "({ type, text, tokens }) => ({ type, text, tokens })"
    answers = js(page, f"(await answers({json.dumps(requests)})).map((answer) => answer.map({brief}))")
    assert {answer[-1]["type"] for answer in answers} == {"done"}, answers
    return [[step["tokens"] for step in steps] for *steps, _ in answers]


def test_every_step_of_every_decoder_has_the_tokens_of_the_same_seed_in_python(js, small):
    run, page = small
    model, draw = run.transformer(), random.Random(0)
    requests = [some_request(model, draw) for _ in range(40)]
    for request, found in zip(requests, canvases(js, page, requests), strict=True):
        assert found == python_s_answer(run, model, request), request


def test_the_twin_draws_the_tokens_of_the_same_seed_in_python_with_and_without_a_cache(js, small):
    run, page = small
    model = run.autoregressive()
    tokens = some_tokens(model, 1, masked=False)
    region, label = tokens % 2 == 0, torch.tensor([2])
    *_, drawn = raster_steps(model, label, generator=generator(3))
    edited = autoregressive_edit(model, tokens, region, label, generator(3))
    request = {"type": "rival", "label": 2, "seed": 3}
    edit = request | {"tokens": tokens[0].tolist(), "region": region[0].tolist()}
    answers = js(page, f"await answers({json.dumps([request, request | {'cache': False}, edit])})")
    for answer, wanted in zip(answers, (drawn, drawn, edited), strict=True):
        assert [step["token"] for step in answer[:-1]] == wanted[0].tolist()
        assert [step["passes"] for step in answer[:-1]] == list(range(1, tokens.shape[1] + 1))


def test_the_twin_shows_sixteen_pictures_and_the_last_one_is_complete(js, page, glyphs):
    (answer,) = js(page, 'await answers([{ type: "rival", label: 2, seed: 3, pictures: true }])')
    shown = [step for step in answer if step.get("picture")]
    assert len(shown) == 16 and shown[-1]["position"] == 63
    tokens = torch.tensor([[step["token"] for step in answer[:-1]]])
    with torch.no_grad():
        assert_same_picture(shown[-1]["picture"], glyphs.tokenizer().decode(tokens))


@torch.no_grad()
def test_edits_and_extensions_are_painted_as_in_python(js, small):
    run, page = small
    tokenizer, model, label = run.tokenizer(), run.transformer(), torch.tensor([1])
    tokens, image = some_tokens(model, 2, masked=False), some_image(tokenizer)
    region = tokens % 3 == 0
    how = {"steps": 3, "start_step": 1}
    shared = {"picture": as_picture(image), "label": 1, "seed": 4, "schedule": "cosine", "temperature": 4.5} | how
    edit = shared | {"type": "repaint", "tokens": tokens[0].tolist(), "region": region[0].tolist()}
    *_, edited = edit_steps(model, tokens, region, label, generator=generator(4), **how)
    f, margins = tokenizer.downsampling, [1, 0, 3, 2]
    extension = shared | {"type": "extend", "margins": margins}
    pixels = tuple(f * margin for margin in margins)
    *_, extended = outpaint_steps(tokenizer, model, image, pixels, label, generator=generator(4), **how)
    found = js(page, f"await answers({json.dumps([edit, extension])})")
    for (*_, answer), wanted, picture in zip(
        found, (edited, extended), (composite(tokenizer, image, edited.tokens, region), extended.images), strict=True
    ):
        assert answer["tokens"] == wanted.tokens.flatten().tolist()
        assert_same_picture(answer["picture"], picture)


@torch.no_grad()
def test_a_region_of_a_larger_picture_is_repainted_in_a_window_around_it_and_the_rest_stays(js, small):
    run, page = small
    tokenizer, model, label, f = run.tokenizer(), run.transformer(), torch.tensor([1]), run.tokenizer().downsampling
    grid = tokenizer.grid
    rows, columns = grid, 3 * grid
    image = some_image(tokenizer).repeat(1, 1, 1, 3)
    tokens = torch.randint(model.num_codes, (1, rows, columns), generator=generator(1))
    spot, far = torch.zeros(1, rows, columns, dtype=torch.bool), torch.zeros(1, rows, columns, dtype=torch.bool)
    spot[0, 1, grid : grid + 2] = far[0, 0, [0, columns - 1]] = True
    shared = {
        "type": "repaint",
        "picture": as_picture(image),
        "tokens": tokens.flatten().tolist(),
        "label": 1,
        "seed": 5,
    }
    shared |= {"label": 1, "seed": 5, "steps": 3, "start_step": 1, "schedule": "cosine", "temperature": 4.5}
    requests = [shared | {"region": region.flatten().tolist()} for region in (spot, far)]
    (*_, near), (*_, apart) = js(page, f"await answers({json.dumps(requests)})")
    left = (2 * grid + 2 - grid) // 2  # of the window with the spot in its middle
    window, pixels = (..., slice(left, left + grid)), (..., slice(f * left, f * (left + grid)))
    inside = spot[window].flatten(1)
    how = {"steps": 3, "start_step": 1, "generator": generator(5)}
    *_, step = edit_steps(model, tokens[window].flatten(1), inside, label, **how)
    tokens[window], picture = step.tokens.view(1, grid, grid), image.clone()
    picture[pixels] = composite(tokenizer, image[pixels], step.tokens, inside)
    assert near["tokens"] == tokens.flatten().tolist()
    assert_same_picture(near["picture"], picture)
    stays = ~far.flatten().numpy()
    assert np.array_equal(np.array(apart["tokens"])[stays], np.array(requests[1]["tokens"])[stays])
    assert max(apart["tokens"]) < model.num_codes
    middle = np.s_[:, f * (grid + 1) : f * (columns - grid - 1)]
    shape = (f * rows, f * columns, 4)
    now, before = (np.reshape(one["data"], shape)[middle] for one in (apart["picture"], shared["picture"]))
    assert np.array_equal(now, before)


@torch.no_grad()
def test_looking_inside_shows_the_likeliest_codes_the_attention_and_the_critic_s_doubt(js, small):
    run, page = small
    model, position = run.transformer(), 4
    tokens = some_tokens(model)
    request = {
        "type": "look",
        "tokens": tokens[0].tolist(),
        "label": 1,
        "position": position,
        "guidance": 0.5,
        "top": 3,
    }
    masked_one = request | {"position": 3}
    twin = request | {"tokens": some_tokens(model, masked=False)[0].tolist(), "model": "autoregressive", "guidance": 0}
    (look,), (masked,), (causal,) = js(page, f"await answers({json.dumps([request, masked_one, twin])})")
    where, label = torch.arange(model.num_tokens)[None], torch.tensor([1])
    logits, features = with_features(model, lambda: guided_logits(model, tokens, label, where, 0.5))
    values, codes = logits[0, position].softmax(-1).topk(3)
    assert look["codes"] == codes.tolist() and look["probabilities"] == pytest.approx(values.tolist(), abs=1e-5)
    assert look["doubt"] == pytest.approx(run.critic()(features)[0, position].sigmoid().item(), abs=1e-5)
    assert masked["doubt"] is None and causal["doubt"] is None
    for found, keys in ((look, model.num_tokens + 1), (causal, model.num_tokens)):
        weights = np.array(found["attention"])  # (depth, heads, keys)
        assert weights.shape == (len(model.blocks), model.heads, keys) and weights.sum(-1) == pytest.approx(1, abs=1e-5)
    assert not np.array(causal["attention"])[..., position + 1 :].any()  # it sees the class and the tokens before


def test_the_attention_that_is_shown_is_the_one_that_the_blocks_use(js, small):
    run, page = small
    model, seen = run.transformer(), []
    tokens = some_tokens(model)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "minimaskgit.transformer.attention",
            lambda q, k, v, *rest: seen.append((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)) or seen[-1] @ v,
        )
        model(tokens, torch.tensor([0]))
    request = {"type": "look", "tokens": tokens[0].tolist(), "label": 0, "position": 2}
    ((look,),) = js(page, f"await answers({json.dumps([request])})")
    wanted = torch.stack([weights[0, :, 3] for weights in seen])  # the class token is position 0
    assert torch.allclose(torch.tensor(look["attention"]), wanted, atol=1e-5)


def test_every_plan_of_every_schedule_has_the_same_counts(js, page):
    steps = [*range(1, 17), 24, 32, 64, 100]
    wanted = {
        f"{name} {rounding}": [mask_plan(torch.arange(257), T, schedule, count=count).tolist() for T in steps]
        for name, schedule in SCHEDULES.items()
        for rounding, count in ROUNDINGS.items()
    }
    code = f"""(name, rounding) => [`${{name}} ${{rounding}}`, {steps}.map((T) => {{
        const plan_of = (_, U) => mask_plan(U, T, SCHEDULES[name], 0, ROUNDINGS[rounding]);
        const plans = Array.from({{ length: 257 }}, plan_of);
        return Array.from({{ length: T }}, (_, step) => plans.map((plan) => plan[step]));
    }})]"""
    every = f"Object.keys(SCHEDULES).flatMap((name) => Object.keys(ROUNDINGS).map((one) => ({code})(name, one)))"
    found = js(page, f"Object.fromEntries({every})")
    for name in ("exponential released", "logarithmic released"):  # float32 logarithms are rounded in several ways
        one, other = (np.concatenate(plans.pop(name)) for plans in (found, wanted))
        assert np.abs(one - other).max() <= 1 and np.mean(one != other) < 1e-4
    assert found == wanted


def test_a_schedule_drawn_by_hand_goes_straight_from_number_to_number(js, page):
    code = "[0, 0.25, 0.5, 0.9, 1].map((r) => schedule_of([1, 0.6, 0])(r))"
    assert js(page, code) == pytest.approx([1, 0.8, 0.6, 0.12, 0])
    request = {"type": "decode", "label": 0, "steps": 4, "schedule": [1, 0.5, 0.5, 0.5, 0]}
    (steps,) = js(page, f"await answers({json.dumps([request])})")
    assert [step["tokens"].count(266) for step in steps[:-1]] == [32, 31, 30, 0]


def test_random_numbers_are_pytorch_s_whatever_the_seed(js, page):
    seeds = [0, 1, 2**31, 2**32 - 1, 2**32, 2**53 - 1]
    found = js(page, f"{seeds}.map((seed) => rand(1300, new Generator(seed)))")
    for seed, numbers in zip(seeds, found, strict=True):
        assert torch.equal(torch.tensor(numbers), torch.rand(1300, generator=generator(seed)))


def test_a_searched_policy_decodes_as_in_python(js, page, glyphs):
    found = read_searched(glyphs.folder).policies
    steps = min(found)
    decoder = decoder_of(found[steps].policy, glyphs.critic())
    made = loop.run(decoder, glyphs.transformer(), torch.tensor([4]), steps=steps, generator=generator(1))
    request = {"label": 4, "decoder": "searched", "steps": steps, "seed": 1}
    assert canvases(js, page, [request]) == [[step.tokens[0].tolist() for step in made]]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_of_two_hundred_images_99_percent_of_the_tokens_are_pytorch_s(js, page, glyphs):
    model, count, labels = glyphs.transformer(), 200, len(glyphs.label_names)
    requests = [{"label": i % labels, "steps": 4, "seed": i} for i in range(count)]
    settings = glyphs.config.decoding
    how = {"steps": 4, "schedule": SCHEDULES[settings.schedule], "temperature": settings.temperature}
    made = (decode(model, torch.tensor([i % labels]), generator=generator(i), **how) for i in range(count))
    wanted = [tokens[0].tolist() for tokens in made]
    found = [steps[-1] for steps in canvases(js, page, requests)]
    assert np.mean(np.equal(found, wanted)) >= 0.99


# --- The worker's answers ---


def test_a_step_says_what_was_guessed_how_sure_it_was_and_what_was_kept(js, page, glyphs):
    request = {"type": "decode", "label": 0, "steps": 5, "seed": 2, "pictures": True}
    (answer,) = js(page, f"await answers({json.dumps([request])})")
    *steps, done = answer
    assert done == {"id": 1, "type": "done", "steps": 5} and [step["step"] for step in steps] == [1, 2, 3, 4, 5]
    tokenizer, mask_id = glyphs.tokenizer(), glyphs.transformer().mask_id
    known, clock = np.zeros(64, bool), 0
    for step in steps:
        kept = np.not_equal(step["tokens"], mask_id)
        assert np.equal(step["tokens"], step["sampled"])[kept].all() and kept[known].all()
        assert (np.array(step["probability"]) > 0).all() and max(step["probability"]) <= 1
        sure = np.array([math.inf if value is None else value for value in step["confidence"]])  # JSON has no infinity
        assert np.isinf(sure[known]).all() and sure[kept].min() >= max(sure[~kept], default=-math.inf)
        assert step["milliseconds"] > clock
        known, clock = kept, step["milliseconds"]
    with torch.no_grad():
        assert_same_picture(steps[-1]["picture"], tokenizer.decode(torch.tensor([steps[-1]["sampled"]])))


def test_a_step_with_guidance_takes_two_passes(js, page, glyphs):
    request = {"type": "decode", "label": 0, "steps": 4, "guidance": 1, "guidance_start": 0.5}
    searched = {"type": "decode", "label": 0, "steps": 4, "decoder": "searched"}
    late, policy = js(page, f"await answers({json.dumps([request, searched])})")
    assert [step["passes"] for step in late[:-1]] == [1, 2, 4, 6]
    weights = read_searched(glyphs.folder).policies[4].policy.guidance
    assert policy[-2]["passes"] == 4 + sum(weight > 0 for weight in weights)


ABSURD = {
    "steps 0: expected a whole number from 1 to 64": {"steps": 0},
    "steps 65: expected a whole number from 1 to 64": {"steps": 65},
    "steps 2.5: expected a whole number from 1 to 64": {"steps": 2.5},
    "steps 8: expected a whole number from 1 to 64": {"steps": "8"},
    "label 11: expected a whole number from 0 to 10": {"label": 11},
    "label null: expected a whole number from 0 to 10": {"label": None},
    "codes: no 260": {"type": "rival", "tokens": [260] * 64, "region": [True] * 64},
    "temperature -1: expected a number from 0 to 10000": {"temperature": -1},
    "guidance 100000: expected a number from 0 to 10000": {"guidance": 1e5},
    "top_p 0: expected a number from 0.000001 to 1": {"top_p": 0},
    "guidance_start 1: guidance would never begin": {"guidance": 1, "guidance_start": 1},
    "seed -1: expected a whole number from 0 to 9007199254740991": {"seed": -1},
    "schedule kosine: expected one of cosine, linear": {"schedule": "kosine"},
    "schedule toString: expected one of cosine, linear": {"schedule": "toString"},
    "schedule: expected two numbers or more, from 0 to 1": {"schedule": [0.5, 2]},
    "decoder vae: expected one of maskgit, margin": {"decoder": "vae"},
    "tokens: expected 64 of them": {"tokens": [1, 2]},
    "tokens: no 999": {"tokens": [999] * 64},
    "region: expected 64 flags, and tokens": {"region": [True] * 64},
    "start_step 8: expected a whole number from 0 to 7": {"steps": 8, "start_step": 8},
    "decoder searched: no policy for 63 steps; for these there is one: 4, 8, 12": {"decoder": "searched", "steps": 63},
    "unknown request toString": {"type": "toString"},
    "codes: no 266": {"type": "picture", "tokens": [266] * 64},
    "code 256: expected a whole number from 0 to 255": {"type": "patches", "codes": [256]},
    "region: expected a token or more": {"type": "repaint", "picture": {"width": 32, "height": 32, "data": []}}
    | {"tokens": [0] * 64, "region": [False] * 64},
    "codes: expected 96 of them": {
        "type": "repaint",
        "picture": {"width": 48, "height": 32, "data": []},
        "tokens": [0],
    },
    "position 64: expected a whole number from 0 to 63": {"type": "look", "tokens": [266] * 64, "position": 64},
    "a picture of 3x4: expected 32x32": {"type": "encode", "picture": {"width": 3, "height": 4, "data": []}},
    "a picture of 33x32: expected multiples of 4 from 32 to 288": {
        "type": "extend",
        "margins": [1, 1, 1, 1],
        "picture": {"width": 33, "height": 32, "data": []},
    },
    "margin -1: expected a whole number from 0 to 32": {"type": "extend", "margins": [-1, 0, 0, 0], "picture": {}},
}


def test_an_absurd_request_is_refused_in_one_line_and_the_next_is_answered(js, page):
    requests = [{"type": "decode", "label": 0} | fields for fields in ABSURD.values()]
    good = {"type": "decode", "label": 0, "steps": 1}
    *answers, last = js(page, f"await answers({json.dumps([*requests, good])})")
    for expected, (answer,) in zip(ABSURD, answers, strict=True):
        assert answer["type"] == "error" and answer["text"].startswith(expected), answer
    assert last[-1]["type"] == "done"


def test_a_request_is_cancelled_between_its_steps_and_another_runs_beside_it(js, page):
    code = """new Promise((resolve) => {
        const heard = [], receive = serve((answer) => {
            heard.push([answer.id, answer.type]);
            if (answer.type === "step" && answer.id === 1) receive({ type: "cancel", of: 1 });
            if (answer.type === "done" && answer.id === 2) resolve(heard);
        });
        receive({ id: 0, type: "load", ...engine }).then(() => {
            receive({ id: 1, type: "rival", label: 0 });
            receive({ id: 2, type: "decode", label: 0, steps: 2 });
        });
    })"""
    heard = js(page, code)
    assert heard[0] == [0, "done"] and [1, "cancelled"] in heard and [1, "done"] not in heard
    assert heard.count([1, "step"]) < 64 and heard.count([2, "step"]) == 2


def test_a_code_s_patch_is_the_middle_of_a_canvas_of_that_code(js, page, glyphs):
    ((step, answer),) = js(page, 'await answers([{ type: "patches", codes: [7, 7] }])')
    assert step["type"] == "step"  # between two codes other requests may come in
    with torch.no_grad():
        whole = glyphs.tokenizer().decode(torch.full((1, 64), 7))
    assert answer["patches"][0] == answer["patches"][1]
    assert_same_picture(answer["patches"][0], whole[..., 16:20, 16:20])


# --- What is packed ---

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100)


@given(st.lists(FLOATS, min_size=1, max_size=20), st.integers(16, 32))
def test_rounding_finds_the_nearest_number_with_so_many_bits(numbers, bits):
    numbers = np.array(numbers, np.float32)
    found = rounded(numbers, bits)
    assert not np.any(found.view("<u4") & (2 ** (32 - bits) - 1))
    step = np.spacing(np.abs(numbers)).astype(np.float64) * 2 ** (32 - bits)  # to the next number of so many bits
    assert np.all(np.abs(found.astype(np.float64) - numbers) <= step / 2)
    if bits == 16:
        assert torch.equal(torch.from_numpy(found), torch.from_numpy(numbers).bfloat16().float())
    if bits == 32:
        assert np.array_equal(found, numbers)


@given(st.lists(FLOATS, min_size=1, max_size=20), st.integers(16, 32))
def test_what_is_packed_can_be_unpacked(numbers, bits):
    numbers = np.array(numbers, np.float32)
    planes = np.frombuffer(zlib.decompress(packed(numbers, bits)), np.uint8).reshape(-1, len(numbers))
    whole = np.zeros((len(numbers), 4), np.uint8)
    whole[:, 4 - len(planes) :] = planes[::-1].T
    assert np.array_equal(whole.view("<f4")[:, 0], rounded(numbers, bits))


def test_the_page_has_the_weights_of_the_run_bit_by_bit(js, page, glyphs):
    code = """Object.fromEntries(["transformer", "autoregressive"].map((name) => {
        const { embedding, blocks } = engine.models[name];
        return [name, [embedding, blocks[1].down[0]].map((x) => new Int32Array(x.slice().buffer))];
    }))"""
    for name, found in js(page, code).items():
        weights = getattr(glyphs, name)().state_dict()
        for bits, tensor in zip(found, ("embedding.weight", "blocks.1.down.weight"), strict=True):
            assert np.array_equal(bits, weights[tensor].numpy().view(np.int32).ravel())


# --- The page ---


def test_the_page_is_small_never_uses_the_network_and_cannot_be_broken_out_of(page):
    text = page.read_text("utf-8")
    assert page.stat().st_size <= 8_000_000 < LIMIT
    code = re.sub(r'(<script type="text/plain" id="weights">).*?(</script>)', r"\1\2", text, flags=re.DOTALL)
    code = re.sub(r'<a [^>]*href="https?://[^"]*"', "", code)
    for request in (
        "http:",
        "https:",
        "//www",
        "fetch(",
        "XMLHttpRequest",
        "import(",
        "importScripts",
        "WebSocket",
        " src=",
        "url(",
        "<link",
    ):
        assert request not in code, request
    assert not re.search(r"^\s*(import|export) ", code, re.MULTILINE)
    assert len(re.findall("<script", text)) == len(re.findall("</script>", text)) == 4


def contrast(one: str, other: str) -> float:
    """The ratio of two colours' luminances as WCAG defines it, 1 to 21."""
    lights = []
    for colour in (one, other):
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        levels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in levels]
        lights.append(np.dot(linear, (0.2126, 0.7152, 0.0722)) + 0.05)
    return max(lights) / min(lights)


def test_text_and_the_edges_of_controls_stand_out_in_both_themes():
    themes = re.findall(r":root \{(.*?)\}", (HERE / "page.css").read_text("utf-8"), re.DOTALL)
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w+)", theme)) for theme in themes)
    for theme in (light, dark):
        pairs = {(text, ground): 4.5 for text in ("ink", "quiet", "accent", "wrong") for ground in ("paper", "surface")}
        pairs |= {("on-accent", "accent"): 4.5, ("edge", "paper"): 3, ("edge", "surface"): 3}
        for (one, other), least in pairs.items():
            assert contrast(theme[one], theme[other]) >= least, (one, other)


def test_whatever_a_class_is_called_the_settings_can_be_read(js, tmp_path):
    page = page_of(small_run(tmp_path, "the demo's"), tmp_path)
    assert js(page, "engine.settings.labels") == ["a", "b", "</script>"]


def test_the_page_names_the_run_s_folder_and_no_path_of_the_machine(tmp_path):
    run = small_run(tmp_path / "my <run>", "the demo's", data=str(tmp_path / "photos"))
    page = build(run).html
    assert str(tmp_path) not in page and "<title>MaskGIT playground: my &lt;run&gt;</title>" in page


def test_guidance_is_refused_where_no_class_was_ever_left_out(js, tmp_path):
    run = small_run(tmp_path, "the demo's", transformer_training=TransformerTraining(class_dropout=0))
    request = {"type": "decode", "label": 0, "guidance": 1}
    ((answer,),) = js(page_of(run, tmp_path), f"await answers({json.dumps([request])})")
    assert answer["text"] == "guidance 1: this run never trained without a class; expected 0"
    save_config(replace(run.config, decoding=DecodingConfig(guidance=1)), tmp_path / "config.json")
    with pytest.raises(UserError, match=r"decoding\.guidance 1"):
        build(open_run(tmp_path, "cpu", "fp32"))


def test_without_a_twin_and_a_critic_the_page_has_the_other_parts(js, tmp_path, capsys):
    small_run(tmp_path / "run", "the demo's", models=())
    playground.main(["--run", str(tmp_path / "run"), "--out", str(tmp_path / "page.html")])
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "left out, not trained in this run: autoregressive, critic"
    assert printed[1].startswith(f"{tmp_path / 'page.html'}: 0.")
    requests = [{"type": "rival", "label": 0}, {"type": "decode", "label": 0, "decoder": "critic"}]
    requests += [{"type": "decode", "label": 0, "steps": 2}]
    rival, critic, good = js(tmp_path / "page.html", f"await answers({json.dumps(requests)})")
    assert rival[0]["text"] == "this run has no autoregressive twin"
    assert critic[0]["text"].startswith("decoder critic: expected one of maskgit, ")
    assert good[-1]["type"] == "done"


def test_weights_that_do_not_fit_are_rounded_and_models_that_do_not_fit_are_refused(js, tmp_path):
    run = small_run(tmp_path, "the demo's")
    whole = build(run, 10**6)
    assert (whole.bits, whole.exact) == (32, True)
    coarser = build(run, int(0.9 * len(whole.html)))
    assert 16 < coarser.bits < 32 and not coarser.exact and len(coarser.html) <= 0.9 * len(whole.html)
    (tmp_path / "page.html").write_text(coarser.html, "utf-8")
    found = js(tmp_path / "page.html", "engine.models.transformer.embedding")
    wanted = rounded(run.transformer().embedding.weight.detach().numpy().ravel(), coarser.bits)
    assert np.array_equal(np.array(found, np.float32), wanted)
    for limit in (len(whole.html) // 2, 1000):
        with pytest.raises(UserError, match=r"models have [\d,]+ parameters, a page of \d\.\d MB; expected 0\.\d+ MB"):
            build(run, limit)


def test_a_run_that_is_too_large_is_refused_before_anything_is_written(tmp_path, capsys, monkeypatch):
    run, out = small_run(tmp_path / "run", "the demo's"), tmp_path / "page.html"
    monkeypatch.setattr("minimaskgit.playground.LIMIT", 1000)
    line = error_line(capsys, playground, "--run", str(run.folder), "--out", str(out))
    assert line.startswith(f"error: {run.folder}: its models have ") and not out.exists()


def test_a_page_needs_a_name_that_browsers_open_and_a_run(tmp_path, capsys):
    line = error_line(capsys, playground, "--out", str(tmp_path / "page.png"))
    assert line.endswith("page.png: expected a name that ends in .html, which browsers open")
    line = error_line(capsys, playground, "--run", str(tmp_path / "none"), "--out", str(tmp_path / "page.html"))
    assert line.startswith(f"error: no run folder {tmp_path / 'none'}")
    line = error_line(capsys, playground, "--run", "a", "--pretrained", "glyphs")
    assert line == "error: expected either --run FOLDER or --pretrained NAME"


def test_the_page_is_opened_only_when_asked(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    small_run(tmp_path / "a run", "the demo's")
    command = ["--run", str(tmp_path / "a run"), "--out", str(tmp_path / "a page.html")]
    playground.main(command)
    assert not opened
    playground.main([*command, "--open"])
    assert opened == [(tmp_path / "a page.html").as_uri()]


def test_the_page_that_comes_with_the_project_is_the_one_that_the_command_makes(glyphs):
    kept = (Path(__file__).parents[1] / "data/playground/index.html").read_text("utf-8")
    assert kept == build(glyphs, LIMIT).html, (
        "make it anew: python -m minimaskgit.playground --out data/playground/index.html"
    )
