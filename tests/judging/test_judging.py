"""Judging raters: equal seeds, negatives, rates and intervals by hand, failures, the command's tables."""

import csv

import numpy as np
import pytest
from typer.testing import CliRunner

from actors.rating.backend import Reply
from algorithms.ratings import RaterIdentity, RatingFailure
from algorithms.scores import Scores
from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.errors import RatingsFailing, SettingsError
from orchestrator.judging.asking import COMPLETED, Verdict, cases_of, draw_trajectories
from orchestrator.judging.command import judge_rater
from orchestrator.judging.report import RaterResult, write_judgement
from orchestrator.judging.settings import NEGATIVES, JudgeSettings
from orchestrator.ratings.score_store import ScoreStore
from orchestrator.reports.intervals import mean_share_interval, wilson_interval
from tests.fakes.toy_labels import RATER, served, toy_episode, toy_set

FAKE = RaterIdentity("function", "fake")


def settings_of(folder, **more):
    rater = RATER.model_copy(update={"mode": "answer_only"})
    given = {"raters": {"one": rater}, "num_trajectories": 6, "negatives": NEGATIVES, **more}
    return JudgeSettings(data=folder / "set", ratings_folder=folder / "store", out=folder / "out", **given)


def test_wilson_s_interval_by_hand():
    # 8 of 10, z = 1.96: centre (0.8 + 0.19208) / 1.38416, half width 1.96 / 1.38416 * sqrt(0.016 + 0.009604).
    found = wilson_interval(8, 10)
    assert (found.mean, found.low, found.high) == pytest.approx((0.8, 0.4901, 0.9433), abs=1e-3)
    assert wilson_interval(0, 5).low == 0.0 and wilson_interval(0, 5).high == pytest.approx(0.4345, abs=1e-3)
    assert wilson_interval(5, 5).high == 1.0
    for bad in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="is no share"):
            wilson_interval(*bad)


def test_the_interval_of_a_mean_of_shares():
    found = mean_share_interval([(90, 100), (200, 400)])
    # Wilson: 0.9 [0.8256, 0.9448] and 0.5 [0.4513, 0.5487]; half the roots of 0.0744^2 + 0.0487^2, 0.0448^2 + 0.0487^2.
    assert (found.mean, found.low, found.high) == pytest.approx((0.7, 0.6555, 0.7331), abs=1e-3)
    # Two shares of 1 and of 0 are not sure.
    sure = mean_share_interval([(5, 5), (0, 15)])
    assert sure.mean == 0.5 and 0.25 < sure.low < 0.45 and 0.55 < sure.high < 0.7
    assert mean_share_interval([(7, 9)]) == wilson_interval(7, 9)
    for bad in ([], [(0, 0)]):
        with pytest.raises(ValueError, match="share"):
            mean_share_interval(bad)


def test_equal_seeds_draw_equal_trajectories(tmp_path):
    dataset = toy_set(tmp_path / "set", [4] * 30)

    def drawn(**more):
        return draw_trajectories(dataset, settings_of(tmp_path, **more))

    first = drawn()
    assert len({one.episode_id for one in first}) == 6 and first == drawn() != drawn(seed=1)
    own = {one.episode_id: one.instruction for one in dataset.episodes(frames=False)}
    assert all(one.wrong_instruction != own[one.episode_id] for one in first)
    assert all(one.wrong_instruction in own.values() for one in first)
    with pytest.raises(SettingsError, match=r"only 30 trajectories .* completed their instruction; ask for 30"):
        drawn(num_trajectories=31)


