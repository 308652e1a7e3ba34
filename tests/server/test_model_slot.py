from __future__ import annotations

from benchmarks.timed import INFO
from server.backends import Described
from server.model_memory import Version
from server.model_slot import Pauses, Slot
from server.model_status import ModelState
from t2i.errors import BundleError

DESCRIBED = Described(INFO, 0, "", 0)


async def test_pauses_double_up_to_a_minute_and_begin_anew_when_it_went_well() -> None:
    pauses = Pauses()
    assert pauses.left <= 0
    assert [pauses.failed() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert 59 < pauses.left <= 60
    pauses.over()
    assert pauses.left <= 0 and pauses.failed() == 60
    pauses.forget()
    assert pauses.left <= 0 and pauses.failed() == 1


async def test_a_model_that_failed_says_why_until_it_is_forgiven() -> None:
    slot = Slot("timed", "folder", DESCRIBED)
    assert slot.state is ModelState.UNLOADED and slot.idle_seconds is None
    assert slot.fail(BundleError("bundle folder:\n it is damaged")) == 1
    assert slot.state is ModelState.FAILED and slot.failure == "bundle folder: it is damaged"
    assert slot.pauses.left > 0
    slot.fail(RuntimeError())
    assert slot.failure == "RuntimeError"
    # What is in memory is served, whatever was wrong with a later load.
    slot.version = Version(DESCRIBED, "folder")
    assert slot.state is ModelState.LOADED
    slot.version = None
    slot.forgive()
    assert slot.state is ModelState.UNLOADED and slot.pauses.left <= 0
    slot.touch()
    assert slot.idle_seconds is not None and 0 <= slot.idle_seconds < 5
