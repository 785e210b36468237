"""The table of offline runs, worked by hand, and the figure."""

import json

import numpy as np
import pytest

from orchestrator.data.metadata import write_info
from orchestrator.data.schema import ActionSpace, DatasetInfo
from orchestrator.errors import SettingsError
from orchestrator.kinds import find_runs, write_report
from orchestrator.offline.report import comparisons, markdown, methods_of
from orchestrator.offline.settings import OfflineExperiment
from orchestrator.reports.intervals import ratio_interval
from orchestrator.runs.layout import METRICS_FILE, SETTINGS_FILE
from orchestrator.settings.loading import settings_as_yaml

# Proportions completed by seed, with the start as recorded and with a randomised one.
RETURNS = {
    "sparse": ([0.5, 0.6], [0.25, 0.3]),
    "clip": ([0.4, 0.4], [0.2, 0.4]),
    "rg_vlm": ([0.6, 0.8], [0.6, 0.6]),
    "rg_vlm_and_sparse": ([0.8, 0.8], [0.6, 0.8]),
    "cloning": ([0.3, 0.3], [0.3, 0.3]),
}
REWARDS = {
    "clip": {"labeller": "clip"},
    "rg_vlm": {"labeller": "rg_vlm"},
    "rg_vlm_and_sparse": {"labeller": "rg_vlm", "sparse": "sum"},
    "cost": {"labeller": "rg_vlm", "shift": -1.0},
    "rater": {"labeller": "rg_vlm", "middle": 0.7, "sparse": "sum"},
    **{f"wrong_{n}": {"labeller": f"truth_{n}", "middle": 0.5, "sparse": "sum"} for n in (0, 20, 40)},
    "truth_published": {"labeller": "truth_0"},
}


def write_run(runs, name, seed, fixed, randomised, **changes):
    experiment = OfflineExperiment.model_validate(
        {
            "kind": "offline", "name": name, "seed": seed, "total_updates": 100, "runs_folder": runs,
            "data": {"path": changes.pop("data", "set"), "reward": REWARDS.get(name, {})},
            "policy": {"actor_loss": "cloning" if name == "cloning" else "advantage_weighted"},
            "evaluation": {"num_tasks": 4, "chain_lengths": [1, 2]} | changes.pop("evaluation", {}),
        }
    )  # fmt: skip
    experiment.run_folder.mkdir(parents=True)
    (experiment.run_folder / SETTINGS_FILE).write_text(settings_as_yaml(experiment))
    row = {"env_step": changes.get("reached", 100), "time": 0.0}
    for start, value in (("fixed", fixed), ("randomised", randomised)):
        if start in experiment.evaluation.starts:
            row[f"eval/{start}_proportion"] = value
            row |= {f"eval/{start}_proportion_of_1": value + 0.1, f"eval/{start}_proportion_of_2": value - 0.1}
    control = {"env_step": 0, "time": 0.0, "eval/untrained_fixed_proportion": 0.01}
    (experiment.run_folder / METRICS_FILE).write_text(f"{json.dumps(control)}\n{json.dumps(row)}\n")


@pytest.fixture
def runs(tmp_path):
    for name, (fixed, randomised) in RETURNS.items():
        for seed in (0, 1):
            write_run(tmp_path / "runs", name, seed, fixed[seed], randomised[seed])
    return tmp_path / "runs"


def test_the_table_holds_every_method_start_and_length(runs, tmp_path):
    paths = write_report([runs], tmp_path / "out")
    assert {path.name for path in paths} == {"chains.md", "chains.csv", "chains.png"}
    text = (tmp_path / "out" / "chains.md").read_text()
    # Half of sparse's return is lost with randomised starts, for each seed, so that there is no doubt about it.
    assert "| sparse | sparse | 2 | 0.55 [0.50, 0.60] | 0.28 [0.25, 0.30] | 50% [50%, 50%] |" in text
    assert "| rg_vlm_and_sparse | rg_vlm + sparse | 2 | 0.80 [0.80, 0.80] |" in text
    assert "| cloning | none: behaviour cloning | 2 |" in text
    assert (
        "By chain length, start as recorded:" in text and "| sparse | 0.65 [0.60, 0.70] | 0.45 [0.40, 0.50] |" in text
    )
    table = (tmp_path / "out" / "chains.csv").read_text().splitlines()
    assert len(table) == 1 + 5 * 2 * 3
    assert "sparse,sparse,False,fixed,all,2,0.55,0.5,0.6" in table
    assert (tmp_path / "out" / "chains.png").read_bytes().startswith(b"\x89PNG")
    assert (runs / "sparse-seed0" / "figures" / "chains.png").exists()


def test_the_paper_s_ratios_are_of_the_right_methods(runs):
    said = comparisons(methods_of(find_runs([runs])))
    assert len(said) == 4
    # 0.8 / 0.7, 0.8 / 0.4, 0.8 / 0.55 and 0.7 / 0.55.
    assert said[0].startswith(
        "RG-VLM + sparse over RG-VLM (rg_vlm_and_sparse / rg_vlm, start as recorded): 1.14 [1.00, 1.33]"
    )
    assert "best other VLM labeller (rg_vlm_and_sparse / clip, start as recorded): 2.00 [2.00, 2.00]" in said[1]
    assert "RG-VLM + sparse over sparse (rg_vlm_and_sparse / sparse, start as recorded): 1.45" in said[2]
    assert "RG-VLM over sparse (rg_vlm / sparse, start as recorded): 1.27" in said[3]


