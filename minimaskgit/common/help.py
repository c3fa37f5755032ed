"""A command's --help: plain text, wrapped to the terminal.

dataclass ──tyro's parser──> options ──> --help: those that people use; --help-all: everything, in groups
"""

import re
import shutil
import textwrap
import warnings
from argparse import Action, ArgumentParser
from collections.abc import Iterable

import tyro

from minimaskgit.common.commands import COMMANDS

PROGRAM = "python -m minimaskgit"
NARROWEST, STACKED, WIDEST = 40, 60, 100  # columns; a terminal narrower than STACKED has texts below their options


def parser_of(options: type, default: object) -> ArgumentParser:
    """The options of a dataclass as an argparse parser, to look at: tyro parses with its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # tyro has no other public way to list the options
        return tyro.extras.get_parser(options, default=default, add_help=False)


def help_text(command: str, parser: ArgumentParser, everything: bool) -> str:
    """The help of a command with the options that people use, or with everything in groups."""
    summary, examples, shown = COMMANDS[command]
    groups = {group.title: (group.description, group._group_actions) for group in parser._action_groups}
    short = bool(shown) and not everything
    if short:
        named = {name_of(action): action for action in parser._actions}
        groups = {"options": (None, [named[f"--{name}"] for name in shown])}
    required = (invocation(action) for action in parser._actions if action.required)
    blocks = [wrapped(f"usage: {' '.join([f'{PROGRAM}.{command}', *required])} [options]", hang=4), wrapped(summary)]
    for title, (about, actions) in groups.items():
        heading = title.removeprefix("positional ").removesuffix(" options") + ":"
        heading += f" {about[0].lower()}{about[1:].rstrip('.')}" if about else ""
        rows = [(invocation(action, everything), explanation(action)) for action in actions]
        blocks += [wrapped(heading, hang=2) + columns(rows)] if rows else []
    blocks.append(["examples:", *(line for example in examples for line in command_line(example))])
    if short:
        blocks.append(wrapped(f"--help-all shows all {len(parser._actions)} settings."))
    return "\n\n".join("\n".join(block) for block in blocks)


def name_of(action: Action) -> str:
    """--count, or SUBMISSIONS for an argument without a name."""
    return action.option_strings[0] if action.option_strings else action.dest.upper()


def choices_of(action: Action) -> list[str]:
    """What the value may be, if it is one of a list; tyro writes {a,b}, {None,a,b} or [{a,b} [{a,b} ...]]."""
    listed = re.search(r"{([^}]+)}", action.metavar or "")
    return [choice for choice in listed[1].split(",") if choice != "None"] if listed else []


def invocation(action: Action, everything: bool = False) -> str:
    """An option and its value, such as --count INT; of a flag's two names, the one that changes the default."""
    if not action.option_strings:
        return name_of(action)
    if action.nargs == 0:
        return ", ".join(action.option_strings) if everything else action.option_strings[bool(action.default)]
    value = "NAME" if choices_of(action) else re.sub(r"{None}\||[\[\]]| .*\.\.\.", "", action.metavar)
    return f"{name_of(action)} {value.replace('STR', 'TEXT')}{' ...' if action.nargs == '*' else ''}"


def explanation(action: Action) -> str:
    """The text of an option, then in brackets its choices and its default.

    A comment may say in words what happens without the option, as (default: all). That replaces a None, but no value.
    """
    text, *defaults = re.split(r" ?\(default: ([^()]*)\)", action.help % {})
    default = next((value for value in reversed(defaults) if value not in ("", "None", "False")), None)
    notes = [f"{'any' if action.nargs == '*' else 'one'} of {', '.join(choices_of(action))}"] * bool(choices_of(action))
    notes += [f"default:\0{'on' if default == 'True' else default}"] * bool(default)
    return f"{text} ({'; '.join(notes)})" if notes else text


def terminal_width() -> int:
    """Columns to use."""
    return min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)


def wrapped(text: str, indent: int = 0, hang: int = 0, hyphens: bool = False, end: str = "") -> list[str]:
    """Lines as wide as the terminal, all but the first indented by `hang` more columns; no line ends at a NUL."""
    first, others = " " * indent, " " * (indent + hang)
    width = terminal_width() - len(end)
    lines = textwrap.wrap(text, width, initial_indent=first, subsequent_indent=others, break_on_hyphens=hyphens)
    return f"{end}\n".join(lines).replace("\0", " ").split("\n")


def columns(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Names and their texts side by side; the text of a long name is below it, and in a narrow terminal every text."""
    rows, width = list(rows), terminal_width()
    fitting = [len(name) + 4 for name, _ in rows if STACKED <= width >= 3 * (len(name) + 4)]
    start, lines = max(fitting, default=6), []
    for name, text in rows:
        left, right = wrapped(name, 2, 2, hyphens=True), wrapped(text, start)
        if len(left[-1]) + 2 <= start:
            right[0] = left.pop().ljust(start) + right[0][start:]
        lines += left + right
    return lines


def command_line(example: str) -> list[str]:
    """A command to copy; each line but the last ends with a backslash, none between an option and its value."""
    joined = re.sub(r"(--[^ ]+) (?=[^-])", "\\1\0", f"{PROGRAM}.{example}")
    return wrapped(joined, indent=2, hang=4, end=" \\")
