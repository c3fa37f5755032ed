"""The documents: their numbers are those that the commands wrote, their links lead somewhere, the README is short."""

import ast
import json
import pydoc
import re
import shutil
import sys
from pathlib import Path

import own_pictures
import pytest

from minimaskgit import bench, demo
from minimaskgit.measuring import claims, findings, passes, race, recipe, showdown

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "minimaskgit"
README = (ROOT / "README.md").read_text("utf-8")
RESULTS = ROOT / "data" / "results"
RUNS = ROOT / "runs"

DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "data/pretrained/glyphs/README.md",
    "data/pretrained/photos/README.md",
    "data/results/README.md",
    "lessons/README.md",
    "lessons/bugs.md",
    "lessons/glossary.md",
    "lessons/grading.md",
    "lessons/pretest.md",
    "minimaskgit/training/README.md",
)


def text_of(document: str) -> str:
    return (ROOT / document).read_text("utf-8")


def results(name: str) -> dict:
    return json.loads((RESULTS / name).read_text("utf-8"))


def code(text: str) -> str:
    return f"```\n{text}\n```"


def lesson_times() -> str:
    pytest.importorskip("nbformat", reason="the lessons extra is not installed: make lab")
    sys.path.insert(0, str(ROOT / "lessons"))
    import run as runner

    return code(runner.table(results("lessons/times.json")))


def critic() -> str:
    found = json.loads((ROOT / "data/pretrained/glyphs/critic/evaluation.json").read_text("utf-8"))
    return (
        f"{found['auroc_random_codes']:.2f} for random codes among real ones,"
        f" {found['auroc_own_samples']:.2f} for the transformer's own samples."
    )


def own() -> str:
    path = RESULTS / "own-pictures/own-pictures.json"
    return code(own_pictures.table(results("own-pictures/own-pictures.json"))) if path.exists() else "Not measured yet."


def photos() -> str:
    """How the photographs' weights were trained, and how they fare by the bars that were set before."""
    folder = ROOT / "data/pretrained/photos"
    load = lambda name: json.loads((folder / name).read_text("utf-8"))
    config = load("config.json")
    masked, twin = (result["metrics"] for result in load("evaluation.json"))
    stages = {"tokenizer": "tokenizer_training", "transformer": "transformer_training", "autoregressive": None}
    trained = ", ".join(
        f"{stage} {config[stages[stage] or 'transformer_training']['steps']} steps in"
        f" {load(f'{stage}/evaluation.json')['seconds']:.0f} s"
        for stage in stages
    )
    value = lambda metrics, name: metrics[name]["value"]
    bars = {
        "asked class, over the judge's accuracy on real images | at least 0.7": (
            lambda m: value(m, "class_accuracy") / m["class_accuracy"]["real"], lambda x: x >= 0.7),
        "FD, over that of reconstructions | at most 2": (
            lambda m: value(m, "fd") / value(m, "reconstruction_fd"), lambda x: x <= 2),
        "FD, over the twin's | at most 1": (lambda m: value(m, "fd") / value(twin, "fd"), lambda x: x <= 1),
        "precision, over the twin's | at least 1": (
            lambda m: value(m, "precision") / value(twin, "precision"), lambda x: x >= 1),
        "CAS, over the twin's | at least 1": (lambda m: value(m, "cas") / value(twin, "cas"), lambda x: x >= 1),
        "PSNR of reconstructions, dB | at least 21": (lambda m: value(m, "psnr"), lambda x: x >= 21),
        "codes in use | all": (lambda m: value(m, "code_usage"), lambda x: x == 1),
    }  # fmt: skip
    rows = []
    for bar, (measure, holds) in bars.items():
        found = measure(masked)
        rows.append(f"| {bar} | {found:.3g} | {'met' if holds(found) else 'missed'} |")
    low, high = load("evaluation.json")[0]["memory"]["chance"]
    memory = ", ".join(f"{value(masked, f'memory_{space}'):.1%} in {space}" for space in ("pixels", "features"))
    return "\n".join([
        f"Training: {trained}.", "", "| | bar | measured | |", "| --- | --- | --- | --- |", *rows, "",
        f"Memory: {memory}; {low:.1%} to {high:.1%} without memory.",
    ])  # fmt: skip


def strays() -> str:
    rows = results("strays/strays.json")["without_strays"].items()
    return "\n".join(
        ["| pictures | without strays |", "| --- | --- |"]
        + [f"| {name} | {', '.join(f'{value:.1%}' for value in values)} |" for name, values in rows]
    )


