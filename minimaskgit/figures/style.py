"""The colours of all figures, and which model gets which."""

import re
from collections.abc import Iterable
from itertools import cycle

# Okabe and Ito's palette, which colour-blind readers can tell apart; the first two colours are the decoders'.
MASKGIT, AUTOREGRESSIVE = "#0072B2", "#D55E00"
OTHERS = GREEN, PINK, ORANGE, SKY, GREY, BLACK = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C", "#222222")
PAPER, INK, MUTED, TRACK = "#FFFFFF", "#222222", "#6B6B6B", "#E6E6E6"
MASKED, MASKED_EDGE = 226, 206  # grey levels of a masked token and of its border


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, the same within a family (see `family_of`); the decoders have fixed colours."""
    names = list(names)
    families = dict.fromkeys(family_of(name) for name in names)
    own = {"maskgit": MASKGIT, "autoregressive": AUTOREGRESSIVE}
    colours = {family: own[word] for family in families for word in own if family.lower().startswith(word)}
    free = cycle(OTHERS if colours else (MASKGIT, AUTOREGRESSIVE, *OTHERS))
    colours = {family: colours.get(family) or next(free) for family in families}
    return {name: colours[family_of(name)] for name in names}


def family_of(name: str) -> str:
    """The part of a name before its first comma or colon."""
    return re.split("[,:]", name)[0]
