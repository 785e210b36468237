"""People's ratings beside the rater's: numbers by hand, and a run that is killed and hears the same again."""

import json
import shutil
import uuid

import numpy as np
import pytest
from pydantic import ValidationError

from algorithms.ratings import RaterIdentity, Rating
from algorithms.settings import PeopleSettings
from algorithms.soft_labels import with_people
from orchestrator.kinds import read_run
from orchestrator.online.asking.labels import Labels, no_labels
from orchestrator.online.asking.people import People
from orchestrator.online.settings import OnlineExperiment
from orchestrator.ratings.people.opinions import Opinion, PeopleStore
from orchestrator.ratings.store import RatingStore
from tests.fakes.small_store import IDENTITY, SAMPLING, question
from tests.fakes.toy_run import ToyRun, toy_experiment


def say(folder, row, person, level):
    """A level, or `cannot_tell` or `pass`."""
    said, given = ("level", level) if isinstance(level, int) else (level, None)
    return PeopleStore(folder).append(row, Opinion(uuid.uuid4().hex, person, said, given, False, 1.0))["opinion_id"]


def test_mixing_by_hand():
    own = np.array([[1.0, 0.0, 0.0], [0.2, 0.6, 0.2], [0.2, 0.6, 0.2]], np.float32)
    votes = np.array([[0, 0, 0], [0, 0, 1], [1, 0, 2]], np.float32)
    replaced = with_people(own, votes, None)
    assert replaced == pytest.approx(np.array([[1, 0, 0], [0, 0, 1], [1 / 3, 0, 2 / 3]]), abs=1e-6)
    # Each person counts 2 beside the rater's 1: (0.2 + 2) / 3, and of three people (0.2 + 2) / 7 and (0.2 + 4) / 7.
    weighed = with_people(own, votes, 2.0)
    by_hand = [[1, 0, 0], [0.2 / 3, 0.6 / 3, 2.2 / 3], [2.2 / 7, 0.6 / 7, 4.2 / 7]]
    assert weighed == pytest.approx(np.array(by_hand), abs=1e-6)
    assert weighed.dtype == np.float32 and with_people(own[:0], votes[:0], 2.0).shape == (0, 3)


class Store:
    """Four pictures rated 0, 1, 2, 0 as `key0` and so on, of which people may say something."""

    def __init__(self, folder, **feedback):
        self.folder = folder
        self.store = RatingStore(folder)
        self.levels = [0, 1, 2, 0]
        answers = [
            (question(n), Rating(f"key{n}", level, (0.2, 0.6, 0.2), "", 1, 1, 0.1))
            for n, level in enumerate(self.levels)
        ]
        self.store.append(answers, IDENTITY, SAMPLING, "run-a")
        self.rows = {row["key"]: row for row in self.store.rows()}
        tree = toy_experiment(folder).model_dump()
        tree["feedback"] |= feedback
        self.people = People(OnlineExperiment.model_validate(tree), self.store)

    def say(self, number, person, level):
        return say(self.folder, self.rows[f"key{number}"], person, level)

    def hear(self, round_, recorded=None):
        self.people.hear(round_, recorded or {})

    def labels(self):
        told = np.tile(np.array([0.2, 0.6, 0.2], np.float32), (4, 1))
        ones = np.ones(4, np.float32)
        return Labels([f"key{n}" for n in range(4)], np.array(self.levels), told, np.zeros((4, 1, 1)), [""] * 4, ones)

    def among(self):
        mixed = self.people.among(self.labels())
        return mixed.ratings.tolist(), mixed.probabilities


def test_hard_labels_are_the_majority_and_of_a_tie_the_lower(tmp_path):
    store = Store(tmp_path, people={"use": "replace"})
    store.say(0, "Ada", 2), store.say(0, "Bob", 2), store.say(0, "Eve", 1)
    store.say(1, "Ada", 2), store.say(1, "Bob", 0)
    store.say(2, "Ada", "cannot_tell"), store.say(2, "Bob", "pass")
    store.hear(3)
    assert store.among()[0] == [2, 0, 2, 0]
    assert store.people.metrics(store.labels(), store.people.among(store.labels())) == {
        "people/labels": 2.0, "people/changed": 0.5,
    }  # fmt: skip


def test_weighed_hard_labels_hold_the_raters_level_for_sure(tmp_path):
    # The rater's level counts 1 although it was 20 % sure of it; a person 0.6, and two together more than the rater.
    store = Store(tmp_path, people={"use": "weigh", "weight": 0.6})
    store.say(0, "Ada", 2)
    store.say(2, "Ada", 1), store.say(2, "Bob", 1)
    store.hear(3)
    assert store.among()[0] == [0, 1, 1, 0]


def test_soft_labels_are_the_mean(tmp_path):
    store = Store(tmp_path, people={"use": "weigh", "weight": 1.0}, labels="soft")
    store.say(3, "Ada", 2), store.say(3, "Bob", 1)
    store.hear(3)
    ratings, probabilities = store.among()
    assert probabilities[3] == pytest.approx([0.2 / 3, 1.6 / 3, 1.2 / 3], abs=1e-6) and ratings == [0, 1, 2, 1]
    assert probabilities[:3] == pytest.approx(store.labels().probabilities[:3])


