"""The search for a decoding policy: each step's settings, what the search finds and keeps, and who uses it."""

import json
import math
import random
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from canvas import MODEL, C, K, N, known_regions, some_labels
from command_line import error_line
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from strategies import schedule_names, seeds
from tiny import FixedLogits, generator

from minimaskgit import compare, evaluate, export, generate, passes, runs, search
from minimaskgit.common import cli
from minimaskgit.common.files import write_json
from minimaskgit.decoders import loop
from minimaskgit.decoders.correction import doubted
from minimaskgit.decoders.critic import Critic
from minimaskgit.decoders.loop import run
from minimaskgit.decoders.named import decoder
from minimaskgit.decoders.policy import SURE, Policy, decoder_of, papers_policy
from minimaskgit.decoders.sampling import tempered
from minimaskgit.decoding import mask_plan
from minimaskgit.measuring import pictures
from minimaskgit.measuring import search as measuring
from minimaskgit.measuring.search import CANDIDATES, CHECKS, STARTS, Score, candidates, objective, policy_at, recombined
from minimaskgit.runs.config import DecodingConfig
from minimaskgit.runs.run import Run
from minimaskgit.runs.searched import Found, write_searched
from minimaskgit.schedules import SCHEDULES, cosine

model_runs = settings(max_examples=30)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any settings of 1 to 6 steps."""
    steps = draw(st.integers(1, 6))

    def each(least: float, most: float) -> tuple[float, ...]:
        return tuple(draw(st.lists(st.floats(least, most), min_size=steps, max_size=steps)))

    masked = (*sorted(each(0, 1), reverse=True)[1:], 0.0)
    return Policy(masked, each(0, 5), each(0.2, 2), each(0, 2))


# --- A policy decodes ---

EARLY = Policy((0.6, 0.3, 0.0), choice=(2.0, 0.5, 0.0), sampling=(0.5, 1.0, 1.5), guidance=(0.0, 0.0, 1.0))


def test_a_policy_decodes_as_it_did_when_this_was_written():
    steps = run(decoder_of(EARLY), MODEL, torch.tensor([1]), None, 3, generator(0))
    m = MODEL.mask_id
    assert [step.tokens[0].tolist() for step in steps] == [
        [m, 1, m, m, m, 2, 4, 8, m],  # of 9 tokens, floor(9 x 0.6) = 5 are masked
        [2, 1, 10, 2, m, 2, 4, 8, m],  # floor(9 x 0.3) = 2
        [2, 1, 10, 2, 1, 2, 4, 8, 1],
    ]


@model_runs
@given(policy=policies(), canvas=known_regions, seed=seeds)
def test_known_tokens_stay_and_after_each_step_as_many_are_masked_as_the_policy_says(policy, canvas, seed):
    known = canvas != MODEL.mask_id
    free = now = (~known).sum(1).tolist()
    steps = run(decoder_of(policy), MODEL, some_labels(canvas), canvas, policy.steps, generator(seed))
    for t, step in enumerate(steps):
        planned = [min(max(math.floor(u * policy.masked[t]), 1), n - 1) for u, n in zip(free, now)]
        now = [max(p, 0) if t < policy.steps - 1 else 0 for p in planned]  # each step keeps a token, and the last all
        assert step.masked.sum(1).tolist() == now
        assert torch.equal(step.tokens[known], canvas[known])
    assert (step.tokens < K).all()


@model_runs
@given(name=schedule_names, steps=st.integers(1, 12), temperature=st.floats(0, 10), seed=seeds)
def test_the_paper_s_settings_as_a_policy_decode_bit_by_bit_as_the_paper_s_decoder(name, steps, temperature, seed):
    schedule = SCHEDULES[name]
    ours = decoder_of(papers_policy(steps, schedule, temperature, N))
    theirs = decoder("maskgit", schedule, temperature)
    walks = [run(each, MODEL, torch.arange(3), None, steps, generator(seed)) for each in (ours, theirs)]
    assert all(a.tokens.equal(b.tokens) for a, b in zip(*walks, strict=True))


@given(name=schedule_names, steps=st.integers(1, 40), num_tokens=st.integers(1, 300))
def test_the_paper_s_policy_has_the_counts_of_the_paper_s_schedule(name, steps, num_tokens):
    model = FixedLogits(torch.zeros(num_tokens, 2), C)
    policy = papers_policy(steps, SCHEDULES[name], 4.5, num_tokens)
    masked = [step.masked.sum(1) for step in run(decoder_of(policy), model, torch.tensor([0]), None, steps)]
    assert torch.stack(masked).equal(mask_plan(torch.tensor([num_tokens]), steps, SCHEDULES[name]))


def test_each_step_has_its_own_guidance_and_its_own_sampling(monkeypatch):
    weights, real = [], loop.guided_logits
    monkeypatch.setattr(loop, "guided_logits", lambda *rest: weights.append(rest[-1]) or real(*rest))
    list(run(decoder_of(EARLY), MODEL, torch.arange(2), None, 3))
    assert weights == [0.0, 0.0, 1.0]
    logits = torch.tensor([0.0, 0.5, 1.0, 3.0])
    for r, temperature in zip((1 / 3, 2 / 3, 1.0), EARLY.sampling):
        assert decoder_of(EARLY).sampling(logits, r).equal(tempered(temperature)(logits, r))


def test_a_policy_takes_back_what_a_critic_doubts_and_cannot_without_one():
    critic, policy = Critic(MODEL.width, len(MODEL.blocks)), replace(EARLY, doubted=0.5)
    by_hand = replace(decoder_of(EARLY), correction=doubted(0.5, SURE), critic=critic)
    walks = [run(each, MODEL, torch.arange(2), None, 3, generator(1)) for each in (decoder_of(policy, critic), by_hand)]
    assert all(a.tokens.equal(b.tokens) for a, b in zip(*walks, strict=True))
    assert decoder_of(EARLY, critic).critic is None  # which costs time
    with pytest.raises(ValueError, match="needs a critic"):
        decoder_of(policy)


WRONG = {
    "for each step": {"choice": (1.0,)},
    "fall": {"masked": (0.3, 0.6, 0.0)},
    "to 0": {"masked": (0.6, 0.3, 0.1)},
    "at most 1": {"masked": (1.2, 0.3, 0.0)},
    "choice": {"choice": (math.nan, 0.0, 0.0)},
    "sampling": {"sampling": (1.0, 0.0, 1.0)},
    "guidance": {"guidance": (0.0, math.inf, 0.0)},
    "doubted": {"doubted": 1.5},
}


@pytest.mark.parametrize("reason", WRONG)
def test_a_policy_that_cannot_decode_says_what_is_wrong(reason):
    with pytest.raises(ValueError, match=reason):
        replace(EARLY, **WRONG[reason])


# --- What is searched, and by what measure ---


@given(steps=st.integers(1, 20), temperature=st.floats(0, 20))
def test_the_search_starts_at_the_paper_s_policy(steps, temperature):
    start = policy_at(torch.zeros(7), steps, DecodingConfig(temperature=temperature), 64)
    assert start == papers_policy(steps, cosine, temperature, 64)


@given(x=st.lists(st.floats(-20, 20), min_size=5, max_size=7), steps=st.integers(1, 20), name=schedule_names)
def test_wherever_the_search_goes_the_policy_can_decode_and_guides_only_late(x, steps, name):
    policy = policy_at(torch.tensor(x), steps, DecodingConfig(schedule=name), 64)
    assert policy.steps == steps and not any(policy.guidance[: steps // 2]) and 0 <= policy.doubted <= 1
    assert len(x) >= 6 or not any(policy.guidance)


@given(own=st.floats(0, 2), change=st.floats(-5, 5))
def test_the_search_can_raise_a_run_s_guidance_in_late_steps_and_lower_it_in_all(own, change):
    x = torch.tensor([0.0] * 5 + [change])
    guidance = policy_at(x, 4, DecodingConfig(guidance=own), 64).guidance
    late = max(own + 0.5 * x[5].item(), 0.0)
    early = late if change < 0 else own
    assert guidance == pytest.approx((early, early, late, late))


START = [Score(0.14, 0.70, 0.90)]
WORSE = {"sure and dull": (0.25, 0.95, 0.55), "blurred, but near": (0.13, 0.50, 0.90), "all over": (0.3, 0.6, 0.97)}
WORSE |= {"with strays": (0.14, 0.72, 0.90, 0.3)}
BETTER = {"nearer": (0.10, 0.70, 0.90), "more precise": (0.14, 0.80, 0.90), "both": (0.10, 0.85, 0.85)}


@pytest.mark.parametrize("kind", [*WORSE, *BETTER])
def test_neither_sure_and_dull_nor_scattered_images_win(kind):
    assert objective(START, START) == pytest.approx(1)
    assert (objective([Score(*(WORSE | BETTER)[kind])], START) < 1) == (kind in BETTER)


@given(seed=seeds)
@settings(max_examples=10)
def test_the_evolution_strategy_approaches_the_optimum_in_spite_of_noise(seed):
    draw, best = generator(seed), torch.tensor([0.8, -0.5, 0.0, 1.0, 0.3], dtype=torch.double)
    x = torch.zeros(5, dtype=torch.double)
    for number in range(12):
        points = candidates(x, 0.6 * 0.8**number, draw)
        noise = 0.1 * torch.randn(len(points), generator=draw)
        x = recombined(points, ((points - best).square().sum(1) + noise).tolist())
    assert (x - best).square().sum() < 0.4 * best.square().sum()


# --- The command ---

BEGINNINGS = len(STARTS) - 1  # these runs have no guidance, of which less would be another
FEW = ["--steps", "2", "--minutes", "1e-9", "--samples", "20", "--reference", "40"]
POLICY = Policy((0.7, 0.0), choice=(1.0, 0.0), sampling=(0.9, 1.0), guidance=(0.0, 0.0))


@pytest.fixture
def copied(run_folder, tmp_path) -> Path:
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


@pytest.fixture
def searched(copied) -> Path:
    write_searched(copied, {2: Found(POLICY, {})})
    return copied


def fewer_kept_is_better(lab, steps, policy, seed) -> Score:
    return Score(2.0 if policy is None else 3 - 2 * policy.masked[0], 0.5, 0.5)


def never_better(lab, steps, policy, seed) -> Score:
    return Score(1.0 if policy is None else 2.0, 0.5, 0.5)


def test_a_search_sees_training_images_only_and_its_seeds_are_its_own(copied, monkeypatch, capsys):
    splits, drawn, real, sample = [], [], pictures.run_data, measuring.sample
    monkeypatch.setattr(pictures, "run_data", lambda run, split, count: splits.append(split) or real(run, split, count))
    monkeypatch.setattr(measuring, "sample", lambda *given, **rest: drawn.append(given[3]) or sample(*given, **rest))
    search.main(["--run", str(copied), *FEW])
    assert set(splits) == {"train"}
    assert len(drawn) == 2 * CHECKS + BEGINNINGS + CANDIDATES and min(drawn) > 2**32
    assert len(set(drawn)) == CHECKS + 2 and sorted(drawn[:CHECKS]) == sorted(drawn[-CHECKS:])  # the start's, the end's
    assert "T = 2" in capsys.readouterr().out and (copied / "search/policies.png").exists()


def test_a_stopped_search_goes_on_where_it_was_and_ends_the_same(copied, monkeypatch, capsys):
    done, real = [], measuring.measure

    def stopping(*given) -> Score:
        if len(done) == 9:
            raise KeyboardInterrupt
        return done.append(given) or real(*given)

    monkeypatch.setattr(measuring, "measure", stopping)
    with pytest.raises(SystemExit, match="130"):
        cli.run(lambda: search.main(["--run", str(copied), *FEW]))
    assert "to resume, run it again" in capsys.readouterr().err
    monkeypatch.setattr(measuring, "measure", lambda *given: done.append(given) or real(*given))
    search.main(["--run", str(copied), *FEW])
    resumed, count = capsys.readouterr().out, len(done)
    assert count == 2 * CHECKS + BEGINNINGS + CANDIDATES
    (copied / "search/T2.json").unlink()
    (copied / "decoding.json").unlink(missing_ok=True)  # an earlier policy would be checked too
    search.main(["--run", str(copied), *FEW])
    assert capsys.readouterr().out == resumed and len(done) == 2 * count


@pytest.mark.parametrize("stop", [20, 44])  # evaluations: in the first of three generations, and at the very end
def test_a_search_resumed_on_a_slower_machine_keeps_its_plan_and_ends_with_the_same_policy(copied, monkeypatch, stop):
    done, clock = [], SimpleNamespace(now=0.0, seconds=1.0, perf_counter=lambda: clock.now)

    def measured(lab, steps, policy, seed) -> Score:
        if len(done) == stop:
            raise KeyboardInterrupt
        done.append(seed)
        clock.now += clock.seconds
        luck = random.Random(f"{policy} {seed}").uniform(-0.1, 0.1)
        return Score(3.0 if policy is None else 3 - 2 * policy.masked[0] + luck, 0.5, 0.5)

    def found() -> bytes:
        search.main(["--run", str(copied), *FEW, "--minutes", "0.8"])
        return (copied / "decoding.json").read_bytes()

    monkeypatch.setattr(measuring, "time", clock)
    monkeypatch.setattr(measuring, "measure", measured)
    with pytest.raises(KeyboardInterrupt):
        found()
    stop, clock.seconds = None, 3.0
    resumed = found()
    assert len(done) == 2 * CHECKS + BEGINNINGS + 3 * CANDIDATES  # what fits into 0.8 minutes at a second each
    assert found() == resumed and len(done) == 45  # the policy that was found is checked too, from scores that are kept
    shutil.rmtree(copied / "search")
    (copied / "decoding.json").unlink()
    clock.seconds = 1.0
    assert found() == resumed


@pytest.mark.parametrize("measured, best", [(never_better, 0), (fewer_kept_is_better, 1)])
def test_a_search_starts_from_the_best_of_several_points(copied, monkeypatch, measured, best):
    centres, real = [], measuring.candidates
    monkeypatch.setattr(measuring, "candidates", lambda x, *rest: centres.append(x) or real(x, *rest))
    monkeypatch.setattr(measuring, "measure", measured)
    search.main(["--run", str(copied), *FEW])
    assert centres[0].tolist() == pytest.approx(STARTS[best])


def test_what_is_better_is_kept_and_used_and_what_is_not_is_not(copied, monkeypatch, capsys):
    monkeypatch.setattr(measuring, "measure", never_better)
    search.main(["--run", str(copied), *FEW])
    assert not (copied / "decoding.json").exists()
    monkeypatch.setattr(measuring, "measure", fewer_kept_is_better)
    search.main(["--run", str(copied), *FEW, "--seed", "1"])
    found = json.loads((copied / "decoding.json").read_text("utf-8"))["policies"]["2"]
    assert found["policy"]["masked"][0] > cosine(torch.tensor(0.5), 64)
    assert found["search"]["after"]["objective"] < 1 == found["search"]["before"]["objective"]
    monkeypatch.setattr(measuring, "measure", never_better)  # now worse than the run's own settings
    search.main(["--run", str(copied), *FEW, "--seed", "2"])
    assert not (copied / "decoding.json").exists()


def test_a_later_search_does_not_replace_a_better_policy(searched, monkeypatch):
    monkeypatch.setattr(measuring, "measure", lambda lab, steps, policy, seed: Score(1 + (policy != POLICY), 0.5, 0.5))
    before = (searched / "decoding.json").read_bytes()
    search.main(["--run", str(searched), *FEW])
    assert (searched / "decoding.json").read_bytes() == before


def test_weights_of_the_package_are_not_written_to(capsys):
    folder = Path(__file__).parents[1] / "data/pretrained/glyphs"
    assert "copy the folder and use the copy" in error_line(capsys, search, "--run", str(folder))


@pytest.mark.parametrize("options", [["--steps", "0"], ["--steps", "65"], ["--samples", "19"], ["--reference", "3"]])
def test_options_that_cannot_work_are_refused_before_the_work(copied, capsys, options):
    named = "more images to compare with" if options[0] == "--reference" else options[0]
    assert named in error_line(capsys, search, "--run", str(copied), *FEW, *options)
    assert not (copied / "search").exists()


# --- Who uses a policy ---


def used_by(folder: Path, capsys, tmp_path: Path, *options: str) -> str:
    """The decoder that generate names; the paper's needs no mention."""
    generate.main(["--run", str(folder), "--count", "2", "--out", str(tmp_path / "x.png"), *options])
    first = capsys.readouterr().out.splitlines()[0]
    return first.removeprefix("decoding: decoder ").split(",")[0] if "decoding: decoder" in first else "maskgit"


