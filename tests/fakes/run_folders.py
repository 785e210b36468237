"""Folders of online runs, made by hand."""

import pytest

from orchestrator.kinds import load_experiment, read_run
from orchestrator.settings.loading import settings_as_yaml
from orchestrator.storage.writing import append_json_line, write_text


@pytest.fixture
def make_run(tmp_path):
    """Makes the folder of a run whose evaluations at 1,000, 2,000, ... had these successes, and told these done."""

    def make(
        name="demo", seed=0, successes=(0.0, 0.5, 1.0), random=0.2, task="drawer_close", total=3000, *more, done=()
    ):
        (tmp_path / "e.yaml").write_text(f"name: {name}\ntask: {task}\nreward_model: {{image_px: 56}}")
        overrides = [f"seed={seed}", f"runs_folder={tmp_path / 'runs'}", f"total_env_steps={total}", *more]
        experiment = load_experiment(tmp_path / "e.yaml", ["feedback.first_env_steps=1000", *overrides])
        folder = experiment.run_folder
        write_text(folder / "settings.yaml", settings_as_yaml(experiment))
        if random is not None:
            controls = {"eval/random_success": random, "eval/random_success_last_step": random / 2}
            append_json_line(folder / "metrics.jsonl", {"env_step": 0, "time": 1.0, **controls})
        for index, success in enumerate(successes):
            row = {
                "env_step": 1000 * (index + 1),
                "time": 2.0,
                "eval/success": success,
                "eval/success_last_step": success / 2,
                "rating/asked": 50 * (index + 1),
                "rating/level_1": 30 - index,
                "rating/level_2": 15,
                "rating/level_3": 5 + index,
                "reward/accuracy": 0.9,
            }
            if index < len(done) and done[index] is not None:
                row |= {"eval/done": done[index], "eval/done_last_step": done[index] - 0.1}
            append_json_line(folder / "metrics.jsonl", row)
        return read_run(folder)

    return make
