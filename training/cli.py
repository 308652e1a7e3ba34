"""The command `t2i-train`."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from t2i.errors import T2IError
from t2i.extras import needs_extra
from t2i.memory import keep_memory
from training.effort import READING, SEEING

if TYPE_CHECKING:
    from training.registry import Entry, Knob

EPILOG = """\b
Examples:
  t2i-train data check photos/              is my folder fit to train on?
  t2i-train run t2i --data photos/ --out runs/photos
  t2i-train eval runs/birds/bundle --data birds
  t2i-train reproduce gan                   does the paper's claim hold here?

\b
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a claim did not hold, 130 stopped (a checkpoint was
written).
"""


class _LateGroup(click.Group):
    """A group whose subcommands are imported when they are asked for: torch takes seconds."""

    late: dict[str, tuple[str, str, str]]

    def __init__(self, *args: Any, late: dict[str, tuple[str, str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.late = late

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self.late])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.late:
            module, name, _ = self.late[cmd_name]
            command: click.Command = getattr(importlib.import_module(module), name)
            return command
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, help) for name, (_, _, help) in self.late.items()]
        for name, command in self.commands.items():
            rows.append((name, command.get_short_help_str()))
        with formatter.section("Commands"):
            formatter.write_dl(sorted(rows))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with needs_extra("training"):
                return super().invoke(ctx)
        except T2IError as error:
            click.echo(f"t2i-train: {error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("t2i-train: stopped; run the same command again to go on", err=True)
            ctx.exit(130)


class _Recipes(click.Group):
    """One subcommand for each recipe of the zoo."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from training.registry import recipes

        return list(recipes())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from training.registry import find_recipe, recipes

        return _recipe_command(find_recipe(cmd_name)) if cmd_name in recipes() else None


