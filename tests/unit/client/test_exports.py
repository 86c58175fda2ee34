"""The public surface is small, complete and on purpose."""

import importlib.resources
from types import ModuleType

import microdose_client


def test_all_is_exactly_what_is_public() -> None:
    public = {
        name
        for name, value in vars(microdose_client).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert sorted(public) == sorted(microdose_client.__all__)


def test_all_is_documented_and_sorted() -> None:
    assert microdose_client.__all__ == sorted(microdose_client.__all__)
    for name in microdose_client.__all__:
        assert getattr(microdose_client, name).__doc__, name


def test_is_marked_as_typed() -> None:
    assert importlib.resources.files("microdose_client").joinpath("py.typed").is_file()
