"""Lesson 10, variants: an order in other bases around forbidden places, tokens that are taken back, to mend."""

import random
from string import Template

from minimaskgit.grading.variants import reason_stub

REASONS = {
    "unknown": "places that are masked already are ranked too",
    "least": "the least suspicious are taken back",
    "equal": "where scores are equal, more than the quota are taken back",
    "total": "the quotas of all rows are taken together",
}
# Each body has one mistake, and each is written another way, so that none is the mended version of another.
BROKEN = {
    "unknown": """
    ranks = scores.argsort(1, descending=True).argsort(1)
    return tokens.masked_fill(ranks < quota[:, None], mask_id)""",
    "least": """
    out = tokens.clone()
    for row, count in enumerate(quota.tolist()):
        places = (tokens[row] != mask_id).nonzero().flatten()
        out[row, places[scores[row, places].argsort()[:count]]] = mask_id
    return out""",
    "equal": """
    known = tokens != mask_id
    ordered = scores.masked_fill(~known, -torch.inf).sort(1, descending=True).values
    edge = ordered.gather(1, (quota - 1).clamp(min=0)[:, None])
    return torch.where(known & (scores >= edge) & (quota[:, None] > 0), mask_id, tokens)""",
    "total": """
    suspects = [(-scores[b, n].item(), b, n) for b, n in (tokens != mask_id).nonzero().tolist()]
    out = tokens.clone()
    for _, b, n in sorted(suspects)[: int(quota.sum())]:
        out[b, n] = mask_id
    return out""",
}


def draw(rng: random.Random) -> dict:
    """bases of the two axes; parts, part: places to leave out; from_the_end; bug: which mistake is planted."""
    parts, bases = rng.choice([2, 3, 4]), rng.choice([(3, 2), (2, 5), (5, 2), (3, 5), (5, 3)])
    return {
        "bases": bases,
        "parts": parts,
        "part": rng.randrange(parts),
        "from_the_end": rng.random() < 0.5,
        "bug": rng.choice(sorted(BROKEN)),
    }


def stub(drawn: dict) -> str:
    down, across = drawn["bases"]
    rule = f"(row + column) % {drawn['parts']} == {drawn['part']}"
    texts = {"down": down, "across": across, "rule": rule, "body": BROKEN[drawn["bug"]]}
    ends = "backwards: the place that is visited last comes first" if drawn["from_the_end"] else "as they are visited"
    return Template(STUB).substitute(texts, ends=ends, reason=reason_stub("take_back", REASONS))


STUB = '''
def other_order(height: int, width: int) -> Tensor:
    """The allowed places of a grid, row-major numbers, in the order of another Halton sequence: int64 (M,).

    Point i = 1, 2, ... is at row floor(height phi_$down(i)) and column floor(width phi_$across(i)), with phi as in
    halton_order, in the bases $down and $across. A place that was visited before is skipped, and so is one where $rule.
    The order is $ends. Compute in whole numbers or fractions. (Difficulty 2 of 3, 15 minutes.)

    >>> order = other_order(4, 4).tolist()
    >>> [place for place in order for row, column in [divmod(place, 4)] if $rule]
    []
    >>> len(set(order)) == len(order)
    True
    """
    raise NotImplementedError


def take_back(tokens: Tensor, scores: Tensor, quota: Tensor, mask_id: int) -> Tensor:
    """Put [MASK] on each row's `quota` most suspicious known tokens. THIS IS BROKEN: mend it.

    tokens (B, N) with mask_id where already masked, scores (B, N), the greater the more suspicious, quota int64 (B,): a
    new (B, N). Exactly quota[b] known tokens of row b are taken back, or all, if it has fewer; of those that are
    equally suspicious any will do. (Difficulty 1 of 3, 15 minutes.)

    >>> tokens, scores = torch.tensor([[5, 6, 9], [5, 6, 7]]), torch.tensor([[0.1, 0.2, 0.9], [0.9, 0.8, 0.7]])
    >>> take_back(tokens, scores, quota=torch.tensor([1, 2]), mask_id=9)
    tensor([[5, 9, 9],
            [9, 9, 7]])
    """$body


$reason
'''
