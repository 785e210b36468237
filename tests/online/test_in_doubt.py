"""Answers first, and an analysis only where they are in doubt."""

import re

import numpy as np
import pytest
from pydantic import ValidationError

from actors.rating.backend import Reply
from algorithms.images import decode_png
from orchestrator.errors import RatingsFailing
from orchestrator.kinds import read_run
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.store import RatingStore
from tests.fakes.toy_reach import IMAGE_PX, CountingServer, column_of
from tests.fakes.toy_run import ToyRun, toy_experiment

UNSURE_FROM = 7

pytestmark = pytest.mark.usefixtures("actors")


class Thoughtful(CountingServer):
    """In one turn it finds everything bad, and is unsure beyond a column; after an analysis it is right."""

    def _answer(self, prompt, images, choices):
        self.num_asked += bool(choices)
        if not choices:
            return f"the dot is in column {decode_png(images[0])[0, :, 0].argmax()}"
        if not images:
            column = int(re.search(r"column (\d+)", prompt.text)[1])
            return choices[len(choices) * column // IMAGE_PX]
        is_left = decode_png(images[0])[0, :, 0].argmax() < UNSURE_FROM
        return Reply(choices[0], (0.9, 0.05, 0.05) if is_left else (0.5, 0.3, 0.2))


def thrifty(folder, mode="two_turn", **changes):
    tree = toy_experiment(folder).model_dump() | {"total_env_steps": 400} | changes
    tree["feedback"] |= {"per_session": 20, "analyse_below": 0.7, "explore_until_two_levels": False}
    return OnlineExperiment.model_validate(tree | {"rater": {"mode": mode}})


def test_what_is_sure_is_not_analysed_and_what_is_analysed_counts(tmp_path, actors):
    run = ToyRun(thrifty(tmp_path), server_class=Thoughtful).run()
    columns = [column_of(float(position)) for position in run.labels.observations[:, 0, 0]]
    in_doubt = np.array(columns) >= UNSURE_FROM
    assert len(columns) == 20 and 0 < in_doubt.sum() < 20
    right = [3 * column // IMAGE_PX for column in columns]
    assert run.labels.ratings.tolist() == np.where(in_doubt, right, 0).tolist()
    # Each was asked in one turn, and those in doubt a second time; both answers are kept, and the later one is learned.
    store = RatingStore(tmp_path / "ratings")
    assert run.num_asked == len(store) == 20 + in_doubt.sum()
    stored = store.load(run.labels.keys)
    assert [one.request.mode == "two_turn" for one in stored] == in_doubt.tolist()
    shown = read_run(run.experiment.run_folder)
    assert shown.series("rating/analysed").values.tolist() == [in_doubt.mean()]
    assert shown.series("rating/asked").values.tolist() == [20]
    again = ToyRun(thrifty(tmp_path, name="again"), server_class=Thoughtful).run()
    assert again.num_asked == 0 and again.labels.keys == run.labels.keys
    assert again.loop.progress.num_from_store == 20


def test_a_rater_that_fails_in_both_turns_stops_the_run(tmp_path, actors):
    with pytest.raises(RatingsFailing, match="20 of 20 questions"):
        ToyRun(thrifty(tmp_path), broken=True).run()


def test_where_nothing_is_analysed_nothing_can_be_spared(tmp_path):
    with pytest.raises(ValidationError, match=r"analyse_below 0.7: .* rater.mode is 'answer_only'"):
        thrifty(tmp_path, mode="answer_only")
