"""Small folders laid out exactly as CUB-200-2011, Oxford-102, COCO and WebDataset are handed on."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.training.data.folders import draw, save

SPECIES = (
    "001.Black_footed_Albatross",
    "002.Laysan_Albatross",
    "003.Sooty_Albatross",
    "004.Groove_billed_Ani",
)
TRAINED, UNSEEN = SPECIES[:3], SPECIES[3:]


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write a list, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def write_cub(folder: Path, each: int = 8, reed: bool = True) -> Path:
    """Write `CUB_200_2011/` with its lists; beside it Reed's captions and class lists.

    The attributes of picture n: a bill of value n modulo 3; a wing of the two colours at once for
    odd n, of none that was seen well for even n.
    """
    root = folder / "CUB_200_2011"
    names = [
        f"{species}/{species[4:]}_{number:04}_{1000 + number}"
        for species in SPECIES
        for number in range(1, each + 1)
    ]
    images, labels, split, boxes, marks = [], [], [], [], []
    for place, name in enumerate(names):
        picture = place + 1
        save(root / "images" / f"{name}.jpg", place, 60, 50)
        images.append(f"{picture} {name}.jpg")
        labels.append(f"{picture} {1 + place // each}")
        split.append(f"{picture} {int(place % each < each // 2)}")
        boxes.append(f"{picture} 10.0 5.0 24.0 20.0")
        for attribute in range(5):
            wing = attribute > 2
            there = picture % 2 if wing else int(attribute == picture % 3)
            marks.append(f"{picture} {attribute + 1} {there} 4 1.509")
        if not picture % 2:
            # Somebody guessed.
            marks[-1] = f"{picture} 5 1 2 3.7"
        if reed:
            lines = [f"caption {line} of picture {picture}" for line in range(9)]
            write_lines(folder / "text_c10" / f"{name}.txt", [*lines, "a bird\ufffd\ufffds wing"])
    write_lines(root / "images.txt", images)
    write_lines(root / "image_class_labels.txt", labels)
    write_lines(root / "classes.txt", [f"{n} {name}" for n, name in enumerate(SPECIES, start=1)])
    write_lines(root / "train_test_split.txt", split)
    write_lines(root / "bounding_boxes.txt", boxes)
    write_lines(root / "attributes" / "image_attribute_labels.txt", marks)
    meanings = [f"has_bill_shape::{name}" for name in ("curved_(up_or_down)", "dagger", "hooked")]
    meanings += [f"has_wing_color::{name}" for name in ("blue", "brown")]
    write_lines(
        folder / "attributes.txt", [f"{n} {name}" for n, name in enumerate(meanings, start=1)]
    )
    if reed:
        write_lines(folder / "trainvalclasses.txt", TRAINED)
        write_lines(folder / "testclasses.txt", UNSEEN)
    return folder


def write_flowers(folder: Path, count: int = 24, *, mat: bool = True, reed: bool = True) -> Path:
    """Write `jpg/`, the two .mat files and Reed's captions and class lists; classes 1, 2, 77."""
    from scipy.io import savemat

    labels = np.array([(1, 2, 77)[place % 3] for place in range(count)], np.uint8)
    for place, label in enumerate(labels, start=1):
        save(folder / "jpg" / f"image_{place:05}.jpg", place, 60, 50)
        if reed:
            path = folder / "text_c10" / f"class_{label:05}" / f"image_{place:05}.txt"
            write_lines(path, [f"caption {line} of flower {place}" for line in range(10)])
    if reed:
        write_lines(folder / "trainvalclasses.txt", ["class_00001", "class_00077"])
        write_lines(folder / "testclasses.txt", ["class_00002"])
    if mat:
        numbers = np.arange(1, count + 1, dtype=np.uint16)[None]
        third = count // 3
        sets = {
            "trnid": numbers[:, :third],
            "valid": numbers[:, third : 2 * third],
            "tstid": numbers[:, 2 * third :],
        }
        savemat(folder / "imagelabels.mat", {"labels": labels[None]})
        savemat(folder / "setid.mat", sets)
    return folder


def write_coco(folder: Path, year: int = 2017, train: int = 20, val: int = 4) -> Path:
    """Write `annotations/captions_*.json` and the folders of pictures of a year."""
    for split, count, first in (("train", train, 0), ("val", val, 1000)):
        images: list[dict[str, object]] = []
        annotations: list[dict[str, object]] = []
        for number in range(first, first + count):
            prefix = f"COCO_{split}2014_" if year == 2014 else ""
            name = f"{prefix}{number:012}.jpg"
            save(folder / f"{split}{year}" / name, number, 60, 50)
            images.append({"id": number, "file_name": name, "width": 60, "height": 50})
            for line in range(5):
                caption = f"caption {line} of photograph {number}. "
                annotations.append(
                    {"image_id": number, "id": 10 * number + line, "caption": caption}
                )
        path = folder / "annotations" / f"captions_{split}{year}.json"
        path.parent.mkdir(exist_ok=True)
        content = {"info": {}, "licenses": [], "images": images, "annotations": annotations}
        path.write_text(json.dumps(content))
    return folder


def tar(members: Mapping[str, bytes]) -> bytes:
    """The bytes of a tar file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            head = tarfile.TarInfo(name)
            head.size = len(content)
            archive.addfile(head, io.BytesIO(content))
    return buffer.getvalue()


def jpeg(seed: int) -> bytes:
    """The bytes of a picture file."""
    buffer = io.BytesIO()
    draw(seed).save(buffer, "JPEG")
    return buffer.getvalue()


def samples(first: int, count: int, **fields: object) -> dict[str, bytes]:
    """Members of a shard: pictures with a text and a JSON object each."""
    members: dict[str, bytes] = {}
    for number in range(first, first + count):
        about = {"key": f"{number:06}", "caption": f"sample {number}", **fields}
        members[f"{number:06}.jpg"] = jpeg(number)
        members[f"{number:06}.txt"] = f"sample {number}\nmore of {number}\n".encode()
        members[f"{number:06}.json"] = json.dumps(about).encode()
    return members
