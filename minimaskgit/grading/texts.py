"""The Python of a student's file or notebook; it is only read, and parsed no further than its imports.

    lesson_3.py    ──encoding──────────────────────────> text
    lesson_3.ipynb ──cells tagged answer, and imports──> text

The judge trusts no student: a crafted file can keep a parser or a decoder busy for hours, or crash it.
"""

import ast
import io
import json
import re
import tokenize
from pathlib import Path

MEBI = 2**20
LARGEST = {".py": MEBI, ".ipynb": 16 * MEBI}  # bytes of a student's file; a notebook has pictures
# Encodings of text that are decoded in one pass; others, such as punycode, can take hours for a megabyte.
ENCODINGS = r"(utf|latin|iso|us.?ascii|ascii|cp|windows|gb|big5|s(hift)?_?jis|euc|koi|mac)"
# A line that begins like an import, with what continues it after a backslash or in brackets; how it is handed on from a
# cell that is no answer; and what finds it again.
IMPORT = r"^(?:import [\w.]|from [\w.]+ import )(?:\\\n|\((?:#[^\n]*|[^()#])*\)|#[^\n]*|[^\\(#\n])*$"
OPTIONAL = "try:\n    {}\nexcept ImportError:\n    pass"
HANDED_ON = r"(?m)^" + OPTIONAL.format(r"(?:import|from) [^\n]*(?:\n[^\n]*)*?") + "$"
# The start of a line of a notebook that makes no sense outside it: %timeit, !ls, check("unmask").
NOT_PYTHON = r"(?m)^(?=[%!]|check\([\"'\w]+\)[ ;]*(?:#.*)?$)"


def text_of(data: bytes, kind: str) -> str:
    """The Python of a file or notebook with these bytes; ValueError if there is none. kind: its suffix."""
    if not data.strip():
        raise ValueError("the file is empty")
    text = _of_notebook(data) if kind == ".ipynb" else _decoded(data)
    if len(text) > MEBI:
        raise ValueError("the answers of the notebook are larger than 1 MB")
    return text


def read_answer(path: Path) -> str:
    """The Python of a file or notebook on this machine, as grading would read it."""
    kind = path.suffix.lower()
    if path.stat().st_size > LARGEST.get(kind, MEBI):
        raise ValueError(f"it is larger than {LARGEST.get(kind, MEBI) // MEBI} MB")
    return text_of(path.read_bytes(), kind)


def _decoded(data: bytes) -> str:
    """Text in the encoding that its first bytes or lines name, as Python does; and UTF-16, as Windows may save it."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    if not re.match(ENCODINGS, encoding, re.IGNORECASE):
        raise ValueError(f"the encoding {encoding[:40]} is not read here; save the file as UTF-8")
    return data.decode(encoding)


def _of_notebook(data: bytes) -> str:
    """The code cells of a notebook that are tagged `answer`, in order, after the imports of the others.

    Lines of IPython's own, such as %timeit, and calls of the lessons' `check` become comments. An import that fails in
    the sandbox is left out.
    """
    try:
        cells = [cell for cell in json.loads(data)["cells"] if cell["cell_type"] == "code"]
        texts = ["".join(cell["source"]) for cell in cells]
        tagged = ["answer" in cell.get("metadata", {}).get("tags", ()) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("it is not a notebook") from None
    if not any(tagged):
        raise ValueError("no code cell of the notebook is tagged answer")
    answers = "\n\n".join(text for text, answer in zip(texts, tagged) if answer)
    others = "\n".join(text for text, answer in zip(texts, tagged) if not answer)
    imports = [text for text in re.findall(IMPORT, others, re.MULTILINE) if _is_import(text)]
    if future := re.findall(r"^from __future__ .*$", f"{others}\n{answers}", re.MULTILINE):
        answers = re.sub(r"^from __future__ .*$", "", answers, flags=re.MULTILINE)
    kept = [line for line in imports if line not in future]
    parts = [*future, *map(OPTIONAL.format, kept), answers]
    return re.sub(NOT_PYTHON, "# ", "\n".join(parts)) + "\n"


def _is_import(text: str) -> bool:
    """Whether a short text is an import and nothing else."""
    try:
        statements = ast.parse(text).body if len(text) < 2000 else []
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return len(statements) == 1 and isinstance(statements[0], ast.Import | ast.ImportFrom)
