"""The commands `t2i jobs ...` against the real server, with a model that draws grey."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from benchmarks.timed import INFO
from t2i import cli_jobs
from t2i.cli import main
from tests.server.jobs.folders import Places, birds
from tests.server.jobs.test_service import OtherBackend, serving, slow

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "batch.md").read_text("utf-8")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Ask = Callable[..., Awaitable[Result]]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Runs the command beside the server's event loop."""

    async def ask(address: str, *arguments: str) -> Result:
        given = ["jobs", *arguments, "--server", address]
        return await asyncio.to_thread(CliRunner().invoke, main, given)

    return ask


async def until_drawn(ask: Ask, address: str, id: str) -> None:
    async with asyncio.timeout(60):
        while not json.loads((await ask(address, "show", id, "--json")).stdout)["completed_rows"]:
            await asyncio.sleep(0.02)


async def test_a_job_is_created_shown_listed_and_watched_to_its_end(
    places: Places, ask: Ask
) -> None:
    places.write("birds.jsonl", birds(20))
    places.write("plain.jsonl", [{"text": "a bird"}] * 3)
    async with serving(places) as server:
        at = server.address
        created = await ask(at, "create", "birds.jsonl", "out/birds", "--rows-per-shard", "8",
                            "--count", "2", "--seed", "7", "--format", "folder")  # fmt: skip
        assert (created.exit_code, created.stderr) == (0, "")
        id = created.stdout.strip()
        assert UUID.fullmatch(id)
        watched = await ask(at, "watch", id)
        assert watched.exit_code == 1, "one row could not be drawn"
        assert watched.stdout == (
            f"{id} succeeded: 20 rows, 1 could not be drawn (out/birds/failures.jsonl), "
            "22 pictures in 3 shards in out/birds\n"
        )
        shown = (await ask(at, "show", id)).stdout
        for told in (id, "succeeded", "birds.jsonl (jsonl)", "(folder, 8 rows a shard)", INFO.name,
                     "count 2, truncation 1,", "20 rows, 1 could not", "22 pictures"):  # fmt: skip
            assert told in shown
        assert re.search(r"^seed +7$", shown, re.M) and re.search(r"^ended +20\d\d-", shown, re.M)
        told = json.loads((await ask(at, "show", id, "--json")).stdout)
        assert (told["state"], told["format"], told["failed_rows"]) == ("succeeded", "folder", 1)
        assert told["ended"] > told["created"] and told["error"] is None
        plain = await ask(at, "create", "plain.jsonl", "plain", "--watch")
        assert plain.exit_code == 0 and ": 3 rows, 3 pictures in 1 shards in plain" in plain.stdout
        assert re.match(rf"Job {UUID.pattern} is \w+, seed \d+\n", plain.stderr)
        listed = (await ask(at, "list")).stdout.splitlines()
        assert [line.split()[0] for line in listed] == ["ID", plain.stdout.split()[0], id]
        assert listed[2].split()[1:5] == ["succeeded", "20/20", "1", "22"]
        assert len((await ask(at, "list", "--limit", "1")).stdout.splitlines()) == 2
        (newest,) = json.loads((await ask(at, "list", "--limit", "1", "--json")).stdout)
        assert newest["output"] == "plain"
        none = await ask(at, "list", "--state", "failed")
        assert (none.exit_code, none.stdout) == (0, "") and "no jobs in state failed" in none.stderr
        assert json.loads((await ask(at, "list", "--state", "failed", "--json")).stdout) == []


async def test_every_change_of_a_watched_job_can_be_a_line_of_json(
    places: Places, ask: Ask
) -> None:
    places.write("birds.jsonl", birds(30)[4:])
    async with serving(places, slow()) as server:
        arguments = ("birds.jsonl", "out", "--rows-per-shard", "1", "--watch", "--json")
        done = await ask(server.address, "create", *arguments)
    changes = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 0 and changes[-1]["state"] == "succeeded"
    rows = [change["completed_rows"] for change in changes]
    assert rows == sorted(rows) and len(changes) > 2 and rows[-1] == 26


