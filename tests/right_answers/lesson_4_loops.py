"""Lesson 4 answered in loops over samples, heads and queries."""

import math

import torch

from minimaskgit import transformer


def split_heads(x, heads):
    width = x.shape[-1] // heads
    return torch.stack([x[:, :, h * width : (h + 1) * width] for h in range(heads)], dim=1)


def merge_heads(x):
    return torch.cat([x[:, head] for head in range(x.shape[1])], dim=-1)


def attention(q, k, v, causal):
    out = torch.zeros_like(q)
    for sample in range(q.shape[0]):
        for head in range(q.shape[1]):
            for i, query in enumerate(q[sample, head]):
                seen = i + 1 if causal else k.shape[2]
                scores = torch.stack([query @ key for key in k[sample, head, :seen]]) / math.sqrt(len(query))
                weights = scores.softmax(0)
                out[sample, head, i] = sum(w * value for w, value in zip(weights, v[sample, head, :seen]))
    return out


class Block(transformer.Block):
    def forward(self, x):
        if self.pre_norm:
            x = x + self.attend(self.norm1(x))
            x = x + self.mlp(self.norm2(x))
        else:
            x = self.norm1(x + self.attend(x))
            x = self.norm2(x + self.mlp(x))
        return x

    def attend(self, x):
        q, k, v = [split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1)]
        return self.out(merge_heads(attention(q, k, v, self.causal)))

    def mlp(self, x):
        return self.down(torch.nn.functional.gelu(self.up(x)))