def test_a_policy_is_used_for_its_steps_unless_the_user_decides_otherwise(searched, capsys, tmp_path):
    assert used_by(searched, capsys, tmp_path, "--steps", "2") == "searched"
    assert used_by(searched, capsys, tmp_path, "--steps", "2", "--decoder", "searched") == "searched"
    for others in (["--steps", "3"], ["--decoder", "maskgit"], ["--top-p", "0.9"], ["--temperature", "1"], []):
        assert used_by(searched, capsys, tmp_path, *others) == "maskgit"
    assert used_by(searched, capsys, tmp_path, "--steps", "2", "--decoder", "halton") == "halton"


def test_generate_draws_what_the_policy_decodes(searched, tmp_path, monkeypatch):
    policies, real = [], loop.run
    monkeypatch.setattr(
        loop, "run", lambda decoder, *given, **rest: policies.append(decoder) or real(decoder, *given, **rest)
    )
    generate.main(["--run", str(searched), "--count", "2", "--steps", "2", "--out", str(tmp_path / "x.png")])
    logits = torch.tensor([0.0, 1.0])
    assert policies[0].sampling(logits, 0.5).equal(tempered(0.9)(logits, 0.5))


def test_reports_say_which_policy_was_used(searched, tmp_path):
    few = ["--metrics", "palette", "--samples", "20", "--reference", "20", "--steps", "2"]
    evaluate.main(["--run", str(searched), *few])
    found = json.loads((searched / "evaluation/searched.json").read_text("utf-8"))
    assert found["decoder"] == "searched" and found["decoding"]["policy"]["masked"] == [0.7, 0.0]
    compare.main(["--run", str(searched), "--steps", "2", "--batches", "1", "--repeats", "1", "--shown", "1"])
    found = json.loads((searched / "compare/compare.json").read_text("utf-8"))
    assert found["decoding"]["decoder"] == "searched" and found["decoding"]["steps"] == 2


