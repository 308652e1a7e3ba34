"""How long a person waits from cold: `t2i generate`, and a server's first picture.

    python benchmarks/start.py [--model default] [--repeats 3]

Prints JSON: seconds from the start of the process to the picture on disk, and to the first picture
from a server. The first repeat also pays for reading files from disk. Medians.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from t2i.client import Client

PATIENCE_S = 120.0


def generate(model: str, folder: Path) -> float:
    """Return the seconds that `t2i generate` takes."""
    command = [sys.executable, "-m", "t2i.cli", "generate", "small bird with red head"]
    started = time.perf_counter()
    subprocess.run(
        [*command, "--model", model, "--out", str(folder / "bird.png")],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def serve(model: str, folder: Path) -> float:
    """Return the seconds from the start of a server to its first picture."""
    port_file = folder / "port"
    command = [sys.executable, "-m", "server.cli", "--address", "127.0.0.1:0", "--model", model]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--port-file", str(port_file), "--log-level", "error"])
    try:
        while not port_file.exists():
            if process.poll() is not None or time.perf_counter() - started > PATIENCE_S:
                raise SystemExit("the server did not start")
            time.sleep(0.01)
        address = f"127.0.0.1:{port_file.read_text().strip()}"
        with Client(address, timeout=PATIENCE_S, max_retries=0) as client:
            client.generate_images("small bird with red head", seeds=[1])
        return time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="default", help="name or folder of a bundle")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    found: dict[str, list[float]] = {"generate_s": [], "server_first_picture_s": []}
    for _ in range(given.repeats):
        with tempfile.TemporaryDirectory() as folder:
            found["generate_s"].append(generate(given.model, Path(folder)))
            found["server_first_picture_s"].append(serve(given.model, Path(folder)))
    print(
        json.dumps(
            {
                name: {"median": statistics.median(all_), "all": all_}
                for name, all_ in found.items()
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