def test_what_failed_is_not_drawn_and_wrong_instructions_need_others(tmp_path):
    from orchestrator.data.writer import DatasetWriter
    from tests.fakes.toy_labels import INFO

    with DatasetWriter(tmp_path / "set", INFO) as writer:
        for number in range(8):
            one = vars(toy_episode(number, 4)) | {"instruction": "reach"}
            if number % 2:
                one["sparse_rewards"] = np.zeros(4, dtype=np.float32)
            writer.write(type(toy_episode(0, 1))(**one))
    dataset = TrajectoryDataset(tmp_path / "set")
    kept = draw_trajectories(dataset, settings_of(tmp_path, num_trajectories=4, negatives=("reversed",)))
    assert [one.episode_id for one in kept] == ["e000", "e002", "e004", "e006"]
    with pytest.raises(SettingsError, match="have the same instruction; leave it out"):
        draw_trajectories(dataset, settings_of(tmp_path, num_trajectories=4))


def test_each_negative_shows_what_it_says(tmp_path):
    one = toy_episode(1, 10)

    def shown(mode="answer_only", **more):
        cases = cases_of(one, "something else", settings_of(tmp_path, num_frames=3, **more), mode)
        return {case.name: ([one.frames.index(png) for png in case.request.images], case.request) for case in cases}

    found = shown()
    assert {name: frames for name, (frames, _) in found.items()} == {
        "completed": [0, 5, 10], "wrong_instruction": [0, 5, 10], "truncated": [0, 3, 5], "reversed": [10, 5, 0],
    }  # fmt: skip
    assert {name for name, (_, request) in found.items() if request.instruction == "something else"} == {
        "wrong_instruction"
    }
    assert {request.mode for _, request in found.values()} == {"verdict"}
    assert shown(truncated_share=0.0)["truncated"][0] == [0] and shown(truncated_share=0.99)["truncated"][0][-1] == 9
    assert set(shown(negatives=("truncated",))) == {COMPLETED, "truncated"}
    assert shown("two_turn")[COMPLETED][1].mode == "verdict_two_turn"


def always(letter):
    return lambda prompt, images, choices: Reply(letter, (float(letter == "A"), float(letter == "B")), 40, 1)


def judged(folder, function, **more):
    settings = settings_of(folder, **more)
    dataset = TrajectoryDataset(settings.data)
    drawn = draw_trajectories(dataset, settings)
    with served(settings.ratings_folder, function) as (service, identity):
        return settings, judge_rater(settings, "one", dataset, drawn, service, identity)


def test_whoever_always_says_yes_has_full_accuracy_and_no_more_than_chance(tmp_path):
    toy_set(tmp_path / "set", [5] * 12)
    _, result = judged(tmp_path, always("A"))
    assert len(result.verdicts) == 24 and result.says_completed(COMPLETED).mean == 1.0
    assert result.false_positives().mean == 1.0 and result.balanced_accuracy().mean == 0.5
    assert [one.case for one in result.verdicts[:4]] == [COMPLETED, *NEGATIVES]
    assert (result.per_answer("prompt_tokens"), result.per_answer("completion_tokens")) == (40.0, 1.0)
    assert result.per_answer("latency_s") > 0
    # Nothing is asked twice, and no label comes of it.
    _, again = judged(tmp_path, lambda *_: pytest.fail("asked again"))
    assert again.verdicts == result.verdicts
    one = next(TrajectoryDataset(tmp_path / "set").episodes())
    assert not one.rewards and not one.scores
    assert {row["mode"] for row in ScoreStore(tmp_path / "store").rows(["mode"])} == {"verdict"}


def test_whoever_sees_the_last_frame_is_right(tmp_path):
    dataset = toy_set(tmp_path / "set", [5] * 12)
    lasts = {one.frames[-1]: one.instruction for one in dataset.episodes()}

    def sees(prompt, images, choices):
        return "A" if lasts.get(images[-1], "?") + "." in prompt.text else "B"

    _, result = judged(tmp_path, sees)
    assert result.balanced_accuracy().mean == 1.0 and result.false_positives().mean == 0.0
    assert all(one.is_right for one in result.verdicts)


