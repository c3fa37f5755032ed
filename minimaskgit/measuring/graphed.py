"""Decoding without Python between the passes: the whole T-step loop as one CUDA graph (lesson 9).

    capture: labels (fixed address) ──loop of decode_steps──> tokens (fixed address)    once
    replay:  copy labels in, seed, launch the graph, copy tokens out                    every batch

With small batches a GPU finishes a pass before Python has launched the next; a graph launches all passes at once.
"""

import torch
from torch import Tensor

from minimaskgit.decoding import TEMPERATURE, mask_plan, refine
from minimaskgit.schedules import Schedule, cosine
from minimaskgit.transformer import Transformer


class GraphedDecoder:
    """`decode` of blank canvases for one model on a CUDA device, with a fixed batch size and fixed settings.

    The model must stay on its device and in its mode; its weights may change in place. precision: of matrix products.
    Raises ValueError on other devices.
    """

    def __init__(
        self,
        model: Transformer,
        batch: int,
        steps: int = 8,
        schedule: Schedule = cosine,
        temperature: float = TEMPERATURE,
        guidance: float = 0.0,
        precision: torch.dtype = torch.bfloat16,
    ):
        device = model.bias.device
        if device.type != "cuda":
            raise ValueError(f"a model on {device}; expected one on a CUDA device: other devices have no CUDA graphs")
        self.labels = torch.zeros(batch, dtype=torch.long, device=device)
        self.generator = torch.Generator(device)
        unknown = torch.full((batch,), model.num_tokens)
        plan = mask_plan(unknown, steps, schedule)  # (T, B)
        widths = [model.num_tokens, *plan[:, 0].tolist()]
        self.plan = plan = plan.to(device)  # the graph reads it at each replay, so it must not be freed

        @torch.no_grad()
        def loop() -> Tensor:
            blank = torch.full((batch, model.num_tokens), model.mask_id, device=device)
            # No cache: weights that autocast cast outside the graph would be freed before it is replayed.
            with torch.autocast("cuda", precision, enabled=precision != torch.float32, cache_enabled=False):
                *_, last = refine(model, self.labels, blank, plan, widths, steps, temperature, guidance, self.generator)
            return last.tokens

        warmup = torch.cuda.Stream(device)  # first runs initialise libraries, which a graph cannot capture
        warmup.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(warmup):
            for _ in range(3):
                loop()
        torch.cuda.current_stream(device).wait_stream(warmup)
        self.graph = torch.cuda.CUDAGraph()
        self.graph.register_generator_state(self.generator)
        with torch.cuda.graph(self.graph):
            self.tokens = loop()

    def __call__(self, labels: Tensor, seed: int = 0) -> Tensor:
        """Decode tokens (B, N) of classes `labels` (B,) in 0..C; each seed draws different pictures."""
        self.labels.copy_(labels)
        self.generator.manual_seed(seed)
        self.graph.replay()
        return self.tokens.clone()
