"""A page a paper, made from its docstring, its knobs, its claim and what was recorded."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from t2i.files import write_atomically
from training.claims.claim import Claim, claims
from training.errors import TrainingError
from training.registry import Entry, Knob, recipes
from training.reproduce.results import Result, SeedResult, plain, recorded

SECTIONS = {
    "A": "The adversarial game and its objectives",
    "B": "Architectures and scale",
    "C": "Labels, codes and fewer labels",
    "D": "Text to image",
    "E": "Encoders, inference, editing",
    "F": "Image to image",
}
BEGIN, END = "<!-- zoo: begin -->", "<!-- zoo: end -->"
MADE = "<!-- Made by `t2i-train zoo --pages docs/zoo`; change the docstring, not this page. -->"


def source_tree() -> Path:
    """Return the folder of the source tree that this runs from.

    Raises:
        TrainingError: It runs from an installed package, which has no place for results.
    """
    top = Path(__file__).parents[2]
    if not (top / "pyproject.toml").is_file() or not (top / "docs").is_dir():
        raise TrainingError(
            f"record: {top} is no source tree; results are kept in one, so run from a clone"
        )
    return top


def keep_picture(key: str, seed: SeedResult, folder: Path) -> Path | None:
    """Copy the first picture of a seed to ``folder/KEY.png``; return None where it has none."""
    picture = next(iter(seed.pictures.values()), None)
    if picture is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return write_atomically(folder / f"{key}.png", picture.read_bytes())


def write_pages(folder: Path) -> list[Path]:
    """Write all pages and return those that have changed.

    Args:
        folder: Where to; ``results.md`` beside it gets its table where it has a place for one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for path, text in pages(folder).items():
        if not path.is_file() or path.read_text("utf-8") != text:
            write_atomically(path, text.encode())
            changed.append(path)
    return changed


def pages(folder: Path) -> dict[Path, str]:
    """Return the text of all pages by path, without writing any.

    Args:
        folder: Where the pages and the papers' pictures (``KEY.png``) are.
    """
    known, results = claims(), recorded()
    papers = {key: entry for key, entry in recipes().items() if entry.section}
    made = {
        folder / f"{key}.md": page(
            entry,
            known.get(key),
            results.get(key),
            picture=(folder / f"{key}.png").is_file(),
        )
        for key, entry in papers.items()
    }
    made[folder / "README.md"] = index(papers, known, results)
    beside = folder.parent / "results.md"
    if beside.is_file():
        text = beside.read_text("utf-8")
        if BEGIN in text and END in text:
            before, rest = text.split(BEGIN, 1)
            after = rest.split(END, 1)[1]
            made[beside] = f"{before}{BEGIN}\n{results_table(known, results)}{END}{after}"
    return made


def page(entry: Entry, claim: Claim | None, result: Result | None, *, picture: bool) -> str:
    """Return the page of a paper as Markdown.

    Args:
        entry: The recipe.
        claim: Its claim, where it has one.
        result: What was recorded, if anything was.
        picture: Whether ``KEY.png`` lies beside the page.
    """
    module = f"{entry.key.replace('-', '_')}.py"
    parts = [MADE, f"# {_prose(entry.title.rstrip('.'))}"]
    parts += _body(entry)
    parts += ["## Defaults", _knobs(entry.knobs)] if entry.knobs else []
    parts += [
        "## Run it",
        f"```sh\nt2i-train run {entry.key} --data {entry.data} --out runs/{entry.key}\n```",
        f"Source: [`training/zoo/{module}`](../../training/zoo/{module}), "
        f"`t2i-train run {entry.key} --help`.",
        "## Does it hold?",
    ]
    if claim is None:
        parts += ["No experiment has been written for this paper yet."]
        return "\n\n".join(parts) + "\n"
    parts += [
        f"**Claim:** {_prose(claim.shows)}.",
        f"**In the paper:** {_prose(claim.paper)}.",
        *(_prose(" ".join(paragraph.split())) for paragraph in claim.text.split("\n\n")),
        f"```sh\nt2i-train reproduce {entry.key}\n```",
        f"Source: [`training/claims/{module}`](../../training/claims/{module}).",
    ]
    if result is None:
        parts += ["Not recorded yet."]
    else:
        parts += [_figures(result), _made(result)]
        if picture:
            parts += [f"![{_prose(claim.shows)}]({entry.key}.png)"]
    return "\n\n".join(parts) + "\n"


