"""How much a request may be, so that one client cannot cost the others their answers."""

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Bounds of a request. Whatever is above one is answered with a status and a message that names it."""

    body_bytes: int = 64 * MIB
    """A request's body."""
    held_bytes: int = 1024 * MIB
    """Bodies of all requests that are being read or answered, together."""
    headers_s: float = 10.0
    """A request's headers must be here so long after its first byte, or after its connection was opened."""
    body_s: float = 60.0
    """A request's body must be here so long after its headers."""
    num_pictures: int = 64
    picture_pixels: int = 4096 * 4096
    """One picture, as its header says, before anything is decoded."""
    total_pixels: int = 4 * 4096 * 4096
    """All pictures of a request together."""
    characters_per_token: int = 16
    """All text of a request may have so many characters for each token of the model's context: no text of a language
    has as many, and taking a longer one apart would take the others' time."""
