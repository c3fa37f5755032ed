"""The one kind of error that commands turn into a single line instead of a traceback."""

import re


class UserError(Exception):
    """A user's mistake, reported in one clear line: what was given, what was expected, what to do.

    Commands print the line and exit with code 2.
    """


def first_line(error: BaseException) -> str:
    """The first line of an error's message, without addresses of objects."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r" <.*>", "", line)
