"""`likert run` as a user gives it: real processes, simulator and vLLM with the pocket rater; kills and failures."""

import contextlib
import http.server
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from actors.rating.backend import Reply
from actors.rating.endpoint import probe
from actors.rating.fake import FunctionBackend
from actors.rating.models import rater_identity
from actors.rating.settings import RaterSettings
from orchestrator.cli.main import app
from orchestrator.kinds import load_experiment, read_run
from orchestrator.ratings.store import RatingStore
from tests.actors.rating.serving.asking import served

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
LIKERT = [sys.executable, "-c", "from orchestrator.cli.main import main; main()"]
SHORT = [
    # A session and a checkpoint wait for an episode's end.
    "task={base: drawer_close, episode_env_steps: 100}",
    "total_env_steps=500",
    "policy.seed_env_steps=100",
    "feedback.first_env_steps=200",
    "feedback.interval_env_steps=100",
    "feedback.per_session=20",
    "feedback.budget=100",
    "reward_model.max_epochs=3",
    "evaluation.interval_env_steps=250",
    "evaluation.num_episodes=3",
    "checkpoint.interval_env_steps=100",
]
NUM_SESSIONS = 3


def command(folder: Path, *overrides: str, settings: str = "tune_configs/demo.yaml") -> list[str]:
    return [*LIKERT, "run", str(REPOSITORY / settings), f"runs_folder={folder / 'runs'}",
            f"ratings_folder={folder / 'ratings'}", *overrides]  # fmt: skip


def likert_run(folder: Path, *overrides: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(folder, *overrides, **options), env=ENVIRONMENT, capture_output=True, text=True, timeout=900
    )


def descendants(pid: int) -> set[int]:
    """Process ids below `pid`, from /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found, queue = set(), [pid]
    while queue:
        new = children.get(queue.pop(), [])
        found.update(new)
        queue.extend(new)
    return found


def alive(pids: set[int]) -> set[int]:
    def is_running(pid: int) -> bool:
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        return False

    return {pid for pid in pids if is_running(pid)}


def wait_until(condition, timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.1)


def run_and_kill(folder: Path, *overrides: str) -> None:
    """Starts a run, kills it once it has a checkpoint after the second session, and waits for all processes to end."""
    folder.mkdir(exist_ok=True)
    log = folder / "killed.log"
    with log.open("w") as stderr:
        process = subprocess.Popen(command(folder, *overrides), env=ENVIRONMENT, stderr=stderr)
    checkpoints = folder / "runs/demo-seed0/checkpoints"

    def has_come_so_far() -> bool:
        assert process.poll() is None, log.read_text()
        return any(int(path.name.rpartition("-")[2]) >= 300 for path in checkpoints.glob("env-steps-*"))

    try:
        wait_until(has_come_so_far, 900, "a checkpoint after the second session")
    finally:
        children = descendants(process.pid)
        process.kill()
        process.wait()
    wait_until(lambda: not alive(children), 90, "the killed run's processes to end")


class LikePocket(FunctionBackend):
    """Has the pocket rater's name and no engine: where the answers come from makes no difference to the run."""

    def __init__(self, settings: RaterSettings) -> None:
        super().__init__(self._answer)
        self._settings = settings
        self.num_asked = 0

    def _answer(self, prompt, images, choices):
        if not choices:
            return Reply("The drawer is partly closed.", None, 7, 6)
        # Whoever asks a server tries it first.
        self.num_asked += prompt.system != probe.SYSTEM
        level = self.num_asked % len(choices)
        return Reply(choices[level], tuple(float(place == level) for place in range(len(choices))), 7, 1)

    def identity(self):
        return rater_identity(self._settings)


def test_a_killed_run_goes_on_asks_nothing_twice_and_leaves_no_process(tmp_path):
    run_and_kill(tmp_path, *SHORT)
    asked_before = {row["key"] for row in RatingStore(tmp_path / "ratings").rows(["key"])}
    assert len(asked_before) >= 20

    # A second engine would take longer than all the rest; slow tests start it.
    settings = load_experiment(REPOSITORY / "tune_configs/demo.yaml").rater
    rater = LikePocket(settings)
    with served(rater, settings) as address:
        resumed = likert_run(tmp_path, *SHORT, f"rater.endpoint={address}")
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from" in resumed.stderr
    assert "Traceback" not in resumed.stderr

    store = RatingStore(tmp_path / "ratings")
    rows = list(store.rows())
    assert asked_before <= {row["key"] for row in rows}
    assert rater.num_asked == len(rows) - len(asked_before) > 0
    assert len(rows) == len({row["key"] for row in rows}) <= NUM_SESSIONS * 20
    assert all(0 <= row["rating"] < 3 and abs(sum(row["probabilities"]) - 1.0) < 1e-6 for row in rows)
    assert all(row["analysis"] for row in rows)

    run = read_run(tmp_path / "runs/demo-seed0")
    assert run.series("rating/asked").values.tolist() == [20, 40, 60]
    assert run.series("eval/success").env_steps[-1] == 500
    assert run.control("random") is not None and run.control("untrained") is not None
    for name in ("success", "ratings", "reward_and_progress"):
        assert (tmp_path / f"runs/demo-seed0/figures/{name}.png").stat().st_size > 5_000


