"""ERL-VLM on recordings: a rater that looks at the pictures, one whose ratings are dealt out anew, failures, a kill."""

from contextlib import contextmanager

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from actors.rating.backend import Reply
from actors.rating.fake import FunctionBackend
from actors.rating.front import RatingFront
from actors.rating.labellers.settings import LikertLabeller
from actors.rating.server import RatingServer
from actors.rating.settings import RaterSettings
from algorithms.images import decode_png
from algorithms.progress import value_order_correlation
from orchestrator.cli.main import app
from orchestrator.data.datasets import TrajectoryDataset
from orchestrator.errors import RatingsFailing, SettingsError
from orchestrator.labelling.likert import LikertLabelling, _as_before, order_agreement
from orchestrator.labelling.likert_moments import draw_moments
from orchestrator.labelling.settings import LabelSettings
from orchestrator.ratings.service import RatingService
from orchestrator.ratings.store import RatingStore
from tests.fakes.toy_recording import WIDTH, episode, write_recording

RATER = RaterSettings(max_in_flight=8, max_attempts=1, mode="answer_only")
TIMES = 2
"""Pictures of 48 x 32 pixels: the networks need such."""
PX = 2 * WIDTH
SMALL = {"image_px": 32, "num_members": 1, "max_epochs": 40, "batch_size": 32}


def looks(prompt, images, choices):
    """Rates by where the bar is in the last third of the picture's columns, from left to right."""
    picture = decode_png(images[-1])[-1, -PX:, 0]
    place = picture.argmax() / (PX - 8)
    return choices[min(int(place * len(choices)), len(choices) - 1)]


def recording(folder, num=8, steps=12):
    """One instruction, successes and failures; several parts."""
    return write_recording(
        folder, [episode(f"episode-{n:06d}", n % 4 != 3, steps, 0, TIMES) for n in range(num)], TIMES
    )


@contextmanager
def labelling(data, store, rater=looks, tell=lambda _: None, rewards=None, **labeller):
    labeller = LikertLabeller(**{"budget": 60, "reward_model": SMALL, **labeller})
    settings = LabelSettings(
        data=data, labeller=labeller, name="erl", rewards=rewards or {"erl": {}}, rater=RATER, ratings_folder=store
    )
    server = RatingServer(RATER, FunctionBackend(rater), first_pause_s=0.001)
    service = RatingService(RatingStore(store), RatingFront(RATER, [server]), RATER, "label")
    try:
        identity = service.finish_start()
        yield LikertLabelling(settings, TrajectoryDataset(data), service, identity, tell)
    finally:
        service.close()


def label(data, store, rater=looks, **settings):
    with labelling(data, store, rater, **settings) as one:
        one.run()
        return one.counts


def orders(data, name="erl"):
    """Rank correlation of rewards with time, mean over the episodes that succeeded."""
    found = [
        value_order_correlation(one.rewards[name].astype(float)) or 0.0
        for one in TrajectoryDataset(data).episodes(frames=False)
        if one.sparse_rewards.any()
    ]
    return float(np.mean(found))


def test_the_learned_reward_rises_along_a_success_and_a_shuffled_one_does_not(tmp_path):
    data = recording(tmp_path / "set")
    before = pq.read_table(data / "part-00000.parquet")
    pictures = set()

    def costs(prompt, images, choices):
        pictures.add(images)
        return Reply(looks(prompt, images, choices), None, 10, 1)

    counts = label(data, tmp_path / "store", costs, rewards={"erl": {}, "erl_sparse": {"sparse": "sum"}})
    assert (counts.prompt_tokens, counts.completion_tokens) == (10 * len(pictures), len(pictures))
    assert (counts.windows, counts.failed, counts.actions) == (60, 0, 8 * 12)
    assert orders(data) > 0.8
    for one in TrajectoryDataset(data).episodes(frames=False):
        assert one.rewards["erl"].min() >= 0.0 and one.rewards["erl"].max() <= 1.0
        np.testing.assert_allclose(one.rewards["erl_sparse"], one.rewards["erl"] + one.sparse_rewards, atol=1e-6)
        np.testing.assert_array_equal(one.scores["erl"], one.rewards["erl"])
    told = TrajectoryDataset(data).info.labels["erl"]
    (one,) = told["instructions"].values()
    assert sum(one["ratings"]) == 60 and min(one["ratings"]) > 0 and 6 <= one["held_out"] < 20
    assert one["held_out_agreement"] > 0.8 and told["model"] == "function" and told["failed"] == 0
    assert before.equals(pq.read_table(data / "part-00000.parquet").select(before.column_names))

    # Done, nothing is asked; by other settings all that was answered comes from the store.
    asked = []
    again = label(data, tmp_path / "store", lambda *_: asked.append(1))
    assert (again.windows, again.from_store, again.prompt_tokens) == (60, 60, 0) and not asked
    again = label(data, tmp_path / "store", lambda *_: asked.append(1))
    assert again.windows == 0 and not asked

    control = label(data, tmp_path / "store", control="shuffled", rewards={"control": {}})
    assert control.from_store == 60
    assert abs(orders(data, "control")) < 0.5 and orders(data) > 0.8


