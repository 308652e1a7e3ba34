from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.cli import main
from t2i.errors import InvalidInput
from tests.server.jobs.folders import Places


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_roots", ()),
        ("input_roots", (Path("/not/there"),)),
        ("output_root", Path("/not/there")),
        ("at_once", 0),
        ("per_owner", 0),
        ("max_rows", 0),
        ("keep_days", -1),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_the_name_of_its_option(
    places: Places, field: str, value: object
) -> None:
    with pytest.raises(InvalidInput, match=r"^jobs-"):
        dataclasses.replace(places.settings(), **{field: value})  # type: ignore[arg-type]


def test_the_database_does_not_lie_where_jobs_write(places: Places) -> None:
    for folder in (places.outputs, places.outputs / "jobs"):
        with pytest.raises(InvalidInput, match="where jobs write"):
            dataclasses.replace(places.settings(), folder=folder)


def test_the_command_asks_for_all_three_folders(places: Places) -> None:
    inputs = ("--jobs-input-root", str(places.inputs))
    outputs = ("--jobs-output-root", str(places.outputs))
    jobs = ("--jobs", str(places.jobs))
    for given, missing in (
        ((*inputs, *outputs), "jobs: is missing"),
        ((*jobs, *inputs), "jobs-output-root: is missing"),
        ((*jobs, *outputs), "jobs-input-root: is missing"),
    ):
        done = CliRunner().invoke(main, given)
        assert done.exit_code == 1
        assert missing in done.output
    assert not places.jobs.exists()
