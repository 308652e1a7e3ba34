from __future__ import annotations

import pytest

from training.boosting import Stages


def test_stages_follow_the_clock_and_the_last_has_no_end() -> None:
    stages = Stages(count=3, length=2.0, weighing=0.25)
    assert [stages.at(kimg) for kimg in (0.0, 1.9, 2.0, 4.0, 99.0)] == [0, 0, 1, 2, 2]


@pytest.mark.parametrize(("kimg", "weighs"), [(0.0, False), (2.1, True), (2.6, False), (4.4, True)])
def test_the_data_is_weighed_at_the_start_of_each_stage_but_the_first(
    kimg: float, weighs: bool
) -> None:
    stages = Stages(count=3, length=2.0, weighing=0.25)
    assert stages.weighs(kimg) is weighs and stages.learns(kimg) is not weighs
