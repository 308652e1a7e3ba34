"""Serve a model that draws nothing; the package tells what for."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from benchmarks.timed import TimedBackend
from benchmarks.timed.bare import serve_bare
from server.run import serve
from server.settings import Settings


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--report-file", type=Path)
    parser.add_argument("--fixed-ms", type=float, default=0.0)
    parser.add_argument("--each-ms", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--bare", action="store_true", help="gRPC alone, with ready answers")
    options = parser.parse_args()
    if options.bare:
        asyncio.run(serve_bare(options.port_file))
        return
    settings = Settings(
        models=("timed",), port=0, port_file=options.port_file, report_file=options.report_file
    )

    async def run() -> None:
        await serve(
            settings, TimedBackend(options.fixed_ms / 1e3, options.each_ms / 1e3, options.batch)
        )

    asyncio.run(run())


if __name__ == "__main__":
    main()