def test_altered_rewards_are_told_and_have_no_part_in_the_paper_s_ratios(runs):
    before = comparisons(methods_of(find_runs([runs])))
    for seed in (0, 1):
        write_run(runs, "cost", seed, 0.9, 0.9)
    methods = methods_of(find_runs([runs]))
    *same, last = comparisons(methods)
    # 0.9 / 0.55.
    assert same == before and last.startswith("RG-VLM, shift -1, over sparse (cost / sparse, start as recorded): 1.64")
    assert "| cost | rg_vlm, shift -1 | 2 |" in markdown(methods)


def test_without_another_labeller_the_ratio_to_it_is_left_out(tmp_path):
    for name in ("sparse", "rg_vlm"):
        write_run(tmp_path / "runs", name, 0, 0.5, 0.5, reached=50)
    methods = methods_of(find_runs([tmp_path / "runs"]))
    assert [text.split(" (")[0] for text in comparisons(methods)] == ["RG-VLM over sparse"]
    assert not any(one.complete for one in methods)


def test_a_return_of_zero_has_neither_drop_nor_ratio(tmp_path):
    for name in ("sparse", "rg_vlm"):
        write_run(tmp_path / "runs", name, 0, 0.0, 0.0)
    methods = methods_of(find_runs([tmp_path / "runs"]))
    assert comparisons(methods) == [] and methods[0].drop is None
    write_report([tmp_path / "runs"], tmp_path / "out")
    assert (
        "| sparse | sparse | 1 | 0.00 [0.00, 0.00] | 0.00 [0.00, 0.00] |  |"
        in (tmp_path / "out" / "chains.md").read_text()
    )


def test_one_kind_of_start_is_enough(tmp_path):
    write_run(tmp_path / "runs", "sparse", 0, 0.5, 0.5, evaluation={"starts": ["randomised"]})
    write_report([tmp_path / "runs"], tmp_path / "out")
    assert "| sparse | sparse | 1 |  | 0.50 [0.50, 0.50] |  |" in (tmp_path / "out" / "chains.md").read_text()


def test_runs_that_are_judged_by_different_tasks_are_not_compared(runs):
    write_run(runs, "other", 0, 0.5, 0.5, evaluation={"seed": 7})
    with pytest.raises(SettingsError, match="judged by different tasks"):
        write_report([runs], runs)


def test_a_ratio_s_interval_draws_paired_seeds_together():
    over, under = np.array([0.2, 0.4, 0.6]), np.array([0.4, 0.8, 1.2])
    paired, apart = (ratio_interval(over, under, paired=how) for how in (True, False))
    assert (paired.mean, paired.low, paired.high) == pytest.approx((0.5, 0.5, 0.5))
    assert apart.mean == pytest.approx(0.5) and apart.low < 0.4 < 0.6 < apart.high
    with pytest.raises(ValueError, match="mean of 0"):
        ratio_interval(over, np.zeros(3), paired=True)
    with pytest.raises(ValueError, match="as many of both"):
        ratio_interval(over, under[:2], paired=True)


def test_how_right_scores_must_be_is_a_curve_beside_what_the_rater_keeps(runs, tmp_path):
    written = {"labeller": {"kind": "truth", "scale": "graded", "wrong_share": 0.0, "seed": 0}}
    info = DatasetInfo(
        name="set", source="babyai", actions=ActionSpace(kind="discrete", names=("go",)),
        labels={f"truth_{n}": {"labeller": written["labeller"] | {"wrong_share": n / 100}} for n in (0, 20, 40)},
    )  # fmt: skip
    (tmp_path / "set").mkdir()
    write_info(tmp_path / "set", info)
    # Sparse has 0.55: the right scores gain 0.4, and the rater keeps half of it.
    for name, value in (
        ("wrong_0", 0.95),
        ("wrong_20", 0.85),
        ("wrong_40", 0.6),
        ("truth_published", 0.1),
        ("rater", 0.75),
    ):
        for seed in (0, 1):
            write_run(runs, name, seed, value, value, data=tmp_path / "set")
    write_report([runs], tmp_path / "out")
    text = (tmp_path / "out" / "wrong_scores.md").read_text()
    assert "truth + sparse, middle 0.5, so many of its scores" in text
    rows = [line for line in text.splitlines() if line.startswith("| ") and "%" in line]
    assert [row.split(" | ")[0] for row in rows] == ["| 0%", "| 20%", "| 40%"]
    assert rows[0].startswith("| 0% | 0.95 [0.95, 0.95] | 1.73 [")
    assert "- rater keeps 0.50 [" in text and "truth_published" not in text
    assert (tmp_path / "out" / "wrong_scores.png").read_bytes().startswith(b"\x89PNG")


def test_two_shares_or_a_set_that_is_gone_make_no_curve(runs, tmp_path):
    for name in ("wrong_0", "wrong_20", "wrong_40"):
        write_run(runs, name, 0, 0.5, 0.5, data=tmp_path / "gone")
    assert {path.name for path in write_report([runs], tmp_path / "out")} == {"chains.md", "chains.csv", "chains.png"}
