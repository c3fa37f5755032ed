"""Laws of answers that are a choice or a number: what they print must not be the answer."""

import oracles


def assert_is_the_reason(said: object, names: tuple[str, ...], bug: str, graded: bool) -> None:
    """What was wrong with a broken function; compared only when a class is graded, or one could try all names."""
    assert said in names, f"returned {said!r}; expected one of {', '.join(names)}"
    assert not graded or said == bug, f"returned {said!r}, which is not what was wrong"


def assert_predicts(said: object, measured: float, tolerance: float) -> None:
    """A number that was predicted, against the one that the law has measured."""
    close = abs(oracles.plain(said) - measured) <= tolerance * max(1.0, abs(measured))
    assert close, f"returned {said:g}, but something else is measured; measure it yourself, then explain the difference"