def test_a_searched_decoder_that_is_not_there_or_has_other_settings_is_refused(searched, capsys):
    asked = ["--run", str(searched), "--decoder", "searched"]
    assert "has no policy for 5 steps (it has those for 2)" in error_line(capsys, generate, *asked, "--steps", "5")
    assert "--top-p cannot be used with" in error_line(capsys, generate, *asked, "--steps", "2", "--top-p", "0.5")


DAMAGE = {
    "": "Invalid JSON",
    "[]": "",
    '{"transformer": "x"}{': "Invalid JSON",
    '{"transformer": "x", "policies": {"2": {"policy": {}, "search": {}}}}': "masked",
}


@pytest.mark.parametrize("text", DAMAGE)
def test_a_damaged_decoding_json_is_refused_in_one_line(searched, capsys, tmp_path, text):
    (searched / "decoding.json").write_text(text, "utf-8")
    line = error_line(capsys, generate, "--run", str(searched))
    assert "decoding.json cannot be read as decoding policies" in line and DAMAGE[text] in line
    assert used_by(searched, capsys, tmp_path, "--decoder", "maskgit") == "maskgit"


def test_numbers_that_cannot_decode_are_refused(searched, capsys):
    path = searched / "decoding.json"
    text = path.read_text("utf-8")
    for old, new in (("0.7", "-0.7"), ("0.7", "NaN"), ('"2"', '"3"'), ("0.9", "0.0"), ("0.7", '"much"')):
        assert old in text
        path.write_text(text.replace(old, new), "utf-8")
        assert "cannot be read as decoding policies" in error_line(capsys, generate, "--run", str(searched))


