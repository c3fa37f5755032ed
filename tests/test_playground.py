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
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import error_line
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from minimaskgit import playground
from minimaskgit.autoregressive import raster_steps
from minimaskgit.common.errors import UserError
from minimaskgit.decoders import loop
from minimaskgit.decoders.critic import Critic, with_features
from minimaskgit.decoders.named import DecoderName
from minimaskgit.decoders.named import decoder as named
from minimaskgit.decoders.policy import decoder_of
from minimaskgit.decoding import decode, guided_logits, mask_plan
from minimaskgit.editing import autoregressive_edit, composite, edit_steps
from minimaskgit.measuring.pictures import to_bytes
from minimaskgit.outpainting import outpaint_steps
from minimaskgit.runs.choices import decoding_loop
from minimaskgit.runs.config import Config, CriticTraining, DecodingConfig, TransformerConfig, save_config
from minimaskgit.runs.models import save_model
from minimaskgit.runs.run import Run, chosen_run, open_run
from minimaskgit.runs.searched import read_searched
from minimaskgit.schedules import SCHEDULES
from minimaskgit.tokenizer import Tokenizer
from minimaskgit.transformer import Transformer
from minimaskgit.web.build import LIMIT, build
from minimaskgit.web.pack import packed, rounded

DRIVER = Path(__file__).parent / "playground.js"


@pytest.fixture(scope="session")
def node() -> str:
    """Node, which runs the engine outside of a browser."""
    return shutil.which("node") or pytest.skip("no node here, which runs the playground's JavaScript")


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
    path = folder / "playground.html"
    path.write_text(build(run).html, "utf-8")
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
    "the released code's": ({"blocks": 2, "released_shortcut": True}, {"pre_norm": False}),
    "after the paper": ({"l2_norm": True, "linear": True}, {"qk_norm": True, "rope": True, "count_masks": True}),
    "other sides": (
        {"image_size": 24, "multipliers": (2, 1, 1), "patch": 1, "rotate": True, "ema": True},
        {"rope": True},
    ),
    "odd widths": ({"multipliers": (1,), "patch": 4, "width": 6, "num_codes": 13}, {"width": 12, "heads": 3}),
}


def small_run(folder: Path, kind: str, models: tuple[str, ...] = ("autoregressive", "critic")) -> Run:
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
    save_config(Config(transformer=shape, critic_training=CriticTraining()), folder / "config.json")
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


def some_tokens(run: Run, seed: int = 0, masked: bool = True) -> torch.Tensor:
    """A canvas (1, N), every third token masked."""
    model = run.transformer()
    tokens = torch.randint(model.num_codes, (1, model.num_tokens), generator=generator(seed))
    if masked:
        tokens[0, ::3] = model.mask_id
    return tokens


def some_image(run: Run, seed: int = 0) -> torch.Tensor:
    """A picture (1, 3, S, S) with whole levels of 255, as a canvas has them."""
    side = run.tokenizer().image_size
    return torch.randint(256, (1, 3, side, side), generator=generator(seed)) / 255


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
    tokens, codes, image = some_tokens(run), some_tokens(run, masked=False), some_image(run)
    masked, causal, tokenizer = run.transformer(), run.autoregressive(), run.tokenizer()
    label = torch.tensor([3])
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


def some_request(run: Run, draw: random.Random) -> dict:
    """A decode request: any class or none, T, schedule, decoder, canvas and noise."""
    N = run.transformer().num_tokens
    steps = draw.choice([1, 2, 3, 5, 8, N])
    request = {
        "label": draw.randrange(len(run.label_names) + 1),
        "steps": steps,
        "schedule": draw.choice(list(SCHEDULES)),
        "temperature": draw.choice([0, 1.5, 4.5]),
        "guidance": draw.choice([0, 0, 0.7]),
        "decoder": draw.choice([*DecoderName.__args__, "maskgit", "maskgit"]),
        "seed": draw.choice([0, 7, 2**32 + 5, 2**53 - 1]),
    }
    if draw.random() < 0.5:
        request |= {"sampling_temperature": draw.choice([0.3, 1, 1.6]), "top_p": draw.choice([0.5, 0.9, 1])}
        request |= {"guidance_start": draw.choice([0, 0.5])}
    if draw.random() < 0.5:
        request |= {"tokens": some_tokens(run, draw.randrange(99), masked=False)[0].tolist()}
        request |= {"region": [draw.random() < 0.7 for _ in range(N)], "start_step": draw.randrange(steps)}
    return request


