"""docs/loss.md: its examples are executed as they stand, and what it says of settings and of the ablations is so."""

import doctest
import re
from pathlib import Path

import pytest

from orchestrator.sweeps.search import load_sweep

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "loss.md").read_text()
SWEEPS = ROOT / "tune_configs" / "sweeps"
CHANGED = {
    "feedback.num_ratings", "feedback.per_session", "feedback.budget", "reward_model.loss", "reward_model.stratified",
    "reward_model.class_weights", "reward_model.boundaries", "reward_model.label_smoothing", "reward_model.num_members",
}  # fmt: skip
"""What the ablations are about."""


def test_the_examples_come_out_as_the_page_says():
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.M | re.S)
    examples = doctest.DocTestParser().get_doctest("\n".join(blocks), {}, "docs/loss.md", "docs/loss.md", 0)
    told = []
    results = doctest.DocTestRunner().run(examples, out=told.append)
    assert results.attempted > 20 and not results.failed, "".join(told)


@pytest.mark.parametrize("name", ["ablation", "ablation_pocket"])
def test_every_cell_of_the_ablations_is_an_experiment_of_its_own(name):
    plan = load_sweep(SWEEPS / f"{name}.yaml")
    seeds = {trial.experiment.seed for trial in plan.trials}
    assert len(plan.trials) == len(plan.cells) * len(seeds) and len(plan.cells) == 16 and len(seeds) >= 3
    named_apart = {"name", "seed", "runs_folder"}
    first = [trial.experiment for trial in plan.trials[: len(plan.cells)]]
    assert [one.seed for one in first] == [first[0].seed] * 16, "a budget leaves whole cells"
    assert len({one.model_dump_json(exclude=named_apart) for one in first}) == 16, "no two cells are alike"
    cells = {one.name.removeprefix("variant-"): one for one in first}
    full = cells["full"]
    for cell, one in cells.items():
        changed = {
            f"{block}.{field}"
            for block in type(one).model_fields.keys() - named_apart
            for field in getattr(getattr(one, block), "model_fields_set", ())
            if getattr(getattr(one, block), field) != getattr(getattr(full, block), field)
        }
        assert changed <= CHANGED and bool(changed) == (cell != "full"), cell
    assert {one.feedback.num_ratings for one in first} == {2, 3, 4, 5}
    rbrl = cells["rbrl"].reward_model
    assert (rbrl.loss, rbrl.stratified, rbrl.class_weights, rbrl.boundaries) == (
        "cross_entropy", "off", "none", "below",
    )  # fmt: skip
    # As many ratings are asked as the name says: budget and session fit.
    half, fifth = (sum(_asked(cells[cell])) for cell in ("ratings_half", "ratings_fifth"))
    asked = sum(_asked(full))
    assert half / asked == pytest.approx(0.5, abs=0.01) and fifth / asked == pytest.approx(0.2, abs=0.01)


def _asked(experiment):
    """Ratings of each session of a run."""
    feedback = experiment.feedback
    points = range(feedback.first_env_steps, experiment.total_env_steps, feedback.interval_env_steps)
    left = feedback.budget
    for _ in points:
        yield min(left, feedback.per_session)
        left -= min(left, feedback.per_session)


def test_what_the_page_names_is_there():
    variants = {cell.removeprefix("variant-") for cell in load_sweep(SWEEPS / "ablation.yaml").cells}
    table = PAGE.split("## What is called what")[1].split("`likert sweep")[0]
    cells = [row.split("|")[-2] for row in table.strip().splitlines()[2:]]
    named = {name for cell in cells for name in re.findall(r"`([a-z0-9_]+)`", cell)}
    assert named == variants - {"full"}
