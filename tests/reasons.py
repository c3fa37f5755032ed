"""A law of all broken functions: the named reason is the right one; compared only when a class is graded."""


def assert_is_the_reason(said: object, names: tuple[str, ...], bug: str, graded: bool) -> None:
    """In a student's own check any of the names will do, or one could try them all."""
    assert said in names, f"returned {said!r}; expected one of {', '.join(names)}"
    assert not graded or said == bug, f"returned {said!r}, which is not what was wrong"
