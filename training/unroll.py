"""A player's future steps, taken on copies of its weights and open to differentiation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call

from t2i.networks.base import Scores
from training.optimizers import Adam

Weights = Mapping[str, Tensor]
# From weights and their gradients to the next weights; it may remember earlier gradients.
Rule = Callable[[Weights, Weights], Weights]


def gradient_descent(rate: float) -> Rule:
    """Return the rule ``w - rate · g``."""
    return lambda weights, slopes: {name: w - rate * slopes[name] for name, w in weights.items()}


@dataclass(frozen=True)
class UnrolledAdam(Adam):
    """Adam whose next steps can be foreseen: it knows the moments of what it was built for."""

    _built: list[torch.optim.Optimizer] = field(default_factory=list, compare=False, repr=False)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimiser of these parameters, and remember it."""
        self._built[:] = [super().build(parameters)]
        return self._built[0]

    def rule(self, network: nn.Module, epsilon: float = 1e-8) -> Rule:
        """Return Adam's next steps on a network's weights, from its moments of this moment."""
        state = self._built[0].state if self._built else {}
        known = {name: state.get(w, {}) for name, w in network.named_parameters()}
        first: dict[str, Tensor | float] = {n: s.get("exp_avg", 0.0) for n, s in known.items()}
        second: dict[str, Tensor | float] = {n: s.get("exp_avg_sq", 0.0) for n, s in known.items()}
        count = {name: float(s.get("step", 0.0)) for name, s in known.items()}
        # The step size of this moment, where it follows a schedule.
        rate = self._built[0].param_groups[0]["lr"] if self._built else self.learning_rate
        slow, slower = self.betas

        def step(weights: Weights, slopes: Weights) -> Weights:
            moved = {}
            for name, w in weights.items():
                slope = slopes[name]
                count[name] += 1.0
                first[name] = m = slow * first[name] + (1.0 - slow) * slope
                second[name] = v = slower * second[name] + (1.0 - slower) * slope.square()
                # A root has no slope at zero, where units that are off leave v.
                size = (v / (1.0 - slower ** count[name]) + epsilon**2).sqrt()
                moved[name] = w - rate / (1.0 - slow ** count[name]) * m / size
            return moved

        return step


def unroll(
    network: nn.Module, loss: Callable[[Weights], Tensor], steps: int, rule: Rule
) -> Weights:
    """Return a network's weights after further steps, as a function of all that the loss saw.

    Metz et al., 2017, 1611.02163, section 2.2. The network itself stays as it is.

    Args:
        network: Whose weights the steps start from.
        loss: From weights by name to the scalar that the steps minimise.
        steps: How many; 0 gives the weights of this moment.
        rule: From weights and gradients to the next weights.
    """
    weights: Weights = {
        name: w.detach().clone().requires_grad_(True) for name, w in network.named_parameters()
    }
    for _ in range(steps):
        slopes = torch.autograd.grad(
            loss(weights), list(weights.values()), create_graph=True, materialize_grads=True
        )
        weights = rule(weights, dict(zip(weights, slopes, strict=True)))
    return weights


def scored_with(
    critic: nn.Module, weights: Weights, samples: Tensor, condition: Tensor | None = None
) -> Scores:
    """Score samples as the critic would with other weights; its own statistics stay."""
    buffers = {name: buffer.clone() for name, buffer in critic.named_buffers()}
    scores = functional_call(critic, {**weights, **buffers}, (samples, condition))
    assert isinstance(scores, Scores)
    return scores