def python_s_answer(run: Run, request: dict) -> list[list[int]]:
    """The canvas after each step of a decode request, by the package."""
    names = ("label", "seed", "tokens", "region", "start_step")
    settings = DecodingConfig(**{name: value for name, value in request.items() if name not in names})
    decoding, labels = decoding_loop(settings, run), torch.tensor([request["label"]])
    how = {"generator": generator(request["seed"])}
    if "region" in request:
        region, tokens = torch.tensor([request["region"]]), torch.tensor([request["tokens"]])
        how |= {"loop": decoding, "steps": settings.steps, "start_step": request["start_step"]}
        steps = edit_steps(run.transformer(), tokens, region, labels, **how)
    else:
        steps = decoding(run.transformer(), labels, **how)
    return [step.tokens[0].tolist() for step in steps]


def canvases(answers: list[dict]) -> list[list[int]]:
    assert answers[-1]["type"] == "done", answers[-1]
    return [answer["tokens"] for answer in answers[:-1]]


def test_every_step_of_every_decoder_has_the_tokens_of_the_same_seed_in_python(js, small):
    run, page = small
    draw = random.Random(0)
    requests = [some_request(run, draw) for _ in range(60)]
    answers = js(page, f"await answers({json.dumps([{'type': 'decode', **request} for request in requests])})")
    for request, answer in zip(requests, answers):
        assert canvases(answer) == python_s_answer(run, request), request


def test_the_twin_draws_the_tokens_of_the_same_seed_in_python_with_and_without_a_cache(js, small):
    run, page = small
    tokens = some_tokens(run, 1, masked=False)
    region, label = tokens % 2 == 0, torch.tensor([2])
    *_, drawn = raster_steps(run.autoregressive(), label, generator=generator(3))
    edited = autoregressive_edit(run.autoregressive(), tokens, region, label, generator(3))
    request = {"type": "rival", "label": 2, "seed": 3}
    edit = request | {"tokens": tokens[0].tolist(), "region": region[0].tolist()}
    answers = js(page, f"await answers({json.dumps([request, request | {'cache': False}, edit])})")
    for answer, wanted in zip(answers, (drawn, drawn, edited), strict=True):
        assert [step["token"] for step in answer[:-1]] == wanted[0].tolist()
        assert [step["passes"] for step in answer[:-1]] == list(range(1, tokens.shape[1] + 1))


@torch.no_grad()
def test_edits_and_extensions_are_painted_as_in_python(js, small):
    run, page = small
    tokenizer, model, image, label = run.tokenizer(), run.transformer(), some_image(run), torch.tensor([1])
    tokens = some_tokens(run, 2, masked=False)
    region = tokens % 3 == 0
    edit = {
        "type": "composite",
        "picture": as_picture(image),
        "tokens": tokens[0].tolist(),
        "region": region[0].tolist(),
    }
    f, margins = tokenizer.downsampling, [1, 0, 3, 2]
    extension = {"type": "extend", "picture": as_picture(image), "margins": margins, "label": 1, "seed": 4, "steps": 3}
    extension |= {"start_step": 1, "schedule": "cosine", "temperature": 4.5}
    *_, painted = outpaint_steps(
        *(tokenizer, model, image, tuple(f * margin for margin in margins), label),
        **{"steps": 3, "start_step": 1, "generator": generator(4)},
    )
    (edited,), extended = js(page, f"await answers({json.dumps([edit, extension])})")
    assert_same_picture(edited["picture"], composite(tokenizer, image, tokens, region))
    assert extended[-1]["tokens"] == painted.tokens.flatten().tolist()
    assert_same_picture(extended[-1]["picture"], painted.images)


@torch.no_grad()
def test_looking_inside_shows_the_likeliest_codes_the_attention_and_the_critic_s_doubt(js, small):
    run, page = small
    model, tokens, position = run.transformer(), some_tokens(run), 4
    request = {
        "type": "look",
        "tokens": tokens[0].tolist(),
        "label": 1,
        "position": position,
        "guidance": 0.5,
        "top": 3,
    }
    masked_one = request | {"position": 3}
    twin = request | {"tokens": some_tokens(run, masked=False)[0].tolist(), "model": "autoregressive", "guidance": 0}
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
    model, tokens = run.transformer(), some_tokens(run)
    seen = []
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


def test_every_plan_of_every_schedule_has_the_same_counts(js, small):
    _, page = small
    steps = [*range(1, 17), 24, 32, 64, 100]
    wanted = {
        name: [mask_plan(torch.arange(257), T, schedule).tolist() for T in steps]
        for name, schedule in SCHEDULES.items()
    }
    code = f"""Object.fromEntries(Object.entries(SCHEDULES).map(([name, schedule]) => [name, {steps}.map((T) => {{
        const plans = Array.from({{ length: 257 }}, (_, U) => mask_plan(U, T, schedule));
        return Array.from({{ length: T }}, (_, step) => plans.map((plan) => plan[step]));
    }})]))"""
    assert js(page, code) == wanted


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
