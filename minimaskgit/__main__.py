"""What there is to run: `python -m minimaskgit` lists the commands, each of which is a module of its own."""

import sys
from collections.abc import Sequence

from minimaskgit.common import cli
from minimaskgit.common.commands import COMMANDS
from minimaskgit.common.errors import UserError
from minimaskgit.common.help import PROGRAM, columns, command_line, wrapped


def main(argv: Sequence[str] | None = None) -> None:
    """List the commands; UserError for anything but --help."""
    given = next(iter(sys.argv[1:] if argv is None else argv), "--help")
    if given in COMMANDS:
        raise UserError(f"a dot is missing: write {PROGRAM}.{given}")
    if given not in ("-h", "--help", "--help-all"):
        raise UserError(f"unknown command {given!r}; expected one of {', '.join(COMMANDS)}")
    lines = [
        *wrapped(f"usage: {PROGRAM}.COMMAND [options]", hang=4),
        "",
        *("commands:", *columns((name, command.summary) for name, command in COMMANDS.items())),
        "",
        *wrapped("start with (the first takes seconds, the second minutes):"),
        *command_line(COMMANDS["generate"].examples[0]),
        *command_line(COMMANDS["demo"].examples[0]),
        "",
        *wrapped("--help after a command explains its options."),
    ]
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    cli.run(main)
