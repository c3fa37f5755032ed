"""Options that are left out have values of their own: 12 passes at a choice temperature of 1."""

from minimaskgit import decoding
from minimaskgit.decoding import confidence, num_to_mask, remask  # noqa: F401
from minimaskgit.schedules import cosine

BREAKS = ("test_options_that_are_left_out_have_the_exercise_s_defaults",)


def decode(model, labels, tokens=None, steps=12, schedule=cosine, temperature=1.0, generator=None):
    options = {"steps": steps, "schedule": schedule, "temperature": temperature}
    return decoding.decode(model, labels, tokens, **options, generator=generator)
