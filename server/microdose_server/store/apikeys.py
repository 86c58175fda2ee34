"""Bearer keys `md_<id>_<secret>`: shown once, stored as a hash, compared in constant time.

A secret has 256 random bits, so one plain SHA-256 protects it: there is nothing to guess.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum

import redis
from pydantic import AwareDatetime

from microdose import keys
from microdose.document import Document
from microdose.errors import NotFound
from microdose_server.store.fields import from_fields, to_field, to_fields
from microdose_server.store.redis import text

_TOKEN = re.compile(r"md_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")


def is_token(text: str) -> bool:
    """Whether `text` can be a key's token."""
    return _TOKEN.fullmatch(text) is not None


class Scope(StrEnum):
    """What a key allows. `worker` is for workers that share no disk with the API; `admin` includes all."""

    PUBLISH = "publish"
    VIEW = "view"
    WORKER = "worker"
    ADMIN = "admin"


class ApiKey(Document):
    """A key without its secret. Its quotas are those of `store.quota`; None takes the server's."""

    id: str
    name: str | None = None
    scopes: tuple[Scope, ...]
    created: AwareDatetime
    quota_bytes: int | None = None
    quota_sequences: int | None = None

    def allows(self, scope: Scope) -> bool:
        """Whether this key may do what needs `scope`."""
        return scope in self.scopes or Scope.ADMIN in self.scopes


class ApiKeys:
    """All keys of one Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def create(
        self,
        scopes: Iterable[Scope],
        name: str | None = None,
        *,
        quota_bytes: int | None = None,
        quota_sequences: int | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key, and the token that only its owner will ever see again.

        Its quotas count in place of those of the settings.
        """
        key = ApiKey(
            id=secrets.token_hex(6),
            name=name,
            scopes=tuple(scopes),
            created=datetime.now(UTC),
            quota_bytes=quota_bytes,
            quota_sequences=quota_sequences,
        )
        secret = secrets.token_urlsafe(32)
        with self.client.pipeline() as pipeline:
            pipeline.hset(keys.api_key(key.id), mapping=to_fields(key) | {"secret": to_field(_hash(secret))})
            pipeline.sadd(keys.api_keys(), key.id)
            pipeline.execute()
        return key, f"md_{key.id}_{secret}"

    def verify(self, token: str) -> ApiKey | None:
        """The key of this token; None for one that is malformed, unknown or wrong, without telling which."""
        parts = _TOKEN.fullmatch(token)
        if parts is None:
            return None
        fields = self.client.hgetall(keys.api_key(parts[1]))
        known = text(fields.get(b"secret", b""))
        if not hmac.compare_digest(known, to_field(_hash(parts[2]))):
            return None
        return from_fields(ApiKey, fields)

    def all(self) -> list[ApiKey]:
        """All keys, oldest first."""
        ids = [text(name) for name in self.client.smembers(keys.api_keys())]
        records = [self.client.hgetall(keys.api_key(name)) for name in ids]
        return sorted(
            (from_fields(ApiKey, fields) for fields in records if fields), key=lambda key: key.created
        )

    def revoke(self, key: str) -> None:
        """Remove a key; its next use is refused. Raises NotFound."""
        with self.client.pipeline() as pipeline:
            pipeline.delete(keys.api_key(key))
            pipeline.srem(keys.api_keys(), key)
            removed, _ = pipeline.execute()
        if not removed:
            raise NotFound(f"no key {key}")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
