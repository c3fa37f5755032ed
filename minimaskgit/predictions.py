"""Predictions in a notebook: a guess before the experiment, and beside what was measured after it.

    predict("5 steps", "At which T is FD lowest?", [1, 2, 4])  ──> the guess, in runs/lessons/predictions.json
    outcome("5 steps", 4)                                      ──> "your guess: 2; measured: 4; not foreseen"
    summary()                                                  ──> all of them, and how many were right

Only notebooks import this module. Outside of JupyterLab, a guess is an argument; every call also works without one.
"""

import math
import os
import textwrap
from collections.abc import Sequence

from minimaskgit.common.errors import UserError, needed
from minimaskgit.common.files import read_kept, write_json
from minimaskgit.runs.run import ROOT

KEPT = ROOT / "runs/lessons/predictions.json"
WIDTH = 48  # of the summary, in characters: what a phone shows without scrolling
CLOSE = 0.2  # a guessed number as near as this to the measured one, as a share of it, counts as right
Answer = str | int | float


def predict(name: str, question: str, choices: Sequence[Answer] | None = None, guess: Answer | None = None):
    """Ask a question and keep the guess: one of `choices`, or without them a number.

    name: the lesson's number and a word, such as "5 steps". guess: the answer, written into the cell; JupyterLab also
    has a field for it. Once the measurement has been shown, the guess stays as it was. UserError if it is no answer.
    """
    kept = _kept().get(name, {})
    if guess is not None and "measured" not in kept:
        kept = _keep(name, question, choices, guess)
    print(question)
    if "JPY_SESSION_NAME" in os.environ and "measured" not in kept:  # set by Jupyter's server, where fields work
        return _field(name, question, choices, kept.get("guess"))
    if kept:
        print(f"your guess{', before you measured' * ('measured' in kept)}: {kept['guess']}")
    else:
        print(f"(no guess yet; to make one, add guess=... to this call: {_expected(choices)})")


def outcome(name: str, measured: Answer) -> None:
    """Print what was measured, beside the guess if there is one, and keep it with the guess."""
    everything = _kept()
    if name not in everything:
        print(f"measured: {_shown(measured)} (you made no guess)")
        return
    everything[name]["measured"] = measured
    write_json(KEPT, everything)
    print(_compared(everything[name]))


def summary() -> None:
    """Print all guesses whose measurement has been shown, and how many of them were right."""
    done = {name: kept for name, kept in _kept().items() if "measured" in kept}
    if not done:
        print("no results yet: guess in a predict(...) cell, then run the cell that measures it")
        return
    for name, kept in done.items():
        print(name)
        for line in (kept["question"], _compared(kept)):
            print(textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="    "))
    print(f"foreseen: {sum(map(is_right, done.values()))} of {len(done)}")


def is_right(kept: dict) -> bool:
    """Whether a guess is the measured choice, or a number close to the measured one."""
    guess, measured = kept["guess"], kept["measured"]
    return guess == measured if kept["choices"] else abs(guess - measured) <= CLOSE * abs(measured)


def _compared(kept: dict) -> str:
    right = "right" if is_right(kept) else "not foreseen"
    return f"your guess: {_shown(kept['guess'])}; measured: {_shown(kept['measured'])}; {right}"


def _shown(answer: Answer) -> str:
    return f"{answer:.3g}" if isinstance(answer, float) else str(answer)


def _expected(choices: Sequence[Answer] | None) -> str:
    return f"one of {', '.join(map(repr, choices))}" if choices else "a number"


def _kept() -> dict[str, dict]:
    return read_kept(KEPT, "forget all guesses")


def _keep(name: str, question: str, choices: Sequence[Answer] | None, guess: Answer) -> dict:
    if not (guess in choices if choices else isinstance(guess, int | float)):
        raise UserError(f"{guess!r} is no answer to {question!r}; expected {_expected(choices)}")
    kept = {"question": question, "choices": list(choices or ()), "guess": guess}
    write_json(KEPT, _kept() | {name: kept})
    return kept


def _field(name: str, question: str, choices: Sequence[Answer] | None, guess: Answer | None):
    """A list of the choices, or a field for a number, that keeps what is entered."""
    widgets = needed("ipywidgets")
    if choices:
        options = [("?", None), *((str(choice), choice) for choice in choices)]
        value = guess if guess in choices else None  # a guess may be older than the choices
        field = widgets.Dropdown(options=options, value=value, description="your guess")
    else:  # a field of text, because one of numbers would begin with a guess of 0
        text = "" if guess is None else str(guess)
        field = widgets.Text(text, placeholder="a number", description="your guess", continuous_update=False)

    def entered(change: dict) -> None:
        answer = change["new"] if choices else _number(change["new"])
        if answer is None:
            field.value = None if choices else ""  # what is no number disappears
        everything = _kept()
        if "measured" in everything.get(name, {}):
            return
        if answer is not None:
            _keep(name, question, choices, answer)
        elif everything.pop(name, None):  # the guess is withdrawn
            write_json(KEPT, everything)

    field.observe(entered, "value")
    return field


def _number(text: str) -> float | None:
    """What is written, such as 0.5 or 0,5; None if it is no finite number."""
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return None
    return number if math.isfinite(number) else None
