from dataclasses import replace

import pytest

from algorithms.prompts import (
    PREFERENCE_VERSION,
    PROMPT_VERSION,
    SYSTEM,
    Prompt,
    agent_of,
    analysis_prompt,
    answer_labels,
    answer_only_prompt,
    rating_prompt,
    words_version,
)
from algorithms.ratings import RaterIdentity, RatingRequest, Sampling, TaskText, rating_key
from algorithms.scales import RatingScale

DRAWER = TaskText("close the drawer", "the drawer")
REQUEST = RatingRequest((b"png",), DRAWER, RatingScale.likert(3), "two_turn")


def test_turn_one_shows_the_picture_and_asks_for_an_analysis():
    assert analysis_prompt(REQUEST) == Prompt(
        "The picture shows a robot arm. Its task: close the drawer. "
        "Look at the drawer. Analyse how far the task is completed.",
        with_images=True,
        system=SYSTEM,
    )


def test_turn_two_gives_the_analysis_back_without_the_picture():
    assert rating_prompt(REQUEST, "  The drawer is shut.\n") == Prompt(
        "A robot arm has a task: close the drawer. An observer reports: The drawer is shut. "
        "How well is the task completed? Levels: 1 = Bad; 2 = Average; 3 = Good. "
        "Answer with the number of one level.",
        with_images=False,
    )


def test_answer_only_asks_for_the_level_beside_the_picture():
    prompt = answer_only_prompt(replace(REQUEST, mode="answer_only"))
    assert prompt.with_images
    assert prompt.text.startswith("The picture shows a robot arm. Its task: close the drawer. How well")
    assert prompt.text.endswith("Answer with the number of one level.")


def test_a_rubric_stands_beside_its_level():
    scale = RatingScale.likert(2, ("the drawer is open", "the drawer is shut"))
    text = answer_only_prompt(replace(REQUEST, scale=scale)).text
    assert "1 = Bad (the drawer is open); 2 = Good (the drawer is shut)" in text


def test_several_frames_are_explained():
    text = analysis_prompt(replace(REQUEST, frame_note="four frames, left to right in time")).text
    assert text.startswith("The pictures show a robot arm over time: four frames, left to right in time. Its task")


@pytest.mark.parametrize(
    ("num_ratings", "levels"),
    [
        (2, "1 = Bad; 2 = Good"),
        (3, "1 = Bad; 2 = Average; 3 = Good"),
        (4, "1 = Very Bad; 2 = Bad; 3 = Good; 4 = Very Good"),
        (5, "1 = Very Bad; 2 = Bad; 3 = Average; 4 = Good; 5 = Very Good"),
    ],
)
def test_published_words_are_numbered_worst_first(num_ratings, levels):
    scale = RatingScale.likert(num_ratings)
    assert f"Levels: {levels}." in rating_prompt(replace(REQUEST, scale=scale), "").text
    assert answer_labels(scale) == ("1", "2", "3", "4", "5")[:num_ratings]


@pytest.mark.parametrize("num_ratings", [1, 6])
def test_other_scales_are_refused(num_ratings):
    with pytest.raises(ValueError, match="2, 3, 4 or 5 levels"):
        RatingScale.likert(num_ratings)


def test_changed_templates_need_a_new_pocket_rater():
    # The pocket rater is trained on these very words: whoever changes them trains it again, and then this line.
    assert PROMPT_VERSION == "1489bd8eb6fe"
    # And the one of pairs on these.
    assert PREFERENCE_VERSION == "5d14c04f1b26"


@pytest.mark.parametrize("mode", ["two_turn", "answer_only"])
def test_two_pictures_are_compared(mode):
    pair = replace(REQUEST, images=(b"one", b"two"), scale=RatingScale.preference(), mode=mode)
    which = (
        "In which picture is the task nearer to being completed? Answers: 1 = First; 2 = Second; 3 = Cannot tell. "
        "Answer with the number of one answer."
    )
    shown = "Two pictures show a robot arm at two moments. Its task: close the drawer."
    assert answer_only_prompt(pair).text == f"{shown} {which}"
    assert analysis_prompt(pair).text == (
        f"{shown} Look at the drawer. Analyse each picture, and what differs between them with respect to completing "
        "the task."
    )
    second = rating_prompt(pair, " Both are open. ")
    assert second.text == (
        f"A robot arm has a task: close the drawer. An observer compares two pictures of it: Both are open. {which}"
    )
    assert (analysis_prompt(pair).with_images, second.with_images) == (True, False)
    assert words_version("a hand", pair.scale) == f"{PREFERENCE_VERSION} a hand"
    # Pictures in another order are another question.
    assert (
        key_of(pair)
        != key_of(replace(pair, images=(b"two", b"one")))
        != key_of(replace(pair, scale=RatingScale.likert(3)))
    )


def test_whoever_acts_is_named_in_all_turns_and_in_the_version():
    hand = replace(REQUEST, task=replace(DRAWER, agent="the small hand"))
    prompts = [analysis_prompt(hand), rating_prompt(hand, "It is open."), answer_only_prompt(hand)]
    assert all("the small hand" in prompt.system for prompt in prompts)
    assert [prompt.text.partition(".")[0] for prompt in prompts] == [
        "The picture shows the small hand",
        "The small hand has a task: close the drawer",
        "The picture shows the small hand",
    ]
    assert not any("robot arm" in prompt.system + prompt.text for prompt in prompts)
    version = words_version("the small hand", hand.scale)
    assert version != PROMPT_VERSION == words_version("a robot arm", hand.scale)
    assert (agent_of(version), agent_of(PROMPT_VERSION)) == ("the small hand", "a robot arm")


IDENTITY = RaterIdentity("org/model", "abc")
SAMPLING = Sampling()


def key_of(request=REQUEST, identity=IDENTITY, sampling=SAMPLING, version="v1"):
    return rating_key(request, identity, sampling, version)


def test_equal_questions_have_equal_keys():
    assert key_of() == key_of(replace(REQUEST), RaterIdentity("org/model", "abc"), Sampling(), "v1")


@pytest.mark.parametrize(
    "changed",
    [
        {"request": replace(REQUEST, images=(b"other",))},
        {"request": replace(REQUEST, images=(b"png", b"png"))},
        {"request": replace(REQUEST, task=TaskText("open the drawer", "the drawer"))},
        {"request": replace(REQUEST, task=TaskText("close the drawer", "the handle"))},
        {"request": replace(REQUEST, scale=RatingScale.likert(2))},
        {"request": replace(REQUEST, scale=RatingScale.likert(3, ("a", "b", "c")))},
        {"request": replace(REQUEST, mode="answer_only")},
        {"request": replace(REQUEST, frame_note="two frames")},
        {"identity": RaterIdentity("org/other", "abc")},
        {"identity": RaterIdentity("org/model", "def")},
        {"sampling": Sampling(temperature=0.5)},
        {"sampling": Sampling(max_analysis_tokens=8)},
        {"sampling": Sampling(seed=1)},
        {"sampling": Sampling(max_pixels=10_000)},
        {"sampling": Sampling(precision="float16")},
        {"version": "v2"},
    ],
)
def test_whatever_can_change_the_answer_changes_the_key(changed):
    assert key_of(**changed) != key_of()
