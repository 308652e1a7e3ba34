"""Labels, codes, attributes and seeds alone, through the pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from t2i.bundle import Bundle
from t2i.conditions import Attributes, Code, Condition, Label
from t2i.errors import BundleError, InvalidInput
from t2i.networks import NETWORKS
from t2i.pipeline import Draw, Pipeline
from tests.t2i.small_bundle import conditioned_config, save_conditioned, small_config

CONDITIONS: dict[str, list[Condition | None]] = {
    "digits": [Label("zero"), Label("two"), Label(id=3)],
    "codes": [Code((0,), (0, 0, 0)), Code((2,), (0, 0, 0)), Code((2,), (1, 2, 0))],
    "plumage": [
        Attributes({"crown": "red", "crest": True, "size": 0.5}),
        Attributes({"crown": "RED", "crest": False, "size": 0.5}),
        Attributes({"size": 1, "crest": False, "crown": "black"}),
    ],
    "seeds": [None, None, None],
}


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pipeline]:
    folder = tmp_path_factory.mktemp("conditioned")
    return {
        name: Pipeline.from_pretrained(save_conditioned(folder, name), "cpu") for name in CONDITIONS
    }


@pytest.fixture(params=list(CONDITIONS))
def pipeline(request: pytest.FixtureRequest, pipelines: dict[str, Pipeline]) -> Pipeline:
    return pipelines[request.param]


def drawn(pipeline: Pipeline, condition: Condition | None, seed: int) -> bytes:
    return pipeline.generate(condition, seeds=[seed]).images[0].array.tobytes()


def test_conditions_and_seeds_together_make_the_picture(pipeline: Pipeline) -> None:
    conditions = CONDITIONS[pipeline.info.name]
    pictures = {drawn(pipeline, c, seed) for c in conditions for seed in (1, 2)}
    assert len(pictures) == 2 * len(set(conditions))
    assert drawn(pipeline, conditions[0], 1) in pictures


def test_a_picture_has_the_same_bytes_whatever_is_drawn_with_it(pipeline: Pipeline) -> None:
    conditions = CONDITIONS[pipeline.info.name]
    expected = [drawn(pipeline, c, seed) for seed, c in enumerate(conditions)]
    embeddings = pipeline.encode(conditions)
    draws = [Draw(embedding, seed) for seed, embedding in enumerate(embeddings)]
    for order in ([0, 1, 2], [2, 0], [1]):
        stages = pipeline.draw([draws[n] for n in order])
        assert [s[-1].tobytes() for s in stages] == [expected[n] for n in order]


def test_a_generation_tells_what_it_was_asked_with(pipeline: Pipeline) -> None:
    condition = CONDITIONS[pipeline.info.name][1]
    assert pipeline.generate(condition, count=2).conditions == (condition, condition)


def test_a_way_leads_from_one_condition_to_the_other(pipeline: Pipeline) -> None:
    first, *_, last = CONDITIONS[pipeline.info.name]
    way = pipeline.interpolate(first, last, steps=3, seed=(5, 6))
    assert way.images[0].array.tobytes() == drawn(pipeline, first, 5)
    assert way.images[2].array.tobytes() == drawn(pipeline, last, 6)
    assert way.conditions == (first, None, last)
    assert len({image.array.tobytes() for image in way.images}) == 3


def test_embeddings_are_blocks_in_the_order_of_the_bundle(pipelines: dict[str, Pipeline]) -> None:
    (code,) = pipelines["codes"].encode([Code((2,), (0.5, 2, 1))])
    assert code.tolist() == [0, 0, 1, 0.5, 2, 1]
    (plumage,) = pipelines["plumage"].encode([CONDITIONS["plumage"][0]])
    assert plumage.tolist() == [1, 0, 0, 0, 1, 0.5]
    assert pipelines["seeds"].encode([None, None]).shape == (2, 0)


@pytest.mark.parametrize(
    ("name", "condition", "words"),
    [
        ("digits", None, "is required by digits; give label (zero, one, two, 1999)"),
        ("codes", None, "is required by codes; give code (digit: 0 to 2, tilt: -1 to 1, pose:"),
        ("plumage", "red", "takes no text; give attributes (crown: red, blue, black; crest: false"),
        ("seeds", "red", "takes no text, it draws by seed alone; leave the condition out"),
        ("codes", Code((1,), (0, 0)), "code.continuous: has 2 numbers; give 3 (tilt: -1 to 1, po"),
        ("codes", Code((1, 1), (0, 0, 0)), "code.categorical: has 2 choices; give 1 (digit: 0 to"),
        ("codes", Code((1,), (1.5, 0, 0)), "continuous[0]: 1.5 is out of the range of tilt; give"),
        ("plumage", Attributes({"wing": 1}), "attributes[wing]: the model has no such attribute"),
        (
            "plumage",
            Attributes({"crown": "green", "crest": True, "size": 0}),
            "attributes[crown]: 'green' is not known; give crown: red, blue, black",
        ),
        (
            "plumage",
            Attributes({"crown": "red", "crest": 1, "size": 0}),
            "attributes[crest]: 1 is not known; give crest: false, true",
        ),
        (
            "plumage",
            Attributes({"crown": "red", "crest": True, "size": True}),
            "attributes[size]: True is not known; give size: 0 to 1",
        ),
    ],
)
def test_what_a_bundle_does_not_take_is_refused_with_what_it_takes(
    pipelines: dict[str, Pipeline], name: str, condition: Condition | str | None, words: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        pipelines[name].generate(condition)
    assert words in str(caught.value)


def test_a_sweep_draws_what_generate_draws_of_each_code(pipelines: dict[str, Pipeline]) -> None:
    pipeline = pipelines["codes"]
    start = Code((1,), (0.5, 0, 2))
    digits = pipeline.sweep("digit", start=start, seed=9)
    assert digits.conditions == tuple(Code((n,), (0.5, 0, 2)) for n in range(3))
    poses = pipeline.sweep("pose[1]", start=start, steps=3, seed=9)
    assert poses.conditions == tuple(Code((1,), (0.5, 0, value)) for value in (0.0, 1.0, 2.0))
    for sweep in (digits, poses):
        assert sweep.seeds == (9, 9, 9)
        for code, image in zip(sweep.conditions, sweep.images, strict=True):
            assert image.array.tobytes() == drawn(pipeline, code, 9)
    assert len(set(pipeline.sweep("tilt").seeds)) == 1


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    config = conditioned_config("seeds") | {"conditions": ["label"], "labels": ["a"]}
    with pytest.raises(BundleError, match="gives 1 numbers and its generator takes 0"):
        Pipeline(save(tmp_path / "a", config))
    config["conditions"] = ["picture"]
    with pytest.raises(BundleError, match="conditions has picture, for which this version of t2i"):
        Pipeline(save(tmp_path / "b", config))
    code = [{"name": "c", "kind": "categorical", "size": 2}]
    config |= {"conditions": ["label", "code"], "code": code}
    with pytest.raises(BundleError, match="different lengths \\(1 for label, 2 for code\\)"):
        Pipeline(save(tmp_path / "c", config))


def save(folder: Path, config: dict[str, object]) -> Bundle:
    network: dict[str, object] = config["network"]  # type: ignore[assignment]
    built = NETWORKS[network["class"]](**network["arguments"])  # type: ignore[index, arg-type]
    return Bundle.save(folder, config=config, generator_state=built.state_dict(), card="# x\n")


class Drawn(NamedTuple):
    pictures: tuple[Tensor, ...]


class Flat(nn.Module):
    """One linear layer to a picture of so many channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.condition_dim, self.noise_dim, self.conditioning_dim = 0, 4, 0
        self.resolutions = (8,)
        self.channels = channels
        self.layer = nn.Linear(4, channels * 64)

    def forward(
        self, embedding: Tensor, noise: Tensor, conditioning_noise: Tensor | None = None
    ) -> Drawn:
        return Drawn((torch.tanh(self.layer(noise)).view(len(noise), self.channels, 8, 8),))


@pytest.fixture
def flat() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "Flat", Flat)  # type: ignore[arg-type]
        yield


def flat_config(channels: int) -> dict[str, object]:
    network = {"class": "Flat", "arguments": {"channels": channels}}
    return small_config("flat", network=network, resolutions=[8], conditions=[], encoder=None)


@pytest.mark.usefixtures("flat")
def test_a_grey_picture_has_its_channel_three_times(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pipeline = Pipeline(save(tmp_path / "grey", flat_config(1)), device="cpu")
    picture = pipeline.generate(seeds=[1]).images[0]
    assert picture.array.shape == (8, 8, 3)
    assert picture.array.std() > 10
    assert np.array_equal(picture.array, picture.array[..., :1].repeat(3, axis=2))
    assert picture.pil().mode == "RGB"
    assert len(picture.encode("raw")) == 8 * 8 * 3


@pytest.mark.usefixtures("flat")
def test_what_is_no_picture_is_refused_in_words(tmp_path: Path) -> None:
    pipeline = Pipeline(save(tmp_path / "two", flat_config(2)), device="cpu")
    with pytest.raises(BundleError, match=r"shape \(1, 2, 8, 8\), which is no picture"):
        pipeline.generate()