def test_a_policy_of_other_weights_is_refused_and_a_new_search_replaces_it(searched, capsys, monkeypatch):
    shutil.copy(searched / "autoregressive/model.safetensors", searched / "transformer/model.safetensors")
    shutil.rmtree(searched / "critic")  # which is of those weights too
    assert "was searched with other weights" in error_line(capsys, generate, "--run", str(searched))
    monkeypatch.setattr(measuring, "measure", fewer_kept_is_better)
    search.main(["--run", str(searched), *FEW])
    assert "is of other weights, and will be replaced" in capsys.readouterr().out
    generate.main(["--run", str(searched), "--count", "1", "--steps", "2", "--out", str(searched / "x.png")])


# --- A policy that takes back what a critic doubts ---

DOUBTING = replace(POLICY, doubted=0.5)
THREE = Policy((0.9, 0.6, 0.0), choice=(1.0,) * 3, sampling=(1.0,) * 3, guidance=(0.0,) * 3)


def retrain(critic: Path) -> None:
    """Other weights of the same shape, for the same transformer."""
    weights = load_file(critic / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, critic / "model.safetensors")


ANOTHER = {"was searched with another critic than": retrain, "was searched with a critic, and there": shutil.rmtree}


@pytest.mark.parametrize("complaint", ANOTHER)
def test_a_policy_of_another_critic_is_refused_and_dropped_by_a_new_search(
    copied, capsys, tmp_path, monkeypatch, complaint
):
    write_searched(copied, {2: Found(DOUBTING, {}), 3: Found(THREE, {})})
    assert used_by(copied, capsys, tmp_path, "--steps", "2") == "searched"
    ANOTHER[complaint](copied / "critic")
    assert complaint in error_line(capsys, generate, "--run", str(copied), "--steps", "2")
    assert used_by(copied, capsys, tmp_path, "--steps", "2", "--decoder", "maskgit") == "maskgit"
    monkeypatch.setattr(measuring, "measure", never_better)
    search.main(["--run", str(copied), *FEW, "--steps", "4"])
    assert f"{complaint} " in (note := capsys.readouterr().out) and "dropped: the policy for 2 steps" in note
    assert used_by(copied, capsys, tmp_path, "--steps", "2") == "maskgit"
    assert used_by(copied, capsys, tmp_path, "--steps", "3") == "searched"


