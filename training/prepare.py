"""What a training run needs before its first step: options, data, recipe, and what it leaves."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from safetensors import safe_open
from torch import nn

from t2i.encoders import (
    CaptionEncoder,
    TextEncoder,
    WordsEncoder,
    encode_dataset,
    load_text_encoder,
)
from t2i.networks import PictureGenerator
from training.data.decoded import cache_root
from training.data.load import load_data
from training.data.pictures import PictureData
from training.data.shards import shown_url
from training.data.wrong_captions import WrongCaptions
from training.effort import READING, SEEING
from training.errors import TrainingError
from training.export_captions import CaptionedGenerator, export_bundle, statistics_of
from training.export_samples import export_pictures, save_generator
from training.eyes import Eyes, suitable_eyes
from training.grids import Grid
from training.matcher import Matcher
from training.matching import (
    fit_caption_network,
    fit_matcher,
    matcher_told,
    read_captions,
)
from training.recipe import Recipe
from training.registry import Entry, Spec
from training.sheets import PictureSheet, ScatterSheet, Sheet, TokenSheet
from training.stream import CaptionStream, Samples, SampleStream, Stream
from training.tokens import PackedCaptions, encode_tokens
from training.trainer import Precision

SHEET_ROWS = 8
CAPTION_NETWORK = "caption_network.safetensors"
MATCHER = "matcher.safetensors"
# Tokens of a caption that recipes with words are shown; the rest is left to the sentence.
WORDS = 24

Exporter = Callable[[nn.Module, float], Path]
Data = PictureData | Samples


@dataclass(frozen=True)
class Options:
    """What a person says on the command line, apart from the recipe's own knobs.

    Attributes:
        data: The name of a data set (``birds``, ``birds:COUNT`` …), or a folder of pictures, or
            shards of them.
        out: Folder of the run; made when missing, resumed when it holds a checkpoint.
        kimg: Length in thousands of real pictures shown.
        core_minutes: Processor time after which the run ends before its length; None for none.
        resolution: Side of the training pictures in pixels; None takes the data's own.
        encoder: Text encoder: its id, or a folder.
        caption_steps: Steps in which a caption network learns to read captions from the pictures;
            0 uses the text encoder's own sentence embedding, and no matcher; None takes as many
            as the number of pictures asks for.
        matcher_steps: Steps in which a matcher learns to see what captions say; None as above.
        eyes: What looks at pictures while captions are learned to be read, and in the matcher;
            None takes what suits the data.
        seed: Seed of everything random.
        precision: ``bf16`` or ``no`` (float32).
        micro_batches: Parts that each process takes its share of a batch in.
        checkpoint_kimg: Distance of checkpoints in kimg.
        grid_kimg: Distance of grids in kimg.
        captions: Captions to draw in the grids; empty chooses some of the data.
        flip: Mirror pictures at random.
        start_from: Folder of another run, whose networks are taken over.
        strict: Refuse a folder at its first faulty file instead of skipping it.
        download: Fetch a named data set that is not on this machine; without it nothing is fetched.
    """

    data: str
    out: Path
    kimg: float = 400.0
    core_minutes: float | None = None
    resolution: int | None = None
    encoder: str = "all-MiniLM-L6-v2"
    caption_steps: int | None = None
    matcher_steps: int | None = None
    eyes: Eyes | None = None
    seed: int = 0
    precision: Precision = "bf16"
    micro_batches: int = 1
    checkpoint_kimg: float = 10.0
    grid_kimg: float = 20.0
    captions: tuple[str, ...] = ()
    flip: bool = True
    start_from: Path | None = None
    strict: bool = False
    download: bool = False


@dataclass(frozen=True)
class Learning:
    """How captions are learned to be read before a generator learns to draw.

    Attributes:
        caption_steps: As in `Options`.
        matcher_steps: As in `Options`.
        eyes: As in `Options`.
    """

    caption_steps: int
    matcher_steps: int
    eyes: Eyes


@dataclass(frozen=True)
class Prepared:
    """Everything that a run needs before its first step.

    Attributes:
        recipe: Networks and phases.
        stream: Batches.
        data: Pictures or other samples.
        sheet: Makes what the run draws now and then.
        leave: From the averaged generator and the kimg shown to the folder of what was exported.
    """

    recipe: Recipe
    stream: Stream
    data: Data
    sheet: Callable[[], Sheet | None]
    leave: Exporter


def prepare(
    entry: Entry,
    options: Options,
    knobs: Mapping[str, object],
    *,
    shown: bool,
    data: Data | None = None,
    on_kept: Callable[[], None] = lambda: None,
) -> Prepared:
    """Load data, encode captions where they are learned from, and build the recipe.

    Args:
        entry: The recipe's entry in the zoo.
        options: The run's options.
        knobs: The recipe's arguments.
        shown: Show progress bars.
        data: What to learn from; None loads what the options name.
        on_kept: Called whenever something that is learned here was kept for a later go.
    """
    loaded = _load(options, shown) if data is None else data
    if entry.learns == "samples":
        return _prepare_samples(entry, options, knobs, loaded)
    return _prepare_captions(entry, options, knobs, shown, loaded, on_kept)


def _prepare_captions(
    entry: Entry,
    options: Options,
    knobs: Mapping[str, object],
    shown: bool,
    data: Data,
    on_kept: Callable[[], None],
) -> Prepared:
    if not isinstance(data, PictureData) or not data.flat_captions:
        raise TrainingError(
            f"data {options.data}: has no captions; recipe {entry.key} learns from captions"
        )
    learning = learning_for(options, data)
    options = replace(options, **asdict(learning))
    words = load_text_encoder(options.encoder)
    cache = cache_root() / "captions"
    encoder: TextEncoder = words
    matcher: Matcher | None = None
    embeddings: NDArray[np.float32]
    if learning.caption_steps:
        tokens = encode_tokens(words, data.flat_captions, cache, progress=shown)
        # Without a truth of its own, the data's captions are compared by their sentence embedding.
        sentences = (
            np.zeros((len(data.flat_captions), 1), np.float32)
            if data.truth is not None
            else encode_dataset(words, data.flat_captions, cache, progress=shown)
        )
        truth = WrongCaptions(data, sentences, seed=options.seed)
        _take_over(options, matcher_told(learning.eyes, data.resolution))
        device = PartialState().device
        network = fit_caption_network(
            data,
            tokens,
            truth,
            options.out / CAPTION_NETWORK,
            steps=learning.caption_steps,
            eyes=learning.eyes,
            seed=options.seed,
            device=device,
            progress=shown,
            on_kept=on_kept,
        )
        encoder = CaptionEncoder(words, network)
        embeddings = read_captions(network, tokens, options.out / "embeddings.npy", progress=shown)
        if "matcher" in entry.needs:
            matcher = fit_matcher(
                data,
                embeddings,
                truth,
                options.out / MATCHER,
                steps=learning.matcher_steps,
                eyes=learning.eyes,
                seed=options.seed,
                device=device,
                progress=shown,
                on_kept=on_kept,
            )
    else:
        embeddings = encode_dataset(words, data.flat_captions, cache, progress=shown)
    packed: PackedCaptions | None = None
    if "words" in entry.needs:
        tokens = encode_tokens(words, data.flat_captions, cache, progress=shown)
        packed = PackedCaptions(embeddings, tokens, WORDS)
        encoder = WordsEncoder(encoder, WORDS)
    torch.manual_seed(options.seed)
    spec = replace(spec_of(data, encoder.dim), matcher=matcher)
    if packed is not None:
        spec = replace(spec, words=packed.words, token_dim=packed.token_dim)
    recipe = entry.build(spec, **knobs)
    if recipe.fit is not None:
        recipe.fit(torch.from_numpy(np.array(embeddings)))
    stream = CaptionStream(
        data,
        embeddings,
        seed=options.seed,
        flip=options.flip,
        hard_wrong=recipe.hard_wrong,
        rows=packed,
    )
    statistics = statistics_of(data, words, cache, progress=shown)
    captions = options.captions or _some_captions(data)

    def leave(average: nn.Module, kimg: float) -> Path:
        # Whatever draws captions is of these kinds.
        assert isinstance(average, CaptionedGenerator)
        bundle = options.out / "bundle"
        export_bundle(
            bundle,
            name=_bundle_name(options.out),
            recipe=entry.key,
            generator=average,
            encoder=encoder,
            statistics=statistics,
            data=data,
            kimg=kimg,
            settings=_settings(options, knobs),
        )
        return bundle

    return Prepared(recipe, stream, data, lambda: Grid(encoder, captions, seed=options.seed), leave)


def learning_for(options: Options, data: PictureData) -> Learning:
    """Decide what the options leave open.

    Args:
        options: The run's options.
        data: What there is to learn from.
    """
    reads = options.caption_steps if options.caption_steps is not None else READING.steps(len(data))
    sees = options.matcher_steps if options.matcher_steps is not None else SEEING.steps(len(data))
    return Learning(reads, sees, options.eyes or suitable_eyes(data))


def _prepare_samples(
    entry: Entry, options: Options, knobs: Mapping[str, object], data: Data
) -> Prepared:
    torch.manual_seed(options.seed)
    recipe = entry.build(spec_of(data), **knobs)
    # Digits and writing have a right way round, and such data says so.
    flip = options.flip and bool(getattr(data, "mirrors", True))
    stream = SampleStream(data, seed=options.seed, flip=flip)

    def leave(average: nn.Module, kimg: float) -> Path:
        if not isinstance(average, PictureGenerator):
            # Nothing can ask it for samples; its weights are in the checkpoints.
            return options.out
        settings = _settings(options, knobs)
        if not isinstance(data, PictureData):
            folder = options.out / "generator"
            notes = {"recipe": entry.key, "kimg": round(kimg, 3), "data": data.name}
            save_generator(folder, average, {**notes, "settings": settings})
            return folder
        bundle = options.out / "bundle"
        export_pictures(
            bundle,
            name=_bundle_name(options.out),
            recipe=entry.key,
            generator=average,
            data=data,
            kimg=kimg,
            settings=settings,
            asked_with=recipe.asked_with,
        )
        return bundle

    def sheet() -> Sheet | None:
        drawn = isinstance(recipe.networks["generator"], PictureGenerator)
        return sheet_of(recipe, data, seed=options.seed) if drawn else None

    return Prepared(recipe, stream, data, sheet, leave)


def _load(options: Options, shown: bool) -> Data:
    return load_data(
        options.data,
        resolution=options.resolution,
        download=options.download,
        progress=shown,
        strict=options.strict,
    )


def _settings(options: Options, knobs: Mapping[str, object]) -> dict[str, object]:
    # The settings travel with the bundle; an address may hold a password or a signature.
    plain = replace(options, out=Path(options.out.name), data=shown_url(options.data))
    return {**asdict(plain), **knobs}


def spec_of(data: Data, condition_dim: int = 0) -> Spec:
    """Return what recipes must know of the data.

    Args:
        data: Pictures, points (floating numbers) or tokens (whole numbers).
        condition_dim: Length of a caption's embedding; 0 without captions.
    """
    labelled = 0 if data.labels is None else int((data.labels >= 0).sum())
    names = tuple(data.label_names)
    if isinstance(data, PictureData):
        return Spec(
            data.resolution,
            condition_dim,
            channels=int(data.pictures.shape[3]),
            label_names=names,
            labelled=labelled,
            size=len(data),
        )
    tokens = np.issubdtype(data.samples.dtype, np.integer)
    sources = getattr(data, "sources", None)
    return Spec(
        resolution=0,
        condition_dim=condition_dim,
        channels=0,
        sample_shape=tuple(int(side) for side in data.samples.shape[1:]),
        kind="tokens" if tokens else "points",
        label_names=names,
        labelled=labelled,
        size=len(data.samples),
        vocabulary=_vocabulary(data) if tokens else 0,
        source_length=0 if sources is None else int(sources.shape[1]),
        source_vocabulary=len(getattr(data, "source_vocabulary", ())),
    )


def _vocabulary(data: Samples) -> int:
    # Data that names its tokens may hold some that this split does not show.
    return len(getattr(data, "vocabulary", ())) or int(data.samples.max()) + 1


def sheet_of(recipe: Recipe, data: Data, *, seed: int = 0) -> Sheet:
    """Return what shows a recipe's progress: a row a class, rows by seed, a plot, or lines of text.

    Args:
        recipe: Its generator is drawn with, its `examples` are the rows where it has some.
        data: What it is trained on.
        seed: Seed of the noise.
    """
    dim = recipe.networks["generator"].condition_dim
    assert isinstance(dim, int)
    classes = dim == len(data.label_names)
    rows = recipe.examples
    if rows is None:
        rows = torch.eye(dim) if dim else torch.zeros(SHEET_ROWS, 0)
    if isinstance(data, PictureData):
        return PictureSheet(rows, data.label_names if dim and classes else (), seed=seed)
    if np.issubdtype(data.samples.dtype, np.integer):
        vocabulary = tuple(getattr(data, "vocabulary", ()))
        sources = getattr(data, "sources", None)
        if sources is not None:
            rows = torch.from_numpy(sources[:SHEET_ROWS]).float()
        # Words want blanks between them, characters none.
        blank = " " if any(len(token) > 1 for token in vocabulary[-1:]) else ""
        return TokenSheet(vocabulary, rows, joined_by=blank, seed=seed)
    return ScatterSheet(data.samples, rows, seed=seed)


def _take_over(options: Options, matcher: dict[str, str]) -> None:
    """Copy from the run that is started from what the captions are read and matched with.

    Args:
        options: The run's options.
        matcher: What the file of a matcher tells that this run can use.
    """
    if options.start_from is None:
        return
    if not (options.start_from / CAPTION_NETWORK).is_file():
        raise TrainingError(
            f"start_from: {options.start_from} holds no {CAPTION_NETWORK}; give the folder of "
            "a run, or train with --caption-steps 0 as that run did"
        )
    for name in (CAPTION_NETWORK, MATCHER):
        path, theirs = options.out / name, options.start_from / name
        if not theirs.is_file() or path.is_file():
            continue
        with safe_open(theirs, "pt") as stored:
            fits = name == CAPTION_NETWORK or stored.metadata() == matcher
        if fits:
            partial = path.with_suffix(".partial")
            shutil.copyfile(theirs, partial)
            partial.replace(path)


def _some_captions(data: PictureData, count: int = 8) -> tuple[str, ...]:
    texts = list(dict.fromkeys(data.flat_captions))
    places = np.linspace(0, len(texts) - 1, min(count, len(texts))).astype(int)
    return tuple(texts[place] for place in places)


def _bundle_name(out: Path) -> str:
    """Make a bundle's name of the run's folder: letters, digits, dots, dashes, underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", out.resolve().name).strip("-._")[:64] or "run"
