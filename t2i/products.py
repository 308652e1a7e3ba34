"""Matrix products with weights that stay what they are, by the faster of torch's two libraries.

Torch multiplies float32 matrices on x86 processors with MKL. For an AMD processor that has no
kernels as wide as the processor's own: oneDNN, which torch uses for convolutions, takes half the
time there (all-MiniLM-L6-v2 on an EPYC with AVX-512, one caption and eight alike), provided that it
may lay out the weights once and not in every product. Both compute in float32; they differ in the
order in which they add, so in the last bits.

Which of the two multiplies is found out by trying whether oneDNN does, never by its speed: on one
machine it is always the same.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Product", "lays_out_weights"]


class Product:
    """The product of rows with a fixed matrix, and a fixed bias added.

    Safe to call from several threads. A row's result has the same bits on every call of one size;
    what a row has in company is for t2i/encoders/company.py to find out.

    Args:
        weight: `(outputs, inputs)`; the product may keep it in another layout.
        bias: `(outputs,)`.
    """

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.bias = bias
        self._plain: Tensor | None = weight
        self._laid_out: Tensor | None = None
        if weight.device.type == "cpu" and weight.dtype == torch.float32 and lays_out_weights():
            # Not both: the weights are most of what a text model takes of the memory.
            self._plain, self._laid_out = None, torch.ops.mkldnn._reorder_linear_weight(weight)

    def __call__(self, x: Tensor) -> Tensor:
        """Map `(..., inputs)` to `(..., outputs)`."""
        if self._laid_out is None or x.dtype != torch.float32 or x.requires_grad or _halves():
            return F.linear(x, self.weight, self.bias)
        return _multiply(x, self._laid_out, self.bias)

    @property
    def weight(self) -> Tensor:
        """The weight, `(outputs, inputs)`; each call may make a new one."""
        if self._plain is not None:
            return self._plain
        assert self._laid_out is not None
        return self._laid_out.to_dense()


@cache
def lays_out_weights() -> bool:
    """Tell whether oneDNN multiplies here, with weights that it lays out beforehand.

    These operators are what torch's own compiler uses, and no part of its public interface: where
    they are missing, or take something else, the public ones are used.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    numbers = torch.arange(48 * 32, dtype=torch.float32).sin()
    weight, bias, x = numbers.view(48, 32), numbers[:48], numbers.view(48, 32)[:5].cos()
    try:
        with torch.inference_mode():
            found = _multiply(x, torch.ops.mkldnn._reorder_linear_weight(weight), bias)
    except (AttributeError, RuntimeError, TypeError):
        return False
    expected = x.double() @ weight.double().t() + bias.double()
    return found.shape == (5, 48) and bool(torch.allclose(found.double(), expected, atol=1e-4))


def _multiply(x: Tensor, laid_out: Tensor, bias: Tensor) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, laid_out, bias, "none", [], "")
    return product


def _halves() -> bool:
    return torch.is_autocast_enabled("cpu")
