"""Search of the noise from which a generator draws a given picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from t2i.networks.base import Drawn


def preserve_identity(
    generator: nn.Module,
    recognise: Callable[[Tensor], Tensor],
    pictures: Tensor,
    ages: Tensor,
    start: Tensor,
    *,
    steps: int = 50,
) -> Tensor:
    """Search for the noise whose pictures a recogniser takes for those that are given.

    Antipov et al., 2017, 1702.01983: argmin_z ‖FR(x) - FR(G(z, y₀))‖ by L-BFGS.

    Args:
        generator: Draws from ``(n, K)`` one-hot ages and ``(n, d)`` noise; in evaluation mode.
        recognise: From ``(n, c, r, r)`` pictures to ``(n, f)``, differentiable.
        pictures: ``(n, c, r, r)`` in [-1, 1].
        ages: ``(n, K)`` their own ages.
        start: ``(n, d)`` the encoder's answer.
        steps: Of L-BFGS.

    Returns:
        ``(n, d)``: for each picture the best noise that was met, never worse than its start.
    """
    wanted = recognise(pictures).detach()
    noise = start.detach().clone().requires_grad_(True)
    best, least = noise.detach().clone(), torch.full((len(noise),), torch.inf, device=noise.device)
    search = torch.optim.LBFGS([noise], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        nonlocal least
        search.zero_grad()
        drawn = cast(Drawn, generator(ages, noise)).pictures[-1]
        apart = (recognise(drawn) - wanted).square().flatten(1).sum(dim=1)
        better = apart.detach() < least
        best[better] = noise.detach()[better]
        least = torch.where(better, apart.detach(), least)
        total = apart.sum()
        noise.grad = torch.autograd.grad(total, noise)[0].contiguous()
        return total.detach()

    search.step(closure)  # type: ignore[no-untyped-call]
    return best
