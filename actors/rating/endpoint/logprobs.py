"""Probabilities of the levels from what servers tell of their tokens, or none: never those of another question."""

import math
import re
from typing import Any

LEAST_MASS = 0.5
"""Share of the probability that the labels together must hold. Below a half the model's own next word was more likely
something else than all labels together; renormalised, the rest would look like an opinion that it has not got."""

ROUNDING = 0.01
"""A probability may exceed 1 by this much."""

_SPECIAL = re.compile(r"<[^<>]*>|\[/?[A-Z_]+\]")
"""Such as <|im_end|>, </s> or [EOS]: tokens that are no part of the text."""
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_SPACES = str.maketrans({"\u2581": " ", "\u0120": " ", "\u010a": "\n", "\u0109": "\t"})
"""How tokenizers write white space inside of tokens, where a server shows tokens as they are stored."""
_JSON_MARKS = set('"{}[]:, \t\n')


def label_probabilities(
    logprobs: Any, answer: str, label: str, labels: tuple[str, ...], thought: str = ""
) -> tuple[float, ...] | None:
    """Probability of each label where the answer says `label`, renormalised over the labels; None if not known.

    None too where the labels hold less than LEAST_MASS together. A server reports its most likely tokens only: a label
    that is not among them counts as 0.
    """
    weights = label_weights(logprobs, answer, label, labels, thought)
    if weights is None:
        return None
    total = math.fsum(weights)
    if total < LEAST_MASS or not weights[labels.index(label)] > 0.0:
        return None
    return tuple(weight / total for weight in weights)


def label_weights(
    logprobs: Any, answer: str, label: str, labels: tuple[str, ...], thought: str = ""
) -> tuple[float, ...] | None:
    """Probability of each label among all tokens, at the position of the token that is `label`; None if there is none.

    `answer` is the text, thought excluded, in which `label` stands last; the tokens must spell it at their end, and
    before it the whole thought, if there was one, and nothing else. A label that is split over tokens has no position.
    """
    try:
        entries = logprobs["content"]
        texts = [token_text(entry["token"]) for entry in entries]
        place = _position(texts, answer, label, thought)
        if place is None:
            return None
        alternatives = _alternatives(entries[place])
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        return None
    chosen = texts[place].strip()
    before, _, after = chosen.rpartition(label)
    wanted = [before + one + after for one in labels]
    return tuple(math.fsum(p for text, p in alternatives if text.strip() == one) for one in wanted)


def token_text(token: str) -> str:
    """What a token stands for in the text. Raises TypeError for anything but a string."""
    if not isinstance(token, str):
        raise TypeError("a token is no text")
    byte = _BYTE.fullmatch(token)
    return chr(int(byte[1], 16)) if byte else token.translate(_SPACES)


def _position(texts: list[str], answer: str, label: str, thought: str) -> int | None:
    """Index of the token that is the last `label` of `answer`."""
    last = next((index for index in reversed(range(len(texts))) if _is_said(texts[index])), -1)
    said = "".join(texts[: last + 1]).rstrip()
    if not answer or not said.endswith(answer):
        return None
    start = len(said) - len(answer)
    before = _tokens_before(texts, start)
    if _bare(thought) not in _bare("".join(before)) if thought else any(map(_is_said, before)):
        return None
    first = start + answer.rindex(label)
    offset = 0
    for index, text in enumerate(texts):
        if offset <= first and first + len(label) <= offset + len(text):
            around = text[: first - offset] + text[first - offset + len(label) :]
            return index if set(around) <= _JSON_MARKS else None
        offset += len(text)
    return None


def _tokens_before(texts: list[str], start: int) -> list[str]:
    """The tokens, the last one cut, that make up the first `start` characters."""
    found: list[str] = []
    for text in texts:
        if start <= 0:
            break
        found.append(text[:start])
        start -= len(text)
    return found


def _bare(text: str) -> str:
    """Without white space, which servers trim in one place and not in another."""
    return "".join(text.split())


def _is_said(text: str) -> bool:
    """Whether a token is part of what is said: neither white space nor a mark of the model's own."""
    return bool(text.strip()) and not _SPECIAL.fullmatch(text.strip())


def _alternatives(entry: dict[str, Any]) -> list[tuple[str, float]]:
    """Text and probability of what could have stood here. Raises ValueError if these are no probabilities."""
    told = [(token_text(one["token"]), _probability(one["logprob"])) for one in entry["top_logprobs"]]
    if not told:
        raise ValueError("no alternatives are told")
    chosen = token_text(entry["token"])
    if chosen not in [text for text, _ in told]:
        # Some list the most likely tokens alone, and the chosen one may not be among them.
        told.append((chosen, _probability(entry["logprob"])))
    if math.fsum(p for _, p in told) > 1.0 + ROUNDING:
        raise ValueError("probabilities sum to more than 1")
    return told


def _probability(logprob: Any) -> float:
    if isinstance(logprob, bool) or not isinstance(logprob, int | float):
        raise TypeError("a log-probability is no number")
    if math.isnan(logprob) or logprob > ROUNDING:
        raise ValueError("a log-probability is none")
    return math.exp(logprob)
