"""Words that servers and files send to the terminal of a user, and the escape codes that may be in them."""


def printable(text: str) -> str:
    """`text` with its line ends, and every other character that does more than show itself replaced."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
