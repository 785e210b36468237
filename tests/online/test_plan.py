"""`likert run --plan`: the plan counts what the loop does, adds up what that takes, and writes nothing."""

import re
import time
import types
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from typer.testing import CliRunner

from actors.worlds.families import family_of
from actors.worlds.metaworld.settings import ACTION_SIZE, OBSERVATION_SIZE
from algorithms.episodes import EpisodeChunk, Scene
from algorithms.feedback import FeedbackSchedule
from algorithms.frame_codec import encode
from algorithms.images import decode_png
from algorithms.ratings import Rating
from algorithms.replay import ColumnarReplay
from orchestrator.cli.main import app
from orchestrator.online import calibration
from orchestrator.online.calibration import Calibration, seconds_stored
from orchestrator.online.loop import OnlineLoop
from orchestrator.online.plan import OnlineWork, parts_of, work_of
from orchestrator.online.rewards.functions import reward_function
from orchestrator.online.rewards.given import GivenReward
from orchestrator.online.rewards.rated import RatedReward
from orchestrator.online.rollouts import Collected
from orchestrator.online.settings import OnlineExperiment
from orchestrator.runs.plan import Part, Plan, duration, plan_text
from tests.fakes.toy_reach import SPEC, EpisodeResult
from tests.fakes.toy_run import toy_experiment
from tests.online.test_run_for_real import REPOSITORY, SHORT, likert_run

PACE = Calibration(
    world=SPEC,
    start_s=2.0, step_s=0.001, frame_s=0.004, picture_s=0.01, score_s=0.0005, fit_s=0.002, update_s=0.003, rating_s=0.1,
    rated_by="as you say",
)  # fmt: skip


def changed(experiment, **blocks):
    """The experiment with other settings in some blocks."""
    tree = experiment.model_dump()
    for name, value in blocks.items():
        tree[name] = tree[name] | value if isinstance(value, dict) else value
    return OnlineExperiment.model_validate(tree)


@pytest.fixture
def experiment(tmp_path):
    return toy_experiment(tmp_path)


class CountingParts:
    """All parts of a loop at once; they do nothing but count what they are told to do."""

    def __init__(self, experiment):
        rollout = experiment.rollout
        self.rounds_per_period = experiment.task.episode_agent_steps // rollout.chunk_agent_steps
        self.num_envs, self.num_steps = rollout.num_workers * rollout.envs_per_worker, rollout.chunk_agent_steps
        self.replay = ColumnarReplay(experiment.policy.replay_capacity, OBSERVATION_SIZE, ACTION_SIZE)
        self.schedule = FeedbackSchedule(experiment.feedback, experiment.total_env_steps)
        self.work = OnlineWork()
        self.version = 0
        self.relabels = False
        self.tell_apart = True
        self.labels = Ratings()

    @property
    def stands(self):
        return self.work.rounds % self.rounds_per_period == 0

    def start(self, weights):
        return "a round"

    def finish(self, pending):
        self.work.rounds += 1
        self.work.steps += self.num_envs * self.num_steps
        return [Collected([self._chunk(number) for number in range(self.num_envs)], None)]

    def _chunk(self, number):
        steps = self.num_steps
        return EpisodeChunk(
            episode_id=f"{self.work.rounds}-{number}",
            first_step=0,
            observations=np.zeros((steps + 1, OBSERVATION_SIZE), np.float32),
            actions=np.zeros((steps, ACTION_SIZE), np.float32),
            env_rewards=np.zeros(steps, np.float32),
            successes=np.zeros(steps, bool),
            terminated=False,
            truncated=True,
            frame_states=np.zeros((steps + 1, 1), np.float32),
            scene=Scene({}),
        )

    def evaluate(self, weights, num_episodes, seed, randomised_starts, start_spread=0.0):
        self.work.episodes_judged += num_episodes
        return [EpisodeResult(False, False, 0.0)] * num_episodes

    def actor_weights(self):
        return {}

    def add_chunk(self, chunk, rewards, version, picture_features):
        self.replay.add(chunk, rewards, version)

    def update(self, num_updates):
        self.work.updates += num_updates
        return {}

    def reset_critic(self):
        pass

    def keep(self, first_index, chunk, oldest_index):
        pass

    def has(self, indices):
        return np.ones(len(indices), dtype=bool)

    def relabel(self, indices, rewards, version):
        pass

    def score(self, inputs, instructions):
        if self.relabels:
            self.work.relabelled += len(inputs)
        else:
            self.work.scored += len(inputs)
        self.relabels = False
        return np.zeros(len(inputs), np.float32), self.version

    def learn(self, inputs, ratings, instructions, ratings_to_learn, weights):
        self.version += 1
        self.work.sessions += 1
        self.relabels = True
        return types.SimpleNamespace(version=self.version, metrics={})

    def publish(self):
        return {}, self.version

    def opinions(self, inputs, instructions):
        raise AssertionError("nothing is selected")

    def open(self, replay, env_steps, round_, report, opinions):
        number = self.schedule.begin(env_steps)
        self.work.questions += number
        answers = types.SimpleNamespace(done=lambda: True)
        return types.SimpleNamespace(number=number, round=round_, answers=answers, num_repeats=0)

    def close(self, session):
        rating = Rating("key", 0, (), "", 1, 1, 0.0)
        return Ratings([0] * session.number), types.SimpleNamespace(outcomes=[rating] * session.number)

    def hear_people(self, session, folder):
        return {}

    def inputs(self, labels):
        return None

    def learned(self, labels):
        return None

    def ratings_to_learn(self):
        return None

    def weights_to_learn(self):
        return None