def test_policies_without_a_critic_do_not_depend_on_it(searched, capsys, tmp_path):
    assert json.loads((searched / "decoding.json").read_text("utf-8"))["critic"] is None
    shutil.rmtree(searched / "critic")
    assert used_by(searched, capsys, tmp_path, "--steps", "2") == "searched"


QUICK = {
    generate: ["--steps", "2", "--count", "1"],
    evaluate: ["--steps", "2", "--metrics", "palette", "--samples", "20", "--reference", "20"],
    compare: ["--steps", "2", "--batches", "1", "--repeats", "1", "--shown", "1"],
    passes: ["--steps", "2", "--decoders", "searched", "--samples", "20", "--reference", "20", "--seeds", "0"],
}


@pytest.mark.parametrize("command", QUICK, ids=lambda command: command.__name__.split(".")[-1])
def test_a_command_reads_the_policies_once_and_loads_their_critic_once(copied, tmp_path, monkeypatch, command):
    write_searched(copied, {2: Found(DOUBTING, {})})
    read, loaded, parse, load = [], [], runs.searched.parse_searched, Run.critic
    monkeypatch.setattr(runs.searched, "parse_searched", lambda folder: read.append(folder) or parse(folder))
    monkeypatch.setattr(Run, "critic", lambda run: loaded.append(run) or load(run))
    out = ["--json" if command is evaluate else "--out", str(tmp_path / ("x.png" if command is generate else "x"))]
    command.main(["--run", str(copied), *QUICK[command], *out])
    assert len(read) == len(loaded) == 1


