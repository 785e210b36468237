"""What a run's source of rewards pays for what is seen along other trajectories, once the run is over or was stopped.

As `making` knows every source of a run that acts, this knows what is left of each in the run's folder.
"""

import io
import pickle
import zipfile
from collections.abc import Callable, Mapping

import numpy as np
import torch

from actors.rating.similarity.model import SimilarityModel
from actors.reward.learner import RewardLearner
from actors.worlds.families import family_of
from actors.worlds.settings import TaskSettings
from actors.worlds.world import WorldSpec
from algorithms.images import decode_png, reduce_image
from orchestrator.errors import SettingsError
from orchestrator.online.actors import reward_learner_arguments
from orchestrator.online.consistency.trajectories import Trajectory
from orchestrator.online.settings import OnlineExperiment
from orchestrator.runs.checkpoints import newest_first
from orchestrator.runs.layout import CHECKPOINTS_FOLDER, LEARNER_STATE_FILE, REWARD_MODEL_FILE
from orchestrator.runs.reading import RunData
from orchestrator.storage.writing import read_arrays

_DAMAGE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, pickle.UnpicklingError)
"""What reading a file raises that is not whole."""

Pays = Callable[[Trajectory], np.ndarray]
"""What a source pays for each frame of a trajectory, [F]: up to a scale and an offset of the run's own."""


def paying(run: RunData) -> Pays:
    """What the run's source pays. Raises SettingsError, with the reason, if nothing in its folder says so."""
    source = run.experiment.reward.source
    if run.experiment.learns_reward:
        return _learned(run)
    if source in _GIVEN:
        return _GIVEN[source]
    if run.experiment.by_similarity:
        return _compared(run.experiment)
    raise SettingsError(f"reward.source {source!r} leaves nothing in a run's folder that rates other frames")


def _learned(run: RunData) -> Pays:
    """The reward model as it was last."""
    weights, experiment = _weights(run), run.experiment
    learner = RewardLearner(*reward_learner_arguments(_on_a_processor(experiment), _world(experiment.task)))
    try:
        learner.set_weights(weights)
    except RuntimeError as error:
        raise SettingsError(f"{run.folder}: its reward model does not fit its settings: {error}") from None

    def pay(trajectory: Trajectory) -> np.ndarray:
        inputs, px = trajectory.observations, experiment.reward_px
        if px is not None:
            inputs = reduce_image(np.stack([decode_png(png) for png in trajectory.frames]), px)
        rewards, _ = learner.score(inputs, [trajectory.instruction] * len(inputs))
        return rewards

    return pay


def _compared(experiment: OnlineExperiment) -> Pays:
    """The model that compared; it learns nothing, so that it need not be kept."""
    settings = experiment.similarity.model_copy(update={"num_gpus": 0.0})
    if settings.method != "vlm_rm":
        raise SettingsError(f"similarity.method {settings.method!r} pays whole episodes, and no frame")
    model = SimilarityModel(settings, settings.baseline or experiment.task.scene)
    try:
        model.start()
    except ValueError as error:
        raise SettingsError(str(error)) from None

    def pay(trajectory: Trajectory) -> np.ndarray:
        goal = settings.goal or trajectory.instruction or experiment.task.instruction
        return model.of_frames(trajectory.frames, goal)

    return pay


def _weights(run: RunData) -> Mapping[str, np.ndarray]:
    """Of the run's end, or of its newest checkpoint that has learned something and can be read."""
    path = run.folder / REWARD_MODEL_FILE
    if path.exists():
        try:
            return {name: array for name, array in read_arrays(path).items() if not name.startswith("about.")}
        except _DAMAGE as error:
            raise SettingsError(f"{REWARD_MODEL_FILE} cannot be read ({error})") from None
    for checkpoint in newest_first(run.folder / CHECKPOINTS_FOLDER):
        try:
            state = torch.load(io.BytesIO((checkpoint / LEARNER_STATE_FILE).read_bytes()), weights_only=True)
        except _DAMAGE:
            continue
        if state["version"]:
            return {name: tensor.numpy() for name, tensor in state["model"]["ensemble"].items()}
    raise SettingsError("it has learned no reward yet: neither an end nor a checkpoint holds a reward model")


def _on_a_processor(experiment: OnlineExperiment) -> OnlineExperiment:
    model = experiment.reward_model.model_copy(update={"num_gpus": 0.0})
    return experiment.model_copy(update={"reward_model": model})


def _world(task: TaskSettings) -> WorldSpec:
    family = family_of(task)
    spec = family.known_spec(task)
    if spec is None:
        world = family.make(task)
        spec = world.spec
        world.close()
    return spec


def _success(trajectory: Trajectory) -> np.ndarray:
    assert trajectory.successes is not None, "this source needs a world that tells success"
    return trajectory.successes.astype(np.float32)


def _environment(trajectory: Trajectory) -> np.ndarray:
    """The world's own reward of a step, mean over those since the frame before; the first frame's is the second's."""
    paid = np.diff(trajectory.returns) / np.diff(trajectory.steps)
    return np.concatenate([paid[:1], paid])


_GIVEN: dict[str, Pays] = {"sparse": _success, "environment": _environment}
