"""`microdose-server`: one program, one subcommand for each thing an operator does.

Exit codes: 0 done, 1 failed (one clear line on stderr), 2 usage.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from microdose.errors import MicrodoseError, Unavailable
from microdose_server.announce import announcer
from microdose_server.logs import start_logging
from microdose_server.settings import Settings
from microdose_server.store.apikeys import ApiKey, ApiKeys, Scope
from microdose_server.store.embedded import redis_url
from microdose_server.store.redis import connect, ping
from microdose_server.store.viewers import Viewers

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
    "distil": ("microdose_server.distil.cli", "distil a student, or specialise one to a set of pictures"),
    "bench": ("microdose_server.evaluate.cli", "measure bytes, quality and speed"),
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
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Command)
    up = commands.add_parser("up", help="embedded Valkey (unless there is a Redis), API and one worker")
    up.epilog = "example: microdose-server up --data-dir /srv/microdose --port 8710"
    serve = commands.add_parser("serve", help="the API alone")
    serve.epilog = "example: REDIS_URL=redis://bus:6379 microdose-server serve --host 0.0.0.0"
    worker = commands.add_parser("worker", help="one worker")
    worker.epilog = "example: REDIS_URL=redis://bus:6379 microdose-server worker --device cuda"
    worker.add_argument("--burst", action="store_true", help="end when the queue is empty")
    worker.add_argument(
        "--blobs",
        dest="blobs_url",
        metavar="URL",
        help="of the API, if this machine does not share its data folder; with a key of the scope worker in"
        " MICRODOSE_KEY",
    )
    relay = commands.add_parser("relay", help="carry another server's streams to viewers here; no Redis")
    relay.epilog = (
        "example: MICRODOSE_KEY=md_... microdose-server relay --upstream https://origin.example.org"
    )
    relay.add_argument("--upstream", metavar="URL", help="of that server; a key of its own in MICRODOSE_KEY")
    relay.add_argument("--cache-bytes", type=int, metavar="N", help="the most its blobs take (10 GiB)")
    for command, run in ((up, _up), (serve, _serve), (worker, _worker)):
        _add_common(command)
        command.set_defaults(run=run)
    _add_everywhere(relay)
    relay.set_defaults(run=_relay)
    for command in (up, serve, relay):
        command.add_argument("--host", help="address to listen on (127.0.0.1)")
        command.add_argument("--port", type=int, help="port to listen on; 0 takes a free one (8710)")
    for command in (up, worker):
        command.add_argument("--device", help="cpu, cuda or cuda:N (cpu)")
    check = commands.add_parser("check", help="is all there that this host needs? exit code 0 says so")
    check.epilog = "example: microdose-server check --for worker (a container's health check)"
    roles = ["api", "worker", "relay"]
    check.add_argument("--for", dest="role", choices=roles, help="and does this one run here?")
    check.add_argument("--host", help="where the API, or the relay, listens (127.0.0.1)")
    check.add_argument("--port", type=int, help="its port (8710)")
    _add_common(check)
    check.set_defaults(run=_check)
    gc = commands.add_parser("gc", help="remove blobs that nothing names any more, and old records of jobs")
    gc.epilog = "example: microdose-server gc --data-dir /srv/microdose (workers do the same once an hour)"
    _add_common(gc)
    gc.set_defaults(run=_gc)
    _add_keys(commands.add_parser("keys", help="create, list and revoke API keys"))
    for name, (module, purpose) in TOOLS.items():
        commands.add_parser(name, help=purpose).module = module
    return root


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--redis", dest="redis_url", metavar="URL", help="use this Redis (or set REDIS_URL)")
    _add_everywhere(command)


def _add_everywhere(command: argparse.ArgumentParser) -> None:
    command.add_argument("--data-dir", type=Path, help="folder of blobs, key and embedded Valkey")
    command.add_argument("--log-level", choices=["debug", "info", "warning", "error"])
    command.add_argument("--log-format", choices=["text", "json"], help="lines on stderr (text)")
    command.add_argument("--json", action="store_true", help="one JSON object per line on stdout")


def _add_keys(command: argparse.ArgumentParser) -> None:
    command.epilog = "example: microdose-server keys create --scope publish --scope view --name camera-3"
    actions = command.add_subparsers(metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make a key; it is shown this once")
    create.add_argument("--scope", action="append", required=True, choices=[s.value for s in Scope])
    create.add_argument("--name", help="whose key it is")
    create.add_argument("--quota-bytes", type=_count, metavar="N", help="the most its frames may take")
    create.add_argument("--quota-sequences", type=_count, metavar="N", help="the most it may have")
    listing = actions.add_parser("list", help="all keys, without their secrets")
    revoke = actions.add_parser("revoke", help="refuse a key from now on")
    revoke.add_argument("id", help="the part after md_")
    viewer = actions.add_parser("viewer", help="make a Redis user that may read what is published")
    viewer.add_argument("name", help="up to 32 lower-case letters, digits and dashes")
    viewer.add_argument("--revoke", action="store_true", help="remove it instead")
    runs = {create: _create_key, listing: _list_keys, revoke: _revoke_key, viewer: _viewer}
    for action, run in runs.items():
        _add_common(action)
        action.set_defaults(run=run)


def _settings(options: argparse.Namespace) -> Settings:
    """The environment's settings, overruled by the command line; usage errors end the program."""
    given = {k: v for k, v in vars(options).items() if k in Settings.model_fields and v is not None}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        wrong = error.errors()[0]
        print(f"microdose-server: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}", file=sys.stderr)
        raise SystemExit(2) from None
    start_logging(settings)
    return settings


