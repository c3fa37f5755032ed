"""Laws of lesson 9: how much arithmetic training takes, how fast it goes, and how the learning rate moves."""

import oracles
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimaskgit.training import estimate, optimizers

FLOPS = "lesson 9, 'What a step costs': 6 operations a parameter and token, and 12 S^2 width a layer for attention"
SPEED = "lesson 9, 'How fast is this machine?': all tokens of all samples of all steps, over the seconds"
RATE = "lesson 9, 'The learning rate's shape': a linear rise, a plateau, a linear fall over the last part"

LESSON = {
    "training_flops": (estimate, FLOPS),
    "tokens_per_second": (estimate, SPEED),
    "trapezoid": (optimizers, RATE),
}

counts = st.integers(1, 9)
SHAPE = ("depth", "width", "mlp_width", "num_codes", "sequence")
shapes = st.fixed_dictionaries(dict.fromkeys(SHAPE, counts))
runs = st.tuples(st.integers(1, 60), st.integers(0, 20))  # steps and warmup


def product(*sides: int) -> int:
    """Operations of one product of matrices, rows x inner times inner x columns."""
    rows, inner, columns = sides
    return 2 * rows * inner * columns


# --- Arithmetic ---


@pytest.mark.law("training_flops")
@given(shape=shapes, batch_size=counts)
def test_every_sample_of_a_batch_costs_the_same(impl, shape, batch_size):
    one, all_ = (impl.training_flops(**shape, batch_size=size) for size in (1, batch_size))
    assert all_ == pytest.approx(batch_size * one), f"1 sample takes {one}, but {batch_size} samples take {all_}"


@pytest.mark.law("training_flops")
@given(shape=shapes)
def test_of_the_work_only_attention_grows_with_the_square_of_the_sequence(impl, shape):
    length = 2 * shape["sequence"]
    half, whole = (impl.training_flops(**shape | {"sequence": s}, batch_size=1) for s in (length // 2, length))
    # What is more than twice as much is attention's: a S^2 - 2 a (S / 2)^2 = a S^2 / 2.
    found, expected = 2 * (whole - 2 * half), 12 * shape["depth"] * shape["width"] * length**2
    said = f"the part that grows with S^2 is {found}; expected 12 depth width S^2 = {expected}"
    assert found == pytest.approx(expected), said


@pytest.mark.law("training_flops")
@given(shape=shapes, batch_size=counts)
def test_a_step_costs_three_times_its_products_of_matrices(impl, shape, batch_size):
    depth, width, mlp, codes, s = (shape[name] for name in SHAPE)
    block = 4 * product(s, width, width) + product(s, width, mlp) + product(s, mlp, width)
    block += product(s, width, s) + product(s, s, width)  # of all heads together
    forward = depth * block + product(s, width, width) + product(s, width, codes)
    found, expected = oracles.plain(impl.training_flops(**shape, batch_size=batch_size)), 3 * batch_size * forward
    assert found == pytest.approx(expected), oracles.instead(found, expected)


# --- Speed ---


@pytest.mark.law("tokens_per_second")
@given(batch_size=counts, num_tokens=counts, steps=counts, seconds=st.sampled_from([0.5, 1.0, 4.0]))
def test_the_speed_is_all_tokens_over_all_seconds(impl, batch_size, num_tokens, steps, seconds):
    found, expected = oracles.plain(impl.tokens_per_second(batch_size, num_tokens, steps, seconds)), 0.0
    for _ in range(steps):
        expected += batch_size * num_tokens / seconds
    assert found == pytest.approx(expected), oracles.instead(found, expected)


# --- The learning rate ---


@pytest.mark.law("trapezoid")
@given(run=runs, cooldown=st.floats(0, 1))
def test_the_learning_rate_is_above_zero_at_every_step_and_never_above_its_peak(impl, run, cooldown):
    steps, warmup = run
    rates = [oracles.plain(impl.trapezoid(step, steps, warmup, cooldown)) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates), f"the rates are {rates}; expected above 0 and at most 1"


@pytest.mark.law("trapezoid")
@pytest.mark.parametrize(
    ("steps", "warmup", "cooldown", "expected"),
    [
        (10, 2, 0.4, [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]),
        (4, 4, 1.0, [0.25, 0.375, 0.375, 0.25, 0]),  # rise and fall overlap
    ],
)
def test_the_trapezoid_in_numbers(impl, steps, warmup, cooldown, expected):
    rates = [impl.trapezoid(step, steps, warmup, cooldown) for step in range(steps + 1)]
    assert rates == pytest.approx(expected), f"the rates are {rates}; expected {expected}"


@pytest.mark.law("trapezoid")
def test_the_fall_may_begin_between_two_steps(impl):
    rates = [impl.trapezoid(step, 10, 0, 0.25) for step in range(10)]
    expected = [1, 1, 1, 1, 1, 1, 1, 1, 0.8, 0.4]
    assert rates == pytest.approx(expected), f"the rates are {rates}; expected {expected}"


@pytest.mark.law("trapezoid")
@pytest.mark.parametrize("steps", [1, 4])
def test_without_warmup_and_cooldown_the_learning_rate_stays_at_its_peak(impl, steps):
    rates = [impl.trapezoid(step, steps, 0, 0.0) for step in range(steps)]
    assert rates == [1] * steps, f"the rates are {rates}; expected 1 at every step"


@pytest.mark.law("trapezoid")
@given(run=runs, cooldown=st.floats(0, 1))
def test_the_trapezoid_rises_stays_and_falls(impl, run, cooldown):
    steps, warmup = run
    rates = [impl.trapezoid(step, steps, warmup, cooldown) for step in range(steps)]
    warm = [step for step in range(steps) if warmup <= step + 1]
    plateau = [rates[step] for step in warm if step <= (1 - cooldown) * steps]
    fall = [rates[step] for step in warm if step >= (1 - cooldown) * steps]
    rise = [rates[step] for step in range(min(warmup, steps)) if step <= (1 - cooldown) * steps]
    assert plateau == pytest.approx([1] * len(plateau)), f"between rise and fall the rates are {plateau}"
    assert fall == sorted(fall, reverse=True), f"at the end the rates are {fall}"
    assert rise == pytest.approx([(step + 1) / warmup for step in range(len(rise))]), f"at first the rates are {rise}"
