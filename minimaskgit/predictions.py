"""Predictions in a notebook: a guess before the experiment, and beside what was measured after it.

    predict("5 steps", "At which T is FD lowest?", [1, 2, 4])  ──> the guess, in runs/lessons/predictions.json
    outcome("5 steps", 4)                                      ──> "your guess: 2; measured: 4; not foreseen"
    summary()                                                  ──> all of them, and how many were right

Only notebooks import this module. Outside of JupyterLab, a guess is an argument; every call also works without one.
"""

import os
from collections.abc import Sequence

from minimaskgit.common.errors import UserError
from minimaskgit.common.files import read_kept, write_json
from minimaskgit.common.tables import text_table
from minimaskgit.runs.run import ROOT

KEPT = ROOT / "runs/lessons/predictions.json"
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
    right = "right" if is_right(everything[name]) else "not foreseen"
    print(f"your guess: {_shown(everything[name]['guess'])}; measured: {_shown(measured)}; {right}")


def summary() -> None:
    """Print all guesses whose measurement has been shown, and how many of them were right."""
    done = {name: kept for name, kept in _kept().items() if "measured" in kept}
    if not done:
        print("no results yet: guess in a predict(...) cell, then run the cell that measures it")
        return
    rows = [
        [name, kept["question"], _shown(kept["guess"]), _shown(kept["measured"]), "yes" if is_right(kept) else "no"]
        for name, kept in done.items()
    ]
    print(text_table(["", "question", "your guess", "measured", "right"], rows, left=(0, 1)))
    print(f"foreseen: {sum(map(is_right, done.values()))} of {len(done)}")


def is_right(kept: dict) -> bool:
    """Whether a guess is the measured choice, or a number close to the measured one."""
    guess, measured = kept["guess"], kept["measured"]
    return guess == measured if kept["choices"] else abs(guess - measured) <= CLOSE * abs(measured)


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
    import ipywidgets

    if choices:
        options = [("?", None), *((str(choice), choice) for choice in choices)]
        field = ipywidgets.Dropdown(options=options, value=guess, description="your guess")
    else:
        field = ipywidgets.FloatText(value=guess or 0.0, description="your guess", continuous_update=False)

    def entered(change: dict) -> None:
        if change["new"] is not None and "measured" not in _kept().get(name, {}):
            _keep(name, question, choices, change["new"])

    field.observe(entered, "value")
    return field
