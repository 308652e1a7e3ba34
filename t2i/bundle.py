"""A trained model on disk: what training leaves, and serving loads.

A bundle is a folder of plain files, never of pickled objects; docs/bundle.md describes them.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from t2i.bundle_config import BundleConfig, NetworkConfig
from t2i.errors import BundleError, shown
from t2i.manifest import (
    FORMAT,
    MANIFEST,
    Manifest,
    check_manifest,
    read_checked,
    write_manifest,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = [
    "DEFAULT_NAME",
    "Bundle",
    "Precision",
    "find_bundle",
    "local_bundle",
    "pretrained_names",
]

DEFAULT_NAME = "birds-128"

CONFIG = "config.json"
CARD = "MODEL_CARD.md"
GENERATOR = "generator"
ENCODER = "encoder"
STATISTICS = "statistics"
SCORER = "scorer"

Precision = Literal["float32", "float16", "bfloat16"]

# Small tensors (biases, statistics) weigh nothing and would lose the most by rounding.
_KEEP_EXACT_BELOW = 1024


class Bundle:
    """A bundle whose files have been checked. Make one with `load` or `save`.

    What is read of it later is checked once more as it is read, and never a file that is still
    being used: the folder may be replaced or written to at any time.

    Attributes:
        folder: where it is.
        config: what it says about itself.
        checksum: SHA-256 over its manifest, hexadecimal: two bundles with the same checksum have
            the same files.
    """

    def __init__(self, folder: Path, config: BundleConfig, manifest: Manifest):
        self.folder = folder
        self.config = config
        self.checksum = manifest.checksum
        self._manifest = manifest

    @classmethod
    def load(cls, path_or_name: str | os.PathLike[str] = "default") -> Bundle:
        """Open a bundle and check every file of it.

        Args:
            path_or_name: a folder; or the name of a bundle that comes with t2i (`"default"` is
                `"birds-128"`); or the id of a bundle on the hub, `OWNER/NAME`, which is fetched
                once and then found without the network.

        Raises:
            BundleError: if there is no such bundle, a file is missing or damaged, the format or
                the network class is unknown.
        """
        folder = find_bundle(path_or_name)
        manifest = check_manifest(folder)
        for name in (CONFIG, CARD, f"{GENERATOR}.safetensors"):
            if name not in manifest.names:
                raise BundleError(
                    f"bundle {folder}: {name} is not in its manifest; fetch the bundle again"
                )
        try:
            content = json.loads(read_checked(folder, manifest, CONFIG))
        except ValueError as error:
            raise BundleError(f"bundle {folder}: {CONFIG} is not JSON; make it again") from error
        try:
            config = BundleConfig.from_json(content)
        except BundleError as error:
            raise BundleError(f"bundle {folder}: {error}") from error
        bundle = cls(folder, config, manifest)
        bundle._check_classes()
        return bundle

    @classmethod
    def save(
        cls,
        folder: str | os.PathLike[str],
        *,
        config: Mapping[str, object],
        generator_state: Mapping[str, Tensor],
        card: str,
        extra_states: Mapping[str, Mapping[str, Tensor]] | None = None,
        precision: Precision = "float32",
    ) -> Bundle:
        """Write a bundle; the folder appears complete or not at all.

        Args:
            folder: where to; a bundle that is there is replaced.
            config: the fields of `config.json`; `format` may be left out.
            generator_state: the generator's state dict.
            card: the text of `MODEL_CARD.md`.
            extra_states: further tensors by file name without `.safetensors`: `"encoder"` for the
                network that `config["encoder"]["network"]` describes, `"scorer"` for that of
                `config["scorer"]`, `"statistics"` for what `t2i.encoders.caption_statistics`
                returned, or any other.
            precision: how the weights of the networks are stored; they are computed with in
                float32 in any case. Small tensors and statistics keep their own precision.

        Raises:
            BundleError: if the configuration is not valid, a state does not fit the network that
                the configuration names, or the folder holds something else than a bundle.
        """
        from t2i.weights import write_tensors

        folder = Path(folder).absolute()
        checked = BundleConfig.from_json({"format": FORMAT, **config})
        if folder.exists() and not (folder / MANIFEST).is_file() and any(folder.iterdir()):
            raise BundleError(
                f"bundle {folder}: it is no bundle and not empty; choose a new folder"
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
        try:
            temporary.mkdir()
            text = json.dumps(checked.to_json(), indent=2, ensure_ascii=False) + "\n"
            (temporary / CONFIG).write_text(text, encoding="utf-8")
            (temporary / CARD).write_text(card, encoding="utf-8")
            for name, state in {GENERATOR: generator_state, **(extra_states or {})}.items():
                stored = dict(state) if name == STATISTICS else _rounded(state, precision)
                write_tensors(temporary / f"{name}.safetensors", stored)
            write_manifest(temporary)
            # What cannot be loaded must not be left behind.
            bundle = cls.load(temporary)
            bundle.generator()
            bundle.encoder_network()
            bundle.scorer()
            _replace_folder(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return cls(folder, bundle.config, bundle._manifest)

    def generator(self, device: str | torch.device = "cpu") -> nn.Module:
        """Return the generator with its weights, in float32, ready to draw and not to learn.

        Raises:
            BundleError: if its arguments or weights do not fit its class.
        """
        return self._network(GENERATOR, self.config.network, device)

    def encoder_network(self, device: str | torch.device = "cpu") -> nn.Module | None:
        """Return the network that reads the text encoder's token states, or None without one.

        Raises:
            BundleError: if its arguments or weights do not fit its class.
        """
        encoder = self.config.encoder
        if encoder is None or encoder.network is None:
            return None
        return self._network(ENCODER, encoder.network, device)

    def scorer(self, device: str | torch.device = "cpu") -> nn.Module | None:
        """Return the network that tells how well pictures agree with embeddings, or None.

        Raises:
            BundleError: if its arguments or weights do not fit its class.
        """
        if self.config.scorer is None:
            return None
        return self._network(SCORER, self.config.scorer, device)

    def has_state(self, name: str) -> bool:
        """Tell whether the bundle holds `name.safetensors`."""
        return f"{name}.safetensors" in self._manifest.names

    def state(self, name: str, device: str | torch.device = "cpu") -> dict[str, Tensor]:
        """Return the tensors of `name.safetensors`, for example `"statistics"`.

        Raises:
            BundleError: if the bundle has no such file, it is not a safetensors file, or it is not
                what it was when the bundle was loaded.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        if not self.has_state(name):
            raise BundleError(f"bundle {self.folder}: it has no {name}.safetensors; use another")
        # Not mapped into memory: a file that is cut short later would end the process.
        data = read_checked(self.folder, self._manifest, f"{name}.safetensors")
        try:
            return {key: tensor.to(device) for key, tensor in load(data).items()}
        except SafetensorError as error:
            raise BundleError(
                f"bundle {self.folder}: {name}.safetensors cannot be read; fetch the bundle again"
            ) from error

    @property
    def weight_bytes(self) -> int:
        """Bytes that the bundle's networks take when all are loaded, in float32.

        Told by the headers of their files. A text encoder that comes from elsewhere is not counted,
        nor what drawing needs beside the weights.

        Raises:
            BundleError: if a file is not a safetensors file.
        """
        from safetensors import SafetensorError, safe_open

        numbers = 0
        for name in filter(self.has_state, (GENERATOR, ENCODER, SCORER)):
            path = self.folder / f"{name}.safetensors"
            try:
                with safe_open(path, framework="pt") as file:
                    shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118
            except (SafetensorError, OSError) as error:
                raise BundleError(
                    f"bundle {self.folder}: {path.name} cannot be read; fetch the bundle again"
                ) from error
            numbers += sum(math.prod(shape) for shape in shapes)
        return 4 * numbers

    def card(self) -> str:
        """Return the model card."""
        return (self.folder / CARD).read_text(encoding="utf-8")

    def files(self) -> tuple[Path, ...]:
        """Return the bundle's files, the manifest last."""
        return tuple(self.folder / name for name in (*sorted(self._manifest.names), MANIFEST))

    def push_to_hub(
        self, repo_id: str, *, private: bool = True, token: str | None = None, message: str = ""
    ) -> str:
        """Upload the bundle to the hub and return the commit's address. See `t2i.hub.push`."""
        from t2i.hub import push

        return push(self, repo_id, private=private, token=token, message=message)

    def _check_classes(self) -> None:
        from t2i.networks import NETWORKS

        networks = [self.config.network]
        if self.config.encoder is not None and self.config.encoder.network is not None:
            networks.append(self.config.encoder.network)
        if self.config.scorer is not None:
            networks.append(self.config.scorer)
        for network in networks:
            if network.class_name not in NETWORKS:
                raise BundleError(
                    f"bundle {self.folder}: no network class {shown(network.class_name)} is known "
                    f"(known are {', '.join(sorted(NETWORKS))}); install the version of t2i that "
                    "wrote it"
                )

    def _network(
        self, state_name: str, config: NetworkConfig, device: str | torch.device
    ) -> nn.Module:
        import torch

        from t2i.networks import build

        state = self.state(state_name)
        try:
            # A new network draws its first weights: not from the caller's random numbers.
            with torch.random.fork_rng(devices=[]):
                network = build(config.class_name, config.arguments)
            network.load_state_dict(state, strict=True)
        except (TypeError, ValueError, KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BundleError(
                f"bundle {self.folder}: {state_name}.safetensors does not fit "
                f"{config.class_name} as config.json describes it ({reason}); make it again"
            ) from error
        return network.to(device).eval().requires_grad_(False)


def pretrained_names() -> tuple[str, ...]:
    """Return the names of the bundles that come with t2i."""
    root = resources.files("t2i") / "pretrained"
    if not root.is_dir():
        return ()
    return tuple(sorted(entry.name for entry in root.iterdir() if (entry / MANIFEST).is_file()))


def local_bundle(path_or_name: str | os.PathLike[str]) -> Path | None:
    """Return the folder of a bundle, unchecked, or None where it is not on this machine's disk.

    Unlike `find_bundle` it asks no hub, nor what was fetched from one.
    """
    name = os.fspath(path_or_name)
    if Path(name).is_dir():
        return Path(name)
    included = DEFAULT_NAME if name == "default" else name
    if isinstance(path_or_name, str) and included in pretrained_names():
        return Path(str(resources.files("t2i") / "pretrained" / included))
    return None


def find_bundle(path_or_name: str | os.PathLike[str]) -> Path:
    """Return the folder of a bundle, unchecked; see `Bundle.load` for what names one.

    Raises:
        BundleError: if there is no such bundle.
    """
    name = os.fspath(path_or_name)
    folder = local_bundle(path_or_name)
    if folder is not None:
        return folder
    if not isinstance(path_or_name, str):
        raise BundleError(f"bundle {name}: there is no such folder; give a bundle's folder")
    if name.count("/") == 1 and all(name.split("/")) and not name.startswith((".", "~")):
        from t2i.hub import fetch

        return fetch(name)
    known = ", ".join(pretrained_names()) or "none"
    raise BundleError(
        f"bundle {name}: there is no such folder, and no bundle of this name comes with t2i "
        f"(those are: {known}); give a bundle's folder"
    )


def _rounded(state: Mapping[str, Tensor], precision: Precision) -> dict[str, Tensor]:
    import torch

    kinds = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    return {
        name: tensor.to(kinds[precision])
        if tensor.is_floating_point() and tensor.numel() >= _KEEP_EXACT_BELOW
        else tensor
        for name, tensor in state.items()
    }


def _replace_folder(new: Path, folder: Path) -> None:
    """Put a folder in the place of another; at no time is there half of one."""
    if not folder.exists():
        new.replace(folder)
        return
    old = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.old")
    folder.replace(old)
    try:
        new.replace(folder)
    except OSError:
        old.replace(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
