"""Which students' files share code: a hint to look at, never part of a grade.

source ──> tokens, all names alike ──> the set of 12 tokens in a row, without the exercise's ──> share in common
"""

import hashlib
import keyword
import re
from itertools import combinations
from pathlib import Path

from minimaskgit.common.files import write_text
from minimaskgit.grading.report import written_csv
from minimaskgit.grading.submissions import Submission
from minimaskgit.grading.texts import HANDED_ON

LENGTH = 12  # tokens in a row that must agree
LONGEST = 100_000  # characters of a file that are looked at
LEAST = 0.3  # of the smaller file, to be listed
TOKEN = re.compile(r"#[^\n]*|[^\W\d]\w*|\d[\w.]*|[^\w\s]")


def shingles(source: str) -> set[bytes]:
    """All runs of tokens, hashed. Renaming, comments, layout and a notebook's given imports make no difference."""
    own = re.sub(HANDED_ON, "", source[:LONGEST])
    tokens = [token for token in TOKEN.findall(own) if not token.startswith("#")]
    tokens = ["name" if token.isidentifier() and not keyword.iskeyword(token) else token for token in tokens]
    runs = (" ".join(tokens[at : at + LENGTH]) for at in range(len(tokens) - LENGTH + 1))
    return {hashlib.sha1(run.encode("utf-8", "replace"), usedforsecurity=False).digest()[:8] for run in runs}


def pairs(found: list[Submission], given: str) -> list[tuple[float, str, str]]:
    """Shares in common, of the smaller of two files, largest first; given: text that everybody was given."""
    known = shingles(given)
    own = {one.student: shingles(one.source) - known for one in found if one.source}
    shares = [(len(own[a] & own[b]) / max(1, min(len(own[a]), len(own[b]))), a, b) for a, b in combinations(own, 2)]
    return sorted((share for share in shares if share[0] >= LEAST), key=lambda share: (-share[0], *share[1:]))


def write_pairs(path: Path, found: list[Submission], given: str) -> None:
    """Write the pairs as CSV, one a line."""
    rows = [{"student": a, "and": b, "in common": f"{share:.0%}"} for share, a, b in pairs(found, given)]
    write_text(path, written_csv(["student", "and", "in common"], rows))
