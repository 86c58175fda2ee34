"""The commands of `microdose-server`: parsed options in, an exit code out. No argument syntax here.

Each prints what it has to say by an announcer, and raises the errors of `microdose.errors`. What a command
alone needs is imported when it runs: `keys list` shall not wait for a web server to load.
"""

import argparse
import os
import sys
from dataclasses import asdict
from typing import Any

from pydantic import ValidationError

from microdose.errors import Unavailable
from microdose_server.announce import announcer
from microdose_server.logs import start_logging
from microdose_server.settings import Settings
from microdose_server.store.apikeys import ApiKey, ApiKeys, Scope
from microdose_server.store.embedded import redis_url
from microdose_server.store.redis import connect, ping
from microdose_server.store.viewers import Viewers


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


def run_up(options: argparse.Namespace) -> int:
    """Everything on one machine, until it is told to stop."""
    from microdose_server import up

    return up.run_up(_settings(options), announcer(options.json))


def run_serve(options: argparse.Namespace) -> int:
    """The API."""
    from microdose_server.api.server import serve

    settings, announce = _settings(options), announcer(options.json)
    serve(settings, lambda url: announce("ready", f"microdose-server is ready at {url}", url=url))
    return 0


def run_relay(options: argparse.Namespace) -> int:
    """Another server's streams."""
    from microdose_server.relay.server import relay
    from microdose_server.store.shelf import KEY

    settings, announce = _settings(options), announcer(options.json)
    key = os.environ.get(KEY, "")
    relay(settings, key, lambda url: announce("ready", f"microdose-server relay is ready at {url}", url=url))
    return 0


def run_worker(options: argparse.Namespace) -> int:
    """One worker."""
    from microdose_server.jobs import worker

    worker.run_worker(_settings(options), burst=options.burst)
    return 0


def run_gc(options: argparse.Namespace) -> int:
    """Remove what nothing needs."""
    from microdose_server.maintenance import collect

    settings = _settings(options)
    client = connect(redis_url(settings))
    ping(client)
    done = collect(settings, client)
    if done is None:
        raise Unavailable("another process is collecting just now")
    sentence = (
        f"removed {done.blobs} blobs, {done.originals} originals, {done.checkpoints} checkpoints"
        f" ({done.freed} bytes), {done.jobs} jobs, {done.sequences} open sequences, {done.folders} folders"
    )
    announcer(options.json)("collected", sentence, **asdict(done))
    return 0


def run_check(options: argparse.Namespace) -> int:
    """Say of each thing whether it is as it must be; 1 if one is not."""
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


def run_create_key(options: argparse.Namespace) -> int:
    """Print a new key."""
    key, token = _keys(options).create(
        [Scope(scope) for scope in options.scope],
        options.name,
        quota_bytes=options.quota_bytes,
        quota_sequences=options.quota_sequences,
    )
    announcer(options.json)("key", token, key=token, **_facts(key))
    return 0


def run_list_keys(options: argparse.Namespace) -> int:
    """Print every key, without its secret."""
    announce = announcer(options.json)
    for key in _keys(options).all():
        line = f"{key.id}  {key.created:%Y-%m-%d %H:%M}  {','.join(key.scopes):14}  {key.name or ''}"
        announce("key", line.rstrip(), **_facts(key))
    return 0


def run_revoke_key(options: argparse.Namespace) -> int:
    """Refuse a key from now on."""
    _keys(options).revoke(options.id)
    announcer(options.json)("revoked", f"key {options.id} is refused from now on", id=options.id)
    return 0


def run_viewer(options: argparse.Namespace) -> int:
    """Make or remove a viewer's Redis user."""
    viewers, announce = Viewers(_keys(options).client), announcer(options.json)
    if options.revoke:
        viewers.revoke(options.name)
        announce("revoked", f"viewer {options.name} is refused from now on", name=options.name)
    else:
        user, password = viewers.create(options.name)
        announce("viewer", f"{user} {password}", user=user, password=password)
    return 0


def _facts(key: ApiKey) -> dict[str, Any]:
    return key.model_dump(mode="json")
