"""What a server command says on stdout: a line for people, or with --json a line for programs."""

import json
from collections.abc import Callable

Announce = Callable[..., None]
"""announce(event, sentence, **facts)."""


def announcer(as_json: bool) -> Announce:
    """Prints each event at once: `sentence` alone, or the event and its facts as one JSON object."""

    def announce(event: str, sentence: str, **facts: object) -> None:
        line = json.dumps({"event": event} | facts, default=str) if as_json else sentence
        print(line, flush=True)

    return announce