@pytest.mark.slow
def test_a_killed_run_equals_one_that_was_not_to_the_last_bit(tmp_path):
    exact = [*SHORT, "feedback.max_rating_lag=0", "rollout.num_workers=1"]
    whole = likert_run(tmp_path / "whole", *exact)
    assert whole.returncode == 0, whole.stderr
    run_and_kill(tmp_path / "killed", *exact)
    resumed = likert_run(tmp_path / "killed", *exact)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from" in resumed.stderr

    one, other = (last_checkpoint(tmp_path / name / "runs/demo-seed0") for name in ("whole", "killed"))
    assert len(one["keys"]) == NUM_SESSIONS * 20
    assert one["keys"] == other["keys"] and one["ratings"] == other["ratings"]
    assert one["reward model"].keys() == other["reward model"].keys()
    for name, weight in one["reward model"].items():
        assert torch.equal(weight, other["reward model"][name]), name
    assert one["replay"].keys() == other["replay"].keys()
    for name, column in one["replay"].items():
        np.testing.assert_array_equal(column, other["replay"][name], err_msg=name)


def last_checkpoint(run_folder: Path) -> dict:
    """What the newest checkpoint of a run says of ratings, reward model and replay."""
    newest = max((run_folder / "checkpoints").glob("env-steps-*"))
    sessions = json.loads((newest / "loop.json").read_text())["sessions"]
    return {
        "keys": sessions["keys"],
        "ratings": sessions["ratings"],
        "reward model": flat(torch.load(newest / "reward_model.pt", weights_only=True)["model"]["ensemble"]),
        "replay": pickle.loads((newest / "policy" / "algorithm_state.pkl").read_bytes())["replay"],
    }


def flat(weights: dict, prefix: str = "") -> dict[str, torch.Tensor]:
    """Tensors of nested dictionaries by their whole names."""
    found = {}
    for name, part in weights.items():
        whole = f"{prefix}{name}"
        found |= flat(part, f"{whole}.") if isinstance(part, dict) else {whole: part}
    return found


class Endpoint(http.server.BaseHTTPRequestHandler):
    """An OpenAI-compatible server that is well, babbles, or hangs; from the start, or once it was tried."""

    mood = "garbage"
    once_tried = False

    def do_GET(self):
        self._send({"object": "list", "data": [{"id": "some/model", "object": "model"}]})

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        is_probe = request["messages"][0]["content"] == probe.SYSTEM
        mood = "well" if self.once_tried and is_probe else self.mood
        if mood == "hang":
            time.sleep(30)
        text = {"garbage": "as you wish", "hang": "", "well": "2"}[mood]
        if "structured_outputs" not in request and mood == "well":
            text = "The drawer is partly closed."
        self._send(
            {
                "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
        )

    def _send(self, answer):
        body = json.dumps(answer).encode()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def endpoint():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


@pytest.mark.slow
def test_an_endpoint_that_babbles_then_hangs_stops_the_run_and_a_well_one_lets_it_go_on(
    tmp_path, endpoint, monkeypatch
):
    overrides = [*SHORT, f"rater.endpoint={endpoint}", "rater.deadline_s=12", "rater.max_attempts=1"]
    monkeypatch.setattr(Endpoint, "once_tried", False)
    for mood, message in (
        ("garbage", "obeys no constraint on its answers"),
        ("hang", "gave no answer to a first small"),
    ):
        Endpoint.mood = mood
        refused = likert_run(tmp_path, *overrides)
        assert refused.returncode == 2, refused.stderr
        assert message in refused.stderr and "Traceback" not in refused.stderr
        assert not (tmp_path / "ratings" / "failures").exists()
    Endpoint.once_tried = True
    for mood, cause in (("garbage", "unparsable"), ("hang", "timeout")):
        Endpoint.mood = mood
        stopped = likert_run(tmp_path, *overrides)
        assert stopped.returncode == 3, stopped.stderr
        assert f"20 of 20 questions of this session got no rating ({cause})" in stopped.stderr
        assert "Traceback" not in stopped.stderr
        assert len(RatingStore(tmp_path / "ratings")) == 0
    Endpoint.mood = "well"
    finished = likert_run(tmp_path, *overrides)
    assert finished.returncode == 0, finished.stderr
    assert "(model some/model): levels by structured_outputs, probabilities no" in finished.stderr
    assert 20 <= len(RatingStore(tmp_path / "ratings")) <= NUM_SESSIONS * 20


@contextlib.contextmanager
def likert_serve(folder: Path, *settings: str):
    """The pocket rater behind `likert serve`; yields its address."""
    log = folder / "serve.log"
    with log.open("w") as stderr:
        arguments = [*LIKERT, "serve", "--port", "0", *settings]
        process = subprocess.Popen(arguments, env=ENVIRONMENT, stderr=stderr, stdout=stderr, text=True)
    children: set[int] = set()

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        return "Ctrl-C ends it" in log.read_text()

    try:
        wait_until(listens, 300, "the server to be loaded")
        children = descendants(process.pid)
        yield re.findall(r"http://\S+/v1", log.read_text())[0]
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        first, second, third = log.read_text().splitlines()
        assert (first, third) == ("rating server: loading pocket", "rating server: stopped")
        assert "no key is needed" in second
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not alive(children), 60, "the server's processes to end")


