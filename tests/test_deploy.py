"""The files to start from name options, metrics and files that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from server.backends.thread import ThreadBackend
from server.cli import main
from server.engine import Engine
from server.lag import LagProbe
from server.model_store import ModelStore
from server.replays import Replays
from server.telemetry import Metrics

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
OPTIONS = {option for parameter in main.params for option in parameter.opts}


@pytest.fixture(scope="module")
def metrics() -> set[str]:
    """Every series that a server can have."""
    backend = ThreadBackend(workers=1, device="cpu")
    engine = Engine(backend, max_batch=1, queue_limit=16)
    models = ModelStore(backend, engine, ["default"])
    registry = Metrics(engine, Replays(), LagProbe(), lambda: True, models).registry
    names = set()
    for family in registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count", "")}
        names |= {family.name + suffix for suffix in suffixes.get(family.type, ("",))}
    return names


@pytest.mark.parametrize("name", ["t2i-serve.service", "Dockerfile", "kubernetes.yaml"])
def test_every_option_is_one_of_the_servers(name: str) -> None:
    text = "\n".join(
        line for line in (DEPLOY / name).read_text().splitlines()
        if not re.match(r"\s*(#|RUN|COPY|FROM|HEALTHCHECK)", line)
    )  # fmt: skip
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert used and used <= OPTIONS, used - OPTIONS


@pytest.mark.parametrize("file", [DEPLOY / "grafana.json", ROOT / "docs" / "operations.md"])
def test_every_metric_is_one_that_a_server_has(file: Path, metrics: set[str]) -> None:
    used = set(re.findall(r"\bt2i_[a-z0-9_]+", file.read_text()))
    assert used and used <= metrics, used - metrics


def test_the_documents_tell_of_every_metric(metrics: set[str]) -> None:
    told = (ROOT / "docs" / "operations.md").read_text()
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in metrics}
    assert {name for name in families if name not in told} == set()


def test_the_dashboard_has_a_panel_for_each_of_its_ids_and_places() -> None:
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}
    assert len(places) == len(panels)


def test_kubernetes_waits_longer_than_the_server_drains() -> None:
    deployment, service = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    drain = next(parameter for parameter in main.params if "--drain-seconds" in parameter.opts)
    assert isinstance(drain.default, float)
    assert pod["terminationGracePeriodSeconds"] > drain.default
    ports = {port["name"] for port in pod["containers"][0]["ports"]}
    assert service["spec"]["ports"][0]["targetPort"] in ports
    unit = (DEPLOY / "t2i-serve.service").read_text()
    assert int(re.findall(r"TimeoutStopSec=(\d+)", unit)[0]) > drain.default
