"""A rater that changes in the middle of a run is seen by what was asked before; asking again changes nothing else."""

import pytest
from pydantic import ValidationError

from algorithms.images import encode_png
from orchestrator.errors import RatingsFailing, SettingsError
from orchestrator.kinds import read_run
from orchestrator.online.asking.known import known_canaries
from orchestrator.online.report import drifts
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.store import RatingStore
from orchestrator.runs.folder import RunFolder
from tests.fakes.toy_reach import CountingServer, draw
from tests.fakes.toy_run import ToyRun, toy_experiment

pytestmark = pytest.mark.usefixtures("actors")


class Drifting(CountingServer):
    """After ten questions each answer is the next level, and after the last the first."""

    def _answer(self, prompt, images, choices):
        answer = super()._answer(prompt, images, choices)
        return choices[(choices.index(answer) + 1) % len(choices)] if self.num_asked > 10 else answer


def watched(folder, name="toy", number=4, **canaries):
    tree = toy_experiment(folder).model_dump() | {"name": name, "total_env_steps": 600}
    tree["ratings_folder"] = folder / f"ratings_of_{name}"
    tree["feedback"] |= {"per_session": 10, "canaries": {"number": number} | canaries}
    tree["reward_model"]["max_epochs"] = 5
    return OnlineExperiment.model_validate(tree)


def test_a_rater_that_drifts_stops_the_run_and_a_resumed_run_is_as_if_nobody_had_watched(tmp_path, actors):
    plain = ToyRun(watched(tmp_path, "plain", number=0)).run()
    experiment = watched(tmp_path, on_drift="stop")
    with pytest.raises(RatingsFailing, match=r"100% of 4 canaries .* moved by 1.00 of 1; neither .*on_drift=warn"):
        ToyRun(experiment, server_class=Drifting).run()
    assert len(RatingStore(experiment.ratings_folder)) == 10, "nothing was asked for the session, nor stored"
    mended = ToyRun(experiment).run(resume=True)
    assert mended.num_asked == 4 + 10 and mended.fingerprint() == plain.fingerprint()
    shown = read_run(experiment.run_folder)
    assert shown.series("canary/changed").values.tolist()[-1] == 0.0
    assert shown.series("canary/shift").values.tolist()[-1] == 0.0
    assert plain.num_asked == 20 and not len(read_run(plain.experiment.run_folder).series("canary/asked"))


@pytest.mark.slow
def test_a_warning_names_what_changed_and_the_report_tells_it(tmp_path, actors, monkeypatch):
    notes = []
    monkeypatch.setattr(RunFolder, "note", lambda self, text: notes.append(text))
    experiment = watched(tmp_path)
    run = ToyRun(experiment, server_class=Drifting).run()
    assert len(run.labels) == 20 and len(RatingStore(experiment.ratings_folder)) == 20
    (note,) = [text for text in notes if "drifted" in text]
    assert "100% of 4 canaries are answered otherwise than before" in note
    assert drifts([read_run(experiment.run_folder)]) == (
        "\nThe rater has drifted: of the canaries of toy-seed0, 100% were answered otherwise at 400 steps.\n"
    )


def test_scores_have_no_sessions_to_watch_before(tmp_path):
    tree = watched(tmp_path).model_dump() | {"reward": {"source": "scores"}}
    with pytest.raises(ValidationError, match=r"feedback.canaries.number 4: .* 'scores' has none"):
        OnlineExperiment.model_validate(tree)


def known_folder(folder, pictures):
    """A file for each position of the dot, by level from 1."""
    for level, positions in pictures.items():
        (folder / level).mkdir(parents=True, exist_ok=True)
        for position in positions:
            (folder / level / f"at{position}.png").write_bytes(encode_png(draw(position)))
    return folder


def test_pictures_of_known_levels_are_asked_before_each_session_and_stop_a_rater_that_is_wrong(tmp_path, actors):
    plain = ToyRun(watched(tmp_path, "plain", number=0)).run()
    # What the toy's rater says of these is found out first: a dot on the left is bad, and on the right good.
    right = known_folder(tmp_path / "right", {"1": (-0.9, -0.8), "3": (0.9, 0.95)})
    fine = ToyRun(watched(tmp_path, "fine", number=0, known=str(right), on_drift="stop")).run()
    assert fine.fingerprint() == plain.fingerprint(), "nothing is learned from them"
    assert len(RatingStore(fine.experiment.ratings_folder)) == 20 and fine.num_asked == 20 + 2 * 4
    assert read_run(fine.experiment.run_folder).series("canary/known_wrong").values.tolist() == [0.0, 0.0]
    # Three of four are said to be what they are not.
    wrong = known_folder(tmp_path / "wrong", {"1": (-0.9,), "3": (-0.8, -0.7, -0.6)})
    told = r"wrong too often: 75% of 4 pictures .* most often 'Good' is called 'Bad', 3 times .*_wrong_share 0.2"
    stopped = watched(tmp_path, "stopped", number=0, known=str(wrong), on_drift="stop")
    with pytest.raises(RatingsFailing, match=told):
        ToyRun(stopped).run()
    assert not len(RatingStore(stopped.ratings_folder)), "nothing was asked for the session, nor stored"
    tolerant = stopped.model_copy(update={"feedback": stopped.feedback.model_copy(update={
        "canaries": stopped.feedback.canaries.model_copy(update={"tolerated_wrong_share": 0.75}),
    })})  # fmt: skip
    assert ToyRun(tolerant).run(resume=True).fingerprint() == plain.fingerprint()
    run = read_run(watched(tmp_path, "stopped").run_folder)
    assert drifts([run]) == "", "it was tolerated"


@pytest.mark.parametrize(
    ("files", "rule"),
    [
        ({}, "is no folder"),
        ({"4/a.png": b""}, "its folder '4' is no level; the rater is asked on 3"),
        ({"1/a.txt": b""}, "there is no picture, such as 1/first.png"),
        ({"1/a.png": b"GIF"}, "a.png is no picture in PNG"),
    ],
)
def test_a_folder_of_known_levels_that_cannot_be_asked_about(tmp_path, files, rule):
    for name, content in files.items():
        (tmp_path / "known" / name).parent.mkdir(parents=True)
        (tmp_path / "known" / name).write_bytes(content)
    with pytest.raises(SettingsError, match=rf"feedback.canaries.known .*{rule}"):
        known_canaries(watched(tmp_path, known=str(tmp_path / "known")))


def test_nobody_is_asked_of_known_pictures_without_a_folder_or_about_sequences(tmp_path):
    assert known_canaries(watched(tmp_path)) == []
    tree = watched(tmp_path, known="pictures").model_dump()
    tree["feedback"]["segment"] = {"kind": "trajectory", "num_frames": 2, "num_agent_steps": 2}
    scores = watched(tmp_path, number=0, known="pictures").model_dump() | {"reward": {"source": "scores"}}
    for change in ({}, scores):
        with pytest.raises(ValidationError, match=r"feedback.canaries.known 'pictures'"):
            OnlineExperiment.model_validate(tree | change)
