"""What people say of a run's questions in the gallery, among what its reward model learns from."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from algorithms.scales import CANNOT_TELL
from algorithms.soft_labels import likeliest, merged, with_people
from orchestrator.online.asking.labels import Labels
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.people.opinions import PeopleStore
from orchestrator.ratings.people.shown import SHOWN_COLUMNS, Shown, shown
from orchestrator.ratings.store import RatingStore

Heard = dict[str, list[str]]
"""Ids of opinions by the round of the session at which they were first heard. What is in a store grows, and never
changes: with these ids a session that is held again after a kill hears what it heard before, and not a word more."""


class People:
    """Opinions of people in a run's rating store, as of its latest session; by `feedback.people`."""

    def __init__(self, experiment: OnlineExperiment, store: RatingStore) -> None:
        self._settings = experiment.feedback
        self._compares = experiment.compares
        self._store = store
        self._people = PeopleStore(store.folder)
        self._questions: dict[str, Shown] = {}
        self.heard: Heard = {}

    def hear(self, round_: int, recorded: Heard) -> None:
        """At the session of this round: what it heard before, if that is `recorded`, else all that is new."""
        known = {one for ids in self.heard.values() for one in ids}
        new = recorded.get(str(round_))
        if new is None:
            new = [row["opinion_id"] for row in self._people.opinions() if row["opinion_id"] not in known]
        self.heard[str(round_)] = list(new)

    def among(self, labels: Labels) -> Labels:
        """The labels with what people say of them: `ratings` the likeliest level, `probabilities` what soft labels are.

        With hard labels the rater's word is the level that it chose, however sure it was.
        """
        votes = self.votes(labels.keys)
        said = votes.any(axis=1)
        if not said.any():
            return labels
        is_soft = self._settings.labels == "soft"
        own = labels.probabilities if is_soft else np.eye(votes.shape[1], dtype=np.float32)[labels.ratings]
        people = self._settings.people
        mixed = with_people(own, votes, people.weight if people.use == "weigh" else None)
        return replace(
            labels, ratings=np.where(said, likeliest(mixed), labels.ratings), probabilities=mixed if is_soft else own
        )

    def votes(self, keys: Sequence[str]) -> np.ndarray:
        """float32 [N, levels learned]: for each question the sum over people of what they say, each 1 in all."""
        said = self._latest()
        missing = [key for key in keys if key not in self._questions] if said else []
        if missing:
            rows = self._store.columns_of(missing, SHOWN_COLUMNS)
            self._questions |= {key: shown(row) for key, row in rows.items()}
        levels = np.eye(self._settings.num_asked, dtype=np.float32)
        if self._compares:
            levels = np.eye(CANNOT_TELL, dtype=np.float32)
        elif self._settings.num_asked != self._settings.num_ratings:
            levels = merged(levels, self._settings.num_ratings).astype(np.float32)
        votes = np.zeros((len(keys), levels.shape[1]), dtype=np.float32)
        for place, key in enumerate(keys):
            for level in said.get(self._questions.get(key, ()), {}).values():
                # Of pairs, "cannot tell" is no vote for either.
                if level is not None and level < len(levels):
                    votes[place] += levels[level]
        return votes

    def metrics(self, own: Labels, mixed: Labels) -> dict[str, float]:
        """How many labels people have spoken of, and the share of all whose level they change."""
        return {
            "people/labels": float(self.votes(own.keys).any(axis=1).sum()),
            "people/changed": float((own.ratings != mixed.ratings).mean()) if len(own) else 0.0,
        }

    def _latest(self) -> Mapping[Shown, Mapping[str, int | None]]:
        """The level of each person's latest opinion on what was shown; None of a pass, or what they cannot tell."""
        known = {one for ids in self.heard.values() for one in ids}
        said: dict[Shown, dict[str, Any]] = defaultdict(dict)
        rows = [row for row in self._people.opinions() if row["opinion_id"] in known] if known else []
        for row in sorted(rows, key=lambda row: (row["rated_at"], row["opinion_id"])):
            said[shown(row)][row["person"]] = row["level"]
        return said
