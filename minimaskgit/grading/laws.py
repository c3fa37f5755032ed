"""The laws of a lesson: where they are, which functions they judge, and what each function is worth (weights.toml)."""

import ast
import tomllib
from pathlib import Path

from minimaskgit.common.errors import UserError

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "lessons" / "weights.toml"


def exercise_weights(lesson: int, with_variants: bool = False) -> dict[str, float]:
    """Points by exercise, in the order of the laws; 1 unless weights.toml has another. UserError without laws."""
    laws = laws_of(lesson, with_variants)
    if not laws[0].exists():
        found = laws[0].parent.glob("test_lesson_*.py")
        lessons = sorted(int(path.stem.removeprefix("test_lesson_")) for path in found)
        if not lessons:
            hint = f"in a clone of the project, run make grade-{lesson} SUBMISSIONS=FOLDER"
            raise UserError(f"cannot grade lesson {lesson}: an installed minimaskgit comes without the laws; {hint}")
        raise UserError(f"--lesson {lesson}: there are no laws for it; expected one of {', '.join(map(str, lessons))}")
    if not laws[-1].exists():
        raise UserError(f"--variants: lesson {lesson} has none; leave the option out")
    given = tomllib.loads(WEIGHTS.read_text("utf-8")).get(f"lesson_{lesson}", {})
    return {name: given.get(name, 1) for path in laws for name in _judged(path)}


def _judged(laws: Path) -> list[str]:
    """The functions that a file of laws is about."""
    tree = ast.parse(laws.read_text("utf-8"))
    table = next(node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "LESSON")
    return [key.value for key in table.keys]


def laws_of(lesson: int, with_variants: bool) -> list[Path]:
    """The files of a lesson's laws: those of its exercises, then those of its variants."""
    kinds = ("lesson", "variants") if with_variants else ("lesson",)
    return [ROOT / "tests" / "laws" / f"test_{kind}_{lesson}.py" for kind in kinds]


def may_be_infinite() -> list[str]:
    """Functions whose answer may be infinite, by weights.toml."""
    return tomllib.loads(WEIGHTS.read_text("utf-8")).get("may_be_infinite", [])
