"""The whole way once: start the server, ask it through the SDK, save what it draws, stop it.

    make demo
    python examples/demo.py "a large blue bird on the ground" --seed 3 --out demo

Needs the extra `server`.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from t2i.client import (
    Accepted,
    Client,
    Completed,
    DeadlineExceededError,
    Finished,
    Preview,
    UnavailableError,
)
from t2i.errors import T2IError
from t2i.sheets import contact_sheet, enlarged

LARGE = 512


@contextlib.contextmanager
def running_server(model: str, patience: float) -> Iterator[str]:
    """Start `t2i-serve` on a free port of this machine, give its address, and stop it at the end.

    Raises:
        SystemExit: it did not start; its own words are on standard error.
    """
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder, "port")
        command = [sys.executable, "-m", "server.cli", "--address", "127.0.0.1:0"]
        command += ["--port-file", str(port_file), "--model", model, "--log-level", "warning"]
        process = subprocess.Popen(command)
        try:
            yield _address_when_ready(process, port_file, time.monotonic() + patience)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address_when_ready(process: subprocess.Popen[bytes], port_file: Path, deadline: float) -> str:
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the server ended with code {process.returncode} before it was ready")
        # The server binds its port at once and answers UNAVAILABLE until its model is loaded, or
        # not at all for a moment on a machine that is busy elsewhere.
        if port_file.exists():
            address = f"127.0.0.1:{port_file.read_text().strip()}"
            with (
                contextlib.suppress(UnavailableError, DeadlineExceededError),
                Client(address, max_retries=0, timeout=5) as client,
            ):
                client.get_model()
                return address
        time.sleep(0.02)
    raise SystemExit("the server was not ready in time")


def draw(address: str, caption: str, seed: int, out: Path) -> None:
    """Ask for a picture, save every stage of it, and tell how long it took."""
    stem = "-".join(caption.lower().split())
    stages: list[Image.Image] = []
    started = time.perf_counter()

    def tell(what: str, path: Path | str) -> None:
        print(f"  {(time.perf_counter() - started) * 1000:6.0f} ms  {what:<24}{path}")

    with Client(address) as client:
        for event in client.generate(caption, seeds=[seed]):
            match event:
                case Accepted():
                    tell("accepted", f"by {event.model.name} {event.model.version}")
                case Preview(image):
                    first = "first preview" if not stages else "preview"
                    stages.append(image.pil())
                    tell(first, image.save(out / f"{stem}-{image.resolution}px.png"))
                case Completed(image):
                    stages.append(image.pil())
                    tell("final picture", image.save(out / f"{stem}.png"))
                case Finished():
                    for warning in event.warnings:
                        print(f"  warning: {warning.message}")
    large = [enlarged(stage, LARGE, LARGE) for stage in stages]
    large[-1].save(out / f"{stem}-large.png")
    contact_sheet([large], gap=8).save(out / f"{stem}-stages.png")
    print(f"  to look at: {out / f'{stem}-large.png'} and {out / f'{stem}-stages.png'}")


def main() -> None:
    """Read the command line and run the demonstration."""
    parser = argparse.ArgumentParser(description="Start the server, draw one caption, stop it.")
    parser.add_argument("caption", nargs="?", default="small bird with red head")
    parser.add_argument("--seed", type=int, default=13, help="the same seed draws the same picture")
    parser.add_argument("--model", default="default", help="name or folder of a bundle")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder for the pictures")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds to wait for a start")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print("Starting the server ...")
    started = time.monotonic()
    try:
        with running_server(options.model, options.patience) as address:
            print(f"Ready on {address} after {time.monotonic() - started:.1f} s.")
            print(f"Asking for “{options.caption}”, seed {options.seed}:")
            draw(address, options.caption, options.seed, options.out)
    except T2IError as error:
        raise SystemExit(f"failed: {error}") from error
    print("Server stopped.")


if __name__ == "__main__":
    main()
