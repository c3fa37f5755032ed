"""The GELU is approximated by a tanh, as the authors' code has it, and not x Phi(x)."""

import torch.nn.functional as F

from minimaskgit import transformer
from minimaskgit.transformer import attention, merge_heads, split_heads

BREAKS = ("test_a_block_is_attention_and_mlp_in_the_order_that_pre_norm_says",)


class Block(transformer.Block):
    def forward(self, x):
        if self.pre_norm:
            x = x + self.attend(self.norm1(x))
            return x + self.mlp(self.norm2(x))
        x = self.norm1(x + self.attend(x))
        return self.norm2(x + self.mlp(x))

    def attend(self, x):
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        return self.out(merge_heads(attention(q, k, v, self.causal)))

    def mlp(self, x):
        return self.down(F.gelu(self.up(x), approximate="tanh"))
