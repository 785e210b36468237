"""By which rules sets are made now, and a word on sets that were made by older ones."""

from orchestrator.data.schema import DatasetInfo

BABYAI = 2
"""For `schema.Origin.rule`. With 2 a sub-task may name what is in hand, and things are where they are now."""
ALFRED = 2
"""Likewise. With 2 pictures go by the list that they fit, ten of the end may follow, slices may share a sentence."""

_CHANGED = {
    "babyai": (
        BABYAI,
        "chains that name what is in hand, which could not be completed then, are missing in it. Its episodes are read "
        "as they are. `likert run` judges by tasks of today's rules: compare its results with no earlier version's",
    ),
    "alfred": (
        ALFRED,
        "demonstrations were not compared with the number of their pictures then, and sentences that slices share not "
        "known: some may show other moments, or be told in another skill's words. Import it again for a set without",
    ),
}


def made_by_older_rules(info: DatasetInfo) -> str | None:
    """What is to be known of a set if today's rules would make another one; else None."""
    rule, changed = _CHANGED.get(info.source, (0, ""))
    if (info.origin.rule if info.origin else 0) >= rule:
        return None
    return f"it was made by an older likert-rl ({info.source}, by other rules): {changed} (docs/datasets.md)"
