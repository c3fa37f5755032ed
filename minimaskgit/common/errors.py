"""The one kind of error that commands turn into a single line instead of a traceback."""


class UserError(Exception):
    """A user's mistake, reported in one clear line: what was given, what was expected, what to do.

    Commands print the line and exit with code 2.
    """
