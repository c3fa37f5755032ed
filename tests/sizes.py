"""A law that every lesson with sizes has: a function is right at all of them, or at none."""

from collections.abc import Callable


def assert_no_size_is_written_in(right: dict[str, Callable[[], bool]]) -> None:
    """right: by size, in words, whether the answer there is right. Where no answer is, another law says why."""
    good, bad = [], []
    for size, is_right in right.items():
        why = ""
        try:
            held = is_right()
        except NotImplementedError:
            raise
        except Exception as error:
            held, why = False, f" ({type(error).__name__}: {error})".splitlines()[0]
        (good if held else bad).append(size + why)
    said = f"right with {' and '.join(good)}, but wrong with {' and '.join(bad)}; is a size written into the function?"
    assert not good or not bad, said
