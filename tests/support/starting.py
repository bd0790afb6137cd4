"""Which tests start processes: servers, browsers, commands.

It is told by the code that they, their fixtures and their helpers name, so that nobody has to mark them.
"""

import inspect
import multiprocessing
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest

_SERVERS = {"postgresql", "s3", "reference"}
"""Parameters that ask fixtures for a server, and the fixture of a detector that has a process of its own."""
_ORDER = ("shared_stack", "doomed_stack")
"""Files that share a stack come first and together, and those that break it after the others."""


def mark_and_sort(items: list[pytest.Item]) -> None:
    """Mark the tests that start processes with `processes`, and let their files begin, since they last longest.

    Then come the files with the most tests.
    """
    tests = Counter(item.path for item in items)
    places: dict[Path, int] = {}
    for item in items:
        if (starts := _starts(item)) or _SERVERS & {*_words(item), *item.fixturenames}:
            item.add_marker("processes")
        used = [place for place, name in enumerate(_ORDER) if name in item.fixturenames]  # type: ignore[attr-defined]
        place = used[-1] if used else len(_ORDER) + (not starts)
        places[item.path] = min(place, places.get(item.path, place))
    items.sort(key=lambda item: (places[item.path], -tests[item.path], item.path))


def _starts(item: pytest.Item) -> bool:
    fixtures = item._fixtureinfo.name2fixturedefs.values()  # type: ignore[attr-defined]
    functions = [item.function, *(definition.func for definitions in fixtures for definition in definitions)]  # type: ignore[attr-defined]
    return any(_reaches_process(function) for function in functions)


def _words(item: pytest.Item) -> Iterator[str]:
    """Those among its parameters."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    return (value for value in parameters if isinstance(value, str))


@cache
def _reaches_process(start: Callable[..., Any]) -> bool:
    """Whether a process is started by the function, or by one of the tests' own that it leads to."""
    seen: set[int] = set()
    ahead: list[Any] = [start]
    while ahead:
        value = ahead.pop()
        if value in (subprocess, multiprocessing) or _module(value).startswith("playwright"):
            return True
        for function in _functions(value):
            if id(function) not in seen:
                seen.add(id(function))
                known = function.__globals__
                ahead += (known[name] for name in _names(function.__code__) if name in known)
    return False


def _module(value: object) -> str:
    return getattr(value, "__module__", None) or ""


def _functions(value: Any) -> Iterator[FunctionType]:
    """The tests' own functions that it is or holds."""
    if isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _functions(each)
    elif _module(value).startswith("tests."):
        kind = value if isinstance(value, type) else type(value)
        for each in [value] if isinstance(value, FunctionType) else vars(kind).values():
            function = each.fget if isinstance(each, property) else inspect.unwrap(each) if callable(each) else None
            if isinstance(function, FunctionType):
                yield function


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
