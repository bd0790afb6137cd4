"""The scaling model reads what was measured, and says it back."""

from itertools import pairwise

import pytest

from benchmarks.scaling import Cost, fit, plan, points


def test_the_model_says_back_what_was_measured() -> None:
    measured = points()
    assert len(measured) >= 3
    costs = fit(measured)
    for point in measured:
        model = sum(cost.at(point.batch) for cost in costs.values())
        assert model == pytest.approx(sum(point.cpu.values()), rel=0.25), point.name


def test_every_cost_is_one() -> None:
    assert all(cost.each > 0 and cost.run > 0 for cost in fit(points()).values())


def test_more_load_needs_more_of_everything() -> None:
    costs = fit(points())
    plans = [plan(rate, costs) for rate in (1, 10, 100, 1000)]
    for less, more in pairwise(plans):
        assert more.slots > less.slots and more.batch >= less.batch and more.cores > less.cores
        assert more.connections > less.connections and more.prefect_servers >= less.prefect_servers


def test_slots_are_what_the_work_needs() -> None:
    free = {part: Cost(0, 0) for part in ("prefect", "api", "worker")}
    one_second_each = plan(9, {**free, "worker's children": Cost(1000, 0)})
    assert one_second_each.slots == 10  # nine seconds of work a second, at nine tenths busy
