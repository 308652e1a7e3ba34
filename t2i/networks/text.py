"""Generator and critic of short texts, a character a place (WGAN-GP, 1704.00028, section 5.5)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from t2i.networks.base import Critic, PictureGenerator

BLOCKS = 5


class TextBlock(nn.Module):
    """x + 0.3 f(x), where f is ReLU and a convolution over five places, twice.

    Args:
        width: Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolve1 = nn.Conv1d(width, width, 5, padding=2)
        self.convolve2 = nn.Conv1d(width, width, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, width, length)`` to the same shape."""
        total: Tensor = x + 0.3 * self.convolve2(F.relu(self.convolve1(F.relu(x))))
        return total


class TextGenerator(PictureGenerator):
    """A linear layer, five residual blocks, and the chances of every place's characters.

    All places are drawn at once, and nothing is sampled: the critic is shown the chances.

    Args:
        length: Characters of a text.
        vocabulary: Different characters.
        noise_dim: Length of the noise.
        width: Channels.
    """

    def __init__(
        self, *, length: int = 32, vocabulary: int = 2, noise_dim: int = 128, width: int = 512
    ) -> None:
        super().__init__(
            condition_dim=0,
            noise_dim=noise_dim,
            resolutions=(),
            config={
                "length": length,
                "vocabulary": vocabulary,
                "noise_dim": noise_dim,
                "width": width,
            },
        )
        self.start = nn.Linear(noise_dim, width * length)
        self.body = nn.Sequential(
            nn.Unflatten(1, (width, length)),
            *(TextBlock(width) for _ in range(BLOCKS)),
            nn.Conv1d(width, vocabulary, 1),
        )

    def draw(self, embedding: Tensor, noise: Tensor) -> Tensor:
        """Map noise to chances ``(n, length, vocabulary)``; there is no condition."""
        chances: Tensor = self.body(self.start(noise)).softmax(dim=1).transpose(1, 2)
        return chances


class TextCritic(Critic):
    """Five residual blocks over the chances of characters; real texts are one-hot.

    Args:
        length: Characters of a text.
        vocabulary: Different characters.
        width: Channels.
    """

    def __init__(self, *, length: int = 32, vocabulary: int = 2, width: int = 512) -> None:
        super().__init__(feature_dim=width * length)
        self.body = nn.Sequential(
            nn.Conv1d(vocabulary, width, 1),
            *(TextBlock(width) for _ in range(BLOCKS)),
            nn.Flatten(),
        )

    def look(self, pictures: Tensor) -> Tensor:
        """Map ``(n, length, vocabulary)`` to ``(n, width * length)``."""
        features: Tensor = self.body(pictures.transpose(1, 2))
        return features
