"""What a person, and a model, were shown and told: by it, opinions and ratings of one question find each other."""

from collections.abc import Mapping
from typing import Any

SHOWN_COLUMNS = ("images", "instruction", "focus", "words", "rubric", "frame_note")
"""Of ratings, failures and opinions alike. A key names the model and its sampling besides, which no person sees."""

Shown = tuple[Any, ...]


def shown(row: Mapping[str, Any]) -> Shown:
    """The question in a row with `SHOWN_COLUMNS`; equal for all to whom the same was shown."""
    return tuple(tuple(row[name]) if isinstance(row[name], list) else row[name] for name in SHOWN_COLUMNS)
