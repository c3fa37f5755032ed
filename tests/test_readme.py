"""The README's claims: its numbers are those written by the commands, and its links and commands exist."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from minimaskgit import bench, demo
from minimaskgit.measuring import claims, findings, race, showdown

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
RESULTS = ROOT / "data" / "results"
RUNS = ROOT / "runs"


def results(name: str) -> dict:
    return json.loads((RESULTS / name).read_text("utf-8"))


def code(text: str) -> str:
    return f"```\n{text}\n```"


def lesson_times() -> str:
    pytest.importorskip("nbformat", reason="the lessons extra is not installed: make lab")
    spec = importlib.util.spec_from_file_location("run_lessons", ROOT / "lessons" / "run.py")
    runner = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runner)
    return code(runner.table(results("lessons/times.json")))


# The block between <!-- NAME --> and <!-- /NAME --> in a text.
BLOCKS = {
    "demo": lambda: code(
        race.table(results("demo/compare.json")["rows"]) + "\n\n" + demo.summary(results("demo/report.json"))
    ),
    "claims": lambda: claims.claims_table(claims.claims(claims.load(RESULTS / "showdown/compare.json"))),
    "showdown": lambda: code(showdown.table(claims.load(RESULTS / "showdown/compare.json"))),
    "ablation": lambda: code(findings.table(results("ablation/ablation.json"))),
    "demo-fp32": lambda: code(demo.summary(results("demo-fp32/report.json"))),
    "bench": lambda: code(
        "\n\n".join(bench.report(results(f"bench/{path.name}")) for path in sorted((RESULTS / "bench").glob("*.json")))
    ),
}


DOCUMENT = {"lessons": "lessons/README.md"}  # of each block; the README if not named


def between(name: str) -> str:
    return rf"(?<=<!-- {name} -->\n).*?(?=\n<!-- /{name} -->)"


@pytest.mark.parametrize("name", BLOCKS)
def test_the_readme_s_numbers_are_those_written_by_the_commands(name):
    text = (ROOT / DOCUMENT.get(name, "README.md")).read_text("utf-8")
    found = re.search(between(name), text, re.DOTALL)
    assert found and found[0] == BLOCKS[name](), "python tests/test_readme.py puts the new numbers in"


def test_every_link_and_picture_exists():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(targets) > 10
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_every_command_of_the_readme_exists():
    for name in re.findall(r"minimaskgit\.(\w+) ", README):
        assert (ROOT / "minimaskgit" / f"{name}.py").exists(), name


def keep_results() -> None:
    """Copy the commands' results on this machine from runs/ to data/results/."""
    config = RUNS / "demo" / "config.json"
    fast = config.exists() and json.loads(config.read_text("utf-8"))["precision"] == "bf16"
    results = {
        "demo/config.json demo/report.json demo/samples.png demo/compare/*": "demo" if fast else "demo-fp32",
        "demo/showdown/compare.json demo/showdown/showdown.png demo/showdown/quality.png": "showdown",
        "demo/ablation-quick/ablation.json demo/ablation-quick/ablation.png": "ablation",
        "bench/*.json": "bench",
        "lessons/times.json": "lessons",
    }
    for patterns, kept in results.items():
        for path in (path for pattern in patterns.split() for path in RUNS.glob(pattern)):
            (RESULTS / kept).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, RESULTS / kept)


if __name__ == "__main__":
    if "--keep" in sys.argv:
        keep_results()
    for name, block in BLOCKS.items():
        document = ROOT / DOCUMENT.get(name, "README.md")
        text = re.sub(between(name), lambda _, block=block: block(), document.read_text("utf-8"), flags=re.DOTALL)
        document.write_text(text, "utf-8")
