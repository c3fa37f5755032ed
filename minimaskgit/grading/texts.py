"""The text of a student's file or notebook; it is only read, never parsed.

    lesson_3.py    ──encoding──────────────────────────────────────> text
    lesson_3.ipynb ──its code cells, the answers marked as such────> text

The judge trusts no student: a crafted file can keep a parser or a decoder busy for hours, or crash it.
"""

import io
import json
import re
import tokenize
from pathlib import Path

from minimaskgit.grading.execution import ANSWER, OTHER

MEBI = 2**20
LARGEST = {".py": MEBI, ".ipynb": 16 * MEBI}  # bytes of a student's file; a notebook has pictures
# Encodings of text that are decoded in one pass; others, such as punycode, can take hours for a megabyte.
ENCODINGS = r"(utf|latin|iso|us.?ascii|ascii|cp|windows|gb|big5|s(hift)?_?jis|euc|koi|mac)"


def text_of(data: bytes, kind: str) -> str:
    """The Python of a file or notebook with these bytes; ValueError if there is none. kind: its suffix."""
    if not data.strip():
        raise ValueError("the file is empty")
    text = _of_notebook(data) if kind == ".ipynb" else _decoded(data)
    if len(text) > MEBI:
        raise ValueError("the code of the notebook is larger than 1 MB")
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
    """The code cells of a notebook in percent format; those tagged `answer` are the answers."""
    try:
        cells = [cell for cell in json.loads(data)["cells"] if cell["cell_type"] == "code"]
        texts = ["".join(cell["source"]) for cell in cells]
        tagged = ["answer" in ((cell.get("metadata") or {}).get("tags") or ()) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("it is not a notebook") from None
    if not any(tagged):
        raise ValueError("no code cell of the notebook is tagged answer")
    heads = [ANSWER if answer else OTHER for answer in tagged]
    return "".join(f"{head}\n{_without_heads(text)}\n\n" for head, text in zip(heads, texts))


def _without_heads(text: str) -> str:
    """A cell with plain ends of lines, in which no comment looks like the head of a cell."""
    return re.sub(r"^# %%", "#  %%", re.sub(r"\r\n?", "\n", text), flags=re.MULTILINE)
