"""Which episodes are held out: by recording, of both kinds, whatever the order of files."""

from pathlib import Path

import pytest

from orchestrator.errors import SettingsError
from orchestrator.offline.evaluation_settings import HeldOutEvaluationSettings
from orchestrator.offline.held_out.split import draw_held_out, recording_of


def drawn(successes, source="lerobot", **settings):
    held_out = HeldOutEvaluationSettings(environment="none", **settings)
    return draw_held_out(Path("set"), source, successes, held_out)


MANY = {f"episode-{number:06d}": number % 4 > 0 for number in range(40)}


def test_the_share_is_of_successes_and_of_failures_and_follows_from_names_alone():
    found = drawn(MANY, share=0.2)
    assert sum(MANY[name] for name in found) == 6 and sum(not MANY[name] for name in found) == 2
    assert drawn(dict(reversed(MANY.items())), share=0.2) == found
    assert drawn(MANY, share=0.2, seed=1) != found
    # Of what is recorded later, little is held out anew.
    more = MANY | {f"episode-{number:06d}": True for number in range(40, 50)}
    assert len(found - drawn(more, share=0.2)) <= 2


def test_at_least_one_of_each_kind_is_held_out_and_one_is_left_to_learn_from():
    few = {"a": True, "b": True, "c": False, "d": False}
    assert sorted(few[name] for name in drawn(few, share=0.01)) == [False, True]
    assert sorted(few[name] for name in drawn(few, share=0.99)) == [False, True]
    assert len(drawn({"a": True, "b": True, "c": False})) == 1


@pytest.mark.parametrize(
    ("source", "name", "recording"),
    [
        ("lerobot", "episode-000001/0", "episode-000001"),
        ("lerobot", "episode-000012", "episode-000012"),
        ("alfred", "train/pick_two/trial_T20190907/3/1", "train/pick_two/trial_T20190907"),
        ("babyai", "held_out_pairs-17-2", "held_out_pairs-17"),
        ("babyai", "train-17", "train-17"),
        ("mine", "kitchen/12", "kitchen/12"),
        ("mine", "episode-000003/1", "episode-000003"),
    ],
)
def test_pieces_are_known_by_their_names(source, name, recording):
    assert recording_of(source, name) == recording


def test_pieces_of_one_recording_stay_together():
    pieces = {f"episode-{number:06d}/{piece}": piece == 0 for number in range(12) for piece in range(3)}
    found = drawn(pieces, share=0.25)
    assert len(found) == 9 and len({name.split("/")[0] for name in found}) == 3


@pytest.mark.parametrize(
    ("successes", "told"),
    [
        ({}, "0 recorded episodes, and 0"),
        ({"a": True}, "1 recorded episodes, and 1"),
        ({"a": True, "b": False, "c": False}, "3 recorded episodes, and 1"),
        ({"episode-000001/0": True, "episode-000001/1": True}, "1 recorded episodes, and 1"),
    ],
)
def test_too_few_are_named(successes, told):
    with pytest.raises(SettingsError, match=rf"set has {told} of them succeeded .* two at least are needed"):
        drawn(successes)
