import pytest

from facet.access.rate_limit import RateLimit


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_minutes_worth_at_once_then_one_by_one() -> None:
    clock = Clock()
    limit = RateLimit(6, clock)
    assert [limit.take("a") for _ in range(6)] == [0] * 6
    assert limit.take("a") == pytest.approx(10), "and asking costs nothing"
    assert limit.take("a") == pytest.approx(10)
    assert limit.take("b") == 0
    clock.now += 10
    assert limit.take("a") == 0
    assert limit.take("a") == pytest.approx(10)
    clock.now += 1000
    assert [limit.take("a") > 0 for _ in range(7)] == [False] * 6 + [True]


def test_0_is_no_limit() -> None:
    limit = RateLimit(0)
    assert not any(limit.take("a") for _ in range(10_000))


def test_it_remembers_a_bounded_number_of_senders() -> None:
    limit = RateLimit(1, Clock())
    for number in range(20_000):
        limit.take(str(number))
    assert len(limit._full_at) == 10_000
    assert limit.take("19999") > 0