async def test_asked_again_with_an_id_no_second_job_is_begun(places: Places, ask: Ask) -> None:
    places.write("birds.jsonl", birds(1))
    id = "7d0c0a4e-5d0e-4b6e-9f43-3f0f4f0c1d2a"
    async with serving(places) as server:
        for _ in range(2):
            done = await ask(server.address, "create", "birds.jsonl", "out", "--id", id)
            assert (done.exit_code, done.stdout) == (0, f"{id}\n")
        other = await ask(server.address, "create", "birds.jsonl", "two", "--id", id)
        assert other.exit_code == 2 and other.stderr.count("\n") == 1
        assert len(json.loads((await ask(server.address, "list", "--json")).stdout)) == 1


async def test_a_cancelled_job_and_a_failed_one_have_codes_of_their_own(
    places: Places, ask: Ask
) -> None:
    places.write("birds.jsonl", birds(900))
    places.write("many.jsonl", birds(901))
    async with serving(places, slow(), max_rows=900) as server:
        at = server.address
        id = (await ask(at, "create", "birds.jsonl", "out", "--rows-per-shard", "5")).stdout.strip()
        await until_drawn(ask, at, id)
        stopped = await ask(at, "cancel", id)
        assert (stopped.exit_code, stopped.stdout) == (0, f"{id} is being stopped\n")
        end = await ask(at, "watch", id)
        assert end.exit_code == 4
        assert re.match(rf"{id} cancelled: \d+ of 900 rows.* in \d+ of 180 shards", end.stdout)
        again = await ask(at, "cancel", id)
        assert again.stdout == f"{id} is cancelled\n"
        failed = await ask(at, "create", "many.jsonl", "more", "--watch")
        assert failed.exit_code == 3 and " failed (TOO_MANY_ROWS: input_uri: has" in failed.stdout
        id = failed.stdout.split()[0]
        assert "TOO_MANY_ROWS" in (await ask(at, "show", id)).stdout
        assert json.loads((await ask(at, "cancel", id, "--json")).stdout)["state"] == "failed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("create", "nothing.jsonl", "out"), "spec.input_uri: there is no file"),
        (("create", "birds.jsonl", "../out"), "spec.output_uri"),
        (("create", "birds.jsonl", "out", "--count", "17"), "--count"),
        (("create", "birds.jsonl", "out", "--format", "zip"), "--format"),
        (("create", "birds.jsonl", "out", "--best-of", "2"), "has no scorer"),
        (("create", "birds.jsonl", "out", "--id", "mine"), "request_id"),
        (("show", "mine"), "UUID"),
        (("watch", "7d0c0a4e-5d0e-4b6e-9f43-3f0f4f0c1d2a"), "you have no job"),
        (("cancel", "7d0c0a4e-5d0e-4b6e-9f43-3f0f4f0c1d2a"), "you have no job"),
        (("list", "--state", "lost"), "--state"),
    ],
)
async def test_what_cannot_be_asked_is_said_in_one_line_with_code_2(
    places: Places, ask: Ask, arguments: tuple[str, ...], said: str
) -> None:
    places.write("birds.jsonl", birds(1))
    async with serving(places) as server:
        done = await ask(server.address, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr.splitlines()[-1]


async def test_a_service_that_is_not_there_ends_with_code_2(ask: Ask) -> None:
    done = await ask("127.0.0.1:1", "list")
    assert done.exit_code == 2 and "cannot reach 127.0.0.1:1" in done.stderr


async def watching(address: str, id: str, *more: str) -> asyncio.subprocess.Process:
    command = ("-m", "t2i.cli", "jobs", "watch", id, "--server", address, "--json", *more)
    return await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        # Whoever runs the tests in the background of a shell ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


async def test_a_watched_job_is_watched_through_a_restart_of_the_service_and_ctrl_c_leaves_it(
    places: Places, ask: Ask
) -> None:
    # So many that none of it is lost while two interpreters start on a busy machine.
    places.write("birds.jsonl", [{"text": "a bird"}] * 1500)
    async with serving(places, slow()) as server:
        at, port = server.address, server.port
        done = await ask(at, "create", "birds.jsonl", "out", "--rows-per-shard", "25")
        id = done.stdout.strip()
        left, stays = await watching(at, id), await watching(at, id)
        assert left.stdout is not None and stays.stdout is not None
        await asyncio.gather(left.stdout.readline(), stays.stdout.readline())
        left.send_signal(signal.SIGINT)
        _, said = await left.communicate()
        assert left.returncode == 2
        assert said.decode() == (
            f"Error: no longer watched; the job goes on: t2i jobs watch {id}, or t2i jobs cancel "
            f"{id}\n"
        )
    async with serving(places, port=port):
        out, said = await asyncio.wait_for(stays.communicate(), 60)
    changes = [json.loads(line) for line in out.splitlines()]
    assert (stays.returncode, said) == (0, b"")
    assert (changes[-1]["state"], changes[-1]["completed_rows"]) == ("succeeded", 1500)


async def test_a_job_of_a_model_that_is_gone_fails_and_says_why(places: Places, ask: Ask) -> None:
    places.write("birds.jsonl", birds(600))
    async with serving(places, slow()) as server:
        id = (
            await ask(server.address, "create", "birds.jsonl", "out", "--rows-per-shard", "5")
        ).stdout.strip()
        await until_drawn(ask, server.address, id)
    async with serving(places, OtherBackend()) as server:
        done = await ask(server.address, "watch", id)
    assert done.exit_code == 3 and "(MODEL_CHANGED: the server has another" in done.stdout


async def test_the_bar_shows_rows_rate_and_time_left(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def terminal(**options: Any) -> Console:
        return Console(file=io.StringIO(), force_terminal=True, width=120)

    monkeypatch.setattr("rich.console.Console", terminal)
    show = cli_jobs._Bar.show

    def shown(self: cli_jobs._Bar, job: Any) -> None:
        show(self, job)
        seen.append(self._bar.tasks[0].fields["told"])

    monkeypatch.setattr(cli_jobs._Bar, "show", shown)
    places.write("birds.jsonl", [{"text": "a bird"}] * 60)
    async with serving(places, slow()) as server:
        arguments = ["birds.jsonl", "out", "--rows-per-shard", "4", "--watch", "--server"]
        done = await asyncio.to_thread(
            CliRunner().invoke, main, ["jobs", "create", *arguments, server.address]
        )
    assert done.exit_code == 0
    assert any(re.fullmatch(r"\d+ of 60 rows, [\d.]+ a second, 0:00:\d\d left", t) for t in seen)
    assert seen[-1] == "60 rows"


async def test_the_commands_of_the_page_do_what_the_page_says(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    for name, content in re.findall(r"^`([^`\n]+)`:\n\n```\w+\n(.*?)```", PAGE, re.M | re.S):
        (places.inputs / name).write_text(content, "utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines() if "t2i jobs " in line]
    assert len(lines) == 4
    async with serving(places) as server:
        monkeypatch.setenv("T2I_ADDRESS", server.address)
        for line in lines:
            words, _, remark = line.partition("  # ")
            done = await asyncio.to_thread(CliRunner().invoke, main, shlex.split(words)[1:])
            code = re.search(r"exit code (\d)", remark)
            assert done.exit_code == int(code[1] if code else 0), (line, done.output)
    assert (places.outputs / "birds" / "shards" / "000000.tar").is_file()
    assert (places.outputs / "flawed" / "shards" / "000000.parquet").is_file()


def test_the_page_and_the_help_tell_the_same_exit_codes() -> None:
    section = PAGE[PAGE.index("t2i jobs create captions.jsonl") : PAGE.index("From Python:")]
    told = re.findall(r"^\| (\d) \| (.+?) \|$", section, re.M)
    helped = re.findall(
        r"^ +(\d)  (.+)$", CliRunner().invoke(main, ["jobs", "--help"]).stdout, re.M
    )
    assert [code for code, _ in told] == [code for code, _ in helped] == list("01234")
