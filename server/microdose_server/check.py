"""`microdose-server check`: does all that this host needs work? For people and for health checks."""

import os
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import redis

from microdose.errors import MicrodoseError, Unavailable
from microdose_server.settings import MIB, Settings
from microdose_server.store.apikeys import ApiKeys
from microdose_server.store.embedded import redis_url
from microdose_server.store.redis import address, connect, ping, text

ANSWER_S = 4.0
Check = Callable[[Settings], str]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: what it is, whether it is good, and what was seen."""

    name: str
    good: bool
    seen: str


def check(settings: Settings, role: str | None = None) -> Iterator[Finding]:
    """Look at everything, or at what a running `role` (api, worker, relay) needs to stay in service."""
    for name, look in ROLES[role].items():
        try:
            yield Finding(name, True, look(settings))
        except (MicrodoseError, redis.RedisError, OSError) as error:
            yield Finding(name, False, str(error))


def the_redis(settings: Settings) -> str:
    """Redis answers, is one server, and would rather refuse than forget."""
    with connect(redis_url(settings)) as client:
        ping(client)
        where = address(client)
        if client.info("cluster").get("cluster_enabled"):
            raise Unavailable(
                f"{where} is a cluster, which the queue of jobs cannot use: give a single server"
            )
        try:
            policy = text(client.config_get("maxmemory-policy").get("maxmemory-policy", "unknown"))
        except redis.ResponseError:  # a hosted Redis that does not tell
            policy = "unknown"
    if policy not in ("noeviction", "unknown"):
        raise Unavailable(f"{where} would evict jobs ({policy}): set maxmemory-policy noeviction")
    return f"{where}, eviction policy {policy}"


def the_disk(settings: Settings) -> str:
    """The data folder takes files and has room."""
    folder = settings.data_dir
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK | os.X_OK):
        raise Unavailable(f"{folder} cannot be written to: let this user own it")
    if free < settings.reserve_bytes:
        raise Unavailable(f"{folder} has {free // MIB} MiB left: {settings.reserve_bytes // MIB} are needed")
    return f"{folder}, {free // MIB} MiB free"


def the_weights(settings: Settings) -> str:
    """The shipped bases are whole, and the weights that distillation needs are there."""
    from microdose_server.codec.folder import load_bases
    from microdose_server.training.lpips_weights import WEIGHTS

    bases = ", ".join(f"{profile} {base.digest[:19]}" for profile, base in load_bases().items())
    return f"bases {bases}; {WEIGHTS.find()}"


def the_keys(settings: Settings) -> str:
    """Somebody can use the API."""
    with connect(redis_url(settings)) as client:
        found = ApiKeys(client).all()
    if not found:
        raise Unavailable("there is no API key: microdose-server keys create --scope publish --scope view")
    return f"{len(found)} API keys"


def the_api(settings: Settings) -> str:
    """The API, or the relay, of this host answers and can serve."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/readyz"
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_S) as answer:
            return f"{url} answers {answer.status}"
    except urllib.error.HTTPError as error:
        error.close()
        raise Unavailable(f"{url} answers {error.code}") from None
    except urllib.error.URLError as error:
        raise Unavailable(f"{url} does not answer: {error.reason}") from None


def the_worker(settings: Settings) -> str:
    """A worker of this host lives; its heartbeat has not run out."""
    import rq

    with connect(redis_url(settings)) as client:
        here = [each for each in rq.Worker.all(connection=client) if each.hostname == socket.gethostname()]
    if not here:
        raise Unavailable(f"no worker of {socket.gethostname()} is alive")
    return f"{len(here)} on {socket.gethostname()}"


SHARED: dict[str, Check] = {"redis": the_redis, "disk": the_disk}
ROLES: dict[str | None, dict[str, Check]] = {
    None: SHARED | {"weights": the_weights, "keys": the_keys},
    "api": SHARED | {"api": the_api},
    "worker": SHARED | {"worker": the_worker},
    "relay": {"relay": the_api},
}
