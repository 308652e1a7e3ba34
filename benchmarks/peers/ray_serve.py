"""The model behind Ray Serve."""

from __future__ import annotations

import argparse
import signal

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.peers.drawer import Drawer


def application(model: str, workers: int, batch: int) -> serve.Application:
    """Return what answers `POST /predict` of `{"caption": ..., "seed": ...}` with a PNG file."""

    @serve.deployment(
        num_replicas=workers, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=256
    )
    class Pictures:
        def __init__(self) -> None:
            self._draw = Drawer(model)

        @serve.batch(max_batch_size=batch, batch_wait_timeout_s=0.005)
        async def draw(self, asked: list[tuple[str, int]]) -> list[bytes]:
            return self._draw(asked)

        async def __call__(self, request: Request) -> Response:
            asked = await request.json()
            picture = await self.draw((asked["caption"], asked["seed"]))
            return Response(picture, media_type="image/png")

    return Pictures.bind()


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    given = parser.parse_args()
    ray.init(num_cpus=given.workers, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": given.port})
    serve.run(application(given.model, given.workers, given.batch), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    main()