class Ratings(list):
    ratings = None
    instructions = ()


class NoFolder:
    """A run's folder that keeps nothing."""

    path = "."

    def __getattr__(self, name):
        return lambda *_, **__: None


def spec_of(experiment):
    return family_of(experiment.task).known_spec(experiment.task)


def what_the_loop_does(experiment, monkeypatch):
    monkeypatch.setattr(OnlineLoop, "save", lambda *_: None)
    monkeypatch.setattr(RatedReward, "_log", lambda *_: None)
    monkeypatch.setattr("orchestrator.online.rewards.rated.count_answers", lambda *_: None)
    monkeypatch.setattr("orchestrator.online.loop.rewards_beside_progress", lambda *_: None)
    parts, spec = CountingParts(experiment), spec_of(experiment)
    reward = RatedReward(experiment, spec, parts, parts, parts)
    if not experiment.learns_reward:
        reward = GivenReward(reward_function(experiment.reward.source))
    OnlineLoop(experiment, spec, parts, parts, reward).run(NoFolder())
    return parts.work


@pytest.mark.parametrize(
    "blocks",
    [
        {},
        {"reward": {"source": "preferences"}, "rater": {"model": "pocket_pairs"}},
        # The budget ends before the schedule; steps that fill no episode; a small replay; late sessions.
        {"feedback": {"budget": 100}, "total_env_steps": 1_010},
        {"rollout": {"num_workers": 2, "envs_per_worker": 3, "chunk_agent_steps": 40}},
        {"policy": {"replay_capacity": 500}},
        {"feedback": {"first_env_steps": 700, "first_session": 70}, "evaluation": {"interval_env_steps": 130}},
        {"policy": {"reset_critic": True, "critic_reset_updates": 33, "updates_per_agent_step": 0.3}},
        {"policy": {"unsupervised_env_steps": 100, "seed_env_steps": 130, "batch_size": 300}},
        {"task": {"action_repeat": 2, "episode_env_steps": 80}},
        {"reward": {"source": "environment"}},
        {"task": {"randomised_starts": False}, "evaluation": {"start_spread": 0.2}},
        {"task": {"randomised_starts": False}, "evaluation": {"start_spread": 0.2, "randomised_starts": False}},
    ],
)
def test_the_plan_counts_what_the_loop_does(experiment, blocks, monkeypatch):
    given = changed(experiment, **blocks)
    done, planned = what_the_loop_does(given, monkeypatch), work_of(given, replace(PACE, world=spec_of(given)))
    assert done.updates > 0 and (done.sessions > 1 or not given.learns_reward)
    for name in ("rounds", "steps", "updates", "sessions", "questions", "scored", "relabelled", "episodes_judged"):
        assert getattr(planned, name) == getattr(done, name), name


