"""Probabilities of levels: read where the answer's own token stands, or not at all."""

import math

import pytest

from actors.rating.endpoint.logprobs import label_probabilities, token_text
from tests.fakes.endpoints import LEVELS, tops

SURE = {"3": 0.7, "2": 0.2, "1": 0.1}


def read(logprobs, answer="3", label="3", labels=LEVELS, thought=""):
    return label_probabilities(logprobs, answer, label, labels, thought)


def test_probabilities_are_renormalised_over_the_levels():
    logprobs = tops({"2": 0.5, " 2": 0.1, "1": 0.2, "The": 0.2})
    assert read(logprobs, "2", "2") == pytest.approx((0.25, 0.75, 0.0))


@pytest.mark.parametrize(
    "positions",
    [
        [SURE],
        [{"\n": 0.9, "1": 0.05, " 2": 0.05}, SURE],  # ggml-org/llama.cpp#12643
        [{"\n\n": 1.0}, {" ": 1.0, "2": 0.0}, SURE],
        [{"\n3": 0.7, "\n2": 0.2, "\n1": 0.1}],
        [{" 3": 0.7, " 2": 0.2, " 1": 0.1}],
        [{"▁3": 0.7, "▁2": 0.2, "▁1": 0.1}],
        [{"Ġ3": 0.7, "Ġ2": 0.2, "Ġ1": 0.1}],
        [{"Ċ": 0.9, "1": 0.1}, SURE],
        [{"<0x0A>": 0.9, "1": 0.1}, SURE],
        [{"<0x33>": 0.7, "<0x32>": 0.2, "<0x31>": 0.1}],
        [SURE, {"<|im_end|>": 1.0}],
        [SURE, {"\n": 1.0}, {"</s>": 1.0}],
        [SURE, {"": 1.0}],
        [SURE, {"[EOS]": 1.0}],
        [{"<|im_start|>": 1.0}, SURE],
    ],
)
def test_the_position_is_that_of_the_answers_own_token(positions):
    assert read(tops(*positions)) == pytest.approx((0.1, 0.2, 0.7))


def test_the_answer_is_found_after_a_thought_which_may_hold_levels_too():
    positions = [{"1": 1.0}, {" or": 1.0}, {" 3": 0.4, " 2": 0.6}, {"</think>": 1.0}, {"\n\n": 1.0}, SURE]
    assert read(tops(*positions), thought="1 or 3") == pytest.approx((0.1, 0.2, 0.7))
    # What is told are the tokens of the thought alone, which ends in a level.
    assert read(tops(*positions[:2], SURE), thought="1 or 3") is None
    # Nobody has said that it thought: tokens and answer do not belong together.
    assert read(tops(*positions)) is None


@pytest.mark.parametrize(
    ("answer", "positions"),
    [
        ('{"answer": 3}', [{'{"': 1.0}, {"answer": 1.0}, {'":': 1.0}, {" ": 1.0}, SURE, {"}": 1.0}]),
        ('{"answer": 3}', [{'{"answer":': 1.0}, {" 3": 0.7, " 2": 0.2, " 1": 0.1}, {"}": 1.0}]),
        ('{"answer":3}', [{'{"answer"': 1.0}, {":3": 0.7, ":2": 0.2, ":1": 0.1}, {"}\n": 1.0}]),
    ],
)
def test_a_level_inside_of_json(answer, positions):
    assert read(tops(*positions), answer) == pytest.approx((0.1, 0.2, 0.7))


def test_a_letter_with_its_quote():
    positions = [{'{"answer": ': 1.0}, {'"B': 0.6, '"A': 0.3, "B": 0.1}, {'"}': 1.0}]
    assert read(tops(*positions), '{"answer": "B"}', "B", ("A", "B")) == pytest.approx((1 / 3, 2 / 3))