def test_experiments_of_other_levels_ask_nothing_where_five_were_asked(tmp_path):
    data, store = recording(tmp_path / "set", num=4, steps=6), tmp_path / "store"
    label(data, store, num_ratings=5, budget=20)
    asked = []
    for number, labels in ((5, "soft"), (4, "hard"), (3, "soft"), (2, "hard")):
        name = f"levels{number}_{labels}"
        more = {"num_ratings": number, "asked_levels": 5, "labels": labels, "budget": 20, "rewards": {name: {}}}
        counts = label(data, store, lambda *_: asked.append(1), **more)
        assert counts.from_store == counts.windows == 20 and not asked
        told = TrajectoryDataset(data).info.labels[name]
        (one,) = told["instructions"].values()
        assert len(one["ratings"]) == number and sum(one["ratings"]) == 20
        assert (told["labeller"]["asked_levels"], told["labeller"].get("labels", "hard")) == (5, labels)
        assert orders(data, name) > 0.6


def test_fields_of_later_versions_do_not_have_what_was_labelled_before_labelled_anew():
    told = _as_before(LikertLabeller())
    later = {"asked_levels", "labels", "label_temperature"}
    assert not later & set(told) and not {"boundaries", "preference_loss"} & set(told["reward_model"])
    assert _as_before(LikertLabeller(labels="soft"))["labels"] == "soft"
    assert _as_before(LikertLabeller(reward_model={"boundaries": "below"}))["reward_model"]["boundaries"] == "below"


def test_a_reward_is_what_the_frame_scores_that_the_action_led_to(tmp_path):
    data = recording(tmp_path / "set", num=4, steps=6)
    label(data, tmp_path / "store", budget=20, held_out_share=0.0)
    by_picture = {}
    for one in TrajectoryDataset(data).episodes():
        for png, reward in zip(one.frames[1:], one.rewards["erl"], strict=True):
            by_picture.setdefault(png, set()).add(float(reward))
    # Three successes show the same pictures.
    assert len(by_picture) < 4 * 6 and all(len(rewards) == 1 for rewards in by_picture.values())


@pytest.mark.parametrize("show", ["segment", "trajectory"])
def test_several_frames_are_shown_in_one_picture(tmp_path, show):
    data = recording(tmp_path / "set")
    widths = set()

    def looks_at_all(prompt, images, choices):
        (picture,) = images
        widths.add(decode_png(picture).shape[1])
        assert "3 numbered frames of one picture" in prompt.text
        return looks(prompt, images, choices)

    counts = label(data, tmp_path / "store", looks_at_all, show=show, num_frames=3, num_actions=4, budget=20,
                   held_out_share=0.0)  # fmt: skip
    assert widths == {3 * PX + 2 * 4} and counts.windows == (20 if show == "segment" else 8)


def test_what_failed_is_no_rating_and_is_asked_again(tmp_path):
    data, whole = recording(tmp_path / "set"), recording(tmp_path / "whole")
    numbers = iter(range(1000))

    def fails_at_times(prompt, images, choices):
        return "nothing" if next(numbers) % 10 == 0 else looks(prompt, images, choices)

    counts = label(data, tmp_path / "store", fails_at_times)
    # Successes show the same pictures, about each of which is asked once.
    assert 0 < counts.failed < 20 and "unparsable" in counts.first_failure
    told = TrajectoryDataset(data).info.labels["erl"]
    assert sum(sum(one["ratings"]) for one in told["instructions"].values()) == 60 - counts.failed
    assert told["failed"] == counts.failed
    again = label(data, tmp_path / "store")
    assert (again.windows - again.from_store, again.failed) == (counts.failed, 0)
    label(whole, tmp_path / "other")
    a, b = (pq.read_table(folder / "part-00000.parquet") for folder in (data, whole))
    assert a.equals(b)


