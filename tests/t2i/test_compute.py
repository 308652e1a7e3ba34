from __future__ import annotations

import os
import signal
import threading
import time

import pytest
import torch

from t2i.compute import core_count, run_apart


def test_results_come_in_the_order_of_the_items() -> None:
    assert run_apart(lambda number: number * number, range(50)) == [n * n for n in range(50)]
    assert run_apart(lambda number: number, []) == []


def test_each_piece_runs_on_one_thread_without_gradients() -> None:
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert set(run_apart(lambda _: torch.get_num_threads(), range(8))) == {1}
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert run_apart(lambda _: torch.is_inference_mode_enabled(), [0]) == [True]
    assert not torch.is_inference_mode_enabled()


def test_threads_born_later_keep_the_callers_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    # As if nothing had run yet: it is the birth of the pool that could spoil the setting.
    monkeypatch.setattr("t2i.compute._pool", None)
    before = torch.get_num_threads()
    found: list[int] = []
    try:
        torch.set_num_threads(3)
        run_apart(lambda _: None, range(4))
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        found.append(torch.get_num_threads())
    finally:
        torch.set_num_threads(before)
    assert found == [3, 3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_makes_threads_of_its_own() -> None:
    run_apart(lambda number: number, range(4))
    child = os.fork()
    if child == 0:
        answer = run_apart(lambda number: number + 1, range(4))
        os._exit(0 if answer == [1, 2, 3, 4] else 1)
    end = time.monotonic() + 60
    done, status = 0, -1
    while not done and time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if not done:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert (done, status) == (child, 0)


def test_the_first_error_reaches_the_caller() -> None:
    def fail_on_two(number: int) -> int:
        if number >= 2:
            raise ValueError(f"number {number}")
        return number

    with pytest.raises(ValueError, match="number 2"):
        run_apart(fail_on_two, range(5))


def test_no_more_threads_than_cores_are_used() -> None:
    names = set(run_apart(lambda _: threading.current_thread().name, range(100)))
    assert 1 <= len(names) <= core_count() <= (os.cpu_count() or 1)
