"""What a student reads of a broken law: calls that can be pasted, what came back, known mistakes by their answers."""

import runpy
from pathlib import Path

import messages
import pytest
import torch
from hypothesis import given
from lawbook import judged, law_file, parameters
from strategies import codes, small
from tiny import generator, tiny_transformer

from minimaskgit import decoding, masking, schedules, tokenizer

WRONG = sorted((Path(__file__).parent / "wrong_answers").glob("lesson_[35]_*.py"))
SURE = "test_confidence_is_log_probability_plus_noise_and_infinite_where_known"


def message(number: int, law: str, **functions) -> tuple[str, str]:
    """The calls shown and the reason given where these functions break a law."""
    laws = law_file(number)
    package = {name: getattr(module, name) for name, (module, _) in laws.LESSON.items()}
    recorded = messages.Recorded(messages.answers("a student's", package | functions))
    law = getattr(laws, law)
    with pytest.raises(Exception) as caught, messages.told(recorded, law, laws):
        law(impl=recorded, **parameters(law)[0])
    return caught.value.__notes__[0], getattr(caught.value, "explanation", "")


def test_the_smallest_call_that_breaks_a_law_can_be_pasted():
    def confidence(logits, tokens, known, temperature, noise):
        return decoding.confidence(logits, tokens, known, -temperature, noise)

    shown, why = message(5, SURE, confidence=confidence)
    assert shown.startswith("Failing test case:\nconfidence(") and shown.endswith("\n)")
    call = shown.removeprefix("Failing test case:\n").removesuffix("\n)")
    for function in (decoding.confidence, confidence):
        value = eval(call, {"torch": torch, "confidence": function})
        assert f" {[[round(x, 3) for x in row] for row in value.tolist()]}" in why


@pytest.mark.parametrize(
    "value",
    [torch.tensor([[True, False]]), torch.tensor(2), torch.zeros(0, 3), torch.full((20_000,), 2), -1.5, [1, (2,)]]
    + [torch.tensor([0.1, torch.inf, -torch.inf]), torch.tensor([0.1], dtype=torch.double), torch.ones(3, 5).half()],
    ids=str,
)
def test_arguments_are_written_as_python(value):
    again = eval(messages.written(value), {"torch": torch})
    assert again.equal(value) and again.dtype == value.dtype if isinstance(value, torch.Tensor) else again == value


def test_models_generators_and_schedules_are_written_by_their_names():
    assert messages.written(tiny_transformer(seed=3, causal=True)) == "tiny_transformer(seed=3, causal=True)"
    assert messages.written(generator(4)) == "torch.Generator().manual_seed(4)"
    assert messages.written(schedules.square_root) == "square_root"
    assert messages.written(torch.randn(30, 30)) == "<float32 of shape (30, 30)>"


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (lambda *args: None, "confidence returned None; is a `return` missing?"),
        (lambda *args: [1.0], "confidence returned a list; expected float32 of shape (1, 1)"),
        (lambda *args: decoding.confidence(*args).numpy(), "returned a numpy array; expected float32 of shape (1, 1)"),
        (lambda *args: decoding.confidence(*args).half() + 0.001, " (torch.float16); expected [["),
        (lambda *args: decoding.confidence(*args).bfloat16(), "returned bfloat16 of shape (1, 1); expected float32"),
    ],
)
def test_what_is_of_the_wrong_kind_is_named(wrong, expected):
    assert expected in message(5, SURE, confidence=wrong)[1]


def test_a_none_is_named_where_the_law_asks_for_gradients_first():
    law = "test_the_discriminator_s_step_leaves_the_generator_without_gradient"
    why = message(2, law, discriminator_loss=lambda *args: None)[1]
    assert why == "discriminator_loss returned None; is a `return` missing?"


@pytest.mark.parametrize(
    ("law", "functions", "expected"),
    [
        (
            "test_the_adaptive_weight_is_the_ratio_of_the_norms_of_the_gradients",
            {"adaptive_weight": lambda rec, gan: rec.norm().detach()},
            "returned 0.015; expected 0.01",
        ),
        (
            "test_the_discriminator_s_step_leaves_the_generator_without_gradient",
            {"discriminator_loss": lambda d, real, fake: d(fake.detach_()).mean()},
            "discriminator_loss has changed an argument: it no longer takes gradients",
        ),
        (
            "test_the_discriminator_s_step_leaves_the_generator_without_gradient",
            {"discriminator_loss": lambda d, real, fake: [loss := d(real).mean(), loss.backward()][0]},
            "discriminator_loss calls backward itself; it must only return the loss",
        ),
    ],
)
def test_the_reason_is_one_plain_sentence(law, functions, expected):
    assert message(2, law, **functions)[1] == expected


