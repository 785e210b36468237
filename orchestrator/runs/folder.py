"""A run's folder as the online loop fills it: what it writes besides ratings, and what it shows while it goes on."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from algorithms.ratings import Rating
from orchestrator.runs.checkpoints import Checkpoints
from orchestrator.runs.layout import (
    BEST_POLICY_FILE,
    FRAMES_FOLDER,
    PEOPLE_FILE,
    PROGRESS_FILE,
    REWARD_MODEL_FILE,
    SETTINGS_FILE,
    WORLD_FILE,
)
from orchestrator.runs.tracking import Tracker
from orchestrator.screen.run_progress import RunProgress
from orchestrator.settings.experiment import Experiment
from orchestrator.settings.loading import settings_as_yaml
from orchestrator.storage.writing import write_arrays, write_atomic, write_json, write_text

if TYPE_CHECKING:
    from orchestrator.ratings.question import Question
    from orchestrator.ratings.service import SessionAnswers

FRAMES_PER_LEVEL = 2
"""Rated frames of each level kept for people from each session."""


class RunFolder:
    """Everything that an online run writes goes through here; what it shows, too."""

    def __init__(
        self, experiment: Experiment, tracker: Tracker, progress: RunProgress, checkpoints: Checkpoints
    ) -> None:
        self._tracker = tracker
        self._progress = progress
        self.path = experiment.working_folder
        self.checkpoints = checkpoints
        write_text(self.path / SETTINGS_FILE, settings_as_yaml(experiment))

    def log(self, metrics: Mapping[str, float], env_steps: int) -> None:
        """Record metrics at an environment step."""
        self._tracker.log(metrics, env_steps)

    def show(self, **changes: Any) -> None:
        """Show what changed; see `RunProgress.update`."""
        self._progress.update(**changes)

    def note(self, text: str) -> None:
        """Show a line of text."""
        self._progress.note(text)

    def save_world(self, spec: Mapping[str, Any]) -> None:
        """Keep what the run's world is like."""
        write_json(self.path / WORLD_FILE, spec)

    def save_best_policy(
        self, weights: Mapping[str, np.ndarray], env_steps: int, evaluation: Mapping[str, float]
    ) -> None:
        """Keep a policy and what is known of its evaluation; `actors.rollout.worker` acts with these arrays."""
        about = {f"about.{name}": np.array(value) for name, value in {"env_steps": env_steps, **evaluation}.items()}
        write_arrays(self.path / BEST_POLICY_FILE, {**weights, **about})

    def keep_rated_frames(self, questions: "list[Question]", answers: "SessionAnswers", env_steps: int) -> None:
        """Keep a few rated pictures of each level, named by step and level, and what the rater said of them: a text of
        its words, and a file of numbers."""
        kept: dict[int, int] = {}
        for question, outcome in zip(questions, answers.outcomes, strict=True):
            if not isinstance(outcome, Rating) or kept.get(outcome.rating, 0) >= FRAMES_PER_LEVEL:
                continue
            number = kept[outcome.rating] = kept.get(outcome.rating, 0) + 1
            images = question.request.images
            word = question.request.scale.words[outcome.rating].lower().replace(" ", "-")
            stem = self.path / FRAMES_FOLDER / f"step{env_steps:09d}_level{outcome.rating + 1}-{word}_{number}"
            pictures = [stem.with_suffix(".png" if place == 0 else f".{place + 1}.png") for place in range(len(images))]
            for path, png in zip(pictures, images, strict=True):
                write_atomic(path, png)
            told = {
                "rating": outcome.rating,
                "probabilities": list(outcome.probabilities),
                "instruction": question.request.task.instruction,
                "pictures": [path.name for path in pictures],
            }
            write_json(stem.with_suffix(".json"), told)
            if outcome.analysis:
                write_text(stem.with_suffix(".txt"), outcome.analysis + "\n")

    def heard_people(self) -> dict[str, list[str]]:
        """What `keep_heard_people` kept last."""
        path = self.path / PEOPLE_FILE
        return json.loads(path.read_text()) if path.exists() else {}

    def keep_heard_people(self, heard: Mapping[str, list[str]]) -> None:
        """Keep which opinions of people each session has heard, by its round."""
        write_json(self.path / PEOPLE_FILE, heard)

    def save_progress_audit(
        self, env_steps: np.ndarray, learned_rewards: np.ndarray, true_progress: np.ndarray
    ) -> None:
        """Keep learned rewards beside true progress and the step of each frame [N], for the figure."""
        write_arrays(
            self.path / PROGRESS_FILE,
            {
                "env_step": env_steps.astype(np.int64),
                "learned_reward": learned_rewards.astype(np.float32),
                "true_progress": true_progress.astype(np.float32),
            },
        )

    def track_pictures(self, figures: Sequence[Path]) -> None:
        """Give the run's figures, and the sample of rated frames, to tracking."""
        for path in figures:
            self._tracker.figure(path)
        self._tracker.artefact(self.path / FRAMES_FOLDER)

    def save_reward_model(self, weights: Mapping[str, np.ndarray], version: int) -> None:
        """Keep the reward model's weights as arrays, and give them to tracking."""
        path = self.path / REWARD_MODEL_FILE
        write_arrays(path, {**weights, "about.version": np.array(version)})
        self._tracker.artefact(path)