def test_levels_on_which_one_is_asked_become_those_that_are_learned(tmp_path):
    store = Store(tmp_path, people={"use": "replace"}, labels="soft", asked_levels=3, num_ratings=2)
    store.say(0, "Ada", 1)
    store.hear(3)
    # The middle third lies in either half alike.
    assert store.people.votes(["key0", "key1"]).tolist() == [pytest.approx([0.5, 0.5]), [0.0, 0.0]]


def test_of_each_person_the_latest_opinion_counts_whatever_model_it_was_beside(tmp_path):
    store = Store(tmp_path, people={"use": "replace"})
    store.store.append([(question(0), Rating("other", 1, (), "", 1, 1, 0.1))], RaterIdentity("m", "r"), SAMPLING, "b")
    (other,) = [row for row in store.store.rows() if row["key"] == "other"]
    store.say(0, "Ada", 1)
    say(tmp_path, other, "Ada", 2)
    store.say(1, "Bob", 0), store.say(1, "Bob", "pass")
    store.hear(3)
    assert store.among()[0] == [2, 1, 2, 0], "and who passes in the end has said nothing"


def test_a_session_that_is_held_again_hears_what_it_heard(tmp_path):
    store = Store(tmp_path, people={"use": "replace"})
    first = store.say(0, "Ada", 2)
    store.hear(3)
    assert store.people.heard == {"3": [first]}
    second = store.say(1, "Ada", 0)
    store.hear(3, {"3": [first], "5": []})
    assert store.among()[0] == [2, 1, 2, 0]
    store.hear(5, {"3": [first], "5": []})
    assert store.among()[0] == [2, 1, 2, 0]
    store.hear(7, {"3": [first], "5": []})
    assert store.people.heard == {"3": [first], "5": [], "7": [second]} and store.among()[0] == [2, 0, 2, 0]


def test_nobody_and_nothing(tmp_path):
    store = Store(tmp_path, people={"use": "replace"})
    store.hear(3)
    assert store.people.heard == {"3": []} and store.among()[0] == store.levels
    store.say(0, "Ada", 1)
    assert store.among()[0] == store.levels, "not heard yet"
    store.hear(5)
    nothing = no_labels(3)
    assert store.people.among(nothing) is nothing
    assert store.people.metrics(nothing, nothing) == {"people/labels": 0.0, "people/changed": 0.0}


def test_settings(tmp_path):
    assert PeopleSettings().use == "ignore"
    tree = toy_experiment(tmp_path).model_dump() | {"reward": {"source": "scores"}}
    tree["feedback"] |= {"people": {"use": "replace"}}
    with pytest.raises(ValidationError, match=r"feedback.people.use 'replace': .* 'scores' has none"):
        OnlineExperiment.model_validate(tree)
    with pytest.raises(ValidationError):
        PeopleSettings(use="weigh", weight=0.0)


def run_of(folder, name, **people):
    tree = toy_experiment(folder).model_dump() | {"name": name, "total_env_steps": 800}
    tree["feedback"] |= {"per_session": 10, "people": people}
    tree["reward_model"]["max_epochs"] = 5
    return OnlineExperiment.model_validate(tree)


@pytest.mark.usefixtures("actors")
def test_a_killed_run_hears_the_same_again_and_ends_the_same(tmp_path, actors):
    plain = ToyRun(run_of(tmp_path, "plain")).run()
    rows = {row["key"]: row for row in RatingStore(plain.experiment.ratings_folder).rows()}
    # Of the first session, whose pictures a run of the same seed draws again, all is the other way round.
    for key in plain.labels.keys[:10]:
        say(plain.experiment.ratings_folder, rows[key], "Ada", 2 - rows[key]["rating"])
    experiment = run_of(tmp_path, "heard", use="replace")
    whole = ToyRun(experiment).run()
    assert whole.fingerprint()["reward model"] != plain.fingerprint()["reward model"]
    shown = read_run(experiment.run_folder)
    assert shown.series("people/labels").values.tolist() == [10.0, 10.0, 10.0]
    assert shown.series("people/changed").values[0] > 0.0 and not len(
        read_run(plain.experiment.run_folder).series("people/labels")
    )
    recorded = json.loads((experiment.run_folder / "people.json").read_text())
    assert [len(ids) for ids in recorded.values()] == [10, 0, 0]
    # Killed after its last session, it goes on from before that; and meanwhile somebody has gone on rating.
    shutil.rmtree(whole.checkpoints.newest_first()[0])
    for key in whole.labels.keys[10:20]:
        row = next(row for row in RatingStore(experiment.ratings_folder).rows() if row["key"] == key)
        say(experiment.ratings_folder, row, "Ada", 2 - row["rating"])
    resumed = ToyRun(experiment).run(resume=True)
    assert resumed.fingerprint() == whole.fingerprint()
    # Without what was recorded it would have heard more.
    shutil.rmtree(resumed.checkpoints.newest_first()[0])
    (experiment.run_folder / "people.json").unlink()
    again = ToyRun(experiment).run(resume=True)
    assert again.fingerprint()["reward model"] != whole.fingerprint()["reward model"]
