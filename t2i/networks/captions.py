"""The caption network: from the token states of a frozen text encoder to one code a caption."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CaptionNetwork(nn.Module):
    """Read a caption's token states into one code, learned from pictures.

    A sentence encoder's pooled vector says *that* red and head occur, hardly that they belong
    together. The states of its tokens still do. This network reads them: a small transformer, then
    learned queries that each gather one part of the code. It is trained to match captions with
    their pictures, as the text encoders of GAN-CLS (structured joint embedding, 1605.05395) and
    AttnGAN (DAMSM, 1711.10485) were, and stays frozen while the generator learns.

    Args:
        token_dim: Width of the text encoder's token states.
        width: Width of the transformer.
        layers: Number of its layers.
        heads: Attention heads in a layer.
        queries: Learned queries that pool the tokens.
        code_dim: Length of the code.
    """

    def __init__(
        self,
        *,
        token_dim: int = 384,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        queries: int = 16,
        code_dim: int = 256,
    ) -> None:
        super().__init__()
        self.code_dim = code_dim
        self.config: dict[str, object] = {
            "token_dim": token_dim,
            "width": width,
            "layers": layers,
            "heads": heads,
            "queries": queries,
            "code_dim": code_dim,
        }
        self.enter = nn.Sequential(nn.LayerNorm(token_dim), nn.Linear(token_dim, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, batch_first=True, norm_first=True
        )
        self.mix = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.queries = nn.Parameter(torch.randn(queries, width) / width**0.5)
        self.value = nn.Linear(width, width)
        self.code = nn.Linear(queries * width, code_dim)

    def forward(self, tokens: Tensor, present: Tensor) -> Tensor:
        """Return codes ``(n, code_dim)``.

        Args:
            tokens: ``(n, t, token_dim)`` token states; padding may hold anything finite.
            present: ``(n, t)`` booleans, False where there is padding.
        """
        x = self.norm(self.mix(self.enter(tokens), src_key_padding_mask=~present))
        attention = torch.einsum("qd,ntd->nqt", self.queries, x)
        attention = attention.masked_fill(~present[:, None, :], float("-inf")).softmax(dim=2)
        pooled = torch.einsum("nqt,ntd->nqd", attention, F.gelu(self.value(x)))
        code: Tensor = self.code(pooled.flatten(1))
        return code
