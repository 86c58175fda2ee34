"""The Lua scripts next to this file: each is one atomic change on keys of one sequence."""

from functools import cache
from importlib.resources import files

import redis

from microdose.errors import Fenced


@cache
def _source(name: str) -> str:
    return (files(__package__) / f"{name}.lua").read_text(encoding="utf-8")


def run_script(client: redis.Redis, name: str, keys: list[str], arguments: list[str | bytes | int]) -> object:
    """The answer of script `name`.

    Raises:
        Fenced: a newer attempt has taken over.
    """
    script = client.register_script(_source(name))
    try:
        return script(keys=keys, args=arguments)
    except redis.ResponseError as error:
        if str(error).startswith("FENCED"):
            raise Fenced(f"{keys[0]}: {str(error).removeprefix('FENCED ')}") from None
        raise