@pytest.mark.slow
def test_a_likert_server_gives_the_ratings_of_an_engine_of_ones_own_under_the_same_keys(tmp_path):
    # One session, before anything is learnt: both runs show the same frames.
    short = [*SHORT, "feedback.budget=20", "rollout.num_workers=1"]
    own = likert_run(tmp_path / "own", *short)
    assert own.returncode == 0, own.stderr
    with likert_serve(tmp_path) as address:
        asked = likert_run(tmp_path / "asked", *short, f"rater.endpoint={address}")
        assert asked.returncode == 0, asked.stderr
        # The run that had an engine of its own finds its ratings when it asks a server, and goes on.
        longer = [*short, "total_env_steps=700"]
        on = likert_run(tmp_path / "own", *longer, f"rater.endpoint={address}")
        assert on.returncode == 0, on.stderr
        other = likert_run(tmp_path / "other", *short, f"rater.endpoint={address}", "rater.max_pixels=50000")
        assert other.returncode == 2 and "max_pixels 12544 (asked for: 50000)" in other.stderr
    rows = {
        name: sorted(RatingStore(tmp_path / name / "ratings").rows(), key=lambda row: row["key"])
        for name in ("own", "asked")
    }
    told = ("key", "rating", "analysis", "model", "revision", "precision", "min_pixels", "max_pixels", "images")
    assert len(rows["own"]) > 1
    assert [[row[name] for name in told] for row in rows["asked"]] == [
        [row[name] for name in told] for row in rows["own"]
    ]
    for one, other in zip(rows["asked"], rows["own"], strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["sweep_into", "drawer_open", "soccer"])
def test_the_published_settings_pass_their_first_session_with_the_pocket_rater(tmp_path, task):
    short = [
        "rater.model=pocket",
        "total_env_steps=1500",
        "policy.seed_env_steps=500",
        "policy.unsupervised_env_steps=0",
        "policy.critic_reset_updates=5",
        "policy.updates_per_agent_step=0.02",
        "policy.replay_capacity=2000",
        "reward_model.max_epochs=2",
        "reward_model.frame_cache_gb=1",
        "feedback.first_env_steps=500",
        "feedback.interval_env_steps=500",
        "feedback.per_session=10",
        "feedback.budget=10",
        "evaluation.interval_env_steps=500",
        "evaluation.num_episodes=1",
        "checkpoint.keep=1",
    ]
    done = likert_run(tmp_path, *short, settings=f"tune_configs/erl_vlm/{task}.yaml")
    assert done.returncode == 0, done.stderr
    assert "done" in done.stderr and "ratings 10/10 " in done.stderr
    # From fixed starts random actions may not touch a thing, and with the robot hidden all pictures are then equal.
    assert 1 <= len(RatingStore(tmp_path / "ratings")) <= 10


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("feedback.num_ratings=6", "feedback.num_ratings"),
        ("feedback.budget=10", "budget 10 is below one session"),
        ("task=drawer_clse", "drawer_close"),
        ("task.camera=corner9", "task.camera"),
        ("rater.model=/no/such/folder", "rater.model"),
        ("runs_folder=/proc/none", "runs_folder"),
        ("feedbak.num_ratings=3", "feedback"),
        ("seed=many", "seed"),
    ],
)
def test_bad_settings_end_with_one_message_and_exit_code_2(tmp_path, override, message):
    # Two in processes of their own, refused at once and after a look at the machine: each takes seconds to import.
    if override in ("feedback.num_ratings=6", "rater.model=/no/such/folder"):
        ended = likert_run(tmp_path, override)
        assert ended.returncode == 2
    else:
        ended = CliRunner().invoke(app, command(tmp_path, override)[len(LIKERT) :])
        assert ended.exit_code == 2
    assert message in ended.stderr
    assert ended.stderr.startswith("likert: ") and ended.stderr.count("\n") <= 2
    assert not (tmp_path / "ratings").exists() or not any((tmp_path / "ratings").iterdir())
