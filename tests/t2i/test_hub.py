from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from t2i.bundle import Bundle
from t2i.errors import BundleError
from t2i.hub import HubBundle, fetch

COMMIT = "a" * 40


class Hub(ThreadingHTTPServer):
    """The part of the hub's protocol that its client needs for one small repository."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HubHandler)
        self.files: dict[str, bytes] = {}
        self.visibility: str | None = None
        self.address = f"http://127.0.0.1:{self.server_port}"


class HubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/repos/create":
            self.server.visibility = json.loads(body).get("visibility")
            self.answer({"url": f"{self.server.address}/me/birds", "id": "me/birds"})
        elif self.path.startswith("/api/models/me/birds/preupload/"):
            paths = [entry["path"] for entry in json.loads(body)["files"]]
            self.answer(
                {
                    "files": [
                        {"path": path, "uploadMode": "regular", "shouldIgnore": False}
                        for path in paths
                    ]
                }
            )
        elif self.path.startswith("/api/models/me/birds/commit/"):
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    self.server.files[value["path"]] = base64.b64decode(value["content"])
            url = f"{self.server.address}/me/birds/commit/{COMMIT}"
            self.answer({"commitUrl": url, "commitOid": COMMIT, "success": True})
        elif self.path == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        else:
            self.answer({"error": "not found"}, 404)

    def do_GET(self) -> None:
        if self.path.startswith("/api/models/me/birds/revision/"):
            files = [{"rfilename": name} for name in self.server.files]
            self.answer({"id": "me/birds", "sha": COMMIT, "siblings": files})
        elif self.path.startswith("/api/models/me/birds/tree/"):
            self.answer(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": COMMIT}
                    for name, data in self.server.files.items()
                ]
            )
        elif self.path.startswith("/me/birds/resolve/"):
            name = self.path.split("?")[0].rsplit("/", 1)[1]
            if name in self.server.files:
                self.send(self.server.files[name], name)
            else:
                self.answer({"error": "no entry"}, 404, {"X-Error-Code": "EntryNotFound"})
        else:
            self.answer({"error": "no repo"}, 404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def answer(
        self, content: object, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in {
            **(headers or {}),
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def send(self, data: bytes, name: str) -> None:
        self.send_response(200)
        for header, value in {
            "X-Repo-Commit": COMMIT,
            "ETag": f'"{name}-{len(data)}"',
            "Content-Length": str(len(data)),
        }.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    point_to(monkeypatch, server.address, tmp_path / "cache")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def point_to(monkeypatch: pytest.MonkeyPatch, address: str, cache: Path) -> None:
    for name in ("constants.ENDPOINT", "hf_api.api.endpoint"):
        monkeypatch.setattr(f"huggingface_hub.{name}", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)


def test_a_bundle_pushed_is_fetched_whole_and_then_found_without_the_hub(
    hub: Hub, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = Bundle.load(small_bundle)
    address = bundle.push_to_hub("me/birds", token="hf_of_a_test")
    assert COMMIT in address
    assert hub.visibility == "private"
    assert hub.files["README.md"].endswith(
        b"pipeline_tag: text-to-image\ntags:\n- gan\n---\n# Untrained\n"
    )
    for path in bundle.files():
        assert hub.files[path.name] == path.read_bytes()

    assert Bundle.load("me/birds").checksum == bundle.checksum

    point_to(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    again = Bundle.load("me/birds")
    assert again.checksum == bundle.checksum
    assert again.folder.is_relative_to(tmp_path / "cache")


def test_a_damaged_download_is_refused(hub: Hub, small_bundle: Path) -> None:
    Bundle.load(small_bundle).push_to_hub("me/birds", token="hf_of_a_test")
    data = bytearray(hub.files["generator.safetensors"])
    data[-1] ^= 1
    hub.files["generator.safetensors"] = bytes(data)
    with pytest.raises(BundleError, match=r"generator\.safetensors is damaged"):
        Bundle.load("me/birds")


def test_a_copy_damaged_in_the_cache_is_fetched_again(hub: Hub, small_bundle: Path) -> None:
    bundle = Bundle.load(small_bundle)
    bundle.push_to_hub("me/birds", token="hf_of_a_test")
    cached = (Bundle.load("me/birds").folder / "generator.safetensors").resolve()
    cached.write_bytes(b"x" * cached.stat().st_size)
    assert Bundle.load("me/birds").checksum == bundle.checksum


def test_a_repository_that_the_hub_has_not_is_refused(hub: Hub) -> None:
    with pytest.raises(BundleError, match="bundle me/cats: the hub has no such repository"):
        Bundle.load("me/cats")


def test_an_unreachable_hub_is_one_clear_error_within_seconds(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing listens on port 9 of this machine.
    point_to(monkeypatch, "http://127.0.0.1:9", tmp_path / "cache")
    began = time.monotonic()
    with pytest.raises(BundleError, match="the hub cannot be reached") as caught:
        fetch("me/birds")
    assert "\n" not in str(caught.value)
    with pytest.raises(BundleError, match="the hub cannot be reached"):
        Bundle.load(small_bundle).push_to_hub("me/birds", token="hf_of_a_test")
    assert time.monotonic() - began < 30


def test_the_hubs_own_verbs_work_on_folders(small_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.load(small_bundle)
    HubBundle(bundle).save_pretrained(tmp_path / "saved")
    again = HubBundle.from_pretrained(str(tmp_path / "saved"))
    assert again.bundle.checksum == bundle.checksum
    assert again.config == bundle.config
    assert (tmp_path / "saved" / "README.md").read_text().endswith("---\n# Untrained\n")
