"""What the README claims: its numbers are those that the commands wrote, and its links lead somewhere."""

import json
import re
from pathlib import Path

from minimaskgit import bench, compare, demo

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "data" / "results"


def results(name: str) -> dict:
    return json.loads((RESULTS / name).read_text())


def test_the_demo_s_numbers_are_those_of_its_report():
    assert demo.summary(results("demo/report.json")) in README


def test_the_race_s_numbers_are_those_of_compare():
    result = results("demo/compare.json")
    assert compare.table(result["rows"]) in README


def test_the_speeds_are_those_of_the_bench():
    assert bench.report(results("bench.json")) in README


def test_every_link_and_picture_is_there():
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(targets) > 10
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_every_command_of_the_readme_exists():
    for name in re.findall(r"minimaskgit\.(\w+) ", README):
        assert (ROOT / "minimaskgit" / f"{name}.py").exists(), name
