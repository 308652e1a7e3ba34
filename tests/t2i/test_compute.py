from __future__ import annotations

import os
import threading

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
