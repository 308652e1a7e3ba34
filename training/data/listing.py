"""What a place of pictures says of them, before any picture is opened."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.data.pictures import Fault, FaultKind

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Entry:
    """A picture file and what is said of it.

    Attributes:
        file: name relative to the folder, with `/`.
        captions: cleaned; empty in folders that have labels only.
        label: name of its class.
        split: the split that the folder or the caption file names, or None.
        cut: how many of its captions were over-long and have been cut.
        box: left, top, width and height in pixels of what the picture shows, or None; the square
            that training sees is cut out around it.
        attributes: number of its value of each attribute of the listing, -1 where nobody knows.
    """

    file: str
    captions: tuple[str, ...] = ()
    label: str | None = None
    split: str | None = None
    cut: int = 0
    box: Box | None = None
    attributes: tuple[int, ...] = ()


@dataclass
class Listing:
    """All that a folder, an archive or a set of shards says about itself.

    Attributes:
        place: what a person typed to name it.
        name: what to call it; no path.
        layout: which rule applied, in words.
        entries: pictures that may be trained on, if they can be read, by file name.
        faults: files that cannot, and lines without a picture.
        remarks: what a person should know, though it stops nothing.
        hint: what would repair most of the faults, if that is known.
        hold_out: pictures without a split are divided by content into train and val, though others
            have a split; else they are train as soon as any has one.
        attribute_sizes: how many values each attribute can take.
    """

    place: str
    name: str
    layout: str
    entries: list[Entry] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    hint: str | None = None
    hold_out: bool = False
    attribute_sizes: tuple[int, ...] = ()

    @property
    def splits_named(self) -> bool:
        """Whether any picture has a split."""
        return any(entry.split for entry in self.entries)

    def fault(self, file: str, kind: FaultKind, detail: str) -> None:
        """Note a file that training skips."""
        self.faults.append(Fault(file, kind, detail))

    def finish(self) -> None:
        """Put the entries in order, and make those that say nothing faults.

        An entry without caption is a fault, unless there are labels and no caption at all.
        """
        captioned = any(entry.captions for entry in self.entries)
        kept: list[Entry] = []
        for entry in self.entries:
            if entry.captions or (entry.label is not None and not captioned):
                kept.append(entry)
            else:
                self.fault(entry.file, FaultKind.NO_CAPTION, "it has no caption, or a blank one")
        self.entries = sorted(kept, key=lambda entry: entry.file)
