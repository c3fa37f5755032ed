"""The two orders of a block are exchanged: it normalizes before the sublayers where it should after the sums."""

from minimaskgit import transformer
from minimaskgit.transformer import attention, merge_heads, split_heads

BREAKS = (
    "test_a_block_with_silent_sublayers_is_its_residual_sums_and_norms",
    "test_a_block_is_attention_and_mlp_in_the_order_that_pre_norm_says",
)


class Block(transformer.Block):
    def forward(self, x):
        if not self.pre_norm:
            x = x + self.attend(self.norm1(x))
            return x + self._mlp(self.norm2(x))
        x = self.norm1(x + self.attend(x))
        return self.norm2(x + self._mlp(x))

    def attend(self, x):
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=-1))
        return self.out(merge_heads(attention(q, k, v, self.causal)))