def test_a_call_of_which_a_law_asks_the_value_and_the_gradient_is_shown_once():
    law = "test_straight_through_has_the_value_of_the_entry_and_the_gradient_of_the_encoder"
    shown, why = message(1, law, straight_through=lambda z, z_q: z_q)
    assert shown.count("straight_through(") == 1 and why.startswith("z has no gradient")


def test_a_decode_that_writes_into_the_caller_s_tokens_is_told_so_and_is_no_known_mistake():
    def decode(model, labels, tokens=None, steps=8, schedule=schedules.cosine, temperature=4.5, generator=None):
        if tokens is None:
            tokens = torch.full((len(labels), model.num_tokens), model.mask_id)
        start = (tokens == model.mask_id).sum(1)
        for step in range(steps):
            known = tokens != model.mask_id
            logits = model(tokens, labels)
            sampled = torch.where(known, tokens, decoding.sample_categorical(logits, generator))
            noise = decoding.gumbel_noise(tokens.shape, tokens.device, generator)
            left = temperature * (1 - (step + 1) / steps)
            sure = decoding.confidence(logits, sampled.clamp(max=logits.shape[-1] - 1), known, left, noise)
            counts = decoding.num_to_mask(start, (~known).sum(1), step, steps, schedule)
            tokens[:] = decoding.remask(sampled, sure, counts, model.mask_id)
        return tokens

    why = message(5, "test_known_tokens_never_change_and_no_mask_or_class_comes_out", decode=decode)[1]
    assert why == "decode has changed one of its arguments; it must work on a copy"


def test_what_torch_has_not_implemented_is_not_an_unwritten_exercise():
    wrong = {"square": lambda r, num_tokens: 1 - r ^ 2}
    holds, said = judged("square", 3, wrong, Path(__file__))
    assert not holds and "BROKEN" in said[0] and any("not implemented for" in line for line in said)


def test_a_wrong_dtype_is_named():
    why = message(3, "test_a_random_mask_has_exactly_the_asked_count_in_every_row", random_mask=soft_mask)[1]
    assert why == "returned float32; expected bool"


@pytest.mark.parametrize(
    ("name", "law"),
    [
        ("remask", "test_the_least_confident_tokens_are_masked_again_and_the_others_stay"),
        ("decode", "test_known_tokens_never_change_and_no_mask_or_class_comes_out"),
    ],
)
def test_tokens_that_come_back_as_floats_are_refused(name, law):
    right = getattr(decoding, name)
    why = message(5, law, **{name: lambda *args, **options: right(*args, **options).float()})[1]
    assert why == "returned float32; expected int64"


def soft_mask(*args) -> torch.Tensor:
    return masking.random_mask(*args).float()


def test_a_size_that_is_written_in_is_reported_under_its_own_law():
    def remask(tokens, confidence, counts, mask_id):
        ranks = torch.empty(len(tokens), 64, dtype=torch.long)
        ranks.scatter_(1, confidence.argsort(1), torch.arange(64).expand(len(tokens), -1))
        return tokens.masked_fill(ranks < counts[:, None], mask_id)

    laws = law_file(5)
    impl = messages.answers("a student's", {"remask": remask})
    with pytest.raises(AssertionError, match=r"right with N = 64, K = 256, but wrong with N = 5, K = 8 \(RuntimeError"):
        laws.test_no_size_is_written_into_the_function(impl, "remask")


@pytest.mark.slow
@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_a_known_mistake_is_recognised_by_its_answers(path):
    wrong = runpy.run_path(path)
    why = message(int(path.stem.split("_")[1]), wrong["BREAKS"][0], **wrong)[1]
    assert f"looks like a known mistake: {' '.join(wrong['__doc__'].split())}" in why


def test_a_mistake_that_is_not_known_is_not_taken_for_one_that_is():
    for twist in (lambda x: x + 1, lambda x: -x, lambda x: 2 * x):
        why = message(5, SURE, confidence=lambda *args, twist=twist: twist(decoding.confidence(*args)))[1]
        assert "returned" in why and "known mistake" not in why


def test_of_many_calls_the_last_is_shown_and_what_hypothesis_drew():
    shown, _ = message(9, "test_the_trapezoid_rises_stays_and_falls", trapezoid=lambda *args: 0.5)
    assert "trapezoid(step=" in shown


def test_calls_are_those_of_the_latest_example():
    @given(x=small(3, 4), drawn=codes(5, 3))
    def law(impl, x, drawn):
        impl.nearest_codes(x, x)
        impl.code_perplexity(drawn, 5)
        raise AssertionError("always")

    recorded = messages.Recorded(messages.answers("the package", vars(tokenizer)))
    with pytest.raises(AssertionError), messages.told(recorded, law, law_file(1)):
        law(impl=recorded)
    assert [call.name for call in recorded.example] == ["nearest_codes", "code_perplexity"]
