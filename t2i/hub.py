"""Bundles on the Hugging Face hub: fetched once, then found without the network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import ModelCard, ModelHubMixin, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from t2i.bundle import Bundle
from t2i.errors import BundleError
from t2i.manifest import check_manifest

if TYPE_CHECKING:
    from t2i.bundle_config import BundleConfig

__all__ = ["HubBundle", "fetch", "push"]

_HUB_SECONDS = 5.0
_CARD_HEAD = "---\nlibrary_name: t2i\npipeline_tag: text-to-image\ntags:\n- gan\n---\n"


class HubBundle(ModelHubMixin):
    """A bundle as the hub's library sees it: `save_pretrained`, `from_pretrained`, `push_to_hub`.

    Args:
        bundle: the bundle.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    @property
    def config(self) -> BundleConfig:
        """What the bundle says about itself."""
        return self.bundle.config

    def _save_pretrained(self, save_directory: Path) -> None:
        for path in self.bundle.files():
            shutil.copyfile(path, save_directory / path.name)

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        **_: object,
    ) -> HubBundle:
        if Path(model_id).is_dir():
            return cls(Bundle.load(Path(model_id)))
        folder = _snapshot(
            model_id,
            revision=revision,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
            token=token,
        )
        return cls(Bundle.load(folder))

    def generate_model_card(self, *args: object, **kwargs: object) -> ModelCard:
        """Return the bundle's own card, which the hub shows as the front page."""
        card = self.bundle.card()
        return ModelCard(card if card.startswith("---\n") else f"{_CARD_HEAD}{card}")


def fetch(repo_id: str, *, revision: str | None = None) -> Path:
    """Return the folder of a bundle on the hub: from the local cache, else downloaded.

    Raises:
        BundleError: if the hub has no such bundle or cannot be reached, or what it has is none.
    """
    with _one_clear_error(repo_id):
        try:
            folder = _snapshot(repo_id, revision=revision, local_files_only=True)
        except LocalEntryNotFoundError:
            return _snapshot(repo_id, revision=revision)
        try:
            check_manifest(folder)
        except BundleError:
            # What was fetched before is not whole.
            return _snapshot(repo_id, revision=revision, force_download=True)
        return folder


def push(
    bundle: Bundle, repo_id: str, *, private: bool = True, token: str | None = None, message: str
) -> str:
    """Upload a bundle to the hub and return the commit's address.

    Args:
        bundle: the bundle.
        repo_id: `OWNER/NAME`; made if it is not there.
        private: whether a new repository is private.
        token: access token; None takes the one that `hf auth login` stored.
        message: what changed; empty for the bundle's name and version.

    Raises:
        BundleError: if the hub cannot be reached or refuses.
    """
    message = message or f"{bundle.config.name} {bundle.config.version}"
    with _one_clear_error(repo_id):
        address: object = HubBundle(bundle).push_to_hub(
            repo_id, private=private, token=token, commit_message=message
        )
        return str(address)


def _snapshot(
    repo_id: str,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    folder = snapshot_download(
        repo_id,
        revision=revision,
        cache_dir=cache_dir,
        force_download=force_download,
        local_files_only=local_files_only,
        token=token,
        etag_timeout=_HUB_SECONDS,
        allow_patterns=["*.json", "*.safetensors", "*.md"],
    )
    return Path(folder)


@contextmanager
def _one_clear_error(repo_id: str) -> Iterator[None]:
    import httpx2 as httpx

    try:
        yield
    except HFValidationError as error:
        raise BundleError(
            f"bundle {repo_id}: it is neither a folder nor a valid hub id; "
            "give a bundle's folder or OWNER/NAME"
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise BundleError(
            f"bundle {repo_id}: the hub has no such repository or revision, or it is not yours; "
            "check the id and log in with: hf auth login"
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, httpx.HTTPError) as error:
        reason = " ".join(str(error).split())[:120]
        raise BundleError(
            f"bundle {repo_id}: no such folder, not in the local cache, and the hub cannot be "
            f"reached ({reason}); give a bundle's folder, or connect once to fetch it"
        ) from error
