from __future__ import annotations

import torch

from training.data.birds.attributes import COLOURED_PARTS
from training.metrics.bird_parts import birds_with_masks, fit_parts


def test_masks_lie_on_the_bird_they_were_drawn_with() -> None:
    pictures, masks = birds_with_masks("train", 3, 24)
    assert pictures.shape == (3, 3, 24, 24) and masks.shape == (3, len(COLOURED_PARTS), 24, 24)
    assert float(pictures.min()) >= -1.0 and float(pictures.max()) <= 1.0
    # Every bird has a belly, and no part covers half of the picture.
    assert bool(masks[:, COLOURED_PARTS.index("belly")].any(dim=(1, 2)).all())
    assert float(masks.float().mean(dim=(2, 3)).max()) < 0.5
    again, _ = birds_with_masks("train", 1, 24)
    assert torch.equal(again[0], pictures[0])


def test_a_few_steps_find_parts_better_than_chance() -> None:
    told = fit_parts(size=16, count=40, held_out=16, steps=40, batch=16, width=8)
    pictures, masks = birds_with_masks("val", 16, 16)
    assert told(pictures).shape == masks.shape
    # Marking all pixels has the IoU of the share that a part covers.
    assert float(told.iou.max()) > 1.5 * float(masks.float().mean(dim=(0, 2, 3)).max())