def index(
    papers: Mapping[str, Entry], known: Mapping[str, Claim], results: Mapping[str, Result]
) -> str:
    """Return the list of all papers as Markdown."""
    parts = [
        MADE,
        "# The zoo",
        "One paper, one file, one page. `t2i-train zoo` prints this list, `t2i-train run KEY` "
        "trains a paper, `t2i-train reproduce KEY` runs the experiment that shows what it claims. "
        "[Add your own](../add-a-paper.md).",
    ]
    for section in sorted({entry.section for entry in papers.values()}):
        inside = [entry for entry in papers.values() if entry.section == section]
        rows = ["| key | year | paper | claim | measured |", "|---|---|---|---|---|"]
        for entry in sorted(inside, key=lambda each: (each.source.year or 0, each.key)):
            claim, result = known.get(entry.key), results.get(entry.key)
            cells = (
                f"[{entry.key}]({entry.key}.md)",
                str(entry.source.year or ""),
                _prose(entry.title.rstrip(".")),
                "" if claim is None else _prose(claim.shows),
                "not yet" if result is None else _prose(result.summary),
            )
            rows.append(_row(*cells))
        parts += [f"## {section}. {SECTIONS.get(section, 'Papers')}", "\n".join(rows)]
    return "\n\n".join(parts) + "\n"


def results_table(known: Mapping[str, Claim], results: Mapping[str, Result]) -> str:
    """Return the recorded figures of all papers as a Markdown table, every figure a row."""
    if not results:
        return "Nothing has been recorded yet.\n"
    rows = [
        "| paper | figure | final | best | held | in the paper | command, commit, seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for key, result in results.items():
        reference = known[key].paper if key in known else ""
        for place, (name, spread) in enumerate(result.final.items()):
            best = result.best.get(name)
            first = place == 0
            rows.append(
                _row(
                    f"[{key}](zoo/{key}.md)" if first else "",
                    plain(name),
                    str(spread),
                    "" if best is None else str(best),
                    f"{result.held} of {len(result.holds)}" if first else "",
                    _prose(reference) if first else "",
                    f"`{result.command}`, {result.commit}, {result.seconds:.0f} s" if first else "",
                )
            )
    return "\n".join(rows) + "\n"


def _body(entry: Entry) -> Iterator[str]:
    """Yield the docstring's paragraphs between its title and its arguments."""
    text = entry.text.partition("\nArgs:\n")[0]
    deviations = ""
    for paragraph in text.split("\n\n")[1:]:
        words = " ".join(paragraph.split())
        if not words:
            continue
        if words.startswith("Deviations:"):
            deviations = words.removeprefix("Deviations:").strip()
        elif words == entry.source.text:
            yield re.sub(
                r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", _prose(words)
            )
        elif re.search(r"\S {2,}\S", paragraph):
            # Columns of equations and their numbers: only set as they are they can be read.
            yield f"```text\n{paragraph.strip()}\n```"
        else:
            yield _prose(words)
    if deviations:
        yield "## Deviations"
        yield _prose(deviations[:1].upper() + deviations[1:])


def _knobs(knobs: tuple[Knob, ...]) -> str:
    rows = ["| knob | default | meaning |", "|---|---|---|"]
    for knob in knobs:
        name = "--" + knob.name.replace("_", "-")
        rows.append(_row(f"`{name}`", f"`{_default(knob)}`", _prose(knob.help)))
    return "\n".join(rows)


def _default(knob: Knob) -> str:
    if isinstance(knob.default, bool):
        return "on" if knob.default else "off"
    if isinstance(knob.default, tuple):
        return ",".join(str(value) for value in knob.default)
    return f"{knob.default:g}" if isinstance(knob.default, float) else str(knob.default)


def _figures(result: Result) -> str:
    heads = ("figure", "final", *(("best",) if result.best else ()), *map(_seed, result.seeds))
    rows = [_row(*heads), "|" + "---|" * len(heads)]
    for name, spread in result.final.items():
        best = result.best.get(name)
        shown = ("" if best is None else str(best),) if result.best else ()
        rows.append(_row(plain(name), str(spread), *shown, *(f"{v:.4g}" for v in spread.values)))
    empty = ("",) if result.best else ()
    held = ("yes" if each else "no" for each in result.holds)
    rows.append(_row("held", f"{result.held} of {len(result.holds)}", *empty, *held))
    return "\n".join(rows)


def _seed(seed: int) -> str:
    return f"seed {seed}"


def _made(result: Result) -> str:
    data = ", ".join(f"{name} `{mark[:12]}`" for name, mark in result.data.items())
    return (
        f"`{result.command}` at commit {result.commit}: {result.seconds:.0f} s on "
        f"{result.machine}, torch {result.torch}" + (f"; data {data}." if data else ".")
    )


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _prose(text: str) -> str:
    """Return text that Markdown shows as it stands; what is in backquotes stays."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([\\*<\[\]])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)
