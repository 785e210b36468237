"""Numbers of things, in words."""


def counted(number: int, noun: str) -> str:
    """`1 problem`, `1,204 problems`; for nouns with a plural in -s."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