def test_policies_of_an_earlier_version_which_recorded_no_critic_are_still_used(copied, capsys, tmp_path):
    write_searched(copied, {2: Found(DOUBTING, {})})
    kept = json.loads((copied / "decoding.json").read_text("utf-8"))
    assert kept.pop("critic")
    write_json(copied / "decoding.json", kept)
    assert used_by(copied, capsys, tmp_path, "--steps", "2") == "searched"


@pytest.mark.slow
def test_export_carries_the_policies_for_the_rounded_weights(searched, tmp_path, capsys):
    write_searched(searched, {2: Found(DOUBTING, {})})
    export.main(["--run", str(searched), "--out", str(tmp_path / "shared"), "--samples", "20"])
    card = (tmp_path / "shared/README.md").read_text("utf-8")
    assert "Decoding in 2 steps uses decoding.json" in card and f"search --run {searched} --steps 2" in card
    capsys.readouterr()
    assert used_by(tmp_path / "shared", capsys, tmp_path, "--steps", "2") == "searched"
    retrain(tmp_path / "shared/critic")
    assert "searched with another critic" in error_line(capsys, generate, "--run", str(tmp_path / "shared"))


def test_the_advice_for_weights_of_the_package_is_to_search_in_a_copy(capsys):
    asked = ["--pretrained", "glyphs", "--decoder", "searched", "--steps", "5"]
    assert "copy the folder and find one" in error_line(capsys, generate, *asked)