@pytest.mark.parametrize(
    ("answer", "label", "labels", "positions"),
    [
        ("10", "10", ("1", "10"), [{"1": 1.0}, {"0": 1.0}]),  # split over two tokens
        ("True", "True", ("True", "False"), [{"Tr": 1.0}, {"ue": 1.0}]),
        ("3", "3", LEVELS, [{"The": 0.95, "3": 0.05}]),  # the tokens do not spell the answer
        ("3", "3", LEVELS, [SURE, {" Good": 1.0}]),
        ("3", "3", LEVELS, [{"I say ": 1.0}, SURE]),
        ("3", "3", LEVELS, [{"13": 0.9, "3": 0.1}]),
        ("3", "3", LEVELS, [{"token_id:18": 1.0}]),
        ("3", "3", LEVELS, [{"\n": 0.9, "3": 0.1}]),  # only its first token is told
    ],
)
def test_no_position_no_probabilities(answer, label, labels, positions):
    assert read(tops(*positions), answer, label, labels) is None


@pytest.mark.parametrize(
    ("mass", "told"), [(0.001, False), (0.3, False), (0.49, False), (0.51, True), (0.9, True), (1.0, True)]
)
def test_labels_that_hold_less_than_half_of_the_mass_are_not_told_as_if_they_held_all(mass, told):
    probabilities = read(tops({"3": mass, "The": 1.0 - mass}))  # sgl-project/sglang#28456
    assert probabilities == ((0.0, 0.0, 1.0) if told else None)


def test_an_answer_that_was_impossible_has_no_probabilities():
    assert read(tops({"3": 0.0, "2": 0.9, "1": 0.1})) is None


def test_a_chosen_token_beside_the_most_likely_ones_counts():
    (entry,) = tops({"3": 0.4, "2": 0.35, "1": 0.25})["content"]
    entry["top_logprobs"] = entry["top_logprobs"][1:]
    assert read({"content": [entry]}) == pytest.approx((0.25, 0.35, 0.4))


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.5, "-0.1", None, True, [], {}, 10**400])
@pytest.mark.parametrize("place", [0, 1])
def test_what_is_no_log_probability_gives_no_probabilities(bad, place):
    logprobs = tops(SURE)
    logprobs["content"][0]["top_logprobs"][place]["logprob"] = bad
    assert read(logprobs) is None


@pytest.mark.parametrize("certain", [0.0, -0.0, 1e-7, 0])
def test_certainty_may_be_rounded(certain):
    entry = {"token": "3", "logprob": certain}
    assert read({"content": [{**entry, "top_logprobs": [entry, {"token": "2", "logprob": -math.inf}]}]}) == (0, 0, 1)


def test_placeholders_that_sum_to_more_than_one_are_no_probabilities():
    told = [{"token": token, "logprob": 0.0} for token in "123"]
    assert read({"content": [{**told[2], "top_logprobs": told}]}) is None


@pytest.mark.parametrize(
    "logprobs",
    [
        None, {}, [], "none", {"content": None}, {"content": []}, {"content": "3"}, {"content": [None]},
        {"content": [{"token": "3"}]}, {"content": [{"token": "3", "logprob": -0.1}]},
        {"content": [{"token": "3", "logprob": -0.1, "top_logprobs": []}]},
        {"content": [{"token": "3", "logprob": -0.1, "top_logprobs": None}]},
        {"content": [{"token": "3", "logprob": -0.1, "top_logprobs": {"3": -0.1}}]},
        {"content": [{"token": "3", "logprob": -0.1, "top_logprobs": [{"token": 3, "logprob": -0.1}]}]},
        {"content": [{"token": 3, "logprob": -0.1, "top_logprobs": []}]},
        # The older completions' layout, as some write it into chat completions.
        {"tokens": ["3"], "token_logprobs": [-0.1], "top_logprobs": [{"3": -0.1}], "text_offset": [0]},
    ],
)  # fmt: skip
def test_no_probabilities_where_none_are_told(logprobs):
    assert read(logprobs) is None


def test_tokens_as_tokenizers_store_them():
    assert [token_text(token) for token in ("▁3", "Ġ3", "Ċ", "<0x33>", "<0x3>")] == [" 3", " 3", "\n", "3", "<0x3>"]
