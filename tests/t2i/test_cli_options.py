from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from t2i.cli import main
from t2i.cli_options import noise_options, row_options, shard_options

SHARDS = ["input_format", "shard_format", "rows_per_shard"]
NOISE = ["truncation", "conditioning_truncation"]


def command(*names: str) -> click.Command:
    found: click.Command = main
    for name in names:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    return found


def told(of: click.Command, names: list[str]) -> list[tuple[object, ...]]:
    options = [each for each in of.params if isinstance(each, click.Option) and each.name in names]
    return [(o.name, o.opts, o.default, repr(o.type), o.help) for o in options]


def test_a_job_here_and_one_of_a_service_take_rows_and_shards_alike() -> None:
    names = [*SHARDS, *NOISE, "best_of"]
    here = told(command("batch"), names)
    assert [name for name, *_ in here] == names
    assert told(command("jobs", "create"), names) == here


def test_a_picture_and_a_way_take_noise_alike() -> None:
    names = [*NOISE, "scale", "device"]
    generate = told(command("generate"), names)
    assert [name for name, *_ in generate] == names
    assert told(command("interpolate"), names) == generate


def test_a_list_of_options_is_told_in_its_order_and_reaches_the_command() -> None:
    @click.command()
    @shard_options
    @row_options
    def show(**given: object) -> None:
        click.echo(" ".join(f"{name}={value}" for name, value in given.items()))

    assert [each.name for each in show.params] == [*SHARDS, *NOISE, "best_of"]
    done = CliRunner().invoke(show, ["--rows-per-shard", "7", "--truncation", "0.5"])
    assert "rows_per_shard=7" in done.output and " truncation=0.5" in done.output


@pytest.mark.parametrize("value", ["-0.1", "1.1", "much"])
def test_noise_has_a_scale_from_0_to_1(value: str) -> None:
    @click.command()
    @noise_options
    def show(**given: object) -> None:
        raise AssertionError(given)

    done = CliRunner().invoke(show, ["--conditioning-truncation", value])
    assert done.exit_code == 2 and "--conditioning-truncation" in done.output
