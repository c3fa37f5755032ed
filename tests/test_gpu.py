"""What only an accelerator can show; skipped without one (`make test-gpu`)."""

import pytest
import torch

from minimaskgit import autoregressive
from minimaskgit.decoding import decode, decode_steps
from minimaskgit.transformer import Transformer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def small(causal: bool = False) -> Transformer:
    torch.manual_seed(0)
    return Transformer(32, 4, 16, width=32, depth=2, heads=2, mlp_width=64, causal=causal).cuda().eval()


def test_the_decoding_loop_never_waits_for_the_device():
    labels = torch.tensor([0, 1, 1, 3], device="cuda")
    steps = decode_steps(small(), labels, steps=4)
    next(steps)  # what precedes the loop may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in steps:
            pass
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_decoding_on_the_device_repeats_itself_by_seed():
    labels = torch.arange(4, device="cuda")
    model, twin = small(), small(causal=True)

    def draw(decoder, *arguments):
        return decoder(*arguments, generator=torch.Generator("cuda").manual_seed(3)).cpu()

    assert torch.equal(draw(decode, model, labels), draw(decode, model, labels))
    assert torch.equal(draw(autoregressive.generate, twin, labels), draw(autoregressive.generate, twin, labels))
