"""The commands `t2i admin`: what a running server has in memory, and which versions of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from t2i.cli_options import json_option
from t2i.errors import InvalidInput

if TYPE_CHECKING:
    from t2i.client.admin import Admin, ServedModel

__all__ = ["admin"]

_Command = TypeVar("_Command", bound=Callable[..., None])
_MIB = 1024 * 1024


def _connected(command: _Command) -> _Command:
    """Give a command the options that say where the operators' service is."""
    server = click.option(
        "--server",
        metavar="ADDRESS",
        help="Where the server's --admin is.  [default: T2I_ADMIN_ADDRESS, or 127.0.0.1:50052]",
    )
    token = click.option(
        "--token-file",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="File with the operators' token.  [default: T2I_ADMIN_TOKEN]",
    )
    return server(token(command))


def _open(server: str | None, token_file: Path | None) -> Admin:
    from t2i.client.admin import Admin

    token = None
    if token_file is not None:
        token = token_file.read_text(encoding="utf-8").strip()
        if not token:
            raise InvalidInput("token-file", token_file, f"{token_file} is empty", "write a token")
    return Admin(server, token=token)


@click.group()
def admin() -> None:
    """See and change which models a running server has in memory.

    The server must have been started with --admin; see docs/operations.md.

    \b
        t2i admin models
        t2i admin swap birds /srv/models/birds-2
    """  # noqa: D301 - \b keeps click from filling the examples


@admin.command("models")
@_connected
@json_option
def list_models(server: str | None, token_file: Path | None, as_json: bool) -> None:
    """List the server's models: state, version, memory, and what needs them."""
    with _open(server, token_file) as service:
        found = service.models()
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
        return
    for model in found.models:
        click.echo(_line(model))
    budget = f" of {_mib(found.memory_budget_bytes)}" if found.memory_budget_bytes else ""
    click.echo(f"weights in memory: {_mib(found.memory_bytes)}{budget} MiB", err=True)


@admin.command()
@click.argument("model", required=False)
@click.option(
    "--path",
    help="In place of MODEL: a bundle to serve as well, below the server's --models-root.",
)
@_connected
def load(model: str | None, path: str | None, server: str | None, token_file: Path | None) -> None:
    """Have MODEL in memory before it is asked for, or serve one more."""
    if (model is None) == (path is None):
        raise click.UsageError("give MODEL or --path: one of the two")
    with _open(server, token_file) as service:
        click.echo(_line(service.load(model, path=path)))


@admin.command()
@click.argument("model")
@click.option("--forget", is_flag=True, help="Do not serve it any more.")
@_connected
def unload(model: str, forget: bool, server: str | None, token_file: Path | None) -> None:
    """Take MODEL out of memory when no request needs it any more; the next one loads it again."""
    with _open(server, token_file) as service:
        served = service.unload(model, forget=forget)
    click.echo(f"{served.version.name}: {'forgotten' if forget else served.state}")


@admin.command()
@click.argument("model")
@click.argument("path", required=False)
@_connected
def swap(model: str, path: str | None, server: str | None, token_file: Path | None) -> None:
    """Put the bundle at PATH in the place of MODEL's present version, without failing a request.

    PATH is on the server, below its --models-root. Without it MODEL is read again from where it was
    read before. If the new bundle cannot be used, the old version stays and the error says why.
    """
    with _open(server, token_file) as service:
        done = service.swap(model, path)
    before = f"version {done.previous.version}, {done.previous.checksum[:12]}"
    if done.changed:
        click.echo(f"{_line(done.model)}  (before: {before})")
    else:
        click.echo(f"{_line(done.model)}  (the same bundle as before)")


def _line(model: ServedModel) -> str:
    version = model.version
    parts: list[Any] = [
        version.name,
        f"version {version.version}",
        version.checksum[:12],
        model.state,
        f"{_mib(model.weight_bytes)} MiB" + (" and its encoder" if model.encoder_bytes else ""),
        f"{model.in_flight} in flight",
    ]
    if model.draining:
        parts.append(f"{len(model.draining)} older draining")
    if model.is_default:
        parts.append("(default)")
    if model.failure:
        parts.append(f"failed: {model.failure}")
    return "  ".join(parts)


def _mib(size: int) -> str:
    return f"{size / _MIB:.1f}"
