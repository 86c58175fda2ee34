"""What was counted while processes were killed."""

from dataclasses import dataclass, field


@dataclass
class Tally:
    """recovery_s: seconds from each kill until all went on. why: of everything bad.

    A job is stuck if it does not go on after a kill, or does not end in time after the last one.
    """

    kills: int = 0
    last_kill: float = 0.0
    sequences: int = 0
    live: int = 0
    """How many of the sequences were live ones."""
    lost: int = 0
    doubled: int = 0
    corrupt: int = 0
    stuck: int = 0
    recovery_s: list[float] = field(default_factory=list)
    why: list[str] = field(default_factory=list)

    def note(self, kind: str, count: int, why: str) -> None:
        """Add `count` to a kind of harm."""
        setattr(self, kind, getattr(self, kind) + count)
        if count:
            self.why.append(f"{kind} {count}: {why}")
