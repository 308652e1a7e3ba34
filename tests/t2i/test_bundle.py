from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from t2i.bundle import DEFAULT_NAME, Bundle, pretrained_names
from t2i.bundle_config import BundleConfig
from t2i.errors import BundleError
from t2i.manifest import MANIFEST, check_manifest, write_manifest
from t2i.pipeline import Pipeline, describe_bundle
from tests.t2i.small_bundle import (
    save_conditioned,
    save_scored,
    save_small,
    small_config,
    small_state,
)

FILES = ["MODEL_CARD.md", "config.json", "generator.safetensors"]


@pytest.fixture
def folder(small_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path / "small"))


def change_config(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the configuration and make the manifest fit, as a careful forger would."""
    path = folder / "config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    write_manifest(folder)


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        Bundle.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"bundle {folder}: ")
    return message.removeprefix(f"bundle {folder}: ")


def test_a_bundle_comes_back_as_it_was_saved(small_bundle: Path) -> None:
    bundle = Bundle.load(small_bundle)
    config = small_config()
    assert bundle.config.to_json() == {"format": 1, **config, "value_range": [-1.0, 1.0]}
    assert bundle.card() == "# Untrained\n"
    assert [path.name for path in bundle.files()] == [*FILES, MANIFEST]
    assert bundle.checksum == hashlib.sha256((small_bundle / MANIFEST).read_bytes()).hexdigest()
    state = bundle.generator().state_dict()
    expected = small_state(config)
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", ["digits", "codes", "plumage", "seeds"])
def test_what_a_bundle_takes_comes_back_as_it_was_saved(tmp_path: Path, name: str) -> None:
    config = Bundle.load(save_conditioned(tmp_path, name)).config
    assert BundleConfig.from_json(config.to_json()) == config
    arguments = config.network.arguments
    assert config.embedding_dim == arguments["condition_dim"]
    assert ("code" in config.to_json()) == (name == "codes")
    assert ("attributes" in config.to_json()) == (name == "plumage")


def test_a_loaded_generator_is_ready_to_draw_and_leaves_random_numbers_alone(
    small_bundle: Path,
) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    generator = Bundle.load(small_bundle).generator()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not generator.training
    assert not any(parameter.requires_grad for parameter in generator.parameters())


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_in_any_file_is_refused(folder: Path, name: str) -> None:
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    assert refusal(folder).startswith(f"{name} is damaged")


def test_one_flipped_bit_anywhere_in_the_manifest_is_refused(folder: Path) -> None:
    path = folder / MANIFEST
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(BundleError):
            check_manifest(folder)
    path.write_bytes(data)
    check_manifest(folder)


def test_a_manifest_in_another_spelling_is_refused(folder: Path) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert refusal(folder).startswith("manifest.json is not written as t2i writes it")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert refusal(folder) == f"{name} is missing; fetch the whole bundle again"


def test_a_missing_manifest_is_refused(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    assert refusal(folder).startswith("there is no manifest.json")


def test_a_truncated_file_is_refused(folder: Path) -> None:
    path = folder / "generator.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    assert "generator.safetensors has" in refusal(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_file_left_out_of_the_manifest_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    write_manifest(folder)
    assert refusal(folder) == f"{name} is not in its manifest; fetch the bundle again"


@pytest.mark.parametrize("format_", [0, 2, 99, "1", None, True])
def test_an_unknown_format_is_refused(folder: Path, format_: object) -> None:
    path = folder / MANIFEST
    content = json.loads(path.read_text())
    content["format"] = format_
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    assert "reads format 1; install the version of t2i that wrote it" in refusal(folder)


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/passwd", ".hidden", "a b", ""])
def test_a_manifest_that_names_what_is_no_plain_file_is_refused(folder: Path, name: str) -> None:
    path = folder / MANIFEST
    content = json.loads(path.read_text())
    content["files"][name] = {"bytes": 0, "sha256": "0" * 64}
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    assert "not a plain file name" in refusal(folder)


@pytest.mark.parametrize("class_name", ["Pickle", "torch.nn.Linear", "StageGenerator "])
def test_an_unknown_network_class_is_refused(folder: Path, class_name: str) -> None:
    change_config(folder, lambda config: config["network"].update({"class": class_name}))
    message = refusal(folder)
    assert message.startswith(f"no network class {class_name!r} is known")
    assert "StageGenerator" in message


def test_an_unknown_network_class_of_the_encoder_is_refused(folder: Path) -> None:
    network = {"class": "Evil", "arguments": {}}
    change_config(folder, lambda config: config["encoder"].update(network=network))
    assert refusal(folder).startswith("no network class 'Evil' is known")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("format", 2, "format is 2"),
        ("name", "", "name is ''; it should be 1 to 64"),
        ("name", "../x", "name is '../x'"),
        ("version", 3, "version is 3; it should be a text"),
        ("network", {"class": "StageGenerator"}, "network is"),
        ("conditions", ["text", "text"], "conditions is ('text', 'text')"),
        ("conditions", ["code"], "code is []; it should be the parts of the code"),
        ("conditions", ["attributes"], "attributes is []"),
        ("code", [3], "code[0] is 3; it should be an object"),
        ("code", [{"name": "a", "size": 2}], "it should be an object with kind"),
        ("code", [{"name": "a", "kind": "x", "size": 2, "low": 0, "high": 1}], "code[0].kind: 'x'"),
        ("code", [{"name": "a", "kind": "categorical", "size": 1}], "code[0].size: 1 is out of"),
        ("code", [{"name": "a", "kind": "continuous", "size": 1}], "an object with low"),
        (
            "code",
            [{"name": "a", "kind": "continuous", "size": 1, "low": 1, "high": 1}],
            "code[0].low: 1 to 1 is no range",
        ),
        ("code", [{"name": "a", "kind": "categorical", "size": 2}] * 2, "code: 'a' occurs twice"),
        ("code", [{"name": "a", "kind": "categorical", "size": 2, "x": 1}], "x: is not a known"),
        ("attributes", [{"name": "a", "values": ["red"]}], "attributes[0].values: has 1 values"),
        ("attributes", [{"name": "a", "values": ["red", "Red"]}], "one value twice"),
        ("attributes", [{"name": "a"}], "it should be an object with low"),
        ("attributes", [{"name": "a", "low": 2, "high": 1}], "attributes[0].low: 2 to 1"),
        ("conditions", ["smell"], "conditions is ('smell',)"),
        ("conditions", ["label"], "labels is []"),
        ("encoder", None, "encoder is None"),
        ("encoder", {"id": "x", "dim": 0}, "encoder is"),
        ("encoder", {"id": "x", "dim": 3, "code": "evil"}, "encoder is"),
        ("encoder", {"id": "x", "dim": 3, "words": -1}, "encoder.words is -1"),
        ("encoder", {"id": "x", "dim": 3, "words": "2"}, "encoder.words is '2'"),
        ("resolutions", [], "resolutions is []"),
        ("resolutions", [16, 8], "ascending"),
        ("resolutions", [8.5], "sides in pixels"),
        ("value_range", [1, -1], "value_range is"),
        ("value_range", [0], "value_range is"),
        ("labels", [1], "labels is"),
        ("surprise", 1, "surprise is not a known field"),
    ],
)
def test_a_field_of_the_configuration_that_is_wrong_is_named(
    folder: Path, field: str, value: object, words: str
) -> None:
    change_config(folder, lambda config: config.update({field: value}))
    message = refusal(folder)
    assert message.startswith("config.json: ")
    assert words in message


@pytest.mark.parametrize("field", ["format", "name", "network", "resolutions", "training"])
def test_a_field_that_is_missing_is_named(folder: Path, field: str) -> None:
    change_config(folder, lambda config: config.pop(field) and None)
    assert refusal(folder).startswith(f"config.json: {field} is missing")


def test_weights_that_do_not_fit_the_network_are_refused(folder: Path) -> None:
    change_config(folder, lambda config: config["network"]["arguments"].update(width=16))
    with pytest.raises(BundleError, match="does not fit StageGenerator") as caught:
        Bundle.load(folder).generator()
    assert "\n" not in str(caught.value)
    change_config(folder, lambda config: config["network"]["arguments"].update(colour="red"))
    with pytest.raises(BundleError, match=r"does not fit StageGenerator.*colour"):
        Bundle.load(folder).generator()


def test_a_generator_that_is_not_safetensors_is_refused(folder: Path) -> None:
    (folder / "generator.safetensors").write_bytes(b"\x80\x04pickle")
    write_manifest(folder)
    with pytest.raises(BundleError, match="cannot be read"):
        Bundle.load(folder).generator()


def test_files_beside_the_bundle_are_not_part_of_it(folder: Path) -> None:
    before = Bundle.load(folder).checksum
    (folder / "README.md").write_text("from a hub")
    (folder / ".cache").mkdir()
    assert Bundle.load(folder).checksum == before


def test_saving_replaces_a_bundle_whole_or_not_at_all(folder: Path) -> None:
    config = small_config()
    state = small_state(config)
    before = Bundle.load(folder).checksum
    with pytest.raises(BundleError, match="does not fit"):
        Bundle.save(folder, config=config, generator_state={"x": torch.zeros(1)}, card="# Broken\n")
    assert Bundle.load(folder).checksum == before
    saved = Bundle.save(folder, config=config, generator_state=state, card="# New\n")
    assert saved.checksum == Bundle.load(folder).checksum != before
    assert Bundle.load(folder).card() == "# New\n"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_saving_over_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="no bundle and not empty"):
        save_small(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_saving_twice_gives_the_same_checksum(tmp_path: Path) -> None:
    first, second = (Bundle.load(save_small(tmp_path / name)) for name in ("a", "b"))
    assert first.checksum == second.checksum


def test_half_precision_halves_the_file_and_keeps_statistics_exact(tmp_path: Path) -> None:
    statistics = {"captions": torch.rand(300, 8), "distance_quantiles": torch.rand(2000)}
    config = small_config()
    full = save_small(tmp_path / "full")
    half = save_small(
        tmp_path / "half", precision="float16", extra_states={"statistics": statistics}
    )
    sizes = [(path / "generator.safetensors").stat().st_size for path in (full, half)]
    assert sizes[1] < 0.65 * sizes[0]
    bundle = Bundle.load(half)
    assert all(torch.equal(bundle.state("statistics")[n], statistics[n]) for n in statistics)
    state = bundle.generator().state_dict()
    for name, tensor in small_state(config).items():
        assert state[name].dtype == torch.float32
        torch.testing.assert_close(state[name], tensor, atol=1e-3, rtol=1e-3)


def test_a_state_that_is_not_there_is_refused(small_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"it has no statistics\.safetensors"):
        Bundle.load(small_bundle).state("statistics")


def test_what_changed_after_the_check_is_refused_when_it_is_read(folder: Path) -> None:
    bundle = Bundle.load(folder)
    weights = folder / "generator.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BundleError, match=r"generator\.safetensors is not what it was"):
        bundle.generator()
    weights.unlink()
    with pytest.raises(BundleError, match=r"generator\.safetensors cannot be read"):
        bundle.generator()


def test_a_file_that_is_cut_short_later_takes_nothing_from_what_was_read(folder: Path) -> None:
    bundle = Bundle.load(folder)
    state, network = bundle.state("generator"), bundle.generator()
    before = {name: tensor.clone() for name, tensor in state.items()}
    os.truncate(folder / "generator.safetensors", 10)
    assert all(torch.equal(state[name], tensor) for name, tensor in before.items())
    assert all(torch.equal(network.state_dict()[name], before[name]) for name in before)


def test_weights_of_any_memory_format_can_be_saved(tmp_path: Path) -> None:
    config = small_config()
    state = {
        name: tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
        for name, tensor in small_state(config).items()
    }
    bundle = Bundle.save(tmp_path / "b", config=config, generator_state=state, card="# x\n")
    for name, tensor in bundle.generator().state_dict().items():
        assert torch.equal(tensor, state[name])


def test_bundles_that_come_with_t2i_are_found_by_name(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    included = tmp_path / "pretrained"
    shutil.copytree(small_bundle, included / DEFAULT_NAME)
    (included / "half-made").mkdir()
    monkeypatch.setattr("t2i.bundle.resources.files", lambda package: tmp_path)
    assert pretrained_names() == (DEFAULT_NAME,)
    checksum = Bundle.load(small_bundle).checksum
    for name in ("default", DEFAULT_NAME):
        bundle = Bundle.load(name)
        assert bundle.folder == included / DEFAULT_NAME
        assert bundle.checksum == checksum
    with pytest.raises(BundleError, match=rf"those are: {DEFAULT_NAME}\)"):
        Bundle.load("half-made")


def test_what_is_nowhere_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle of this name comes with t2i"):
        Bundle.load("no-such-model")
    with pytest.raises(BundleError, match="there is no such folder"):
        Bundle.load(tmp_path / "nowhere")
    with pytest.raises(BundleError, match="there is no manifest"):
        Bundle.load(tmp_path)


def test_a_configuration_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"config\.json: network is missing"):
        Bundle.save(
            tmp_path / "x", config={"name": "x", "version": "1"}, generator_state={}, card=""
        )
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BundleError, match="not a JSON object"):
        BundleConfig.from_json([])


def test_the_weights_of_a_bundle_are_told_before_it_is_loaded(tmp_path: Path) -> None:
    for folder in (save_conditioned(tmp_path, "digits"), save_scored(tmp_path / "scored")):
        bundle = Bundle.load(folder)
        networks = [bundle.generator(), *filter(None, [bundle.scorer()])]
        tensors = [t for network in networks for t in network.state_dict().values()]
        assert bundle.weight_bytes == sum(4 * tensor.numel() for tensor in tensors)
        info = Pipeline(bundle, device="cpu").info
        described = describe_bundle(bundle)
        # What reads captions is known to the checksum only once it is loaded.
        assert info.encoder.startswith(described.encoder)
        assert dataclasses.replace(described, encoder=info.encoder) == info
