"""The similarity model's actor as something that lasts: real processes, which die, or find nothing to load."""

import pytest
import ray

from actors.rating.similarity.model import SimilarityModel
from actors.rating.similarity.settings import SimilaritySettings
from orchestrator.errors import SettingsError
from orchestrator.online.rewards.comparing import Comparing
from tests.online.test_similarity import PositionModel

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]


def test_a_model_that_died_is_asked_again():
    started = []

    def start():
        started.append(ray.remote(PositionModel).remote(SimilaritySettings(), "a robot arm and the dot"))
        return started[-1]

    model = Comparing(start)
    assert model.load().num_frames == 4
    ray.kill(started[0])
    assert model.of_frames([], "move the dot to the right end").tolist() == [] and len(started) == 2


def test_a_folder_that_holds_no_clip_is_one_message(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_vl"}')
    settings = SimilaritySettings(model=str(tmp_path))
    model = Comparing(lambda: ray.remote(SimilarityModel).remote(settings, "a robot arm"))
    with pytest.raises(SettingsError, match=r"similarity.model = .*must be 'clip'"):
        model.load()
