"""Which tests are marked as starting processes, by what they lead to."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from facet.persistence.database import Database
from tests.support.images import picture
from tests.support.processes import running, wait_for
from tests.support.stack import new_stack, started
from tests.support.starting import mark_and_sort


def _by_a_helper() -> None:
    with started(new_stack(...)):  # type: ignore[arg-type]
        pass


def _by_a_closure() -> None:
    def inner() -> None:
        subprocess.run(["true"])

    inner()


class _Harness:
    @property
    def process(self) -> object:
        return running(["true"], ...)  # type: ignore[arg-type]


_HARNESS = _Harness()
_LATER = {"command": [_by_a_closure]}


def _by_an_object() -> None:
    assert _HARNESS.process


def _by_a_table() -> None:
    _LATER["command"][0]()


def _by_nothing() -> None:
    wait_for(lambda: picture() and Database("sqlite://"), 1, "a picture")


class _Item:
    """What is asked of pytest's own."""

    fixturenames: tuple[str, ...] = ()
    _fixtureinfo = SimpleNamespace(name2fixturedefs={})

    def __init__(self, path: str, function: Callable[[], None]) -> None:
        self.path, self.function = Path(path), function
        self.markers: list[str] = []

    def add_marker(self, marker: str) -> None:
        self.markers.append(marker)


@pytest.mark.parametrize("test", [_by_a_helper, _by_a_closure, _by_an_object, _by_a_table])
def test_a_test_that_leads_to_a_process_is_marked(test: Callable[[], None]) -> None:
    item = _Item("a.py", test)
    mark_and_sort([item])  # type: ignore[list-item]
    assert item.markers == ["processes"]


def test_a_test_that_starts_none_is_not_marked() -> None:
    item = _Item("a.py", _by_nothing)
    mark_and_sort([item])  # type: ignore[list-item]
    assert item.markers == []


def test_files_that_start_processes_come_first_and_then_those_with_the_most_tests() -> None:
    few, many, starting = (
        [_Item("few.py", _by_nothing)],
        [_Item("many.py", _by_nothing), _Item("many.py", _by_nothing)],
        [_Item("starting.py", _by_nothing), _Item("starting.py", _by_a_helper)],
    )
    items = [*few, *many, *starting]
    mark_and_sort(items)  # type: ignore[arg-type]
    assert items == [*starting, *many, *few]