def test_what_the_parts_take_is_added_up(experiment, monkeypatch):
    """By hand: 1,200 steps, sessions of 40 at 200, 400, ... 1,000, rounds of 20 steps, two to an episode."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("orchestrator.online.plan.os.cpu_count", lambda: 8)
    pixels = {"input": "frame", "network": "small", "image_px": 28, "min_epochs": 2, "max_epochs": 4}
    given = changed(experiment, reward_model=pixels, rater={"endpoint": "http://host/v1"})
    work = work_of(given, PACE)
    seconds = {part.name: part.seconds for part in parts_of(given, work, PACE)}
    assert seconds == pytest.approx(
        {
            "starting": 2.0,
            "stepping": 1.2,
            "rendering": 4.8,
            "pictures to rate": 2.0,
            "rating": 20.0,
            "reward training": 3 * (40 + 80 + 120 + 160 + 200) * 0.002,
            "scoring new steps": 1_000 * 0.0005,
            "relabelling": (200 + 400 + 600 + 800 + 1_000) * 0.0005,
            "policy learning": 1_000 * 0.003,
            "evaluation": 5 * 10 * 40 * 0.001,
            "ending": 0.6,
        }
    )
    # 25 episodes with updates: in each, one round of 0.1 s is collected beside 20 updates and scores, 0.07 s.
    assert work.overlapped_s == pytest.approx(25 * 0.07)
    # On one processor nothing is saved; two workers halve what they do.
    monkeypatch.setattr("orchestrator.online.plan.os.cpu_count", lambda: 1)
    assert work_of(given, PACE).overlapped_s == pytest.approx(0.0)
    two = changed(given, rollout={"num_workers": 2})
    assert parts_of(two, work_of(two, PACE), PACE)[2].seconds == pytest.approx(2.4)
    # Frames that find no room in the cache are drawn anew after every session: of 100 kept, 100, 300, ... others.
    cached = changed(given, reward_model={"frame_cache_gb": 100 * 3 * 28**2 / 1e9})
    again = work_of(cached, PACE)
    assert again.redrawn == 100 + 300 + 500 + 700 + 900
    (relabelling,) = [part for part in parts_of(cached, again, PACE) if part.name == "relabelling"]
    assert relabelling.seconds == pytest.approx(1.5 + 2_500 * 0.004)


def test_stored_answers_tell_how_fast_a_rater_is():
    """Two sessions: 30 answers, the first within 0.5 s, then until 3 s later; 10 answers at once, after 2 s."""
    began = datetime(2026, 1, 1, tzinfo=UTC)

    def row(step, after_s, latency_s):
        return {"run": "a", "env_step": step, "asked_at": began + timedelta(seconds=after_s), "latency_s": latency_s}

    rows = [row(200, 0.0, 0.5)] * 10 + [row(200, 3.0, 3.2)] * 20 + [row(400, 100.0, 2.0)] * 10
    assert seconds_stored(rows) == pytest.approx((3.5 + 2.0) / 40)
    assert seconds_stored(rows[:19]) is None


def test_pictures_that_are_kept_are_taken_from_the_chunk_that_holds_most():
    def chunk(steps):
        frames = np.full((steps + 1, 8, 8, 3), 10, np.uint8) + np.arange(steps + 1, dtype=np.uint8)[:, None, None, None]
        return EpisodeChunk(
            "a", 0, np.zeros((steps + 1, 1)), np.zeros((steps, 1)), np.zeros(steps), np.zeros(steps, bool), True, False,
            np.zeros((steps + 1, 0)), Scene({}), frames=encode(frames),
        )  # fmt: skip

    frame_s, picture_s, pngs = calibration._kept([chunk(2), chunk(3)], reduced_px=4)
    assert frame_s > 0.0 and picture_s > 0.0
    assert [int(decode_png(png)[0, 0, 0]) for png in pngs] == [11, 12, 13]
    assert calibration._kept([chunk(2)], reduced_px=None)[0] == 0.0


def test_a_plan_is_told_in_columns():
    plan = Plan(
        parts=[Part("stepping", 3.0, "some"), Part("rating", 7_200.0, "many")],
        wall_s=7_202.0,
        overlap="at once",
        facts={"ratings": "5"},
        memory={"rating replica": "90% of a GPU's memory", "driver": "and the run itself"},
        notes=["assumed"],
    )
    assert plan_text("demo", [("rating replica", 2, "1 CPU, 1 GPU", "this machine")], plan).splitlines() == [
        "demo",
        "",
        "where, and what one takes",
        "  2 x rating replica  1 CPU, 1 GPU  90% of a GPU's memory  this machine",
        "  and the run itself",
        "",
        "how long, about",
        "  stepping           3.0 s  some",
        "  rating             2.0 h  many",
        "  from start to end  2.0 h  at once",
        "",
        "what else",
        "  ratings  5",
        "",
        "assumed",
    ]
    assert [duration(seconds) for seconds in (0.04, 59.0, 100.0, 7_000.0, 93_600.0, 400_000.0)] == [
        "0.0 s", "59 s", "1.7 min", "1.9 h", "26.0 h", "4.6 days",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--load-rater"], "are for --plan"),
        (["--plan", "--ratings-per-s", "0"], "--ratings-per-s = 0: must be a number above 0"),
        (["--plan", "--ratings-per-s", "nan"], "must be a number above 0"),
    ],
)
def test_options_that_would_do_nothing_are_refused(options, message):
    refused = CliRunner().invoke(app, ["run", str(REPOSITORY / "tune_configs/demo.yaml"), *options])
    assert refused.exit_code == 2 and message in refused.stderr


@pytest.mark.slow
def test_a_plan_of_a_short_run_is_right_within_a_factor_of_two(tmp_path):
    tmp_path.joinpath("work").mkdir()
    # Twice as long as others are: what is reckoned from steps must show beside the start.
    twice = [
        "total_env_steps=1000", "policy.seed_env_steps=200", "feedback.first_env_steps=400",
        "feedback.interval_env_steps=200", "evaluation.interval_env_steps=500", "checkpoint.interval_env_steps=200",
    ]  # fmt: skip
    planned = likert_run(tmp_path, *SHORT, *twice, "--plan", "--load-rater")
    assert planned.returncode == 0, planned.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
    assert re.search(r"1 x rating replica +1 CPU .*this machine", planned.stdout)
    ((number, unit),) = re.findall(r"from start to end +([\d.]+) (s|min) ", planned.stdout)
    expected_s = float(number) * {"s": 1.0, "min": 60.0}[unit]
    started = time.monotonic()
    done = likert_run(tmp_path, *SHORT, *twice)
    took_s = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    assert took_s / 2 < expected_s < 2 * took_s, planned.stdout


@pytest.mark.slow
def test_what_cannot_be_placed_cannot_be_planned(tmp_path):
    refused = likert_run(tmp_path, "rater.num_gpus=1", "--plan")
    assert refused.returncode == 2 and "1 of 1 rating replica cannot be placed" in refused.stderr
    assert not any(tmp_path.iterdir())
