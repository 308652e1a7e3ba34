"""The command `t2i-serve`."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import click

import t2i
from server.jobs.settings import JobSettings
from server.security import TOKEN_VARIABLE, read_token
from server.settings import BACKENDS, WATCH_SECONDS, BackendName, Settings
from t2i.errors import InvalidInput, T2IError
from t2i.extras import needs_extra

__all__ = ["main"]

_DEFAULTS = Settings()
_MB = 1024 * 1024
_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(context_settings={"show_default": True, "max_content_width": 100})
@click.option(
    "--address",
    default=_DEFAULTS.address,
    metavar="HOST:PORT",
    help="Where to listen. Port 0 takes a free port and writes it to the log and to --port-file.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    default=_DEFAULTS.models,
    metavar="NAME|FOLDER",
    help="A model to serve: a name or a bundle's folder. Repeat for more; the first is the default "
    "that answers when a request names none.",
)
@click.option(
    "--lazy",
    is_flag=True,
    help="Load each model at its first request, which waits for it. At the start bundles are only "
    "checked.",
)
@click.option(
    "--memory-budget",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="MiB that the weights of loaded models may take, in all workers together. A model that is "
    "asked for takes the room of those used least recently.  [default: any]",
)
@click.option(
    "--models-copy",
    type=_FOLDER,
    help="Folder of this server's own for copies of loaded bundles: the folders that "
    "they were read from may then change at any time.",
)
@click.option(
    "--watch-models",
    type=float,
    is_flag=False,
    flag_value=WATCH_SECONDS,
    metavar="[SECONDS]",
    help="Look so often whether a model's folder holds another version, and swap it without "
    f"failing a request; {WATCH_SECONDS:g} if no number is given. Without it, at SIGHUP only.",
)
@click.option(
    "--admin",
    metavar="HOST:PORT",
    help="Where operators may list, load, unload and swap models with t2i admin, such as "
    "127.0.0.1:50052. Without it, nowhere.",
)
@click.option(
    "--admin-token-file",
    type=_FILE,
    help="File with the token of operators, which is no caller's. Without it, whoever is on this "
    "machine may.",
)
@click.option(
    "--models-root",
    type=_FOLDER,
    help="Folder below which operators may name further bundles. Without it, none.",
)
@click.option("--device", help="Torch device, such as cpu or cuda:0.  [default: the best there is]")
@click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    default=_DEFAULTS.backend,
    help="Where pictures are drawn. thread: in this process. process: in workers of their own, "
    "which are started again when they die; each takes the memory of all models. ray: the same, in "
    "workers of a Ray cluster; needs the extra ray.",
)
@click.option(
    "--ray-address",
    metavar="HOST:PORT|auto",
    help="Ray cluster to draw on, which this machine must be part of.  [default: one on this "
    "machine, which ends with the server]",
)
@click.option(
    "--workers",
    type=int,
    help="Batches that are drawn at the same time; they share the cores of a CPU.  "
    "[default: one a core, one on a GPU]",
)
@click.option(
    "--max-batch",
    type=int,
    help="Pictures in a batch at most. More wins throughput on a GPU and costs latency on a CPU.  "
    "[default: 8 for each core of a worker, 16 on a GPU]",
)
@click.option(
    "--queue",
    "queue_limit",
    default=_DEFAULTS.queue_limit,
    help="Pictures that may wait. Beyond it, requests are told when to come back.",
)
@click.option(
    "--queue-mb",
    default=_DEFAULTS.queue_bytes // _MB,
    help="MiB of memory that requests and their pictures may hold until they are sent.",
)
@click.option(
    "--replay-mb",
    default=_DEFAULTS.replay_bytes // _MB,
    help="MiB of answers to keep for requests with an id that are asked again; 0 keeps none.",
)
@click.option(
    "--replay-seconds",
    default=_DEFAULTS.replay_seconds,
    help="How long such answers, and what each id asked for, are remembered.",
)
@click.option(
    "--drain-seconds",
    default=_DEFAULTS.drain_seconds,
    help="After SIGTERM or Ctrl-C, how long running requests may take to finish.",
)
@click.option("--tls-cert", type=_FILE, help="PEM file with the certificate chain.")
@click.option("--tls-key", type=_FILE, help="PEM file with the certificate's private key.")
@click.option(
    "--tls-client-ca",
    type=_FILE,
    help="PEM file with authorities: callers must show a certificate of theirs.",
)
@click.option(
    "--token-file",
    type=_FILE,
    help="File with the token that callers must send as 'authorization: Bearer TOKEN'.  [default: "
    f"the environment variable {TOKEN_VARIABLE}, or no token]",
)
@click.option(
    "--tokens",
    "tokens_file",
    type=_FILE,
    help="TOML file with several tokens: a table a caller with token, and if wanted "
    "pictures_per_second and pictures_per_day. Read again when it changes.",
)
@click.option(
    "--max-streams",
    default=_DEFAULTS.max_streams,
    help="Calls at the same time on one connection.",
)
@click.option(
    "--connection-seconds",
    default=_DEFAULTS.connection_seconds,
    help="Age at which a connection is to be made anew; 0 for any.",
)
@click.option(
    "--jobs",
    "jobs_folder",
    type=_FOLDER,
    help="Run batch jobs, and keep in this folder which there are. Needs the next two.",
)
@click.option(
    "--jobs-input-root",
    "jobs_input_roots",
    multiple=True,
    type=_FOLDER,
    help="Folder below which jobs may read. Repeat for more.",
)
@click.option("--jobs-output-root", type=_FOLDER, help="Folder below which jobs write.")
@click.option(
    "--jobs-at-once", default=JobSettings.at_once, help="Jobs that draw at the same time."
)
@click.option(
    "--jobs-per-caller",
    default=JobSettings.per_owner,
    help="Jobs that a caller may have until one ends.",
)
@click.option("--jobs-max-rows", default=JobSettings.max_rows, help="Rows of one job.")
@click.option(
    "--jobs-keep-days",
    default=JobSettings.keep_days,
    help="After so many days jobs that ended are forgotten; their files stay.",
)
@click.option("--port-file", type=_FILE, help="File to write the port to once it is bound.")
@click.option(
    "--report-file",
    type=_FILE,
    help="File to write what was drawn, refused and given up to when the server ends, as JSON.",
)
@click.option(
    "--metrics",
    metavar="HOST:PORT",
    help="Where Prometheus may fetch /metrics, such as 127.0.0.1:9090. Without it, nowhere.",
)
@click.option(
    "--traces",
    is_flag=True,
    help="Send OpenTelemetry's spans of calls to a collector, by OTLP; OTEL_EXPORTER_OTLP_ENDPOINT "
    "and OpenTelemetry's other variables say where. Needs the extra telemetry.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    help="Log lines for people, or a JSON object each.",
)
@click.option(
    "--log-level",
    default="info",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="How much to log, on standard error. info: one line a request.",
)
@click.version_option(t2i.__version__, prog_name="t2i-serve")
def main(
    address: str,
    models: tuple[str, ...],
    lazy: bool,
    memory_budget: int | None,
    models_copy: Path | None,
    watch_models: float | None,
    admin: str | None,
    admin_token_file: Path | None,
    models_root: Path | None,
    device: str | None,
    backend: BackendName,
    ray_address: str | None,
    workers: int | None,
    max_batch: int | None,
    queue_limit: int,
    queue_mb: int,
    replay_mb: int,
    replay_seconds: float,
    drain_seconds: float,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    token_file: Path | None,
    tokens_file: Path | None,
    max_streams: int,
    connection_seconds: float,
    jobs_folder: Path | None,
    jobs_input_roots: tuple[Path, ...],
    jobs_output_root: Path | None,
    jobs_at_once: int,
    jobs_per_caller: int,
    jobs_max_rows: int,
    jobs_keep_days: float,
    port_file: Path | None,
    report_file: Path | None,
    metrics: str | None,
    traces: bool,
    log_format: str,
    log_level: str,
) -> None:
    """Draw pictures for programs that ask over gRPC.

    \b
    Serve the bundled model to this machine:
        t2i-serve
    Ask it, in another terminal:
        t2i generate "small bird with red head" --server 127.0.0.1:50051 --out birds.png
    Serve your own model as well:
        t2i-serve --model default --model runs/flowers/bundle
    Serve other machines, which needs a certificate and a token:
        t2i-serve --address 0.0.0.0:50051 --tls-cert cert.pem --tls-key key.pem --token-file token

    \b
    Serve many models from little memory, each loaded when it is asked for:
        t2i-serve --model birds --model flowers --model faces --lazy --memory-budget 500

    \b
    Follow a link that is switched to each new version:
        t2i-serve --model /srv/models/birds --watch-models

    The server answers health checks at once (NOT_SERVING until its models are loaded). On SIGHUP,
    or by itself with --watch-models, it looks for other versions of its models and swaps them
    without failing a request. On SIGTERM or Ctrl-C it turns NOT_SERVING, finishes what runs, and
    exits with 0; a second signal ends it at once.
    """  # noqa: D301 - \b keeps click from filling the examples
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("t2i").setLevel(log_level.upper())
    if log_format == "json":
        # Imported late, like the server itself.
        with needs_extra("server"):
            from server.telemetry import JsonLines

        logging.getLogger().handlers[0].setFormatter(JsonLines())
    try:
        if traces:
            with needs_extra("telemetry"):
                from server.traces import send_traces

            send_traces()
        host, port = _split(address)
        settings = Settings(
            models=models,
            lazy=lazy,
            memory_budget=None if memory_budget is None else memory_budget * _MB,
            models_copy=models_copy,
            watch_models=watch_models,
            admin=None if admin is None else _split(admin),
            admin_token=None if admin_token_file is None else read_token(admin_token_file),
            models_root=models_root,
            host=host,
            port=port,
            port_file=port_file,
            report_file=report_file,
            device=device,
            backend=backend,
            ray_address=ray_address,
            workers=workers,
            max_batch=max_batch,
            queue_limit=queue_limit,
            queue_bytes=queue_mb * _MB,
            replay_bytes=replay_mb * _MB,
            replay_seconds=replay_seconds,
            drain_seconds=drain_seconds,
            tls_cert=tls_cert,
            tls_key=tls_key,
            tls_client_ca=tls_client_ca,
            # The variable is for callers as well; a file of tokens goes before it.
            token=None if tokens_file and not token_file else read_token(token_file),
            tokens_file=tokens_file,
            max_streams=max_streams,
            connection_seconds=connection_seconds,
            metrics=None if metrics is None else _split(metrics),
            jobs=_jobs(
                jobs_folder,
                jobs_input_roots,
                jobs_output_root,
                at_once=jobs_at_once,
                per_owner=jobs_per_caller,
                max_rows=jobs_max_rows,
                keep_days=jobs_keep_days,
            ),
        )
        # Imported late, so that --help and a wrong option answer at once.
        with needs_extra("server"):
            from server.run import serve

        if not asyncio.run(serve(settings)):
            logging.shutdown()
            os._exit(0)
    except T2IError as error:
        raise click.ClickException(str(error)) from error


def _jobs(
    folder: Path | None,
    input_roots: tuple[Path, ...],
    output_root: Path | None,
    *,
    at_once: int,
    per_owner: int,
    max_rows: int,
    keep_days: float,
) -> JobSettings | None:
    if folder is None:
        if input_roots or output_root:
            raise InvalidInput("jobs", None, "is missing", "give --jobs FOLDER with its roots")
        return None
    if output_root is None:
        raise InvalidInput(
            "jobs-output-root", None, "is missing", "name a folder that jobs may write to"
        )
    return JobSettings(
        folder=folder,
        input_roots=input_roots,
        output_root=output_root,
        at_once=at_once,
        per_owner=per_owner,
        max_rows=max_rows,
        keep_days=keep_days,
    )


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not (colon and host and port.isascii() and port.isdecimal()):
        raise InvalidInput(
            "address", address, f"{address} is not HOST:PORT", "give for example 127.0.0.1:50051"
        )
    return host, int(port)


if __name__ == "__main__":
    main()
