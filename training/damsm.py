"""Words and regions of pictures that find each other: DAMSM (Xu et al., 2018, 1711.10485)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.blocks import Standardize
from t2i.networks.picture_reader import PictureNetwork
from t2i.networks.words import Words
from training.captions import standardizing
from training.objectives import mutual_choice
from training.optimizers import Adam
from training.recipe import Batch, Losses, Networks, Phase, Recipe

ABSENT = -1e4


class Damsm(nn.Module):
    """Regions and the whole of a picture, words and the whole of a caption, in one space.

    The paper's picture encoder is Inception-v3, its text encoder a bidirectional LSTM; here a small
    convolutional network learns from nothing, and a layer reads the frozen text encoder's states.

    Args:
        sentence_dim: Length of a caption's embedding.
        token_dim: Length of a word's state.
        dim: Length of what is compared.
        width: Channels of the picture network at half the resolution.
        sharpness: γ1, γ2 and γ3: of a word's attention to regions, of the words' likeness, and of
            the choice among captions.
    """

    def __init__(
        self,
        sentence_dim: int,
        token_dim: int,
        *,
        dim: int = 256,
        width: int = 32,
        sharpness: tuple[float, float, float] = (5.0, 5.0, 10.0),
    ) -> None:
        super().__init__()
        self.sharpness = sharpness
        self.pictures = PictureNetwork(dim, width)
        self.regions = nn.Conv2d(4 * width, dim, 1)
        self.words = nn.Sequential(nn.LayerNorm(token_dim), nn.Linear(token_dim, dim))
        self.standardize = Standardize(sentence_dim)
        self.sentence = nn.Linear(sentence_dim, dim)

    def forward(self, pictures: Tensor, captions: Words, also_true: Tensor) -> Tensor:
        """How badly pictures and captions of a batch find each other (eq. 11 to 14).

        Args:
            pictures: ``(n, 3, r, r)`` in [-1, 1].
            captions: Of n captions; caption i belongs to picture i.
            also_true: ``(n, n)`` booleans: caption j is true of picture i as well.

        Returns:
            Scalar in nats: by words and by whole sentences, each in both directions, summed.
        """
        (_, coarse), whole = self.pictures.maps(pictures)
        regions = self.regions(coarse).flatten(2).transpose(1, 2)
        with torch.autocast(pictures.device.type, enabled=False):
            said = self.words(captions.states.float())
            by_words = likeness(regions.float(), said, captions.present, self.sharpness[:2])
            sentence = self.sentence(self.standardize(captions.sentence.float()))
            by_whole = F.normalize(whole.float(), dim=1) @ F.normalize(sentence, dim=1).t()
            # mutual_choice is the mean of both directions.
            choices = (by_words, by_whole)
            losses = [2.0 * mutual_choice(self.sharpness[2] * each, also_true) for each in choices]
            return torch.stack(losses).sum()


def likeness(
    regions: Tensor, words: Tensor, present: Tensor, sharpness: tuple[float, float]
) -> Tensor:
    """How well each picture goes with each caption, word by word.

    s = eᵀ v; s̄ is its softmax over the words (eq. 8); c_i gathers the regions by the softmax of
    γ1 s̄_i (eq. 9); R = 1/γ2 log Σ_i exp(γ2 cos(c_i, e_i)) (eq. 10).

    Args:
        regions: ``(n, p, d)`` v.
        words: ``(m, t, d)`` e.
        present: ``(m, t)`` booleans, False where there is no word.
        sharpness: γ1 and γ2.

    Returns:
        ``(n, m)``: R of picture i and caption j.
    """
    gamma1, gamma2 = sharpness
    s = torch.einsum("jtd,ipd->ijtp", words, regions)
    there = present[None, :, :, None]
    over_words = s.masked_fill(~there, ABSENT).softmax(dim=2)
    context = torch.einsum("ijtp,ipd->ijtd", (gamma1 * over_words).softmax(dim=3), regions)
    cosines = F.cosine_similarity(context, words[None], dim=3)
    each = (gamma2 * cosines).masked_fill(~present[None], ABSENT)
    return torch.logsumexp(each, dim=2) / gamma2


def learned_first(
    recipe: Recipe,
    damsm: Damsm,
    matched: Callable[[Networks, Batch, Tensor], Tensor],
    kimg: float,
) -> Recipe:
    """Return a recipe whose players wait until DAMSM has learned from real pictures.

    Args:
        recipe: The players' own.
        damsm: Joins the networks as ``damsm``, in evaluation beside them.
        matched: Its loss of some pictures and the batch's captions.
        kimg: Length of its learning, Adam of 0.002.
    """

    def loss(networks: Networks, batch: Batch) -> Losses:
        value = matched(networks, batch, batch.pictures)
        return Losses(value, {"M/damsm": value.detach()})

    networks = {**recipe.networks, "damsm": damsm}
    learned = Adam(2e-3, betas=(0.5, 0.999))
    first = Phase("damsm", learned, loss, active=lambda now: now < kimg)
    then = (replace(phase, active=lambda now: now >= kimg) for phase in recipe.phases)
    fit = standardizing(*networks.values())
    return replace(recipe, networks=networks, phases=(first, *then), fit=fit)