@click.group(
    cls=_LateGroup,
    late={
        "data": ("training.data.cli", "data", "Look at data sets before training on them."),
        "eval": ("training.metrics.cli", "evaluate", "Measure a bundle."),
        "compare": ("training.metrics.compare_cli", "compare", "Put runs side by side."),
        "reproduce": (
            "training.reproduce.cli",
            "reproduce",
            "Run the experiment that shows what a paper claims.",
        ),
        "zoo": ("training.reproduce.cli", "zoo", "List the recipes and what was measured."),
        "scorer": ("training.scorer_cli", "scorer", "Add a scorer to a bundle, for best_of."),
        "classifier": (
            "training.metrics.judges_cli",
            "classifier",
            "Train a classifier to judge pictures with.",
        ),
        "matcher": (
            "training.metrics.judges_cli",
            "matcher",
            "Train a matcher that judges how pictures agree with captions.",
        ),
    },
    epilog=EPILOG,
)
def main() -> None:
    """Train text-to-image GANs on your own captioned pictures."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    keep_memory()


@main.group("run", cls=_Recipes)
def run_group() -> None:
    """Train a recipe: `t2i-train run RECIPE --help` shows every knob.

    Running the same command again goes on from the last checkpoint, to the bit on a CPU. Several
    processes: `accelerate launch -m training.cli run RECIPE ...`.
    """


def _recipe_command(entry: Entry) -> click.Command:
    options: list[click.Parameter] = [
        click.Option(
            ["--data"],
            required=True,
            metavar="birds[:COUNT]|FOLDER|SHARDS",
            help="The illustrated birds; a folder of captioned pictures, or a .tar or .zip of it; "
            "shards of WebDataset, by path or address. docs/data.md shows the layouts.",
        ),
        click.Option(
            ["--out"],
            required=True,
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder of the run; resumed when it holds a checkpoint.",
        ),
        click.Option(["--dry-run"], is_flag=True, help="Print the plan and stop."),
        click.Option(["--quiet"], is_flag=True, help="No progress bars."),
        *_run_options(),
        *(_knob_option(knob) for knob in entry.knobs),
    ]

    def callback(**given: Any) -> None:
        _run(entry, given)

    return click.Command(
        entry.key, params=options, callback=callback, help=_help(entry), short_help=entry.title
    )


def _help(entry: Entry) -> str:
    # The knobs have their own lines below; click would reflow the equations.
    text = entry.text.partition("\nArgs:\n")[0]
    return "\n\n".join("\b\n" + part for part in text.split("\n\n"))


def _run_options() -> list[click.Option]:
    def option(name: str, default: Any, help: str, **kwargs: Any) -> click.Option:
        return click.Option([name], default=default, show_default=True, help=help, **kwargs)

    return [
        option("--kimg", 400.0, "Length in thousands of real pictures shown."),
        option(
            "--core-minutes",
            None,
            "End earlier, once the run has taken so many minutes of processor time, over all cores "
            "and all goes at it, with all that comes before training: so recipes are compared at "
            "equal compute on a CPU.",
            type=click.FloatRange(min=0, min_open=True),
        ),
        option(
            "--resolution",
            None,
            "Side of the training pictures in pixels; without it the data's own, or 64.",
            type=click.IntRange(min=4),
        ),
        option("--encoder", "all-MiniLM-L6-v2", "Text encoder: id, or folder."),
        option(
            "--caption-steps",
            None,
            "Steps in which a caption network learns to read the captions from the pictures; 0 "
            "takes the text encoder's sentence embedding as it is. Without it as many as show "
            f"each picture {READING.passes:g} times, {READING.least} to {READING.most}.",
            type=click.IntRange(min=0),
        ),
        option(
            "--matcher-steps",
            None,
            "Steps in which a matcher learns to see what captions say; it then guides the "
            f"generator. Without it as many as show each picture {SEEING.passes:g} times, "
            f"{SEEING.least} to {SEEING.most}.",
            type=click.IntRange(min=1),
        ),
        option(
            "--eyes",
            None,
            "What looks at pictures in both: a network that learns from the data alone; lite1, "
            "which has seen a million photographs and suits a few hundred of your own; or both, "
            "the first to read and the second to judge. Without it lite1; learned below 64 pixels, "
            "and where ten thousand pictures or more have attributes.",
            type=click.Choice(["learned", "lite1", "both"]),
        ),
        option("--seed", 0, "Seed of everything random.", type=click.IntRange(min=0)),
        option(
            "--precision",
            "bf16",
            "bf16, or no for float32.",
            type=click.Choice(["bf16", "no"]),
        ),
        option(
            "--micro-batches",
            1,
            "Parts that each process takes its share of a batch in, to save memory.",
            type=click.IntRange(min=1),
        ),
        option("--checkpoint-kimg", 10.0, "Distance of checkpoints in kimg."),
        option("--grid-kimg", 20.0, "Distance of grids in kimg."),
        click.Option(
            ["--caption", "captions"],
            multiple=True,
            help="A caption to draw in the grids; may be repeated. Default: some of the data's.",
        ),
        click.Option(
            ["--start-from"],
            type=click.Path(path_type=Path, file_okay=False, exists=True),
            help="Folder of another run: go on from its weights and its caption network, with "
            "other data or knobs, or with a further stage of twice the side and half the --width.",
        ),
        option("--flip/--no-flip", True, "Mirror pictures at random."),
        click.Option(["--strict"], is_flag=True, help="Refuse a folder at its first faulty file."),
        click.Option(
            ["--download"],
            is_flag=True,
            help="Fetch a named data set (mnist, cifar10, svhn) that is not on this machine.",
        ),
    ]


def _knob_option(knob: Knob) -> click.Option:
    name = "--" + knob.name.replace("_", "-")
    if knob.type is bool:
        name = f"{name}/--no-{name[2:]}"
    default = knob.default
    if knob.many:
        default = ",".join(str(value) for value in knob.default)  # type: ignore[attr-defined]
    return click.Option(
        [name, knob.name],
        default=default,
        show_default=True,
        type=_CommaList(knob.type) if knob.many else knob.type,
        help=knob.help,
    )


class _CommaList(click.ParamType[Any]):
    """Values separated by commas."""

    def __init__(self, item: type) -> None:
        self.name = f"{item.__name__},..."
        self._item = item

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self._item(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of {self._item.__name__} with commas", param, ctx)


def _run(entry: Entry, given: dict[str, Any]) -> None:
    from accelerate import PartialState

    from training.plan import plan
    from training.prepare import Options
    from training.run import run

    dry, quiet = given.pop("dry_run"), given.pop("quiet")
    knobs = {knob.name: given.pop(knob.name) for knob in entry.knobs}
    options = Options(**given)
    if dry:
        plan(entry, options, knobs)
        return
    bundle = run(entry, options, knobs, shown=not quiet)
    if PartialState().is_main_process:
        click.echo(f"bundle: {bundle}")


if __name__ == "__main__":
    sys.exit(main())