def test_a_failure_is_no_answer(tmp_path):
    toy_set(tmp_path / "set", [5] * 12)

    def confused(prompt, images, choices):
        return "perhaps" if len(images) == 3 else "A"

    # Half of five actions and one frame more are three pictures: what is truncated fails.
    settings, result = judged(tmp_path, confused, num_trajectories=4)
    assert result.num_failed == 4 and result.says_completed("truncated") is None
    assert result.false_positives().mean == 1.0 and len(result.answered(COMPLETED)) == 4
    assert result.per_answer("prompt_tokens") == 0.0
    table = write_judgement([result], settings)[0].read_text()
    assert "4 of 16" in table
    toy_set(tmp_path / "many" / "set", [5] * 15)
    with pytest.raises(RatingsFailing, match="questions got no answer"):
        judged(tmp_path / "many", lambda *_: "perhaps", num_trajectories=15)


def scores(completed):
    return Scores("key", (float(completed),), ((0.75, 0.25),), "", 10, 2, 1.5)


def test_rates_by_hand_and_tables(tmp_path):
    failure = RatingFailure("key", "timeout", "", 1)
    outcomes = {COMPLETED: [1, 1, 1, 0], "wrong_instruction": [0, 0, 1, None], "reversed": [0, 0, 0, 1]}
    verdicts = [
        Verdict(f"e{index}", case, "reach", failure if said is None else scores(said))
        for case, saids in outcomes.items()
        for index, said in enumerate(saids)
    ]
    settings = settings_of(tmp_path, num_trajectories=4, negatives=("wrong_instruction", "reversed"))
    result = RaterResult("one", FAKE, verdicts)
    assert result.says_completed(COMPLETED).mean == 0.75
    assert result.says_completed("wrong_instruction").mean == pytest.approx(1 / 3)
    assert result.false_positives().mean == pytest.approx(2 / 7)
    assert result.balanced_accuracy().mean == pytest.approx((3 / 4 + 5 / 7) / 2)
    paths = write_judgement([result, RaterResult("two", FAKE, [])], settings)
    assert [path.name for path in paths] == ["table.md", "table.csv", "answers.csv", "judge.png"]
    first, second = csv.DictReader(paths[1].open())
    assert float(first["accuracy"]) == 0.75 and float(first["seconds"]) == 1.5 and first["num_failed"] == "1"
    assert float(first["accuracy_low"]) == pytest.approx(wilson_interval(3, 4).low)
    assert second["accuracy"] == second["seconds"] == ""
    answers = list(csv.DictReader(paths[2].open()))
    assert len(answers) == 12 and answers[7]["failure"] == "timeout" and answers[7]["says_completed"] == ""
    assert (answers[3]["says_completed"], answers[3]["right"], answers[3]["probability"]) == ("0", "0", "0.75")
    assert "| one | 0.75 [" in paths[0].read_text() and "false positives: wrong instruction" in paths[0].read_text()
    assert paths[3].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("raters={}", "raters is empty"),
        ("raters={Bad Name: {}}", "must be text of the form"),
        ("raters.one.modell=pocket", "raters.one.modell: there is no such setting; did you mean 'model'"),
        ("negatives=[revers]", "must be one of 'wrong_instruction', 'truncated', 'reversed'"),
        ("negatives=[reversed, reversed]", "names one twice"),
        ("truncated_share=1", "truncated_share = 1: must be below 1.0"),
        ("num_trajectories=100", "only 4 trajectories"),
        ("raters.one.model=/no/such/model", "rater.model '/no/such/model'"),
        ("data=no/such/set", "is no trajectory data set"),
    ],
)
def test_bad_settings_exit_with_2(tmp_path, override, message):
    toy_set(tmp_path / "set", [5] * 4)
    file = tmp_path / "judge.yaml"
    file.write_text(
        f"kind: judging\ndata: {tmp_path / 'set'}\nraters: {{one: {{model: pocket}}}}\nnum_trajectories: 4\n"
        f"ratings_folder: {tmp_path / 'store'}\nout: {tmp_path / 'out'}\n"
    )
    done = CliRunner().invoke(app, ["judge", str(file), override])
    assert done.exit_code == 2 and message in done.stderr, done.output
