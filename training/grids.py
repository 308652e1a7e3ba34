"""A grid of fixed captions and seeds, drawn now and then to see how far training is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import nn

from t2i.encoders import TextEncoder
from t2i.sheets import contact_sheet
from training.export_captions import CaptionedGenerator

SEEDS = 8


class Grid:
    """One row a caption, one column a seed; beside the grids, the captions as text.

    Args:
        encoder: From captions to the generator's embeddings.
        captions: One row each.
        seed: Seed of the noise, the same for every grid of a run.
    """

    def __init__(self, encoder: TextEncoder, captions: Sequence[str], *, seed: int = 0) -> None:
        self.captions = tuple(captions)
        self._embeddings = encoder.encode(captions).repeat_interleave(SEEDS, dim=0)
        self._seed = seed

    @torch.inference_mode()
    def save(self, generator: nn.Module, path: Path) -> None:
        """Draw the grid with a generator and write it as a picture."""
        assert isinstance(generator, CaptionedGenerator)
        device = next(generator.parameters()).device
        noise = torch.Generator().manual_seed(self._seed)
        rows = len(self.captions)
        z = torch.randn(SEEDS, generator.noise_dim, generator=noise).repeat(rows, 1)
        c = torch.randn(SEEDS, generator.conditioning_dim, generator=noise).repeat(rows, 1)
        output = generator(self._embeddings.to(device), z.to(device), c.to(device))
        pictures = output.pictures[-1].float().cpu().add(1).mul(127.5).round().clamp(0, 255)
        arrays = pictures.byte().permute(0, 2, 3, 1).numpy()
        cells = [Image.fromarray(array) for array in arrays]
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet = contact_sheet([cells[row * SEEDS : (row + 1) * SEEDS] for row in range(rows)])
        partial = path.with_suffix(".partial")
        sheet.save(partial, format="PNG")
        partial.replace(path)
        (path.parent / "captions.txt").write_text("\n".join(self.captions) + "\n")
