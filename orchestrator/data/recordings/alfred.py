"""Importing ALFRED's own layout: a `traj_data.json` for each demonstration, with a folder of its pictures beside it.

As SPRINT does it (Zhang et al. 2023), navigation is no skill of its own: the actions of a GotoLocation go to the front
of the next skill, whose sentence is kept. Each skill is a trajectory for each annotator. See docs/datasets.md.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from actors.thor.demonstrations import (
    TRAJECTORY_FILE,
    Demonstration,
    LowAction,
    NotALFRED,
    Skill,
    read_json,
    skills_of,
)
from actors.thor.settings import ACTIONS
from algorithms.trajectories import Trajectory
from orchestrator.data.recordings.alfred_pictures import AUGMENTED_FILE, paired
from orchestrator.data.recordings.importing import ImportProblem, ImportSettings, digest_of, write_imported
from orchestrator.data.recordings.pictures import PictureError, stored_frame
from orchestrator.data.schema import ALFRED_RULE, ActionSpace, DatasetInfo, Origin
from orchestrator.errors import SettingsError

_NUMBERS = {name: number for number, name in enumerate(ACTIONS)}


class AlfredSettings(ImportSettings):
    """Settings of the importer."""

    annotators: Literal["all", "first"] = "all"
    """A trajectory for each annotator's sentence of a skill, or for the first one's only."""


def import_alfred(source: Path, folder: Path, settings: AlfredSettings) -> tuple[DatasetInfo, int]:
    """Import every demonstration below `source`. Returns the set's metadata and the number of problems.

    Raises SettingsError if there is none.
    """
    files = sorted(source.rglob(TRAJECTORY_FILE))
    if not files:
        raise SettingsError(f"{source} has no {TRAJECTORY_FILE} in it or below; name ALFRED's folder, such as train/")
    actions = ActionSpace(kind="discrete", names=tuple(ACTIONS))
    episodes = (episode for file in files for episode in demonstration(file, source, settings))
    read = [*files, *(file.with_name(AUGMENTED_FILE) for file in files)]
    origin = Origin(name=source.resolve().name, digest=digest_of(source, read), rule=ALFRED_RULE)
    return write_imported(folder, "alfred", actions, settings, episodes, len(files), origin, has_action_objects=True)


def demonstration(file: Path, source: Path, settings: AlfredSettings) -> Iterator[Trajectory | ImportProblem]:
    """The trajectories of one demonstration, and what keeps others from being imported."""
    name = file.parent.relative_to(source).as_posix()
    about = f"{file}: demonstration {name}"
    try:
        told = read_json(file, Demonstration)
    except NotALFRED as error:
        yield ImportProblem(f"{about}: {error}")
        return
    annotations = told.annotations[: 1 if settings.annotators == "first" else None]
    num_skills = len(skills_of(told.plan, told.plan.num_told))
    if not annotations or not num_skills:
        yield ImportProblem(f"{about}: {'nobody has described it' if num_skills else 'nothing is done in it'}")
        return
    try:
        frames = _Frames(file.parent, told, settings.frame_px)
    except NotALFRED as error:
        yield ImportProblem(f"{about}: {error}", num_skills * len(annotations))
        return
    spoken: list[list[Skill]] = []
    for annotator, annotation in enumerate(annotations):
        try:
            spoken.append(skills_of(told.plan, len(annotation.high_descs)))
        except NotALFRED as error:
            spoken.append([])
            yield ImportProblem(f"{about}, annotator {annotator}: {error}", num_skills)
    for high_idx in sorted({skill.high_idx for skills in spoken for skill in skills}):
        for annotator, skills in enumerate(spoken):
            for skill in skills:
                if skill.high_idx == high_idx:
                    sentence = annotations[annotator].high_descs[skill.sentence]
                    yield _episode(f"{name}/{high_idx}/{annotator}", sentence, skill, told, frames)


def _episode(
    episode_id: str, sentence: str, skill: Skill, told: Demonstration, frames: "_Frames"
) -> Trajectory | ImportProblem:
    try:
        return _trajectory(episode_id, " ".join(sentence.split()), skill, told.plan.low_actions, frames)
    except ImportProblem as problem:
        return problem


def _trajectory(
    episode_id: str, instruction: str, skill: Skill, low_actions: Sequence[LowAction], frames: "_Frames"
) -> Trajectory:
    if not instruction:
        raise ImportProblem(f"{frames.folder}: episode {episode_id}: skill {skill.high_idx} has no sentence")
    actions = [low_actions[index] for index in skill.low]
    unknown = next((action.name for action in actions if action.name not in _NUMBERS), None)
    if unknown is not None:
        raise ImportProblem(f"{frames.folder}: episode {episode_id}: action {unknown!r} is unknown")
    objects = [_object(action) for action in actions]
    last = np.arange(len(actions)) == len(actions) - 1
    return Trajectory(
        episode_id=episode_id,
        instruction=instruction,
        actions=np.array([_NUMBERS[action.name] for action in actions], dtype=np.int64),
        action_names=tuple(_words(action.name, thing) for action, thing in zip(actions, objects, strict=True)),
        sparse_rewards=last.astype(np.float32),
        terminated=last,
        truncated=np.zeros(len(actions), dtype=bool),
        frames=tuple(frames.before(index, episode_id) for index in range(skill.low.start, skill.low.stop + 1)),
        action_objects=tuple(objects),
    )


def _object(action: LowAction) -> str:
    """Class of the object that an action is about, from THOR's id: what it is put into, for PutObject."""
    return (action.receptacle_id or action.object_id).split("|")[0]


def _words(name: str, thing: str) -> str:
    spelled = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", thing).lower()
    return f"{ACTIONS[name]} {spelled}".strip()


class _Frames:
    """The pictures of a demonstration: for each action the first one that was taken during it, and the last of all.

    ALFRED took several pictures of slow actions; the first shows the state before the action.
    """

    def __init__(self, folder: Path, told: Demonstration, height: int | None) -> None:
        """Raises NotALFRED if the pictures that are there are those of no list."""
        self.folder = folder
        self._height = height
        self._num_actions = len(told.plan.low_actions)
        self._pairing = paired(folder, told)
        self._cache: dict[int, bytes] = {}

    def before(self, index: int, episode_id: str) -> bytes:
        """PNG file of the state before an action, or after the last. Raises ImportProblem if it cannot be read."""
        if index not in self._cache:
            is_end = index == self._num_actions
            path = self._pairing.after if is_end else self._pairing.before.get(index)
            if path is None:
                place = "after the last action" if is_end else f"of action {index}"
                raise ImportProblem(f"{self.folder}: episode {episode_id}: no picture {place}")
            try:
                self._cache[index] = stored_frame(path, self._height)
            except PictureError as error:
                raise ImportProblem(f"{path}: episode {episode_id}: the picture cannot be read: {error}") from error
        return self._cache[index]
