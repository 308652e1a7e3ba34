"""How often a wrong caption is true all the same, and what drawing one costs. Prints JSON.

    python -m benchmarks.wrong_captions [--birds 1500] [--draws 20000] [--seed 0]

The illustrated birds know which captions are true of which pictures. That is hidden from the rule,
which then goes by the embeddings alone, as it does for a folder without labels; afterwards the
truth judges what it drew. At quantile 1 the embeddings are not asked: that is the rate of drawing
at random (own and equal captions left out).
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np

from t2i.encoders import encode_dataset, load_text_encoder
from training.data import PictureData, load_pictures
from training.data.decoded import cache_root
from training.data.wrong_captions import WrongCaptions

QUANTILES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
BATCH = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--birds", type=int, default=1500, help="number of birds")
    parser.add_argument(
        "--draws", type=int, default=20_000, help="wrong captions for each quantile"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--encoder", default="all-MiniLM-L6-v2", help="text encoder: id, or folder")
    parser.add_argument("--cache", type=Path, default=cache_root(), help="where birds are kept")
    given = parser.parse_args()
    data = load_pictures(
        "birds",
        resolution=64,
        count=given.birds,
        seed=given.seed,
        cache_dir=given.cache / "birds",
        progress=False,
    )
    truth = data.truth
    assert truth is not None
    embeddings = encode_dataset(
        load_text_encoder(given.encoder),
        data.flat_captions,
        given.cache / "captions",
        progress=False,
    )
    hidden = PictureData(data.name, data.fingerprint, data.pictures, data.captions)
    pictures = np.random.default_rng(given.seed).integers(0, len(data), given.draws)
    rows = []
    for quantile in QUANTILES:
        wrong = WrongCaptions(hidden, embeddings, quantile=quantile, seed=given.seed)
        rng = np.random.default_rng(given.seed)
        drawn, milliseconds = [], []
        for begin in range(0, given.draws, BATCH):
            started = time.thread_time()
            drawn.append(wrong.draw(pictures[begin : begin + BATCH], rng))
            milliseconds.append((time.thread_time() - started) * 1000.0)
        true = truth.holds(pictures, np.concatenate(drawn))
        rows.append(
            {
                "quantile": quantile,
                "true_although_drawn": round(float(true.mean()), 5),
                "cpu_ms_a_batch_of_64": round(float(np.median(milliseconds)), 3),
            }
        )
    print(
        json.dumps(
            {
                "birds": given.birds,
                "captions": len(data.flat_captions),
                "draws": given.draws,
                "seed": given.seed,
                "encoder": given.encoder,
                "data": data.fingerprint,
                "machine": f"{platform.machine()} {platform.python_version()}",
                "rows": rows,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
