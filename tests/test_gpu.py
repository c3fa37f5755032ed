"""Tests that need an accelerator; skipped without one (`make test-gpu`)."""

from typing import get_args

import pytest
import torch

from minimaskgit import autoregressive
from minimaskgit.decoders import loop
from minimaskgit.decoders.counts import released
from minimaskgit.decoders.critic import Critic
from minimaskgit.decoders.named import DecoderName, decoder
from minimaskgit.decoding import decode, decode_steps
from minimaskgit.measuring.graphed import GraphedDecoder
from minimaskgit.schedules import SCHEDULES
from minimaskgit.transformer import Transformer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def small(causal: bool = False) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(32, 4, 16, width=32, depth=2, heads=2, mlp_width=64, causal=causal)
    for weights in model.parameters():
        if weights.ndim == 2:
            weights.data.mul_(10)  # with the small first weights, the class would change no token
    return model.cuda().eval()


def test_the_decoding_loop_never_waits_for_the_device():
    labels = torch.tensor([0, 1, 1, 3], device="cuda")
    steps = decode_steps(small(), labels, steps=4)
    next(steps)  # code before the loop may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in steps:
            pass
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ["cosine", "square_root", "square", "bert"])
def test_released_rounding_counts_there_what_it_counts_on_the_cpu_without_waiting(name):
    unknown, there = torch.arange(257), torch.arange(257, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = [released(there, there, step, 12, SCHEDULES[name]) for step in range(12)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(x.cpu().equal(released(unknown, unknown, step, 12, SCHEDULES[name])) for step, x in enumerate(found))


@pytest.mark.parametrize("name", get_args(DecoderName))
def test_no_decoder_s_loop_waits_for_the_device_and_all_are_reproducible(name):
    labels, model = torch.tensor([0, 1, 1, 3], device="cuda"), small()

    critic = Critic(width=32, depth=2).cuda().eval()
    chosen = decoder(name, SCHEDULES["cosine"], 4.5, guidance=1.0, guidance_start=0.5, critic=critic)

    def draw() -> torch.Tensor:
        steps = loop.run(chosen, model, labels, steps=6, generator=torch.Generator("cuda").manual_seed(3))
        next(steps)  # code before the loop may wait
        torch.cuda.set_sync_debug_mode("error")
        try:
            *_, last = steps
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return last.tokens.cpu()

    first = draw()
    assert first.equal(draw()) and ((first >= 0) & (first < model.num_codes)).all()


def test_decoding_on_the_device_is_reproducible():
    labels = torch.arange(4, device="cuda")
    model, twin = small(), small(causal=True)

    def draw(sampler, *arguments):
        return sampler(*arguments, generator=torch.Generator("cuda").manual_seed(3)).cpu()

    assert torch.equal(draw(decode, model, labels), draw(decode, model, labels))
    assert torch.equal(draw(autoregressive.generate, twin, labels), draw(autoregressive.generate, twin, labels))


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_a_graph_of_the_loop_gives_complete_reproducible_canvases_that_follow_the_labels(guidance):
    model = small()
    graphed = GraphedDecoder(model, batch=4, steps=4, guidance=guidance, precision=torch.float32)
    labels = torch.arange(4, device="cuda")
    first, again, other = graphed(labels, 1), graphed(labels, 1), graphed(labels, 2)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert ((first >= 0) & (first < model.num_codes)).all()
    eager = decode(model, labels, steps=4, guidance=guidance, generator=torch.Generator("cuda").manual_seed(1))
    assert torch.equal(first, eager)  # the same random numbers in the same order
    same = torch.zeros(4, dtype=torch.long, device="cuda")
    assert not torch.equal(graphed(same, 1), first)


def test_compiled_and_recomputed_training_steps_run_on_the_device():
    model = small().train()
    model.recompute = True
    compiled = torch.compile(model)
    tokens, labels = torch.randint(32, (4, 16), device="cuda"), torch.arange(4, device="cuda")
    with torch.autocast("cuda", torch.bfloat16):
        loss = compiled(tokens, labels).float().logsumexp(-1).mean()
    loss.backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in model.parameters())
