import inspect

from microdose import errors


def test_every_error_is_in_the_tree_and_documented() -> None:
    found = [each for _, each in inspect.getmembers(errors, inspect.isclass)]
    assert all(issubclass(each, errors.MicrodoseError) and each.__doc__ for each in found)
