"""Which students' files share code: a hint to look at, never part of a grade.

source ──> tokens, all names alike ──> the set of 12 tokens in a row, without the exercise's ──> share in common
"""

import hashlib
import keyword
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from minimaskgit.common.files import write_text
from minimaskgit.grading.execution import cells
from minimaskgit.grading.report import BOM, written_csv
from minimaskgit.grading.submissions import Submission

LENGTH = 12  # tokens in a row that must agree
LONGEST = 100_000  # characters of a file that are looked at
LEAST = 0.3  # of the smaller file, to be listed
TOKEN = re.compile(r"#[^\n]*|[^\W\d]\w*|\d[\w.]*|[^\w\s]")


def shingles(source: str) -> set[bytes]:
    """All runs of tokens in a cell, hashed. Renaming, comments, layout and the cells' order make no difference."""
    runs = (run for cell in cells(source[:LONGEST]) for run in _runs(cell.text))
    return {hashlib.sha1(run.encode("utf-8", "replace"), usedforsecurity=False).digest()[:8] for run in runs}


def _runs(text: str) -> Iterator[str]:
    tokens = [token for token in TOKEN.findall(text) if not token.startswith("#")]
    tokens = ["name" if token.isidentifier() and not keyword.iskeyword(token) else token for token in tokens]
    return (" ".join(tokens[at : at + LENGTH]) for at in range(len(tokens) - LENGTH + 1))


def pairs(found: list[Submission], given: list[str]) -> list[tuple[float, str, str]]:
    """Shares in common, of the smaller of two files, largest first; given: texts that everybody was given."""
    known = set().union(*map(shingles, given))
    own = {one.student: shingles(one.source) - known for one in found if one.source}
    shares = [(len(own[a] & own[b]) / max(1, min(len(own[a]), len(own[b]))), a, b) for a, b in combinations(own, 2)]
    return sorted((share for share in shares if share[0] >= LEAST), key=lambda share: (-share[0], *share[1:]))


def write_pairs(path: Path, found: list[Submission], given: list[str]) -> None:
    """Write the pairs as CSV, one a line."""
    rows = [{"student": a, "and": b, "in common": f"{share:.0%}"} for share, a, b in pairs(found, given)]
    write_text(path, BOM + written_csv(["student", "and", "in common"], rows))
