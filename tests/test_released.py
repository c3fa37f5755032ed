"""What the authors' released code answers, and what ours does when asked to do the same (lessons 5 and 7).

`released/` holds that code's results in JAX on a CPU. joint.npz: 200,000 decodings for each START/T/temperature, of a
canvas of 4 tokens and 3 codes (M: unknown). counts.npz: read by test_decoders.py.
"""

import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import oracles
import pytest
import torch
from command_line import error_line
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from scipy import stats
from strategies import seeds
from tiny import generator, tiny_transformer

from minimaskgit import decoding, edit, generate
from minimaskgit.decoders import counts
from minimaskgit.decoders.counts import ROUNDINGS, released
from minimaskgit.decoding import decode, decode_steps, mask_plan
from minimaskgit.editing import box_to_mask, box_to_token_mask, soften
from minimaskgit.runs.choices import chosen_decoder, decoding_loop, recorded
from minimaskgit.runs.config import DecodingConfig, load_config, save_config
from minimaskgit.schedules import SCHEDULES, cosine

JOINT = np.load(Path(__file__).parent / "released" / "joint.npz")
CASES = dict(zip(JOINT["cases"].tolist(), JOINT["found"]))


# --- The distribution of what is decoded ---


class Canvas:
    """Stands in for a Transformer of 4 positions and 3 codes: logits are `base`, plus `A` for each known token."""

    num_tokens, num_codes, num_classes, mask_id = 4, 3, 1, 4
    base, A = torch.tensor(JOINT["base"]), torch.tensor(JOINT["A"])  # (N, K); (N, K, N, K): its own, then the known

    def __call__(self, tokens: torch.Tensor, labels: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        known = torch.nn.functional.one_hot(tokens, 5)[..., :3].float()  # (B, N, K), zeros for [MASK]
        logits = self.base + torch.einsum("bjc,ikjc->bik", known, self.A)
        return logits.gather(1, where[..., None].expand(-1, -1, 3))


def agreement(case: str, rounding: str, samples: int = 4000) -> float:
    """The p-value of our decodings against the released code's."""
    start, steps, temperature = case.split("/")
    canvas = torch.tensor([4 if token == "M" else int(token) for token in start]).expand(samples, 4)
    options = {"steps": int(steps), "temperature": float(temperature), "count": ROUNDINGS[rounding]}
    seed = list(CASES).index(case)
    decoded = decode(Canvas(), torch.zeros(samples, dtype=torch.long), canvas, generator=generator(seed), **options)
    ours, theirs = torch.bincount(decoded @ torch.tensor([27, 9, 3, 1]), minlength=81).numpy(), CASES[case]
    rare = theirs * samples < 5 * theirs.sum()
    table = np.array([[*counts[~rare], counts[rare].sum()] for counts in (ours, theirs)])
    return stats.chi2_contingency(table[:, table.sum(0) > 0]).pvalue


@pytest.mark.parametrize("case", CASES)
def test_decoded_with_released_rounding_tokens_are_distributed_as_the_released_code_s(case):
    assert agreement(case, "released") > 1e-3


@pytest.mark.parametrize("case", [case for case in CASES if case.endswith("/3/1.0")])
def test_exact_rounding_changes_the_distribution_only_where_it_changes_a_count(case):
    assert (agreement(case, "exact") < 1e-9) == (case == "MMMM/3/1.0")  # 4 tokens: 3 and 2 are masked, there 3 and 1


# --- Step by step ---


# The counts of both roundings agree where T is a power of 2 and at most U.
plans = st.tuples(st.just("exact"), st.sampled_from([8, 16]), st.integers(16, 64))
plans |= st.tuples(st.just("released"), st.sampled_from([3, 8, 12, 16, 100]), st.integers(0, 64))


@settings(max_examples=40)
@given(plan=plans, start_step=st.integers(0, 2), seed=seeds)
def test_with_the_same_draws_and_noise_every_step_leaves_what_the_released_algorithm_does(plan, start_step, seed):
    rounding, steps, unknown = plan
    model, labels = tiny_transformer(num_tokens=64), torch.tensor([1, 3])
    hidden = torch.rand(2, 64, generator=generator(seed)).argsort(1) < unknown
    canvas = torch.randint(model.num_codes, (2, 64), generator=generator(seed)).masked_fill(hidden, model.mask_id)
    heard = {"where": [], "drawn": [], "noise": []}
    predict, draw, gumbel = model.forward, decoding.sample_categorical, decoding.gumbel_noise
    keep = lambda name, value: heard[name].append(value) or value
    with (
        patch.object(model, "forward", lambda *rest: predict(*rest[:2], keep("where", rest[2]))),
        patch.object(decoding, "sample_categorical", lambda *rest: keep("drawn", draw(*rest))),
        patch.object(decoding, "gumbel_noise", lambda *rest: keep("noise", gumbel(*rest))),
    ):
        options = {"steps": steps, "start_step": start_step, "count": ROUNDINGS[rounding], "generator": generator(seed)}
        found = [step.tokens for step in decode_steps(model, labels, canvas, **options)]

    def everywhere(name: str) -> list[np.ndarray]:  # (B, M) to (B, N)
        pairs = zip(heard["where"], heard[name])
        return [torch.zeros(2, 64, dtype=values.dtype).scatter(1, where, values).numpy() for where, values in pairs]

    logits = lambda tokens: predict(torch.tensor(tokens), labels).detach()
    expected = oracles.released_steps(
        canvas.numpy(), model.mask_id, logits, everywhere("drawn"), everywhere("noise"), steps, start_step
    )
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_the_last_unknown_token_waits_for_the_last_step():
    assert mask_plan(torch.tensor([0, 1, 2, 3]), 6, cosine, count=released).T.tolist() == [
        [0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 0],
        [2, 1, 1, 1, 1, 0],
    ]


# --- The commands ---


@pytest.mark.parametrize("name", ["cosine", "square_root"])
def test_no_accelerator_computes_the_released_schedule(name, monkeypatch):
    """Only the CPU's float32 was compared with theirs: the schedule gets one number there, not the tokens' device."""
    seen, schedule = [], SCHEDULES[name]
    monkeypatch.setattr(counts, name, heard := lambda r, N: seen.append((r.device.type, r.ndim)) or schedule(r, N))
    unknown = torch.full((3,), 16, device="meta")
    assert released(unknown, unknown, 1, 8, heard).device.type == "meta" and seen == [("cpu", 0)]


def test_released_rounding_alone_keeps_the_fast_loop():
    settings = DecodingConfig(rounding="released")
    assert chosen_decoder(settings) is None and decoding_loop(settings).keywords["count"] is released
    assert decoding_loop(DecodingConfig()).keywords["count"] is decoding.num_to_mask


def test_rounding_is_an_option_and_is_said(tmp_path, capsys):
    pictures = []
    for rounding in ("exact", "released"):
        options = ["--steps", "3", "--schedule", "cosine", "--rounding", rounding]
        out = ["--out", str(tmp_path / f"{rounding}.png")]
        generate.main(["--pretrained", "glyphs", "--count", "2", *options, *out])
        assert ("decoding: rounding released" in capsys.readouterr().out) == (rounding == "released")
        pictures.append((tmp_path / f"{rounding}.png").read_bytes())
    assert pictures[0] != pictures[1]


def test_measurements_kept_from_before_there_was_a_rounding_still_count():
    assert "rounding" not in recorded(DecodingConfig())
    assert recorded(DecodingConfig(rounding="released"))["rounding"] == "released"


# --- Editing ---


@given(st.tuples(*[st.integers(0, 15)] * 2), st.tuples(*[st.integers(1, 16)] * 2))
def test_the_tokens_of_a_box_are_the_released_code_s_if_it_is_aligned_to_tokens(corner, size):
    (x, y), (width, height) = corner, (min(size[0], 16 - corner[0]), min(size[1], 16 - corner[1]))
    box = tuple(16 * side for side in (x, y, x + width, y + height))
    assert np.array_equal(box_to_token_mask(box, 256, 16, 1).view(16, 16), oracles.released_region(box))


@given(st.tuples(*[st.integers(0, 255)] * 4))
def test_of_any_other_box_every_token_is_painted_of_which_the_released_code_may_leave_some(sides):
    (x0, x1), (y0, y1) = sorted(sides[:2]), sorted(sides[2:])
    box = (x0, y0, x1 + 1, y1 + 1)
    ours = box_to_token_mask(box, 256, 16, 1).view(16, 16).numpy()
    assert (ours >= oracles.released_region(box)).all()
    assert (ours >= box_to_token_mask(box, 256, 16, 0).view(16, 16).numpy()).all()


@pytest.mark.parametrize(
    "box, most",
    [((64, 64, 192, 192), 0.03), ((0, 0, 48, 48), 0.03), ((80, 80, 128, 128), 0.04), ((208, 16, 256, 80), 0.07)],
)
def test_the_rim_of_an_edit_differs_from_the_released_code_s_by_a_few_percent(box, most):
    tokens = box_to_mask(tuple(side // 16 for side in box), 16, 16)
    theirs = Image.fromarray(tokens.byte().mul(255).numpy()).resize((256, 256))
    theirs = np.asarray(theirs.filter(ImageFilter.GaussianBlur(15))) / 255
    assert np.abs(soften(box_to_mask(box, 256, 256), 15.0).numpy() - theirs).max() < most


BOX = ["--box", "4,4,12,12", "--label", "heart", "--count", "1"]


def test_edit_released_has_the_demo_s_settings_whatever_the_run_s_and_says_them(run_folder, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    config = load_config(run / "config.json")
    others = DecodingConfig(6, "linear", 2.0, 1.0, "remdm-cap", 0.9, 0.9, 0.5)
    save_config(replace(config, decoding=others), run / "config.json")
    listen = lambda name: patch.object(edit, name, wraps=getattr(edit, name))
    with listen("editing_options") as how, listen("edit") as what, listen("watched") as loops:
        edit.main(["--run", str(run), *BOX, "--released", "--out", str(tmp_path / "x.png")])
    assert how.call_args.args[1] == DecodingConfig(12, "cosine", 4.5, 0.0, "maskgit", 1.0, 1.0, 0.0, "released")
    used = what.call_args.kwargs
    assert (used["steps"], used["start_step"], used["dilate"]) == (12, 2, 1)
    assert loops.call_args.args[0].func is decode_steps
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("released:")]
    assert all(each in said for each in ("steps 12", "start_step 2", "temperature 4.5", "schedule cosine"))


@pytest.mark.parametrize(
    "arguments, told",
    [
        ([*BOX, "--temperature", "2"], "--temperature 2.0: --released sets 4.5"),
        ([*BOX, "--steps", "8"], "--steps 8: --released sets 12"),
        ([*BOX, "--start-step", "0"], "--start-step 0: --released sets 2"),
        ([*BOX, "--rounding", "exact"], "--rounding exact: --released sets released"),
        ([*BOX, "--decoder", "halton"], "--decoder halton: --released sets maskgit"),
        ([*BOX, "--inpaint"], "--released repaints a --box as a class, as the authors' demo does; leave out --inpaint"),
        (
            ["--outpaint", "0,0,8,0"],
            "--released repaints a --box as a class, as the authors' demo does; leave out --out",
        ),
    ],
)
def test_edit_released_refuses_what_contradicts_the_demo(run_folder, capsys, arguments, told):
    assert told in error_line(capsys, edit, "--run", str(run_folder), "--released", *arguments)


def test_edit_released_takes_the_demo_s_own_values(run_folder, tmp_path):
    out = ["--out", str(tmp_path / "x.png")]
    edit.main(["--run", str(run_folder), *BOX, "--released", "--steps", "12", "--schedule", "cosine", *out])
    assert (tmp_path / "x.png").exists()
