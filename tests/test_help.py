"""--help and refused command lines: they fit the terminal, are plain text, and say what to do next."""

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest
from command_line import error_line

from minimaskgit import __main__ as overview
from minimaskgit.common import cli
from minimaskgit.common.commands import COMMANDS
from minimaskgit.common.help import parser_of

HELPS = [(name, form) for name in COMMANDS for form in ("--help", "--help-all")] + [("__main__", "--help")]


def command(name: str):
    return importlib.import_module(f"minimaskgit.{name}")


def shown(capsys, monkeypatch, name: str, width: int, *arguments: str) -> str:
    """What a command prints for --help, perhaps after other options, in a terminal of this width."""
    monkeypatch.setenv("COLUMNS", str(width))
    try:
        command(name).main(list(arguments))
    except SystemExit as stop:
        assert stop.code == 0
    return capsys.readouterr().out


def actions_of(name: str) -> list:
    """The options that a command accepts, as those of an argparse parser."""
    return parser_of(command(name).Options, None)._actions


@pytest.mark.parametrize("width", [1, 40, 59, 80, 120, 200])
@pytest.mark.parametrize("name, form", HELPS)
def test_no_line_of_the_help_is_wider_than_the_terminal(capsys, monkeypatch, name, form, width):
    lines = shown(capsys, monkeypatch, name, width, form).splitlines()
    assert len(lines) > 5 and max(map(len, lines)) <= max(width, 40)
    assert all(line == line.rstrip() and line.isascii() and line.isprintable() for line in lines)


@pytest.mark.parametrize("name", ["train", "demo"])
def test_the_short_help_fits_a_page_and_says_how_many_settings_there_are(capsys, monkeypatch, name):
    lines = shown(capsys, monkeypatch, name, 100, "--help").splitlines()
    assert len(lines) < 60 and lines[-1] == f"--help-all shows all {len(actions_of(name))} settings."


@pytest.mark.parametrize("name", COMMANDS)
def test_help_all_has_every_option(capsys, monkeypatch, name):
    accepted = {option for action in actions_of(name) for option in action.option_strings}
    assert accepted <= set(re.findall(r"--[\w.-]+", shown(capsys, monkeypatch, name, 100, "--help-all")))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained_in_one_or_two_lines_of_a_common_terminal(capsys, monkeypatch, name):
    page = shown(capsys, monkeypatch, name, 100, "--help-all")
    entries = re.split(r"\n  (?=--\w|[A-Z]+ )", page[: page.index("\nexamples:")])[1:]
    for entry in entries:
        first, *more = entry.split("\n\n")[0].splitlines()
        beside = first.partition("  ")[2]  # empty if the option is too long for its column
        most = 2 + entry.count(",") // 6  # a long list of choices takes more lines
        assert 1 <= len(more) + bool(beside) <= most, entry


def test_a_default_is_that_of_the_preset_and_a_word_replaces_none(capsys, monkeypatch):
    page = shown(capsys, monkeypatch, "train", 100, "--preset", "full", "--max_steps=3", "--help")
    page = " ".join(page.split())
    assert "run folder; with --max-steps N, runs/PRESET-N-steps (default: runs/full-3-steps)" in page
    assert "only these classes, by name, id or number (default: all)" in page and "None" not in page
    assert "(default: 40000)" in page and "--images.no-flip" in page  # the flag that would change the preset's default


@pytest.mark.parametrize("name, example", [(name, example) for name in COMMANDS for example in COMMANDS[name].examples])
@pytest.mark.parametrize("width", [40, 100])
def test_every_example_can_be_copied_from_the_help_and_is_accepted(capsys, monkeypatch, name, example, width):
    page = shown(capsys, monkeypatch, name, width, "--help")
    examples = page[page.index("examples:\n") :].replace("\\\n", " ").splitlines()
    words = next(words for line in examples if (words := shlex.split(line))[3:] == example.split()[1:] and words[2:])
    assert words[:3] == ["python", "-m", f"minimaskgit.{name}"]
    cli.parse(command(name).Options, name, argv=words[3:])


