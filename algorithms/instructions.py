"""Instructions as numbers: words of a vocabulary that the training data defines, or, where there is none, hashes."""

import re
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

PADDING = 0
"""Id that fills a row behind its last word."""
UNKNOWN = 1
"""Id of every word that the training data does not have."""
_FIRST_WORD = 2
_WORDS = re.compile(r"[^\W_]+|[^\w\s]")


@dataclass(frozen=True)
class Vocabulary:
    """The words that a policy knows, in a fixed order."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, instructions: Iterable[str]) -> "Vocabulary":
        """All words of `instructions`, sorted."""
        return cls(tuple(sorted({word for text in instructions for word in split(text)})))

    @property
    def num_ids(self) -> int:
        """Ids that a row may hold: words, padding and unknown."""
        return len(self.words) + _FIRST_WORD

    def encode(self, instructions: Sequence[str], length: int | None = None) -> np.ndarray:
        """Ids int32 [N, length] of N instructions; by default as long as the longest.

        Raises ValueError for an instruction without a word, and for one that is longer than `length`.
        """
        rows = [split(text) for text in instructions]
        length = max(map(len, rows), default=1) if length is None else length
        ids = {word: index for index, word in enumerate(self.words, start=_FIRST_WORD)}
        encoded = np.full((len(rows), length), PADDING, dtype=np.int32)
        for number, (text, row) in enumerate(zip(instructions, rows, strict=True)):
            if not 0 < len(row) <= length:
                raise ValueError(f"instruction {text!r} has {len(row)} words; 1 to {length} can be read")
            encoded[number, : len(row)] = [ids.get(word, UNKNOWN) for word in row]
        return encoded


def split(text: str) -> list[str]:
    """Words and punctuation marks of a text, in lower case."""
    return _WORDS.findall(text.lower())


class InstructionError(ValueError):
    """An instruction cannot be read; the message says why, and what to do."""


@dataclass(frozen=True)
class HashedWords:
    """Ids for words that nobody knows beforehand: a word's id is a hash of it, the same in every process and run.

    Two words may share an id; with many ids that is rare.
    """

    num_words: int
    """Ids, `PADDING` among them."""
    length: int
    """Words and punctuation marks of an instruction at most."""

    def row(self, instruction: str) -> np.ndarray:
        """Ids int32 [length] of an instruction.

        Raises InstructionError for one without a word, and for one that is longer: half an instruction is another one.
        """
        words = split(instruction)
        if not 0 < len(words) <= self.length:
            raise InstructionError(
                f"instruction {instruction!r} has {len(words)} words and punctuation marks, and 1 to {self.length} can "
                "be read: raise policy.instruction_length"
            )
        row = np.full(self.length, PADDING, dtype=np.int32)
        row[: len(words)] = [self._id(word) for word in words]
        return row

    def _id(self, word: str) -> int:
        # Python's own hash differs from process to process.
        return 1 + zlib.crc32(word.encode()) % (self.num_words - 1)


class ReadRows:
    """The rows of instructions, each made once."""

    def __init__(self, words: HashedWords) -> None:
        self._words = words
        self._rows: dict[str, np.ndarray] = {}

    def of(self, instructions: Sequence[str]) -> np.ndarray:
        """Ids int32 [N, length] of N instructions. Raises InstructionError as `HashedWords.row`."""
        for text in set(instructions) - self._rows.keys():
            self._rows[text] = self._words.row(text)
        rows = [self._rows[text] for text in instructions]
        return np.array(rows, dtype=np.int32).reshape(-1, self._words.length)
