"""What the README claims: its numbers are those that the commands wrote, and its links lead somewhere."""

import json
import re
from pathlib import Path

import pytest

from minimaskgit import ablate, bench, compare, demo, showdown

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
RESULTS = ROOT / "data" / "results"


def results(name: str) -> dict:
    return json.loads((RESULTS / name).read_text("utf-8"))


def code(text: str) -> str:
    return f"```\n{text}\n```"


# What stands between <!-- NAME --> and <!-- /NAME --> in the README.
BLOCKS = {
    "demo": lambda: code(
        compare.table(results("demo/compare.json")["rows"]) + "\n\n" + demo.summary(results("demo/report.json"))
    ),
    "claims": lambda: showdown.claims_table(showdown.claims(showdown.load(RESULTS / "showdown/compare.json"))),
    "showdown": lambda: code(showdown.table(showdown.load(RESULTS / "showdown/compare.json"))),
    "ablation": lambda: code(ablate.table(results("ablation/ablation.json"))),
    "demo-limited": lambda: code(demo.summary(results("demo-limited/report.json"))),
    "bench": lambda: code(
        "\n\n".join(bench.report(results(f"bench/{path.name}")) for path in sorted((RESULTS / "bench").glob("*.json")))
    ),
}


def between(name: str) -> str:
    return rf"(?<=<!-- {name} -->\n).*?(?=\n<!-- /{name} -->)"


@pytest.mark.parametrize("name", BLOCKS)
def test_the_readme_s_numbers_are_those_that_the_commands_wrote(name):
    found = re.search(between(name), README, re.DOTALL)
    assert found and found[0] == BLOCKS[name](), "python tests/test_readme.py puts the new numbers in"


def test_every_link_and_picture_is_there():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(targets) > 10
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_every_command_of_the_readme_exists():
    for name in re.findall(r"minimaskgit\.(\w+) ", README):
        assert (ROOT / "minimaskgit" / f"{name}.py").exists(), name


if __name__ == "__main__":
    text = README
    for name, block in BLOCKS.items():
        text = re.sub(between(name), lambda _, block=block: block(), text, flags=re.DOTALL)
    (ROOT / "README.md").write_text(text, "utf-8")
