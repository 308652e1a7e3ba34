"""Captions of a bird in free wording, each with exactly what it claims.

A caption is a sentence around a few facts. The facts that it tells are chosen by lot, head
colour about every second time; what it does not tell is left open. `Caption.claims` holds
the attribute values that the words state, and nothing else.

Two wordings state several attributes at once. "Black wings and tail" states both parts. "A
blue bird" states crown, back and wing, and is said only when all three are blue; "an all
blue bird" states all seven coloured parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from training.data.birds.attributes import COLOURED_PARTS, Bird, Combination


@dataclass(frozen=True, slots=True)
class Caption:
    """A caption and the attribute values that its words state."""

    text: str
    claims: Mapping[str, str]


_PART_NAMES: Mapping[str, tuple[str, ...]] = {
    "crown": ("head", "head", "head", "crown"),
    "throat": ("throat",),
    "breast": ("breast", "breast", "chest"),
    "belly": ("belly", "belly", "tummy"),
    "back": ("back",),
    "wing": ("wings", "wings", "wings"),
    "tail": ("tail",),
}
_PLURAL = frozenset({"wings"})
_SIZE_WORDS: Mapping[str, tuple[str, ...]] = {
    "small": ("small", "small", "tiny", "little"),
    "medium": ("medium sized", "medium-sized", "mid-sized"),
    "large": ("large", "large", "big"),
}
_BEAK_SHAPES: Mapping[str, tuple[str, ...]] = {
    "cone": ("cone shaped", "conical", "cone-shaped"),
    "hooked": ("hooked", "hooked", "curved, hooked"),
    "needle": ("needle thin", "thin, needle-like", "thin pointed"),
    "flat": ("flat", "broad flat", "duck-like flat"),
}
_BEAK_NAMES = ("beak", "beak", "bill")
_MARKS: Mapping[str, tuple[str, ...]] = {
    "wing_bars": ("wing bars", "striped wing bars", "two wing bars"),
    "eye_ring": ("an eye ring", "a bold eye ring", "a ring around its eye"),
    "cheek_patch": ("a cheek patch", "a patch on its cheek", "a bold cheek patch"),
    "crest": ("a crest", "a spiky crest", "a crest on its head"),
}
_POSES: Mapping[str, tuple[str, ...]] = {
    "perched": ("perched on a branch", "sitting on a branch", "perching on a twig"),
    "flying": ("flying", "in flight", "flying with raised wings"),
    "swimming": ("swimming", "floating on the water", "swimming on the water"),
    "ground": ("standing on the ground", "on the ground", "walking on the ground"),
}
_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "sky": ("in front of a blue sky", "against the blue sky"),
    "forest": ("in a forest", "in the dark woods", "in the forest"),
    "meadow": ("in a meadow", "in a green meadow"),
    "snow": ("in the snow", "in a snowy landscape", "in winter snow"),
    "desert": ("in the desert", "in a sandy desert"),
    "water": ("at sea", "out at sea"),
    "sunset": ("at sunset", "in the light of the sunset"),
}
_SCENES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("perched", "sky"): ("perched on a branch against a blue sky",),
    ("perched", "forest"): ("perched on a branch in the forest", "sitting on a forest branch"),
    ("perched", "meadow"): ("perched on a branch in a green meadow",),
    ("perched", "snow"): ("perched on a snowy branch", "sitting on a branch in the snow"),
    ("perched", "sunset"): ("perched on a branch at sunset",),
    ("flying", "sky"): ("flying in a blue sky", "flying through the sky"),
    ("flying", "forest"): ("flying through the forest", "in flight among dark trees"),
    ("flying", "desert"): ("flying over the desert", "in flight above desert sand"),
    ("flying", "water"): ("flying over the sea", "flying above the blue sea"),
    ("flying", "sunset"): ("flying at sunset", "in flight in the evening sun"),
    ("swimming", "water"): ("swimming in the sea", "floating on the blue sea"),
    ("swimming", "forest"): ("swimming on a forest pond", "floating on dark forest water"),
    ("swimming", "sunset"): ("swimming at sunset", "floating on the water at sunset"),
    ("ground", "meadow"): ("standing in a meadow", "standing in the green grass"),
    ("ground", "forest"): ("standing on the forest floor", "on the ground in the woods"),
    ("ground", "snow"): ("standing in the snow", "standing on snowy ground"),
    ("ground", "desert"): ("standing in the desert", "standing on desert sand"),
}
_NUMBERS_OF_FACTS = ((0.18, 1), (0.34, 2), (0.30, 3), (0.14, 4), (0.04, 5))

Rng = np.random.Generator


def _choose(rng: Rng, options: tuple[str, ...]) -> str:
    return options[int(rng.random() * len(options))]


def _colour(value: str, rng: Rng) -> str:
    if value == "grey":
        return "gray" if rng.random() < 0.4 else "grey"
    return value


def _article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def _joined(phrases: list[str]) -> str:
    if len(phrases) < 2:
        return "".join(phrases)
    return ", ".join(phrases[:-1]) + " and " + phrases[-1]


def _colour_phrase(colour: str, parts: list[str], rng: Rng, *, article: bool) -> str:
    """Such as "a red head", "black wings and tail", "breast and belly that are yellow"."""
    names = [_choose(rng, _PART_NAMES[part]) for part in parts]
    words = f"{_colour(colour, rng)} {_joined(names)}"
    return words if names[0] in _PLURAL or not article else _article(words)


def _beak_phrase(claims: Mapping[str, str], rng: Rng, *, article: bool) -> str:
    words = [
        *([claims["beak_length"]] if "beak_length" in claims else []),
        *([_choose(rng, _BEAK_SHAPES[claims["beak_shape"]])] if "beak_shape" in claims else []),
        _choose(rng, _BEAK_NAMES),
    ]
    phrase = " ".join(words)
    return _article(phrase) if article else phrase


def _scene_phrase(claims: Mapping[str, str], rng: Rng) -> str:
    pose, setting = claims.get("pose"), claims.get("setting")
    if pose and setting and (pose, setting) in _SCENES:
        return _choose(rng, _SCENES[pose, setting])
    if pose and setting:
        # A bird of the caller's own making, where no bird of the data set is.
        return f"{_choose(rng, _POSES[pose])} {_choose(rng, _SETTINGS[setting])}"
    if pose:
        return _choose(rng, _POSES[pose])
    return _choose(rng, _SETTINGS[setting]) if setting else ""


def _choose_facts(bird: Bird, rng: Rng, stated: frozenset[str]) -> set[str]:
    """Names of the attributes that a caption tells; those in `stated` are among them."""
    facts = set(stated)
    lot, number = rng.random(), 1
    for probability, facts_then in _NUMBERS_OF_FACTS:
        number = facts_then
        if lot < probability:
            break
        lot -= probability
    if rng.random() < 0.5:
        facts.add("crown")
    others = {
        "size": 2.4, "pose": 1.6, "setting": 1.4, "crown": 0.6, "wing": 1.3, "belly": 1.2,
        "breast": 1.0, "back": 0.9, "tail": 0.8, "throat": 0.8, "beak_length": 0.8,
        "beak_shape": 0.8,
    }  # fmt: skip
    # A mark is told where there is one; nobody writes of a crest that is not there.
    others |= {
        mark: 1.2
        for mark in ("wing_bars", "eye_ring", "cheek_patch", "crest")
        if bird.values[mark] == "yes"
    }
    while len(facts) < number:
        names = [name for name in others if name not in facts]
        steps = np.cumsum([others[name] for name in names])
        facts.add(names[int(np.searchsorted(steps, rng.random() * steps[-1], side="right"))])
    return facts


def _plumage_name(bird: Bird, facts: set[str], rng: Rng) -> tuple[str, set[str]]:
    """A colour for the whole bird and the parts which that states, if it may be said."""
    values = bird.values
    if len({values[part] for part in COLOURED_PARTS}) == 1 and rng.random() < 0.7:
        prefix = _choose(rng, ("all", "completely", "entirely"))
        return f"{prefix} {_colour(values['crown'], rng)}", set(COLOURED_PARTS)
    whole = {"crown", "back", "wing"}
    same = len({values[part] for part in whole}) == 1
    if same and facts & whole and rng.random() < 0.6:
        return _colour(values["crown"], rng), whole
    return "", set()


def _write(bird: Bird, facts: set[str], rng: Rng) -> Caption:
    """A sentence that states exactly `facts`, and what a merged wording adds to them."""
    values = bird.values
    plumage, covered = _plumage_name(bird, facts, rng)
    facts = facts | covered
    claims = {name: value for name, value in values.items() if name in facts}
    told = [part for part in COLOURED_PARTS if part in facts and part not in covered]
    rng.shuffle(told)
    if "crown" in told and rng.random() < 0.6:
        told.remove("crown")
        told.insert(0, "crown")
    groups: list[tuple[str, list[str]]] = []
    for part in told:
        for colour, members in groups:
            if colour == values[part] and rng.random() < 0.85:
                members.append(part)
                break
        else:
            groups.append((values[part], [part]))
    style = _choose(rng, ("bare", "a", "a", "this", "this", "is", "article"))
    article = style != "bare"
    traits = [_colour_phrase(colour, parts, rng, article=article) for colour, parts in groups]
    if facts & {"beak_length", "beak_shape"}:
        traits.append(_beak_phrase(claims, rng, article=article))
    marks = [_choose(rng, _MARKS[mark]) for mark in _MARKS if mark in facts]
    if not article:
        marks = [mark.removeprefix("an ").removeprefix("a ") for mark in marks]
    traits.extend(marks)
    size = _choose(rng, _SIZE_WORDS[values["size"]]) if "size" in facts else ""
    scene = _scene_phrase(claims, rng)
    text = _SENTENCES[style](size, plumage, traits, scene, rng)
    return Caption(" ".join(text.split()), MappingProxyType(claims))


_Sentence = Callable[[str, str, list[str], str, Rng], str]


def _short(size: str, plumage: str, traits: list[str], scene: str, rng: Rng) -> str:
    """Such as "small bird with red head"."""
    having = f"with {_joined(traits)}" if traits else ""
    return f"{size} {plumage} bird {having} {scene}"


def _noun(size: str, plumage: str, traits: list[str], scene: str, rng: Rng) -> str:
    """Such as "a small blue bird with a white belly, flying over the water"."""
    subject = _article(f"{size} {plumage} bird".strip().replace("  ", " "))
    having = ("with " if rng.random() < 0.75 else "that has ") + _joined(traits) if traits else ""
    if having and scene and rng.random() < 0.35:
        return f"{subject} {scene}, {having.replace('that has ', 'with ')}"
    return (
        f"{subject} {having} {scene}" if not having else f"{subject} {having}, {scene}".rstrip(", ")
    )


def _this(size: str, plumage: str, traits: list[str], scene: str, rng: Rng) -> str:
    """Such as "this small bird has a red head and is flying"."""
    subject = f"this {size} {plumage} bird"
    being = f"is {scene}" if scene else ""
    if not traits:
        return (
            f"{subject} {being}"
            if being
            else f"this is {_article(f'{size} {plumage} bird'.strip())}"
        )
    having = f"has {_joined(traits)}"
    return f"{subject} {having} and {being}" if being else f"{subject} {having}"


def _is(size: str, plumage: str, traits: list[str], scene: str, rng: Rng) -> str:
    """Such as "the bird is small, it has a red head and is in flight"."""
    about = f"{size} and {plumage}" if size and plumage else size or plumage
    having = f"has {_joined(traits)}" if traits else ""
    start = _choose(rng, ("the bird", "this bird"))
    if about:
        link = _choose(rng, ("and", ", it" if having else "and"))
        rest = " and ".join(filter(None, (having, f"is {scene}" if scene else "")))
        return (
            f"{start} is {about} {link} {rest}".replace(" ,", ",")
            if rest
            else f"{start} is {about}"
        )
    return f"{start} " + " and ".join(filter(None, (having, f"is {scene}" if scene else "")))


def _scene_first(size: str, plumage: str, traits: list[str], scene: str, rng: Rng) -> str:
    """Such as "flying at sunset, a large bird with black wings"."""
    if not scene:
        return _noun(size, plumage, traits, scene, rng)
    subject = _article(f"{size} {plumage} bird".strip().replace("  ", " "))
    having = f"with {_joined(traits)}" if traits else ""
    return f"{subject} {having} {scene}"


_SENTENCES: Mapping[str, _Sentence] = {
    "bare": _short,
    "a": _noun,
    "this": _this,
    "is": _is,
    "article": _scene_first,
}


def describe(
    bird: Bird, rng: Rng, count: int = 5, about: tuple[Combination, ...] = ()
) -> tuple[Caption, ...]:
    """`count` different captions of `bird`.

    With `about`, every caption states one of these combinations of the bird.
    """
    captions: dict[str, Caption] = {}
    while len(captions) < count:
        stated: frozenset[str] = frozenset()
        if about:
            combination = about[int(rng.integers(len(about)))]
            stated = frozenset({combination.first[0], combination.second[0]})
        caption = _write(bird, _choose_facts(bird, rng, stated), rng)
        captions.setdefault(caption.text, caption)
    return tuple(captions.values())
