"""Building blocks that generators and discriminators share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAK = 0.2
# From this side on, one transposed convolution beats doubling and convolving (at 32 pixels it takes
# six tenths of the time); below it the transposed kernels of CPUs are several times slower.
FOLD_FROM = 16
# A leaky ReLU of unit-variance input has standard deviation sqrt((1 + leak²) / 2).
LEAKY_GAIN = math.sqrt(2.0 / (1.0 + LEAK**2))


class Standardize(nn.Module):
    """Centre and scale embeddings per dimension by stored statistics.

    Sentence embeddings of two captions that differ in one colour have a cosine above 0.9; what
    they share dominates what tells them apart. Statistics over the training captions undo that.
    They are buffers, so that they travel with the weights.

    Args:
        dim: Length of an embedding.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    @torch.no_grad()
    def fit(self, embeddings: Tensor) -> None:
        """Take mean and standard deviation from ``(n, dim)`` embeddings."""
        values = embeddings.double()
        self.mean.copy_(values.mean(0))
        # A dimension that hardly moves must not be blown up into noise.
        std = values.std(0, unbiased=False)
        self.std.copy_(std.clamp(min=0.1 * float(std.median()) + 1e-8))

    def forward(self, embeddings: Tensor) -> Tensor:
        """Standardise ``(n, dim)``; the same shape, about zero mean and unit variance."""
        return (embeddings - self.mean) / self.std


class ConditioningAugmentation(nn.Module):
    """Draw the conditioning from a Gaussian around the caption. StackGAN, 1612.03242, eq. 3.

    Args:
        embedding_dim: Length of the standardised embedding.
        conditioning_dim: Length of the conditioning vector.
        hidden_dim: Width of the hidden layer before mean and log σ.
    """

    def __init__(self, embedding_dim: int, conditioning_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(embedding_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, 2 * conditioning_dim)

    def forward(self, embedding: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``(conditioning, mu, log_sigma)``, each ``(n, conditioning_dim)``.

        Without ``noise`` the conditioning is the mean.
        """
        hidden = F.leaky_relu(self.hidden(embedding), LEAK)
        mu, log_sigma = self.out(hidden).float().chunk(2, dim=1)
        # Bounded, so that no caption can drive the exponential out of range.
        log_sigma = 3.0 * torch.tanh(log_sigma / 3.0) - 1.0
        conditioning = mu if noise is None else mu + log_sigma.exp() * noise
        return conditioning, mu, log_sigma


class StyledConvolution(nn.Module):
    """3x3 convolution whose input channels are scaled by a style and whose output is rescaled.

    Modulation and demodulation of StyleGAN2 (1912.04958, eq. 1 and 3) in the form that shares one
    weight over the batch: scale the input, convolve, divide by the norm that the scaled weight
    would have had. No statistic is taken over the batch, so a picture never depends on the others.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        style_dim: Length of the style vector.
        upsample: Double height and width first (nearest neighbour).
    """

    # Methods that multiply a row, or convolve a map, for each picture; whoever draws may need other
    # numbers of rows and of maps than pictures.
    row_products = ("squared_norm",)
    map_products = ("convolve", "enlarge")
    squares: Tensor | None
    doubling: Tensor | None

    def __init__(
        self, in_channels: int, out_channels: int, style_dim: int, *, upsample: bool = False
    ) -> None:
        super().__init__()
        self.upsample = upsample
        self.scale = nn.Linear(style_dim, in_channels)
        nn.init.normal_(self.scale.weight, std=0.5 / math.sqrt(style_dim))
        nn.init.ones_(self.scale.bias)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        with torch.no_grad():
            self.weight.mul_(1.0 / math.sqrt(in_channels * 9))
        # What follows from the weight alone; None while it may learn.
        self.register_buffer("squares", None, persistent=False)
        self.register_buffer("doubling", None, persistent=False)

    @torch.no_grad()
    def precompute(self) -> None:
        """See `precompute`: the squares for `squared_norm`, and the kernel for `enlarge`."""
        self.squares = _squares(self.weight)
        if self.upsample:
            # The layout that a convolution would bring it into each time.
            kernel = doubling_kernel(self.weight)
            self.doubling = kernel.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Map ``(n, in_channels, h, w)`` to ``(n, out_channels, h', w')``."""
        scale = self.scale(style)
        norm = torch.rsqrt(self.squared_norm(scale.float().square()) + 1e-6)
        # The gain goes into what is multiplied anyway: a leaky ReLU commutes with positive factors.
        norm, bias = (LEAKY_GAIN * norm).to(x.dtype), (LEAKY_GAIN * self.bias).to(x.dtype)
        x = x * scale.to(x.dtype)[:, :, None, None]
        if self.upsample and x.shape[-1] >= FOLD_FROM:
            x = self.enlarge(x)
        else:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest") if self.upsample else x
            x = self.convolve(x)
        x = torch.addcmul(bias[None, :, None, None], x, norm[:, :, None, None])
        return F.leaky_relu(x, LEAK)

    def squared_norm(self, squared_scale: Tensor) -> Tensor:
        """Return the scaled weight's squared norm for each output channel.

        Args:
            squared_scale: ``(n, in_channels)``.

        Returns:
            ``(n, out_channels)``.
        """
        squares = _squares(self.weight) if self.squares is None else self.squares
        return squared_scale @ squares.t()

    def convolve(self, x: Tensor) -> Tensor:
        """Map scaled ``(n, in_channels, h, w)`` to ``(n, out_channels, h, w)``."""
        return F.conv2d(x, self.weight, padding=1)

    def enlarge(self, x: Tensor) -> Tensor:
        """Map scaled ``(n, in_channels, h, w)`` to ``(n, out_channels, 2h, 2w)``."""
        kernel = doubling_kernel(self.weight) if self.doubling is None else self.doubling
        return F.conv_transpose2d(x, kernel, stride=2, padding=1)


def precompute(network: nn.Module) -> None:
    """Compute once what a network computes from its weights alone in every pass, in place.

    The state dict stays what it is, and so do the results, to the bit. For networks that draw: of
    weights that change afterwards it would not know.
    """
    for module in network.modules():
        if isinstance(module, StyledConvolution):
            module.precompute()


def _squares(weight: Tensor) -> Tensor:
    """Return the sums of a kernel's squares, `(out_channels, in_channels)`."""
    return weight.float().square().sum(dim=(2, 3))


def doubling_kernel(weight: Tensor) -> Tensor:
    """Fold "double by nearest neighbour, then convolve 3x3" into one transposed convolution.

    Of the nine products of an output pixel some meet the same input pixel; adding their weights
    beforehand leaves four.

    Args:
        weight: ``(out_channels, in_channels, 3, 3)``.

    Returns:
        ``(in_channels, out_channels, 4, 4)`` for stride 2 and padding 1.
    """
    padded = F.pad(weight, (1, 1, 1, 1))
    summed = padded[..., 1:, :] + padded[..., :-1, :]
    summed = summed[..., 1:] + summed[..., :-1]
    return summed.flip(2, 3).transpose(0, 1)


class DownBlock(nn.Module):
    """Residual block that halves height and width: 4x4 stride 2, then 3x3. DF-GAN, 2008.05865.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(in_channels, out_channels, 4, stride=2, padding=1)
        self.refine = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(n, in_channels, h, w)`` to ``(n, out_channels, h/2, w/2)``."""
        y = F.leaky_relu(self.down(F.leaky_relu(x, LEAK)), LEAK)
        shortcut: Tensor = self.skip(F.avg_pool2d(x, 2))
        refined: Tensor = self.refine(y)
        return (shortcut + refined) * math.sqrt(0.5)