def test_a_rater_out_of_order_stops_it_and_writes_nothing(tmp_path):
    data = recording(tmp_path / "set")
    with pytest.raises(RatingsFailing, match="questions got no answer"):
        label(data, tmp_path / "store", lambda *_: "nothing")
    with pytest.raises(SettingsError, match="all ratings are of one level"):
        label(data, tmp_path / "store", lambda prompt, images, choices: Reply(choices[0], (1.0, 0.0, 0.0), 1, 1))
    info = TrajectoryDataset(data).info
    assert not info.labels and "reward_erl" not in pq.read_schema(data / "part-00000.parquet").names


def test_a_killed_labelling_asks_nothing_twice_and_ends_as_one_that_was_not(tmp_path):
    data, whole = recording(tmp_path / "set"), recording(tmp_path / "whole")
    asked = []

    def dies(prompt, images, choices):
        asked.append(images)
        return looks(prompt, images, choices)

    with labelling(data, tmp_path / "store", dies) as one:
        one._score_part = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            one.run()
    num_asked = len(asked)
    with labelling(data, tmp_path / "store", dies) as one:
        one._dataset.record_labels = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            one.run()
    assert not TrajectoryDataset(data).info.labels
    label(data, tmp_path / "store", dies)
    assert len(asked) == num_asked and "erl" in TrajectoryDataset(data).info.labels
    label(whole, tmp_path / "other")
    a, b = (pq.read_table(folder / "part-00000.parquet") for folder in (data, whole))
    assert a.equals(b)


def test_moments_are_of_all_episodes_and_do_not_depend_on_their_order():
    lengths = {"go": {f"e{n}": 5 for n in range(10)}, "stop": {"f": 30}}
    settings = LikertLabeller(budget=40)
    found = draw_moments(lengths, settings)
    back = {text: dict(reversed(one.items())) for text, one in reversed(lengths.items())}
    assert draw_moments(back, settings) == found
    assert len(found["go"]) == len(found["stop"]) == 20
    assert {moment.episode_id for moment in found["go"]} == set(lengths["go"])
    frames = {frame for some in found.values() for moment in some for frame in moment.frames}
    assert min(frames) == 1 and len(set(found["stop"])) == 20
    assert draw_moments(lengths, LikertLabeller(budget=40, seed=1)) != found
    with pytest.raises(SettingsError, match=r"2 instructions, each of which needs a reward model, .* raise it to 20"):
        draw_moments(lengths, LikertLabeller(budget=19))


def test_agreement_is_the_share_of_pairs_in_order():
    assert order_agreement(np.array([0.1, 0.2, 0.3]), np.array([0, 1, 2])) == 1.0
    assert order_agreement(np.array([0.3, 0.2, 0.2]), np.array([0, 1, 2])) == pytest.approx(0.5 / 3)
    assert order_agreement(np.array([0.3, 0.2]), np.array([1, 1])) is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("labeller.reward_model.input=state", "of recordings it sees frames"),
        ("labeller.reward_model.frame_cache_gb=1", "frame_cache_gb means nothing here"),
        ("labeller.show=segment labeller.num_frames=9", "num_frames 9 is above num_actions 8"),
        ("window.num_actions=3", "window means nothing to labeller.kind 'likert'"),
        ("labeller.reward_model.image_px=33", "frames of 48 x 32 pixels are smaller"),
        ("labeller.reward_model.image_px=8", "image_px 8 is too small for the convolutions"),
        ("labeller.budget=9", "has 1 instructions, each of which needs"),
        ("rater.max_model_len=64", "rater.max_model_len = 64: of 4 questions that were looked at, 4 need more"),
    ],
)
def test_bad_settings_are_named_before_anything_starts(tmp_path, override, message):
    recording(tmp_path / "set", num=2, steps=2)
    file = tmp_path / "likert.yaml"
    file.write_text(
        f"data: {tmp_path / 'set'}\nrater: {{model: pocket}}\n"
        "labeller: {kind: likert, reward_model: {image_px: 32}}\n"
    )
    done = CliRunner().invoke(app, ["label", str(file), *override.split(), "--dry-run"])
    assert done.exit_code == 2 and message in " ".join(done.output.split()), done.output
