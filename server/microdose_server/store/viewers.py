"""Redis users for viewers who read the bus directly: published keys, reading commands, nothing else.

Redis forgets its users when it restarts without an ACL file. So the hash of each password is kept under
`md:viewers`, and every API and worker puts back the users that are missing.
"""

import hashlib
import re
import secrets

import redis

from microdose import keys
from microdose.errors import BadUpload, NotFound, Unavailable
from microdose_server.store.redis import text

PREFIX = "md-"
"""Of the users made here, so that no other user of the server can be hit."""
RULES = (
    f"resetkeys %R~{keys.PUBLIC} resetchannels -@all +@connection -client +client|setname"
    " +client|id +xread +xrange +xrevrange +xinfo|stream +get +getrange +strlen +hget +hgetall +exists"
)
"""Without the other subcommands of `client`: one of them pauses everybody."""
_NAME = re.compile(r"[a-z0-9-]{1,32}")


class Viewers:
    """The viewers of one Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def create(self, name: str) -> tuple[str, str]:
        """Make a viewer, or give one a new password: user and password, of which only a hash is kept.

        Raises:
            BadUpload: not a name.
            Unavailable: this Redis lets us make no users.
        """
        if not _NAME.fullmatch(name):
            raise BadUpload(
                f"{name[:80]!r} is not a name: use up to 32 lower-case letters, digits and dashes"
            )
        password = secrets.token_urlsafe(32)
        hashed = hashlib.sha256(password.encode()).hexdigest()
        self._set(name, hashed)
        self.client.hset(keys.viewers(), name, hashed)
        return PREFIX + name, password

    def revoke(self, name: str) -> None:
        """Remove a viewer, and close its connections. Raises NotFound."""
        if not self.client.hdel(keys.viewers(), name):
            raise NotFound(f"no viewer {name}")
        self.client.acl_deluser(PREFIX + name)

    def restore(self) -> None:
        """Make the users that Redis has forgotten. Raises Unavailable as `create`."""
        kept = {text(name): text(hashed) for name, hashed in self.client.hgetall(keys.viewers()).items()}
        if not kept:
            return
        present = {text(user) for user in self.client.acl_users()}
        for name, hashed in kept.items():
            if PREFIX + name not in present:
                self._set(name, hashed)

    def _set(self, name: str, hashed: str) -> None:
        words = ("reset", "on", f"#{hashed}", *RULES.split())
        try:
            self.client.execute_command("ACL", "SETUSER", PREFIX + name, *words)  # type: ignore[no-untyped-call]
        except redis.ResponseError as error:
            raise Unavailable(f"this Redis makes no user for viewers: {error}") from None
