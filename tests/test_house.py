"""Where everything lives: each file imports only from its own floor or below, and nothing imports in a circle.

commands, notebooks ──> measuring ──> training ──> figures, web ──> runs, grading ──> rivals, data ──> paper ──> common
"""

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from importlib import metadata
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "minimaskgit"
PAPER = ("schedules", "masking", "tokenizer", "adversary", "classifier", "transformer", "decoding", "autoregressive")
PAPER += ("positions", "editing", "outpainting", "metrics")
COMMANDS = (
    "train",
    "generate",
    "edit",
    "compare",
    "evaluate",
    "search",
    "playground",
    "ablate",
    "passes",
    "recipe",
    "bench",
    "assignment",
    "grade",
    "export",
    "import_weights",
    "imagenet",
    "demo",
    "__main__",
    "notebook",
)
FLOORS = {
    "common": 0,
    "decoders": 2,
    "rivals": 2,
    "data": 2,
    "runs": 3,
    "grading": 3,
    "figures": 4,
    "web": 4,
    "training": 5,
    "measuring": 6,
}
FLOORS |= {"decoders": 2} | dict.fromkeys(PAPER, 1) | dict.fromkeys((*COMMANDS, "building", "predictions"), 7)


def module_of(path: Path) -> str:
    """data/glyphs.py is data.glyphs, and data/__init__.py is data."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"}


def imports(path: Path) -> set[str]:
    """The package's modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[2] for name in node.names if name.name.startswith("minimaskgit.")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "minimaskgit":
            inside = node.module.partition(".")[2]
            names = (f"{inside}.{name.name}".strip(".") for name in node.names)
            found |= {name if name in MODULES else inside for name in names}
    return found - {""}


def room(module: str) -> str:
    return module.partition(".")[0]


def allowed(importer: str, imported: str) -> bool:
    """Downward, or within one room; the paper's files may import each other; nobody imports a command."""
    here, there = FLOORS[room(importer)], FLOORS[room(imported)]
    return there < here or room(importer) == room(imported) or here == there == FLOORS["decoding"]


def test_every_file_has_a_floor():
    assert {room(module) for module in MODULES} == set(FLOORS)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_downward(module):
    wrong = {name for name in imports(MODULES[module]) if not allowed(module, name)}
    assert not wrong, f"{module} imports {wrong}"


def test_nothing_imports_in_a_circle():
    try:
        TopologicalSorter({module: imports(path) for module, path in MODULES.items()}).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_whatever_the_package_imports_is_installed_with_it():
    named = lambda texts: {re.match(r"[\w.-]+", text)[0].lower().replace("_", "-") for text in texts}
    given = named(tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"])
    given |= named(text for name in given for text in metadata.requires(name) or () if "extra ==" not in text)
    nodes = [node for path in MODULES.values() for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    found = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0}
    found |= {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
    found = {name.partition(".")[0] for name in found} - sys.stdlib_module_names - {"minimaskgit"}
    found -= {
        "confinement",
        "execution",
        "lawbook",
        "protocol",
        "pytest",
    }  # of the sandbox, which works in a clone only
    sources = metadata.packages_distributions()
    assert {name for name in found if not named(sources[name]) & given} == set() and "torch" in found


def test_no_command_waits_for_an_import_that_only_some_calls_need():
    slow = {"scipy.stats", "scipy.signal", "torchmetrics", "torch.distributed.fsdp", "torch.distributed.tensor"}
    slow |= {"datasets", "pandas", "sympy", "IPython", "torch._inductor", "torch._dynamo"}
    imports = f"import sys, {', '.join(f'minimaskgit.{name}' for name in COMMANDS if name != '__main__')}"
    code = f"{imports}; print(*sorted({slow} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert shown.stdout.split() == []


def test_grading_waits_for_matplotlib_only_to_plot():
    code = "import sys, minimaskgit.grade; print('matplotlib' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert shown.stdout.split() == ["False"]


def test_no_test_file_imports_from_another():
    found = {path.name: imported_tests(path.read_text("utf-8")) for path in Path(__file__).parent.glob("*.py")}
    assert {name: names for name, names in found.items() if names} == {}
    assert imported_tests("from test_data import png\nimport test_house") == ["test_data", "test_house"]


def imported_tests(text: str) -> list[str]:
    """The test files from which a file imports: their helpers belong in a file of their own."""
    return re.findall(r"^ *(?:from|import) (test_\w+)", text, re.MULTILINE)


def test_the_law_sees_what_it_forbids(tmp_path):
    text = (
        "import minimaskgit.train\nfrom minimaskgit.training import loop\ndef f():\n    from minimaskgit import demo\n"
    )
    (tmp_path / "wrong.py").write_text(text, "utf-8")
    assert imports(tmp_path / "wrong.py") == {"train", "training.loop", "demo"}
    assert not any(allowed("decoding", name) for name in ("train", "training.loop", "demo", "data.glyphs"))
    assert not allowed("compare", "demo") and not allowed("rivals.gan", "data.glyphs")
    assert allowed("decoding", "masking") and allowed("train", "training.loop") and allowed("runs.run", "runs.config")