REFUSED = {
    "generate --lable heart": "unknown option --lable; did you mean --label? See --help",
    "generate --lable=heart --count x": "unknown option --lable; did you mean --label? See --help",
    "edit --start_stepp 3": "unknown option --start_stepp; did you mean --start-step? See --help",
    "export --rnu runs/demo --out shared": "unknown option --rnu; did you mean --run? See --help",
    "train --depth 8": "unknown option --depth; did you mean --transformer.depth? See --help",
    "train --run runs/demo": "unknown option --run; see --help",
    "generate -n 3": "unknown option -n; see --help",
    "generate --count three": "--count three: expected a whole number",
    "generate --count=": "--count '': expected a whole number",
    "generate --count=3 --count 1e3": "--count 1e3: expected a whole number",
    "generate --count --seed 3": "--count: expected a whole number",
    "generate --temperature hot": "--temperature hot: expected a number",
    "edit --start_step=x": "--start-step x: expected a whole number",
    "bench --batches 1,2": "--batches 1,2: expected whole numbers, separated by spaces",
    "bench --precisions fp32 fp64": "--precisions fp32 fp64: expected one of bf16, fp32",
    "train --transformer-training.betas 0.9": "--transformer-training.betas 0.9: expected 2 numbers",
    "train --preset demmo": "--preset demmo: expected one of"
    " demo, glyphs, demo-real, photos, tiny-imagenet, full, paper, official",
    "train --preset": "--preset: expected one of demo, glyphs, demo-real, photos, tiny-imagenet, full, paper, official",
    "train --out": "--out: expected a path",
    "train --max-steps x": "--max-steps x: expected a whole number",
    "train --resume=yes": "--resume yes: expected no value after --resume; see --help",
    "edit --inpaint yes": "--inpaint yes: expected no value after --inpaint; see --help",
    "edit --label school bus": "unexpected 'bus', which belongs to no option;"
    " put quotes around a value with spaces",
    "export --run runs/demo": "missing --out PATH (folder to write; it must not exist yet); see --help",
    "grade": "missing SUBMISSIONS (one file, or a folder or zip of files, folders or zips)"
    " and --lesson INT (number of the lesson); see --help",
    "__main__ nonsense": f"unknown command 'nonsense'; expected one of {', '.join(COMMANDS)}",
    "__main__ train --preset demo": "a dot is missing: write python -m minimaskgit.train",
}  # fmt: skip


@pytest.mark.parametrize("line", REFUSED)
def test_a_wrong_command_line_is_refused_in_one_line_that_says_what_was_expected(capsys, line):
    name, *arguments = line.split()
    assert error_line(capsys, command(name), *arguments) == f"error: {REFUSED[line]}"
    assert not capsys.readouterr().out


def test_a_value_with_a_line_break_leaves_the_error_on_one_line(capsys):
    assert (
        error_line(capsys, command("generate"), "--count", "1\n2") == r"error: --count '1\n2': expected a whole number"
    )


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("train", "demo"))) for name in COMMANDS]
)
def test_no_value_that_a_command_can_refuse_brings_out_the_parser_s_own_panel(capsys, name):
    required = {"export": ["--run", "a", "--out", "b"], "grade": ["a", "--lesson", "1"]}
    required["assignment"] = ["--lesson", "5", "--variants", "7"]
    required["import_weights"] = ["--tokenizer", "a", "--transformer", "b", "--out", "c"]
    required |= {command: ["--run", "a"] for command in ("ablate", "search")}
    for action in actions_of(name):
        takes_any = action.metavar is not None and re.search("STR|PATH", action.metavar)
        if action.option_strings and not takes_any:
            shown = error_line(capsys, command(name), *required.get(name, []), action.option_strings[0], "wrong")
            assert re.fullmatch(rf"error: {re.escape(action.option_strings[0])} wrong: expected .+", shown)


def test_without_a_command_the_package_lists_them_all_and_what_to_type_first(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["minimaskgit"])
    cli.run(overview.main)
    page = capsys.readouterr().out
    assert all(f"\n  {name} " in page for name in COMMANDS)
    assert "python -m minimaskgit.generate --pretrained glyphs" in page
    files = Path(overview.__file__).parent.glob("*.py")
    assert {file.stem for file in files if "cli.run(main)" in file.read_text("utf-8")} == {"__main__", *COMMANDS}
