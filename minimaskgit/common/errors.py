"""The one kind of error that commands turn into a single line instead of a traceback."""


class UserError(Exception):
    """A mistake of the user's, told in one clear line: what was given, what was expected, what to do.

    Commands print it and exit with code 2.
    """
