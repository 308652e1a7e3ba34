"""What the repository promises as a whole: light imports, three rooms, true documents."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMANDS = {"t2i": "t2i.cli", "t2i-serve": "server.cli", "t2i-train": "training.cli"}

# Allows only the standard library, this project, and what the base dependencies bring.
BARE_MACHINE = """
import importlib.metadata as metadata, re, sys

def closure(name, seen):
    if name in seen:
        return
    seen.add(name)
    for requirement in metadata.requires(name) or ():
        words, _, marker = requirement.partition(";")
        if "extra" not in marker:
            needed = re.match(r"[\\w.-]+", words).group().lower().replace("_", "-")
            try:
                closure(needed, seen)
            except metadata.PackageNotFoundError:
                pass  # for another platform or Python

allowed = set()
closure("t2i", allowed)
homes = metadata.packages_distributions()
blocked = {
    module for module, owners in homes.items()
    if not any(owner.lower().replace("_", "-") in allowed for owner in owners)
} - {"t2i", "server", "training"}
assert {"torch", "numpy", "transformers"} <= blocked, "the test itself is broken"

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r} (not in the base)", name=name)

sys.meta_path.insert(0, Missing())
for module in blocked:
    sys.modules.pop(module, None)
"""


def on_a_bare_machine(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python in which only the base dependencies can be imported."""
    return subprocess.run(
        [sys.executable, "-c", BARE_MACHINE + code],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )


@pytest.mark.parametrize(
    "module",
    [
        "t2i",
        "t2i.batch.job",
        "t2i.cli",
        "t2i.client",
        "t2i.conditions",
        "t2i.errors",
        "t2i.files",
        "t2i.protocol",
    ],
)
def test_the_base_installation_imports(module: str) -> None:
    done = on_a_bare_machine(
        f"import {module}\nassert not {{'torch', 'numpy'}} & set(sys.modules)\nprint('fine')"
    )
    assert done.stdout == "fine\n", done.stderr


def test_the_client_works_in_the_base_installation() -> None:
    done = on_a_bare_machine(
        "from t2i import Client, Text\n"
        "from t2i.client import UnavailableError\n"
        "try:\n"
        "    Client('127.0.0.1:1', max_retries=0).generate_images(Text('small bird'))\n"
        "except UnavailableError as error:\n"
        "    print(error)\n"
    )
    assert "cannot reach 127.0.0.1:1" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["batch", "--help"],
        ["generate", "--help"],
        ["jobs", "create", "--help"],
        ["models", "--help"],
    ],
)
def test_the_command_teaches_in_the_base_installation(arguments: list[str]) -> None:
    done = on_a_bare_machine(f"from t2i.cli import main\nmain({arguments!r}, prog_name='t2i')")
    assert done.returncode == 0, done.stderr
    assert "Usage: t2i" in done.stdout


def test_drawing_in_the_base_installation_names_the_extra_to_install() -> None:
    done = on_a_bare_machine("from t2i.cli import main\nmain(['generate', 'a bird'])")
    assert done.returncode == 1
    assert "t2i[inference]" in done.stderr and "--server" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_batch_job_in_the_base_installation_needs_nothing_but_a_service(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("a bird\n")
    job = ["batch", str(tmp_path / "c.txt"), "--out", str(tmp_path / "out")]
    here = on_a_bare_machine(f"from t2i.cli import main\nmain({job})")
    assert here.returncode == 2
    assert "t2i[inference]" in here.stderr and "--server" in here.stderr
    there = on_a_bare_machine(
        f"from t2i.cli import main\nmain({[*job, '--server', '127.0.0.1:1']})"
    )
    assert there.returncode == 2
    assert "cannot reach 127.0.0.1:1" in there.stderr and "Traceback" not in there.stderr
    far = ["batch", job[1], "--out", "s3://bucket/birds", "--server", "127.0.0.1:1"]
    there = on_a_bare_machine(f"from t2i.cli import main\nmain({far})")
    assert there.returncode == 2
    assert "t2i[remote]" in there.stderr and "Traceback" not in there.stderr


@pytest.mark.parametrize(
    ("room", "arguments", "extra"),
    [("server", [], "t2i[server]"), ("training", ["run", "--help"], "t2i[training]")],
)
def test_a_room_that_is_not_installed_names_its_extra(
    room: str, arguments: list[str], extra: str
) -> None:
    done = on_a_bare_machine(f"from {room}.cli import main\nmain({arguments!r})")
    assert done.returncode == 1
    assert extra in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_the_three_rooms_keep_their_import_contracts() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


def _blocks(language: str) -> list[tuple[str, str]]:
    return [
        (path.relative_to(ROOT).as_posix(), text)
        for path in DOCUMENTS
        for kind, text in FENCE.findall(path.read_text())
        if kind == language
    ]


def _command_lines() -> list[tuple[str, str]]:
    lines = []
    typed = [(document, line) for document, text in _blocks("sh") for line in _lines(text)]
    for document, text in _blocks("console"):
        typed += [(document, line[2:]) for line in _lines(text) if line.startswith("$ ")]
    for document, line in typed:
        if document == "docs/add-a-paper.md":
            continue  # its commands are about the paper that it adds; its own test runs them
        for command in re.split(r" && | \| ", line.split("  #")[0]):
            if command.strip() and not command.startswith("#"):
                lines.append((document, command.strip()))
    return lines


def _lines(text: str) -> list[str]:
    return text.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize(("document", "line"), _command_lines())
def test_every_command_in_the_documents_exists(document: str, line: str) -> None:
    program, *arguments = shlex.split(line)
    if program in COMMANDS:
        _check_command(importlib.import_module(COMMANDS[program]).main, arguments)
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {a for a in arguments if "=" not in a} <= set(targets)
    elif program.startswith("python") and arguments[0].endswith(".py"):
        assert (ROOT / arguments[0]).is_file(), f"no script {arguments[0]}"


def _check_command(command: click.Command, arguments: list[str]) -> None:
    """Check that the subcommands and the options of a command line are there."""
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name = arguments.pop(0)
        if name.isupper():
            return  # stands for any
        found = command.get_command(click.Context(command), name)
        assert found is not None, f"no subcommand {name}"
        command = found
    known = {"--help", "--version"}
    for parameter in command.params:
        known |= {*parameter.opts, *parameter.secondary_opts}
    for argument in arguments:
        if argument.startswith("--"):
            assert argument.partition("=")[0] in known, f"no option {argument}"


@pytest.mark.parametrize(("document", "code"), _blocks("python"))
def test_every_python_example_imports_what_exists(document: str, code: str) -> None:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(code, document, "exec", flags | ast.PyCF_ONLY_AST)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module} has no {alias.name}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_within_the_repository_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_every_make_target_explains_itself() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    for target in phony.group(1).split():
        assert re.search(rf"^{target}:.*## \w", text, re.MULTILINE), target
