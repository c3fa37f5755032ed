"""Tables as text, which the commands print."""

from collections.abc import Collection, Sequence

from tabulate import tabulate


def text_table(heads: Sequence[str], rows: Sequence[Sequence], left: Collection[int] = (0,)) -> str:
    """Align columns: those whose numbers are in `left` to the left, all others to the right.

    Cells are printed as given. A row with too few cells ends with empty ones. With wcwidth installed, tabulate aligns
    by width on the screen, where an emoji or a Chinese character takes two places.
    """
    sides = ["left" if column in left else "right" for column in range(len(heads))]
    # The heads are a row like the others, because tabulate makes columns with headers two places wider.
    return tabulate([heads, *rows], tablefmt="plain", colalign=sides, disable_numparse=True)
