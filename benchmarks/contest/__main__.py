"""Put the tables of all contests into a page: `python -m benchmarks.contest docs/results.md`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.contest import RESULTS, filled_in
from t2i.files import write_atomically
from training.errors import TrainingError


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="a Markdown file with the two marks")
    parser.add_argument("--results", type=Path, default=RESULTS, help="what runs gave")
    given = parser.parse_args()
    try:
        write_atomically(given.page, filled_in(given.page, given.results).encode())
    except TrainingError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