def _up(options: argparse.Namespace) -> int:
    from microdose_server.up import run_up

    return run_up(_settings(options), announcer(options.json))


def _serve(options: argparse.Namespace) -> int:
    from microdose_server.api.server import serve

    settings, announce = _settings(options), announcer(options.json)
    serve(settings, lambda url: announce("ready", f"microdose-server is ready at {url}", url=url))
    return 0


def _relay(options: argparse.Namespace) -> int:
    from microdose_server.relay.server import relay
    from microdose_server.store.shelf import KEY

    settings, announce = _settings(options), announcer(options.json)
    key = os.environ.get(KEY, "")
    relay(settings, key, lambda url: announce("ready", f"microdose-server relay is ready at {url}", url=url))
    return 0


def _worker(options: argparse.Namespace) -> int:
    from microdose_server.jobs.worker import run_worker

    run_worker(_settings(options), burst=options.burst)
    return 0


def _gc(options: argparse.Namespace) -> int:
    from microdose_server.maintenance import collect

    settings = _settings(options)
    client = connect(redis_url(settings))
    ping(client)
    done = collect(settings, client)
    if done is None:
        raise Unavailable("another process is collecting just now")
    sentence = (
        f"removed {done.blobs} blobs, {done.originals} originals, {done.checkpoints} checkpoints"
        f" ({done.freed} bytes), {done.jobs} jobs, {done.folders} folders"
    )
    announcer(options.json)("collected", sentence, **asdict(done))
    return 0


def _check(options: argparse.Namespace) -> int:
    from microdose_server.check import check

    announce, good = announcer(options.json), True
    for found in check(_settings(options), options.role):
        announce("check", f"{'ok ' if found.good else 'BAD'}  {found.name:8} {found.seen}", **asdict(found))
        good = good and found.good
    return 0 if good else 1


def _keys(options: argparse.Namespace) -> ApiKeys:
    client = connect(redis_url(_settings(options)))
    ping(client)
    return ApiKeys(client)


def _create_key(options: argparse.Namespace) -> int:
    key, token = _keys(options).create(
        [Scope(scope) for scope in options.scope],
        options.name,
        quota_bytes=options.quota_bytes,
        quota_sequences=options.quota_sequences,
    )
    announcer(options.json)("key", token, key=token, **_facts(key))
    return 0


def _list_keys(options: argparse.Namespace) -> int:
    announce = announcer(options.json)
    for key in _keys(options).all():
        line = f"{key.id}  {key.created:%Y-%m-%d %H:%M}  {','.join(key.scopes):14}  {key.name or ''}"
        announce("key", line.rstrip(), **_facts(key))
    return 0


def _revoke_key(options: argparse.Namespace) -> int:
    _keys(options).revoke(options.id)
    announcer(options.json)("revoked", f"key {options.id} is refused from now on", id=options.id)
    return 0


def _viewer(options: argparse.Namespace) -> int:
    viewers, announce = Viewers(_keys(options).client), announcer(options.json)
    if options.revoke:
        viewers.revoke(options.name)
        announce("revoked", f"viewer {options.name} is refused from now on", name=options.name)
    else:
        user, password = viewers.create(options.name)
        announce("viewer", f"{user} {password}", user=user, password=password)
    return 0


def _count(words: str) -> int:
    value = int(words)
    if value < 1:
        raise ValueError
    return value


def _facts(key: ApiKey) -> dict[str, Any]:
    return key.model_dump(mode="json")
