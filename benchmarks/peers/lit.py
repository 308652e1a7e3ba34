"""The model behind LitServe."""

# LitServe reads the annotations of `decode_request` itself.
import argparse
from typing import Any

import litserve
from fastapi import Response

from benchmarks.peers.drawer import Drawer


class Pictures(litserve.LitAPI):
    """`POST /predict` of `{"caption": ..., "seed": ...}` answers a PNG file."""

    def __init__(self, model: str, batch: int) -> None:
        # A few milliseconds for company: without them every batch holds one picture.
        super().__init__(max_batch_size=batch, batch_timeout=0.005)
        self._model = model

    def setup(self, device: str) -> None:
        """Load the model, once in each worker."""
        self._draw = Drawer(self._model)

    def decode_request(self, request: dict[str, Any]) -> tuple[str, int]:
        """Read a request."""
        return request["caption"], request["seed"]

    def batch(self, inputs: list[tuple[str, int]]) -> list[tuple[str, int]]:
        """Leave a batch as it is."""
        return inputs

    def predict(self, x: list[tuple[str, int]]) -> list[bytes]:
        """Draw a batch."""
        return self._draw(x)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        """Leave a batch as it is."""
        return output

    def encode_response(self, output: bytes) -> Response:
        """Answer with the file."""
        return Response(content=output, media_type="image/png")


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    given = parser.parse_args()
    server = litserve.LitServer(
        Pictures(given.model, given.batch), accelerator="cpu", workers_per_device=given.workers
    )
    server.run(host="127.0.0.1", port=given.port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
