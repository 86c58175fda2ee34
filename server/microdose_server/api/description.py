"""The API's description, as committed: `python -m microdose_server.api.description > docs/openapi.json`."""

import json
import sys

from microdose_server.api.app import create_app
from microdose_server.settings import Settings


def description() -> str:
    """OpenAPI 3.1 as JSON, the same for equal code."""
    return json.dumps(create_app(Settings()).openapi(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(description())
