"""A recording in degrees goes from the import to a policy that acts in degrees."""

import io

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from algorithms.actor_network import LARGEST_ACTION
from algorithms.language_actor import LanguageActor
from algorithms.language_networks import asked_of
from algorithms.offline_settings import PolicyNetworkSettings
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.data.recordings.lerobot import LeRobotSettings, import_lerobot
from orchestrator.offline.data import load_offline_data
from orchestrator.offline.settings import OfflineDataSettings
from tests.fakes.small_recording import CAMERA, LENGTHS, PICTURE, small_recording

FRAMES = sum(LENGTHS)
LIFT, CONSTANT = (-63.25, 81.0), 7.5
"""Degrees: what a policy within [-1, 1] would saturate at."""


def picture(way):
    """A bright bar where the arm is."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    at = round(way * 13)
    pixels[:, at : at + 3] = (255, round(255 * way), 80)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def recording():
    ways = np.linspace(0, 1, FRAMES)
    one = small_recording(names=["lift", "grip"])
    actions = [[LIFT[0] + way * (LIFT[1] - LIFT[0]), CONSTANT] for way in ways]
    one.set("data", "action", pa.array(actions, pa.list_(pa.float32(), 2)))
    one.set("data", CAMERA, pa.array([{"bytes": picture(way), "path": None} for way in ways], PICTURE))
    one.info["features"][CAMERA]["shape"] = [16, 16, 3]
    return one


def cloned(data):
    """Behaviour cloning, as `policy.actor_loss: cloning` has it, without RLlib around it."""
    torch.manual_seed(0)
    actor = LanguageActor(data.shape, PolicyNetworkSettings(channels=8, hidden=(32,), instruction_size=8))
    optimiser = torch.optim.Adam(actor.parameters(), lr=1e-3)
    batch = data.transitions.batch(np.arange(len(data.transitions)))
    seen, asked, actions = (torch.from_numpy(batch[name]) for name in ("observation", "instruction", "action"))
    for _ in range(300):
        optimiser.zero_grad()
        (-actor.log_prob(seen, asked_of(asked), actions).mean()).backward()
        optimiser.step()
    return actor


def test_a_policy_of_a_recording_in_degrees_acts_within_a_few_percent_of_it(tmp_path):
    torch.set_num_threads(1)
    import_lerobot(recording().write(tmp_path / "robot"), tmp_path / "set", LeRobotSettings())
    dataset = TrajectoryDataset(tmp_path / "set")
    assert [problem.text for problem in dataset.problems() if not problem.is_note] == []
    data = load_offline_data(dataset, OfflineDataSettings(path=dataset.folder, observation="frame"), [], 0.97)
    actor = cloned(data)
    seen = data.transitions.batch(np.arange(len(data.transitions)))
    said = actor.act(torch.from_numpy(seen["observation"]), torch.from_numpy(seen["instruction"])).numpy()
    acted = data.scale.unscale(said)
    recorded = np.concatenate([episode.actions for episode in dataset.episodes(frames=False)])
    range_ = LIFT[1] - LIFT[0]
    errors = np.abs(acted - recorded)
    assert errors[:, 0].max() < 0.1 * range_ and errors[:, 0].mean() < 0.05 * range_
    assert (acted[:, 1] == np.float32(CONSTANT)).all()
    # As numbers of a policy these actions would be all but beyond what it can say.
    assert (np.abs(recorded) > LARGEST_ACTION).all()
