"""Lesson 5, variants: a schedule given by a graph with steps of each row's own, forbidden codes, a step to mend."""

import random
from string import Template

from minimaskgit.grading.variants import falling_points, reason_stub

REASONS = {
    "quota": "the quota of the first row is used for every row",
    "known": "known tokens take part in the ranking, so fewer than the quota are fixed",
    "order": "the least sure tokens are fixed, not the surest",
    "caller": "the caller's canvas is written to",
}
# Each body has one mistake, and each is written another way, so that none is the mended version of another.
BROKEN = {
    "quota": """
    ranked = sure.masked_fill(canvas != mask_id, -torch.inf).argsort(1, descending=True)
    chosen = torch.zeros_like(canvas, dtype=torch.bool).scatter(1, ranked[:, : int(quota[0])], True)
    return torch.where(chosen & (canvas == mask_id), drawn, canvas)""",
    "known": """
    out = canvas.clone()
    for row, best in enumerate(sure.argsort(1, descending=True)):
        best = best[: int(quota[row])]
        out[row, best] = torch.where(out[row, best] == mask_id, drawn[row, best], out[row, best])
    return out""",
    "order": """
    unknown = canvas == mask_id
    ranks = sure.masked_fill(~unknown, torch.inf).argsort(1).argsort(1)
    return torch.where(unknown & (ranks < quota[:, None]), drawn, canvas)""",
    "caller": """
    for row in range(len(canvas)):
        places = (canvas[row] == mask_id).nonzero().flatten().tolist()
        places.sort(key=lambda place: float(sure[row, place]), reverse=True)
        for place in places[: int(quota[row])]:
            canvas[row, place] = drawn[row, place]
    return canvas""",
}


def draw(rng: random.Random) -> dict:
    """points: of the graph; parts, part and by_place: which codes are forbidden; bug: which mistake is planted."""
    parts = rng.choice([3, 4, 5])
    forbidden = {"parts": parts, "part": rng.randrange(parts), "by_place": rng.random() < 0.5}
    return {"points": falling_points(rng), **forbidden, "bug": rng.choice(sorted(BROKEN))}


def stub(drawn: dict) -> str:
    rule = f"({'place + code' if drawn['by_place'] else 'code'}) % {drawn['parts']} == {drawn['part']}"
    texts = {
        "rule": rule,
        "points": drawn["points"],
        "body": BROKEN[drawn["bug"]],
        "reason": reason_stub("fix_best", REASONS),
    }
    return Template(STUB).substitute(texts)


STUB = '''
GRAPH = $points  # (r, gamma(r)), straight lines between them


def masks_left(unknown_at_start: Tensor, unknown_now: Tensor, step: int, steps: Tensor) -> Tensor:
    """How many tokens of each row stay masked after step t, where each row has a number of steps of its own.

    unknown_at_start, unknown_now, steps: int64 (B,), to int64 (B,). Row b, with U unknown at the start and T_b steps,
    keeps floor(U gamma((t + 1) / T_b)), at least 1 and at most one fewer than are unknown now, but nothing after its
    last step, and nothing ever after. gamma is the curve of GRAPH. Compute in double precision; where U gamma is a
    whole number but for rounding, either neighbour will do. (Difficulty 2 of 3, 20 minutes.)

    >>> start = torch.tensor([100, 100, 100])
    >>> masks_left(start, start, step=1, steps=torch.tensor([1, 2, 1000]))[:2]  # the first two are finished
    tensor([0, 0])
    """
    raise NotImplementedError


def decode_allowed(
    model: Transformer, labels: Tensor, steps: int = 8, schedule: Schedule = cosine,
    temperature: float = 4.5, generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """`decode` from a blank canvas, but some codes are forbidden: labels (B,) to (B, N).

    A code is forbidden at a place, 0..N-1, where $rule. All else is as if the model had never given these codes any
    probability: those of the others sum to 1, and how sure one is goes by them. model(tokens, labels) gives logits
    (B, N, K), and at every place there is a code that is allowed. (Difficulty 2 of 3, 25 minutes.)

    >>> model = Transformer(num_codes=12, num_classes=2, num_tokens=4, width=8, depth=1, heads=1, mlp_width=8).eval()
    >>> tokens = decode_allowed(model, torch.tensor([0, 1]), steps=2)
    >>> [place for place in range(4) for code in tokens[:, place].tolist() if $rule]
    []
    """
    raise NotImplementedError


def fix_best(canvas: Tensor, drawn: Tensor, sure: Tensor, quota: Tensor, mask_id: int) -> Tensor:
    """Of each row's unknown places, the `quota` surest take their drawn token. THIS IS BROKEN: mend it.

    canvas (B, N) with mask_id where unknown, drawn (B, N), sure (B, N), quota int64 (B,): a new canvas (B, N). Where a
    row has fewer unknown places than its quota, all take their token. All others stay. (Difficulty 1 of 3, 15 minutes.)

    >>> canvas, drawn = torch.tensor([[9, 9, 2], [9, 9, 9]]), torch.tensor([[3, 4, 5], [6, 7, 8]])
    >>> sure = torch.tensor([[-2.0, -1.0, 0.0], [-3.0, -1.0, -2.0]])
    >>> fix_best(canvas, drawn, sure, torch.tensor([1, 2]), mask_id=9), canvas[0]
    (tensor([[9, 4, 2],
            [9, 7, 8]]), tensor([9, 9, 2]))
    """$body


$reason
'''