def viewer() -> str:
    seeds = results("strays/strays.json")["seeds"].items()
    lines = ["| seed | both see strays | only the viewer | only the metric | neither |", "| --- " * 5 + "|"]
    for seed, found in seeds:
        eye, metric = set(found["viewer"]), set(found["metric"])
        counts = len(eye & metric), len(eye - metric), len(metric - eye), 100 - len(eye | metric)
        lines.append(f"| {seed} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)


def between(name: str) -> str:
    return rf"(?<=<!-- {name} -->\n).*?(?=\n<!-- /{name} -->)"


def inside(name: str, document: str = "README.md") -> str:
    """The text between <!-- NAME --> and <!-- /NAME -->."""
    found = re.search(between(name), text_of(document), re.DOTALL)
    assert found, f"{document} has no block {name}"
    return found[0]


def line_count(path: str) -> int:
    return (ROOT / path).read_bytes().count(b"\n")  # as `wc -l` counts


def core_path() -> str:
    """The README's table of the files to read first, with their line counts and the total brought up to date."""
    table = inside("core")
    lines = {path: line_count(path) for path in re.findall(r"\((minimaskgit/[\w/]+\.py)\)", table)}
    table = re.sub(r"\((minimaskgit/\S+)\) \| \d+ \|", lambda row: f"({row[1]}) | {lines[row[1]]} |", table)
    return re.sub(r"\| \d+ files \| \d+ \|", f"| {len(lines)} files | {sum(lines.values())} |", table)


# What stands between <!-- NAME --> and <!-- /NAME --> in a document.
BLOCKS = {
    "demo": lambda: code(
        race.table(results("demo/compare.json")["rows"]) + "\n\n" + demo.summary(results("demo/report.json"))
    ),
    "core": core_path,
    "showdown": lambda: code(showdown.table(claims.load(RESULTS / "showdown/compare.json"))),
    "claims": lambda: claims.claims_table(claims.claims(claims.load(RESULTS / "showdown/compare.json"))),
    "ablation": lambda: code(findings.table(results("ablation/ablation.json"))),
    "bench": lambda: code(
        "\n\n".join(bench.report(results(f"bench/{path.name}")) for path in sorted((RESULTS / "bench").glob("*.json")))
    ),
    "recipe": lambda: code(recipe.table(results("recipe/recipe.json"))),
    "samplers": lambda: code(passes.table(results("samplers/passes.json"))),
    "pretrained": lambda: code(passes.table(results("pretrained/passes.json"))),
    "critic": critic,
    "own": own,
    "own-time": lambda: own_pictures.time_line(results("own-pictures/time.json")),
    "photos": photos,
    "photo-ablation": lambda: code(findings.table(results("photos/ablation.json"))),
    "photo-passes": lambda: code(passes.table(results("photos/passes.json"))),
    "variants": lambda: code(recipe.table(results("photos/recipe.json"))),
    "strays": strays,
    "viewer": viewer,
    "lessons": lesson_times,
}


DOCUMENT = {  # of each block; the README if not named
    "showdown": "data/results/README.md",
    "claims": "data/results/README.md",
    "ablation": "data/results/README.md",
    "bench": "data/results/README.md",
    "recipe": "data/results/README.md",
    "samplers": "data/results/README.md",
    "pretrained": "data/results/README.md",
    "critic": "minimaskgit/training/README.md",
    "own": "minimaskgit/training/README.md",
    "own-time": "minimaskgit/training/README.md",
    "photos": "data/results/README.md",
    "photo-ablation": "data/results/README.md",
    "photo-passes": "data/results/README.md",
    "variants": "data/results/README.md",
    "strays": "data/results/README.md",
    "viewer": "data/results/README.md",
    "lessons": "lessons/README.md",
}


@pytest.mark.parametrize("name", BLOCKS)
def test_the_documents_numbers_are_those_that_the_commands_wrote(name):
    found = inside(name, DOCUMENT.get(name, "README.md"))
    assert found == BLOCKS[name](), "update them: python tests/test_readme.py"


def test_the_readme_has_fewer_than_250_lines():
    assert line_count("README.md") < 250


def test_the_core_path_counts_every_file_and_each_builds_on_those_above_it():
    _, _, *rows, total = inside("core").splitlines()
    found = [re.fullmatch(r"\| [^|]+ \| \[(.+)\]\(minimaskgit/(.+)\) \| (\d+) \| [^|]+ \|", row) for row in rows]
    assert all(found), "a row is: | section | [file](minimaskgit/file) | lines | what it is |"
    files = [row[2] for row in found]
    assert files == [row[1] for row in found] and 10 <= len(files) == len(set(files)) <= 14
    lines = [line_count(f"minimaskgit/{file}") for file in files]
    assert [int(row[3]) for row in found] == lines
    assert total == f"| in all | {len(files)} files | {sum(lines)} | |"
    for place, file in enumerate(files):
        for statement in ast.walk(ast.parse((PACKAGE / file).read_text("utf-8"))):
            if isinstance(statement, ast.ImportFrom) and statement.module.startswith("minimaskgit."):
                imported = statement.module.removeprefix("minimaskgit.").replace(".", "/") + ".py"
                assert imported not in files[place:], f"{file} imports {imported}, which comes later"


def test_the_tree_names_every_file_of_the_package_and_nothing_else():
    fence, top, *lines, end = inside("tree").splitlines()
    assert (fence, top, end) == ("```", "minimaskgit/", "```")
    named, room = [], ""
    for line in lines:
        if opened := re.match(r" {4}(\w+/) +\S", line):
            room = opened[1]
        elif line.startswith(" " * 8):
            named += [room + name for name in line.split()]
        else:
            named.append(re.match(r" {4}(\w+\.py) +\S", line)[1])
    files = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py")}
    opening = {name for name in files if name.endswith("__init__.py")}  # one in each folder, as the README says
    assert sorted(named) == sorted(files - opening)
    assert opening == {f"{name.rpartition('/')[0]}/__init__.py".removeprefix("/") for name in files}


def anchors(document: str) -> set[str]:
    """Where a link's #part can lead in a document: its headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text_of(document), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_and_picture_of_a_document_is_there(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        if target.startswith("https://"):
            continue
        path, _, part = target.partition("#")
        there = (ROOT / document).parent / path if path else ROOT / document
        assert there.exists(), target
        assert not part or part in anchors(there.resolve().relative_to(ROOT.resolve()).as_posix()), target


def test_every_document_is_looked_at_and_reached_from_the_readme():
    found = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("*.md")}
    for folder in ("lessons", "minimaskgit"):
        found |= {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.md")}
    assert found <= set(DOCUMENTS)
    assert set(DOCUMENTS) <= {"README.md", *re.findall(r"\]\(([^)#\s]+)", README)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_of_a_document_exists(document):
    for name in re.findall(r"-m minimaskgit\.(\w+)", text_of(document)):
        assert (PACKAGE / f"{name}.py").exists(), name


def test_the_table_of_tests_has_every_test_file():
    table = text_of("CONTRIBUTING.md").partition("## Tests")[2].partition("## The fourteen known bugs")[0]
    named = set(re.findall(r"`(test_\w+\.py)`", table))
    assert named == {path.name for path in (ROOT / "tests").glob("test_*.py")}


def test_each_known_bug_names_functions_and_tests_that_exist():
    table = text_of("CONTRIBUTING.md").partition("## The fourteen known bugs")[2]
    rows = re.findall(r"^\| (\d+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE)
    assert [int(number) for number, *_ in rows] == list(range(1, 15))
    for number, changes, failed in rows:
        for change in changes.split("; "):
            function = re.match(r"`([\w.]+)`: ", change)
            assert function and callable(pydoc.locate(f"minimaskgit.{function[1]}")), f"bug {number}: {change}"
        for tests in failed.split("; "):
            file, *names = re.findall(r"`([^`]+)`", tests)
            text = (ROOT / "tests" / f"{file}.py").read_text("utf-8")
            missing = [name for name in names if f"\ndef test_{name}(" not in text]
            assert names and not missing, f"bug {number}: {file} lacks {missing}"


def keep_results() -> None:
    """Copy the commands' results on this machine from runs/ to data/results/."""
    results = {
        "demo/config.json demo/report.json demo/samples.png demo/compare/*": "demo",
        "demo/showdown/compare.json demo/showdown/showdown.png demo/showdown/quality.png": "showdown",
        "demo/ablation-quick/ablation.json demo/ablation-quick/ablation.png": "ablation",
        "bench/*.json": "bench",
        "recipe/recipe.json recipe/recipe.png": "recipe",
        "demo/passes/*": "samplers",
        "pretrained/glyphs/passes/*": "pretrained",
        "lessons/times.json": "lessons",
        "own-pictures/*.json": "own-pictures",
    }
    for patterns, kept in results.items():
        for path in (path for pattern in patterns.split() for path in RUNS.glob(pattern)):
            (RESULTS / kept).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, RESULTS / kept)


if __name__ == "__main__":
    if "--keep" in sys.argv:
        keep_results()
    for name, block in BLOCKS.items():
        document = DOCUMENT.get(name, "README.md")
        try:
            new = block()
        except (FileNotFoundError, pytest.skip.Exception) as error:
            print(f"{document}: block {name} left unchanged: {error}")
            continue
        text = re.sub(between(name), lambda _, new=new: new, text_of(document), flags=re.DOTALL)
        (ROOT / document).write_text(text, "utf-8")
