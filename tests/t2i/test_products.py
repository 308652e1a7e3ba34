from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from t2i import products
from t2i.compute import run_apart
from t2i.products import Product, lays_out_weights


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def product() -> Product:
    return Product(numbers(96, 64, seed=1), numbers(96, seed=2))


@pytest.mark.parametrize("shape", [(1, 64), (5, 64), (2, 7, 64)])
def test_a_product_is_that_of_a_linear_layer_up_to_rounding(
    product: Product, shape: tuple[int, ...]
) -> None:
    x = numbers(*shape, seed=3)
    expected = F.linear(x.double(), numbers(96, 64, seed=1).double(), product.bias.double())
    found = product(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=0)


def test_the_weight_comes_back_to_the_bit_from_any_layout(product: Product) -> None:
    assert torch.equal(product.weight, numbers(96, 64, seed=1))


def test_weights_are_laid_out_where_torch_was_built_with_onednn(product: Product) -> None:
    laid_out = product._laid_out is not None
    assert laid_out == lays_out_weights()
    # Of what torch's own compiler uses nothing may get lost unnoticed with another version.
    if torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available():
        assert laid_out


def test_where_they_are_not_the_product_is_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "lays_out_weights", lambda: False)
    weight, bias, x = numbers(96, 64), numbers(96), numbers(5, 64, seed=3)
    assert torch.equal(Product(weight, bias)(x), F.linear(x, weight, bias))


def test_another_meaning_of_torchs_operators_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*operands: object) -> Tensor:
        raise NotImplementedError("no such operator")

    for other in (refuses, lambda x, laid_out, bias: F.linear(x, laid_out.to_dense())):
        monkeypatch.setattr(products, "_multiply", other)
        assert not lays_out_weights.__wrapped__()


def test_autocast_and_gradients_get_what_they_ask_for(product: Product) -> None:
    x = numbers(5, 64, seed=3)
    with torch.autocast("cpu", torch.bfloat16):
        half = product(x)
        assert half.dtype == torch.bfloat16
        assert torch.equal(half, F.linear(x, product.weight, product.bias))
    x.requires_grad_()
    product(x).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    torch.testing.assert_close(x.grad, product.weight.sum(0).expand(5, -1))


def test_threads_that_share_a_product_get_the_same_bits(product: Product) -> None:
    x = numbers(9, 64, seed=3)
    with torch.inference_mode():
        before = product(x)
    found = run_apart(lambda _: product(x), range(16))
    assert all(torch.equal(each, found[0]) for each in found)
    torch.testing.assert_close(found[0], before)
