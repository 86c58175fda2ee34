"""`microdose-server`: one program, one subcommand for each thing an operator does.

Exit codes: 0 done, 1 failed (one clear line on stderr), 2 usage.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from microdose.errors import MicrodoseError
from microdose_server import commands
from microdose_server.store.apikeys import Scope

if TYPE_CHECKING:
    Verbs = argparse._SubParsersAction["Command"]
Run: TypeAlias = Callable[[argparse.Namespace], int]

EXAMPLES = """examples:
  microdose-server up --data-dir /srv/microdose       everything in one command
  REDIS_URL=redis://bus:6379 microdose-server serve   the API alone
  REDIS_URL=redis://bus:6379 microdose-server worker  one more worker
  microdose-server relay --upstream https://origin.example.org   its streams, at another site
  microdose-server keys create --scope publish --name camera-3

Options can be set in the environment as well: --data-dir as MICRODOSE_DATA_DIR.
"""
TOOLS = {
    "train": ("microdose_server.training.cli", "train a teacher on a folder of photographs"),
    "distil": ("microdose_server.distil.cli", "distil a teacher's generic student, and export its base"),
    "bench": ("microdose_server.evaluate.cli", "measure bytes, quality and speed of an exported sequence"),
}


class Command(argparse.ArgumentParser):
    """A subcommand. One with a `module` is declared by it, loaded (torch and all) only when it is called."""

    module = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse, after the module, if there is one, has declared its options."""
        if self.module:
            tool = import_module(self.module)
            tool.add_arguments(self)
            self.set_defaults(run=tool.run)
        return super().parse_known_args(args, namespace)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit code."""
    options = parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except (MicrodoseError, OSError) as error:  # the latter of folders and files that the command line names
        print(f"microdose-server: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    return code


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(
        prog="microdose-server",
        description="Encode sequences of pictures, distil a dose for each, publish both.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = root.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Command)
    for add in (_add_up, _add_serve, _add_worker, _add_relay, _add_check, _add_gc, _add_keys):
        add(verbs)
    for name, (module, purpose) in TOOLS.items():
        verbs.add_parser(name, help=purpose, description=_sentence(purpose)).module = module
    return root


def _add_up(verbs: "Verbs") -> None:
    purpose = "embedded Valkey (unless there is a Redis), API and one worker"
    up = _verb(verbs, "up", commands.run_up, purpose, "up --data-dir /srv/microdose --port 8710")
    _add_redis(up)
    _add_device(up)
    _add_address(up)


def _add_serve(verbs: "Verbs") -> None:
    example = "REDIS_URL=redis://bus:6379 microdose-server serve --host 0.0.0.0"
    serve = _verb(verbs, "serve", commands.run_serve, "the API alone", example)
    _add_redis(serve)
    _add_address(serve)


def _add_worker(verbs: "Verbs") -> None:
    example = "REDIS_URL=redis://bus:6379 microdose-server worker --device cuda"
    worker = _verb(verbs, "worker", commands.run_worker, "one worker", example)
    worker.add_argument("--burst", action="store_true", help="end when the queue is empty")
    worker.add_argument(
        "--blobs",
        dest="blobs_url",
        metavar="URL",
        help="of the API, if this machine does not share its data folder; with a key of the scope worker in"
        " MICRODOSE_KEY",
    )
    _add_redis(worker)
    _add_device(worker)


def _add_relay(verbs: "Verbs") -> None:
    purpose = "carry another server's streams to viewers here; no Redis"
    example = "MICRODOSE_KEY=md_... microdose-server relay --upstream https://origin.example.org"
    relay = _verb(verbs, "relay", commands.run_relay, purpose, example)
    relay.add_argument("--upstream", metavar="URL", help="of that server; a key of its own in MICRODOSE_KEY")
    relay.add_argument(
        "--cache-bytes", type=int, metavar="N", help="the most its blobs take (default: 10 GiB)"
    )
    _add_address(relay)


def _add_check(verbs: "Verbs") -> None:
    purpose = "tell whether all is there that this host needs: exit code 0 says so"
    example = "check --for worker (a container's health check)"
    check = _verb(verbs, "check", commands.run_check, purpose, example)
    roles = ["api", "worker", "relay"]
    check.add_argument("--for", dest="role", choices=roles, help="and does this one run here?")
    check.add_argument(
        "--host", metavar="HOST", help="where the API, or the relay, listens (default: 127.0.0.1)"
    )
    check.add_argument("--port", type=int, metavar="PORT", help="its port (default: 8710)")
    _add_redis(check)


def _add_gc(verbs: "Verbs") -> None:
    purpose = "remove blobs that nothing names any more, and old records of jobs"
    example = "gc --data-dir /srv/microdose (workers do the same once an hour)"
    _add_redis(_verb(verbs, "gc", commands.run_gc, purpose, example))


def _add_keys(verbs: "Verbs") -> None:
    purpose = "create, list and revoke API keys, and Redis users that may view"
    example = "keys create --scope publish --scope view --name camera-3"
    keys = verbs.add_parser("keys", help=purpose, description=_sentence(purpose), epilog=_epilog(example))
    actions = keys.add_subparsers(metavar="ACTION", required=True, parser_class=Command)
    create = _verb(actions, "create", commands.run_create_key, "make a key; it is shown this once", example)
    create.add_argument(
        "--scope",
        action="append",
        required=True,
        choices=[scope.value for scope in Scope],
        help="what it allows; may be given several times",
    )
    create.add_argument("--name", help="whose key it is")
    create.add_argument("--quota-bytes", type=_count, metavar="N", help="the most its frames may take")
    create.add_argument("--quota-sequences", type=_count, metavar="N", help="the most it may have")
    listing = _verb(
        actions, "list", commands.run_list_keys, "all keys, without their secrets", "keys list --json"
    )
    revoke = _verb(
        actions, "revoke", commands.run_revoke_key, "refuse a key from now on", "keys revoke 4m2x7k9w5t0r"
    )
    revoke.add_argument("id", metavar="ID", help="the part between md_ and the next _")
    purpose = "make a Redis user that may read what is published; its password is shown this once"
    viewer = _verb(actions, "viewer", commands.run_viewer, purpose, "keys viewer wall-2")
    viewer.add_argument("name", metavar="NAME", help="up to 32 lower-case letters, digits and dashes")
    viewer.add_argument("--revoke", action="store_true", help="remove it instead")
    for action in (create, listing, revoke, viewer):
        _add_redis(action)


def _verb(verbs: "Verbs", name: str, run: Run, purpose: str, example: str) -> Command:
    verb = verbs.add_parser(name, help=purpose, description=_sentence(purpose), epilog=_epilog(example))
    verb.add_argument("--json", action="store_true", help="one JSON object per line on stdout")
    verb.add_argument("--data-dir", type=Path, metavar="DIR", help="folder of blobs, key and embedded Valkey")
    verb.add_argument(
        "--log-level", choices=["debug", "info", "warning", "error"], help="on stderr (default: info)"
    )
    verb.add_argument("--log-format", choices=["text", "json"], help="of these lines (default: text)")
    verb.set_defaults(run=run)
    return verb


def _add_redis(verb: Command) -> None:
    verb.add_argument("--redis", dest="redis_url", metavar="URL", help="use this Redis (or set REDIS_URL)")


def _add_address(verb: Command) -> None:
    verb.add_argument("--host", metavar="HOST", help="address to listen on (default: 127.0.0.1)")
    verb.add_argument(
        "--port", type=int, metavar="PORT", help="port to listen on; 0 takes a free one (default: 8710)"
    )


def _add_device(verb: Command) -> None:
    verb.add_argument("--device", metavar="DEVICE", help="cpu, cuda or cuda:N (default: cpu)")


def _sentence(purpose: str) -> str:
    return f"{purpose[0].upper()}{purpose[1:]}."


def _epilog(example: str) -> str:
    """An example, which need not name the program unless something stands before it."""
    return f"example: {example if 'microdose-server' in example else f'microdose-server {example}'}"


def _count(words: str) -> int:
    value = int(words)
    if value < 1:
        raise ValueError
    return value
