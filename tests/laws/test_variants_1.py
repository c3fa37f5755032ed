"""Laws of lesson 1's variants: the nearest code that may be used, codes that move, how much smaller tokens are.

`drawn` is what the teacher's number drew (lessons/variants/lesson_1.py).
"""

import numpy as np
import oracles
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds
from tiny import generator
from unsaid import assert_predicts

from minimaskgit.grading.variants import stubs

LESSON = {
    "nearest_free": (stubs(1), "lesson 1, 'The nearest code'; what does near mean here, and among which?"),
    "times_smaller": (stubs(1), "lesson 1: a token is a number in 0..K-1, and a number takes bits"),
    "move_codes": (stubs(1), "lesson 1, 'Learning the codebook': entries follow the vectors that use them"),
}

# Distances of one vector from one entry, in numpy.
FAR = {
    "sum": lambda z, e: np.abs(z - e).sum(),
    "largest": lambda z, e: np.abs(z - e).max(),
    "angle": lambda z, e: -(z @ e) / np.sqrt((z @ z) * (e @ e)),
}


@st.composite
def vectors(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor]:
    """z (M, D) and a codebook (K, D), rounded to one digit, none of them 0."""
    count, codes, width, noise = draw(st.integers(1, 4)), draw(st.integers(2, 9)), draw(st.integers(1, 3)), draw(seeds)
    both = torch.randint(-99, 100, (count + codes, width), generator=generator(noise)) / 10 + 0.05
    return both[:count], both[count:]


def free(drawn: dict, num_codes: int) -> list[int]:
    return [code for code in range(num_codes) if code % drawn["parts"] != drawn["part"]]


@pytest.mark.law("nearest_free")
@given(drawn_vectors=vectors())
def test_the_code_may_be_used_and_none_that_may_is_nearer(impl, drawn, drawn_vectors):
    z, codebook = drawn_vectors
    found = impl.nearest_free(z, codebook)
    assert found.dtype == torch.int64, oracles.dtype(found, torch.int64)
    assert found.shape == z.shape[:-1], oracles.shape(found, z.shape[:-1])
    allowed, far = free(drawn, len(codebook)), FAR[drawn["distance"]]
    for vector, code in zip(z.double().numpy(), found.tolist()):
        assert code in allowed, f"returned code {code}; only {allowed} may be used"
        distances = {other: far(vector, codebook[other].double().numpy()) for other in allowed}
        nearest = min(distances, key=distances.get)
        said = f"code {code} is {distances[code]:.4f} far, and code {nearest} only {distances[nearest]:.4f}"
        assert distances[code] <= distances[nearest] + 1e-4, said


@pytest.mark.law("nearest_free")
@given(draw=seeds)
def test_every_vector_is_for_itself_in_any_shape(impl, drawn, draw):
    z, codebook = torch.randn(2, 3, 4, generator=generator(draw)), torch.randn(8, 4, generator=generator(draw + 1))
    found = impl.nearest_free(z, codebook)
    assert found.shape == (2, 3), oracles.shape(found, (2, 3))
    alone = torch.stack([impl.nearest_free(one, codebook) for one in z.flatten(0, 1)]).view(2, 3)
    assert found.equal(alone), f"{found.tolist()} together, {alone.tolist()} one by one"


@pytest.mark.law("times_smaller")
def test_so_many_times_fewer_bytes_are_measured(impl, drawn):
    tokens = drawn["stored"] * (drawn["side"] // drawn["factor"]) ** 2
    bits = next(bits for bits in range(1, 40) if 2**bits >= drawn["codes"])
    codebook = np.zeros((drawn["codes"], drawn["width"]), np.float32).nbytes
    pixels = drawn["stored"] * np.zeros((drawn["side"], drawn["side"], 3), np.uint8).nbytes
    assert_predicts(impl.times_smaller(), pixels / (tokens * bits / 8 + codebook), 0.01)


@pytest.mark.law("move_codes")
@given(drawn_vectors=vectors(), rate=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_an_entry_moves_towards_the_mean_of_its_own_vectors_and_an_unused_one_stays(impl, drawn, drawn_vectors, rate):
    z, codebook = drawn_vectors
    allowed, far = free(drawn, len(codebook)), FAR[drawn["distance"]]
    distances = np.array([[far(x, codebook[k].double().numpy()) for k in allowed] for x in z.double().numpy()])
    if len(allowed) > 1 and (np.diff(np.sort(distances, 1), axis=1)[:, 0] < 1e-4).any():
        return  # a draw
    users = [allowed[at] for at in distances.argmin(1)]
    moved = impl.move_codes(z, codebook, rate)
    assert moved.shape == codebook.shape, oracles.shape(moved, codebook.shape)
    for code, (old, new) in enumerate(zip(codebook, moved)):
        own = [vector for vector, user in zip(z, users) if user == code]
        way = sum(own) / len(own) - old if own else torch.zeros_like(old)
        said = f"entry {code}, which {len(own)} vectors use, moved by {(new - old).tolist()}; expected"
        assert torch.allclose(new - old, rate * way, atol=1e-4), f"{said} {(rate * way).tolist()}"
