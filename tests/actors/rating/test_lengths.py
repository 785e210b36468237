"""Tokens of a rating, by hand."""

import numpy as np
import pytest

from actors.rating.lengths import Turn, check_length, rating_length
from actors.rating.settings import RaterSettings
from algorithms.images import encode_png
from algorithms.prompts import analysis_prompt, answer_only_prompt, rating_prompt
from algorithms.ratings import RatingRequest, TaskText
from algorithms.scales import RatingScale


class CharacterFormat:
    """A token for each character, and for each picture."""

    def tokens(self, prompt, num_images, at_once):
        return [0] * (len(prompt.text) + num_images)


def request(mode, *sizes):
    images = tuple(encode_png(np.zeros((height, width, 3), np.uint8)) for width, height in sizes)
    return RatingRequest(images, TaskText("close the drawer", "the drawer"), RatingScale.likert(3), mode)


def length(asked, **changes):
    settings = RaterSettings(**{"model": "mine", "max_analysis_tokens": 100} | changes)
    return rating_length(asked, CharacterFormat(), settings, 28), settings


def test_one_pass():
    asked = request("answer_only", (224, 224), (56, 84))
    found, _ = length(asked)
    assert found.pictures == (64, 6)
    assert found.turns == (Turn(len(answer_only_prompt(asked).text) + 70, 1),)


def test_two_turns_of_which_the_second_reads_the_analysis():
    asked = request("two_turn", (112, 112))
    found, _ = length(asked)
    first, second = len(analysis_prompt(asked).text) + 16, len(rating_prompt(asked, "").text) + 100
    assert found.turns == (Turn(first, 100), Turn(second, 1))
    assert found.total == first + 100 + second + 1 and found.longest == max(first + 100, second + 1)


def test_pixel_limits_count():
    assert length(request("answer_only", (448, 448)), max_pixels=28 * 28 * 16)[0].pictures == (16,)


def test_what_does_not_fit_the_context_is_refused():
    asked = request("two_turn", (280, 280))
    found, settings = length(asked)
    check_length(found, settings.model_copy(update={"max_model_len": found.longest}))
    message = rf"^rater\.max_model_len {found.longest - 1}: a question takes up to {found.longest} tokens, "
    with pytest.raises(ValueError, match=message + r"100 of them for 1 pictures, up to 100 of them its"):
        check_length(found, settings.model_copy(update={"max_model_len": found.longest - 1}))
