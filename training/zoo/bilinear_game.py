"""The bilinear game: why descent of two players is not descent of one."""

from __future__ import annotations

from torch import Tensor

from t2i.networks.fixed_point import FixedPoint
from training.errors import TrainingError
from training.historical import History
from training.optimizers import SGD
from training.recipe import Batch, Losses, Networks, Phase, Recipe, Update
from training.registry import Spec, register

PLAYERS = ("generator", "discriminator")


@register(section="A", data="ring8")
def bilinear_game(
    spec: Spec,
    *,
    alternating: bool = False,
    history: float = 0.0,
    rate: float = 0.1,
    start: float = 1.0,
    batch_size: int = 1,
) -> Recipe:
    """f(x, y) = xy, the smallest game of two players: x descends it, y ascends it.

    Goodfellow, 2017, arXiv:1701.00160, section 8.2; Salimans et al., 2016, arXiv:1606.03498,
    section 3.

    min_x max_y xy has its equilibrium at (0, 0), and

        x ← x - η y,  y ← y + η x               multiplies x² + y² by 1 + η² at every step;
        x ← x - η y,  then y ← y + η x          keeps x² + y² - η x y, and so goes round;
        + λ ‖θ - 1/t Σ θ[i]‖² for each player   pulls both to the middle of their ways.

    The last is historical averaging (Salimans et al., section 3.3).

    Deviations: x and y have as many entries as a sample of the data, each a game of its own; the
    data itself is not looked at, and only counts steps.

    Args:
        spec: What the data is.
        alternating: y answers the x that has just moved.
        history: λ; 0 goes without historical averaging.
        rate: η.
        start: Where both players begin.
        batch_size: Samples that a step counts as.
    """
    spec.expect("points")
    if history < 0:
        raise TrainingError(f"history: is {history}; give 0 or more")
    players = {name: FixedPoint(sample_shape=spec.sample_shape, start=start) for name in PLAYERS}
    pasts = {f"{name}_history": History(player) for name, player in players.items() if history}

    def strayed(networks: Networks, name: str) -> Tensor | float:
        past = networks.get(f"{name}_history")
        return history * past.distance(networks[name]) if isinstance(past, History) else 0.0

    def loss(networks: Networks, batch: Batch) -> Losses:
        x, y = (networks[name].get_parameter("point") for name in PLAYERS)
        costs = (x * y.detach()).sum() - (x.detach() * y).sum()
        total = costs + strayed(networks, "generator") + strayed(networks, "discriminator")
        away = (x.square() + y.square()).sum().sqrt().detach()
        return Losses(total, {"x": x.mean().detach(), "y": y.mean().detach(), "G/distance": away})

    def remember(*names: str) -> None:
        for name in names:
            if f"{name}_history" in pasts:
                pasts[f"{name}_history"].remember(players[name])

    turns: tuple[tuple[str, ...], ...] = tuple((n,) for n in PLAYERS) if alternating else (PLAYERS,)

    def phase(turn: tuple[str, ...]) -> Phase:
        def after(networks: Networks, update: Update) -> None:
            remember(*turn)

        return Phase(turn, SGD(rate), loss, after=after)

    return Recipe(
        key="",
        networks={**players, **pasts},
        phases=tuple(phase(turn) for turn in turns),
        batch_size=batch_size,
        ema=None,
    )
