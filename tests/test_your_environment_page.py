"""docs/your_environment.md is run as it stands: its two files, its commands, a kill, and what is wrong with a world."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from actors.worlds.probing import probe
from orchestrator.kinds import load_experiment, read_run
from tests.fakes.looking_endpoint import serving
from tests.fakes.looks import dot_near_disc

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "your_environment.md").read_text()
LIKERT = [sys.executable, "-c", "from orchestrator.cli.main import main; main()"]
SHORT = ["total_env_steps=1200", "feedback.budget=80", "evaluation.interval_env_steps=400", "evaluation.num_episodes=3"]
SHORT += ["checkpoint.interval_env_steps=400", "reward_model.max_epochs=3"]


def blocks(language: str) -> list[str]:
    """What the page shows in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.M | re.S)


@pytest.fixture
def folder(tmp_path):
    """The page's two files, in a folder of their own."""
    (environment,), (experiment,) = blocks("python"), blocks("yaml")
    (tmp_path / "dot.py").write_text(environment)
    (tmp_path / "dot.yaml").write_text(experiment)
    return tmp_path


def likert(folder: Path, *arguments: str) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*LIKERT, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def ended(process: subprocess.Popen) -> str:
    text, _ = process.communicate(timeout=1_500)
    assert process.returncode == 0, text[-3000:]
    return text


def test_the_environment_is_short_and_the_experiment_fits_it(folder, monkeypatch):
    assert len((folder / "dot.py").read_text().splitlines()) <= 40
    monkeypatch.syspath_prepend(folder)
    experiment = load_experiment(folder / "dot.yaml")
    spec = probe(experiment.task)
    assert experiment.misfit(spec) is None
    assert (spec.observation_size, spec.action_size, spec.longest_agent_steps, spec.knows_success) == (2, 2, 40, True)
    from dot import Dot

    env = Dot("rgb_array")
    env.reset(seed=0)
    seen = []
    for place in ((0.5, 0.5), (0.0, 0.2), (-0.9, -0.9)):
        env.dot = np.array(place)
        seen.append(dot_near_disc(env.render(), ""))
    assert seen == sorted(seen, reverse=True) and seen[0] > 0.9 and seen[2] < 0.2


def evaluations(run: Path) -> list[dict]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [{name: value for name, value in row.items() if not name.startswith("time")} for row in rows]
    unlike = ("rating/from_store", "rating/shared")
    return [{name: value for name, value in row.items() if name not in unlike} for row in kept]


@pytest.mark.slow
def test_a_killed_run_of_the_page_goes_on_to_the_last_bit(folder):
    """Against an endpoint that looks at the pictures; 0.3 of a run, killed between two checkpoints."""
    with serving(dot_near_disc) as (url, server):
        options = [*SHORT, f"rater.endpoint={url}"]
        ended(likert(folder, "run", "dot.yaml", *options))
        asked = len(server.questions)
        again = [*options, "name=killed", "ratings_folder=others"]
        killed = likert(folder, "run", "dot.yaml", *again)
        metrics = folder / "runs" / "killed-seed0" / "metrics.jsonl"
        deadline = time.monotonic() + 900
        while not (metrics.exists() and '"env_step": 600' in metrics.read_text()):
            assert killed.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        ended(likert(folder, "run", "dot.yaml", *again))
    assert asked <= 80
    by_step = []
    for name in ("dot-seed0", "killed-seed0"):
        rows: dict[tuple, float] = {}
        for row in evaluations(folder / "runs" / name):
            rows |= {(row["env_step"], metric): value for metric, value in row.items()}
        by_step.append(rows)
    assert by_step[0] == by_step[1]
    with (
        np.load(folder / "runs/dot-seed0/best_policy.npz") as one,
        np.load(folder / "runs/killed-seed0/best_policy.npz") as other,
    ):
        assert all(np.array_equal(one[name], other[name]) for name in one.files)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # six runs
def test_the_page_learns_from_ratings_and_not_from_shuffled_ones(folder):
    """Three seeds of each, by the environment's own return (minus the distances to the disc) in the last evaluation."""
    reached = {}
    with serving(dot_near_disc) as (url, _):
        for control in ("none", "shuffled"):
            for seed in range(3):
                options = [f"rater.endpoint={url}", f"seed={seed}", f"name={control}", f"feedback.control={control}"]
                ended(likert(folder, "run", "dot.yaml", *options))
                run = read_run(folder / "runs" / f"{control}-seed{seed}")
                reached.setdefault(control, []).append(float(run.series("eval/env_return").values[-1]))
    assert min(reached["none"]) > max(reached["shuffled"]), reached
    ended(likert(folder, "report", "runs/none-seed0", "runs/shuffled-seed0", "--out", "report"))
    assert "success at the end" in (folder / "report" / "results.md").read_text()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.factory=nowhere_at_all:Dot", "cannot be imported"),
        ("task.success.key=solved", "'solved' was in no step's info, which has is_success"),
        ("task.episode_env_steps=null", "has no time limit of its own"),
    ],
)
@pytest.mark.slow
def test_a_world_that_cannot_be_had_is_one_message_and_exit_code_2(folder, override, message):
    process = likert(folder, "run", "dot.yaml", override)
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 2 and message in text and "Traceback" not in text, text
    assert not list((folder / "runs").rglob("metrics.jsonl")) and not list((folder / "ratings").rglob("*.parquet"))
