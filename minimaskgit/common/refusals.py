"""What is wrong with a command line, in one line.

tyro's event ──> unknown option --lable; did you mean --label?    --count three: expected a whole number
"""

import re
from argparse import Action, ArgumentParser
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise, takewhile

from tyro import _errors as tyro

from minimaskgit.common.help import choices_of, explanation, invocation, name_of


def refusal(event: tyro.ParseErrorEvent, parser: ArgumentParser, argv: Sequence[str]) -> str | None:
    """Why tyro refuses a command line, and what was expected; None for what only tyro can explain."""
    named = {name: action for action in parser._actions for name in action.option_strings or [action.dest]}
    match event:
        case tyro.UnrecognizedArgs(tokens=tokens) | tyro.MissingArgs(unrecognized_tokens=[_, *_] as tokens):
            return unknown(tokens, named, words(argv))
        case tyro.MissingArgs(missing_arguments=arguments):
            actions = [named[each.arg.lowered.name_or_flags[-1]] for each in arguments]
            texts = (f"{invocation(action)} ({explanation(action).removesuffix(' (required)')})" for action in actions)
            return f"missing {' and '.join(texts)}; see --help"
        case tyro.InvalidChoice() | tyro.BadValue() | tyro.InstantiationFailure() if event.argument:
            action = named[event.argument.lowered.name_or_flags[-1]]
            return f"{' '.join([name_of(action), *given(action, words(argv))])}: expected {expected(action)}"
    return None


def empty_path(parser: ArgumentParser, argv: Sequence[str]) -> str | None:
    """Which path is empty, as from a shell variable that is not set: for Python that is the current folder."""
    paths = {
        name: action
        for action in parser._actions
        for name in action.option_strings or [""]
        if action.metavar and "PATH" in action.metavar
    }
    for option, value in pairwise(["", *words(argv)]):
        name = option if option.startswith("--") else ""
        if value == "" and name in paths:
            return f"{name_of(paths[name])} '': expected a path; . is the current folder"
    return None


def words(argv: Sequence[str]) -> list[str]:
    """The command line as --batch-size 4, where it may have --batch_size=4."""
    found = []
    for token in argv:
        name, *value = token.split("=", 1) if token.startswith("--") else [token]
        found += [name.replace("_", "-") if name.startswith("--") else name, *value]
    return found


def unknown(tokens: Sequence[str], named: Mapping[str, Action], words: Sequence[str]) -> str:
    """The first unknown option, and what may be meant: --depth is like --transformer.depth."""
    option = next((token.partition("=")[0] for token in tokens if token.startswith("-")), None)
    if option is None:
        for flag, value in pairwise(words):
            if value == tokens[0] and flag in named and named[flag].nargs == 0:
                return f"{flag} {value}: expected no value after {flag}; see --help"
        return f"unexpected {tokens[0]!r}, which belongs to no option; put quotes around a value with spaces"
    written = option.lstrip("-").replace("_", "-")
    meant = [name for name in named if name.endswith(f".{written}")]
    meant = meant or get_close_matches(f"--{written}", named, n=1, cutoff=0.8)
    return f"unknown option {option}; " + (f"did you mean {', '.join(meant)}? See --help" if meant else "see --help")


def given(action: Action, words: Sequence[str]) -> list[str]:
    """What follows the last use of an option, up to the next option."""
    last = max((i for i, word in enumerate(words) if word in action.option_strings), default=-1)
    values = list(takewhile(lambda word: not word.startswith("--"), words[last + 1 :]))
    values = values[: action.nargs] if isinstance(action.nargs, int) else values
    return [value if value.isprintable() and value else repr(value) for value in values]


def expected(action: Action) -> str:
    """The value that an option takes, in words."""
    if choices := choices_of(action):
        return f"one of {', '.join(choices)}"
    kinds = {"INT": "whole number", r"^\d+\.\.\d+": "whole number", "PATH": "path", "STR": "value"}
    kind = next((words for name, words in kinds.items() if re.search(name, action.metavar)), "number")
    if action.nargs == 1:
        return f"a {kind}"
    return f"{kind}s, separated by spaces" if action.nargs == "*" else f"{action.nargs} {kind}s"
