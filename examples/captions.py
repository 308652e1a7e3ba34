"""A file of captions to one sheet: a strip of pictures for each line, the same seeds in all.

    python examples/captions.py examples/birds.txt --out birds.png
    python examples/captions.py captions.txt --model runs/flowers/bundle --count 6 --out flowers.png

Every line has the seeds 0, 1, 2 …, so that nobody has chosen what is shown. Needs the extra
`inference`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from t2i import Pipeline, Text
from t2i.sheets import contact_sheet, in_rows, labelled


def main() -> None:
    """Draw every line of a file and save the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("captions", type=Path, help="a text file, one caption a line")
    parser.add_argument(
        "--model", default="default", help="a bundle's name or folder (the bundled one)"
    )
    parser.add_argument("--count", type=int, default=4, help="pictures of each caption (4)")
    parser.add_argument("--columns", type=int, default=2, help="strips beside each other (2)")
    parser.add_argument("--out", type=Path, default=Path("captions.png"), help="the sheet")
    given = parser.parse_args()
    captions = [line.strip() for line in given.captions.read_text().splitlines() if line.strip()]
    if not captions:
        parser.error(f"captions: {given.captions} holds no caption; write one a line")
    pipeline = Pipeline.from_pretrained(given.model)
    strips = []
    for caption in captions:
        drawn = pipeline.generate(Text(caption), count=given.count, seeds=range(given.count))
        strips.append(labelled(contact_sheet([[image.pil() for image in drawn.images]]), caption))
    contact_sheet(in_rows(strips, given.columns), gap=8).save(given.out)
    print(given.out)


if __name__ == "__main__":
    main()
