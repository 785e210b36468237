"""Similarity of pictures and a sentence as the reward: VLM-RM's formula, RoboCLIP's last steps, and whole runs."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from typer.testing import CliRunner

from actors.rating.labellers.clip import ClipModel, goal_baseline_reward
from actors.rating.labellers.settings import ModelSettings
from actors.rating.similarity.model import Loaded, SimilarityModel
from actors.rating.similarity.settings import SimilaritySettings
from algorithms.images import decode_png
from algorithms.ratings import RaterIdentity
from orchestrator.cli.main import app
from orchestrator.cluster.placement import RATING_REPLICA
from orchestrator.doctor.command import Patient, checks
from orchestrator.errors import SettingsError
from orchestrator.kinds import kind_of, read_run
from orchestrator.online.demands import LEARNER, SIMILARITY, online_demands
from orchestrator.online.figures import draw_run_figures
from orchestrator.online.report import markdown, result_line
from orchestrator.online.rewards.similar import FrameSimilarity
from orchestrator.online.settings import OnlineExperiment
from orchestrator.pocket.frames import packaged_task
from tests.fakes.tiny_similarity import build_tiny_clip, build_tiny_xclip
from tests.fakes.toy_labels import toy_episode
from tests.fakes.toy_reach import GOAL, IMAGE_PX
from tests.fakes.toy_run import ToyRun, toy_experiment

DEMO = Path(__file__).parents[2] / "tune_configs" / "demo.yaml"

pytestmark = pytest.mark.usefixtures("actors")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {"clip": str(build_tiny_clip(folder / "clip")), "xclip": str(build_tiny_xclip(folder / "xclip"))}


class PositionModel:
    """Says how far right the dot is, and of an episode how far it was on average."""

    def __init__(self, settings, baseline):
        assert baseline == "a robot arm and the dot"

    def start(self):
        return Loaded(RaterIdentity("positions", "local"), 4)

    def of_frames(self, pngs, goal):
        assert goal == "move the dot to the right end"
        return np.array([decode_png(png)[0, :, 0].argmax() / (IMAGE_PX - 1) for png in pngs])

    def of_episode(self, pngs, goal):
        assert len(pngs) == 4
        return float(self.of_frames(pngs, goal).mean())


class PositionRun(ToyRun):
    model_class = PositionModel


def by_similarity(tmp_path, similarity=None, **changes):
    given = toy_experiment(tmp_path).model_dump()
    reward = {"source": "similarity", "every_agent_steps": 3}
    return OnlineExperiment.model_validate(given | {"reward": reward, "similarity": similarity or {}} | changes)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_reward_is_vlm_rm_s_with_the_projection_written_out(alpha):
    draw = torch.Generator().manual_seed(0)
    frames, goal, baseline = (
        torch.nn.functional.normalize(torch.randn(*shape, generator=draw, dtype=torch.float64), dim=-1)
        for shape in ((6, 5), (5,), (5,))
    )
    along = (goal - baseline) / (goal - baseline).norm()
    projection = alpha * torch.outer(along, along) + (1 - alpha) * torch.eye(5, dtype=torch.float64)
    expected = torch.stack([1 - 0.5 * (projection @ (frame - goal)).norm() ** 2 for frame in frames])
    torch.testing.assert_close(goal_baseline_reward(frames, goal, baseline, alpha), expected)


def test_models_compare_as_transformers_embeds(models):
    episode = toy_episode(1, 5)
    goal, baseline = "reach place", "an agent"
    clip = ClipModel(ModelSettings(model=models["clip"], device="cpu", dtype="float32"))
    frames, words = clip.frames(episode.frames, 64), clip.text(goal)
    asked = SimilarityModel(SimilaritySettings(model=models["clip"], alpha=0.4, batch_size=2), baseline)
    expected = goal_baseline_reward(frames, words, clip.text(baseline), 0.4).numpy()
    np.testing.assert_allclose(asked.of_frames(episode.frames, goal), expected, atol=1e-6)
    assert np.ptp(expected) > 1e-3
    whole = SimilarityModel(SimilaritySettings(model=models["clip"], method="roboclip", num_frames=3), baseline)
    assert whole.start().num_frames == 3
    mean = frames[:3].numpy().mean(axis=0)
    cosine = float(mean / np.linalg.norm(mean) @ words.numpy())
    assert whole.of_episode(episode.frames[:3], goal) == pytest.approx(cosine, abs=1e-6)
    video = SimilarityModel(SimilaritySettings(model=models["xclip"], method="roboclip"), baseline)
    assert video.start().num_frames == 4, "an X-CLIP says itself how many it looks at"
    assert abs(video.of_episode(episode.frames[:4], goal)) <= 1.0 and video.start().identity != whole.start().identity


def test_each_step_is_paid_for_the_frame_that_stands_for_it(tmp_path):
    settings = {"scale": 2.0, "shift": -1.0}
    run = PositionRun(by_similarity(tmp_path, settings, total_env_steps=400)).run()
    replay = run.loop.policy.replay
    rewards = replay.learned_rewards(replay.indices).reshape(-1, 20)
    columns = np.rint((replay.stored_next_observations()[:, 0].reshape(-1, 20) + 1) / 2 * (IMAGE_PX - 1))
    # Rounds of 20 steps: the frames after steps 3, 6, ... 18 and 20 are looked at.
    for start, end in ((0, 3), (3, 6), (15, 18), (18, 20)):
        expected = 2 * columns[:, end - 1] / (IMAGE_PX - 1) - 1
        np.testing.assert_allclose(rewards[:, start:end], expected[:, None] * np.ones(end - start), atol=1e-6)
    assert set(replay.reward_versions(replay.indices)) == {1} and not run.learners
    assert not (tmp_path / "ratings").exists()
    folder = read_run(run.experiment.run_folder)
    assert not len(folder.series("reward/progress_correlation")), "nobody knows the true progress of this task"
    assert (
        folder.series("reward/similarity_spread").values[-1] > 0 < folder.series("time/similarity_frame_ms").values[-1]
    )
    assert "privileged" not in markdown([result_line("similarity", [folder])])
    assert {path.name for path in draw_run_figures(folder)} == {"success.png"}


def test_an_episode_is_paid_at_its_end(tmp_path):
    run = PositionRun(by_similarity(tmp_path, {"method": "roboclip"}, total_env_steps=400)).run()
    replay = run.loop.policy.replay
    rewards = replay.learned_rewards(replay.indices).reshape(-1, 40)
    assert len(rewards) == 10 and (rewards[:, :-1] == 0).all()
    columns = np.rint((replay.stored_next_observations()[:, 0].reshape(-1, 40) + 1) / 2 * (IMAGE_PX - 1))
    expected = columns[:, [0, 13, 26, 39]].mean(axis=1) / (IMAGE_PX - 1)
    np.testing.assert_allclose(rewards[:, -1], expected, atol=1e-6)


@pytest.mark.slow
def test_the_toy_task_is_solved_by_a_model_that_knows_the_goal(tmp_path):
    run = PositionRun(by_similarity(tmp_path)).run()
    assert run.success() == 1.0
    moved = run.loop.policy.replay.stored_next_observations()[-40:, 0]
    assert (moved > GOAL).any()


@pytest.mark.slow
@pytest.mark.parametrize("similarity", [{"alpha": 0.5}, {"method": "roboclip"}])
def test_a_resumed_run_equals_a_whole_one(tmp_path, models, similarity):
    experiment = by_similarity(tmp_path, similarity | {"model": models["clip"]})
    whole = ToyRun(experiment).run()
    again = experiment.model_copy(update={"name": "again"})
    ToyRun(again.model_copy(update={"total_env_steps": 800})).run()
    assert ToyRun(again).run(resume=True).fingerprint() == whole.fingerprint()
    other = ToyRun(experiment.model_copy(update={"name": "other", "seed": 1})).run()
    assert other.fingerprint() != whole.fingerprint()


def test_nothing_but_the_model_is_asked_for(tmp_path):
    experiment = by_similarity(tmp_path)
    kinds = {demand.kind for demand in online_demands(experiment)}
    assert SIMILARITY in kinds and not kinds & {LEARNER, RATING_REPLICA}
    assert kind_of(experiment).rater(experiment) is None and kind_of(experiment).work(experiment).ratings == 0
    other = {demand.kind for demand in online_demands(toy_experiment(tmp_path))}
    assert SIMILARITY not in other


def test_the_doctor_looks_at_the_model_and_at_no_rater(tmp_path):
    named = dict(checks(Patient([by_similarity(tmp_path)], []), load_model=False))
    assert "rater" not in named and named["similarity"]() == "pocket_clip: the weights are there"
    elsewhere = by_similarity(tmp_path, {"model": "/nowhere/at/all"})
    with pytest.raises(SettingsError, match="there is no such folder"):
        dict(checks(Patient([elsewhere], []), load_model=False))["similarity"]()


@pytest.mark.parametrize(
    ("similarity", "message"),
    [
        ({"alpha": 1.5}, r"similarity.alpha"),
        ({"goal": ""}, r"similarity.goal"),
        ({"method": "clip"}, r"similarity.method"),
        ({"s3d_weights": "s3d.pth", "method": "roboclip"}, "given without the other"),
        ({"s3d_weights": "s3d.pth", "s3d_words": "words.npy"}, "S3D sees whole episodes"),
        (
            {"s3d_weights": "s3d.pth", "s3d_words": "words.npy", "method": "roboclip", "num_frames": 8},
            "even number of at least 16",
        ),
    ],
)
def test_settings_that_mean_nothing_are_refused(tmp_path, similarity, message):
    with pytest.raises(ValidationError, match=message):
        by_similarity(tmp_path, similarity)


@pytest.mark.parametrize("method", ["vlm_rm", "roboclip"])
def test_a_folder_that_holds_no_clip_is_one_message(tmp_path, method):
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_vl"}')
    model = SimilarityModel(SimilaritySettings(model=str(tmp_path), method=method), "a robot arm")
    with pytest.raises(ValueError, match=r"similarity.model = .*must be 'clip'"):
        model.start()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["similarity.model=/nowhere/at/all"], "there is no such folder, and it is no hub name"),
        (
            ["similarity.model={folder}"],
            "has no config.json, so it is no checkpoint; name one",
        ),
        (["similarity.alpha=-0.1"], "similarity.alpha"),
        (
            ["similarity.method=roboclip", "similarity.s3d_weights=a.pth", "similarity.s3d_words=b.npy"],
            "similarity.s3d_weights = 'a.pth': there is no such file",
        ),
    ],
)
def test_what_cannot_compare_ends_before_the_start(tmp_path, overrides, message):
    given = [one.format(folder=tmp_path) for one in overrides]
    folders = [f"runs_folder={tmp_path / 'runs'}", f"ratings_folder={tmp_path / 'ratings'}"]
    done = CliRunner().invoke(app, ["run", str(DEMO), "reward.source=similarity", *given, *folders])
    assert done.exit_code == 2 and message in done.stderr.replace("\n", " ")
    assert not (tmp_path / "runs").exists()


class IdleModel:
    """A model that is never asked."""

    def load(self):
        return Loaded(RaterIdentity("idle", "local"), 4)

    def take_pace(self):
        return None


class KnownReplay:
    """As much of a replay as metrics need: frames of a drawer that closes."""

    indices = np.arange(5)

    def next_observations(self, indices):
        observations = np.zeros((len(indices), 39), dtype=np.float32)
        observations[:, 5] = -0.16 * (1 - indices / 8)
        return observations

    def returns(self, indices):
        return np.zeros(len(indices), dtype=np.float32)


def test_similarity_is_held_against_true_progress(tmp_path):
    experiment = by_similarity(tmp_path, task=packaged_task("drawer_close").model_dump())
    source = FrameSimilarity(experiment, None, IdleModel())
    indices = np.arange(5)
    rising, falling = np.linspace(0.0, 1.0, 5), np.linspace(1.0, 0.0, 5)
    assert source._metrics(KnownReplay(), indices, rising)["reward/progress_correlation"] == pytest.approx(1.0)
    assert source._metrics(KnownReplay(), indices, falling)["reward/progress_correlation"] == pytest.approx(-1.0)
    for few, found in ((indices, np.ones(5)), (indices[:1], np.ones(1))):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert "reward/progress_correlation" not in source._metrics(KnownReplay(), few, found)
