"""What a chat completion says: the answer, the thought before it, and counts; nothing is guessed."""

import json

import httpx
import pytest

from actors.rating.backend import ServerError, Unparsable
from actors.rating.endpoint.completion import num_tokens, read_completion, split_thought
from tests.fakes.endpoints import SETTINGS, after_probe, completion, generate, vllm


def reply_to(body):
    return generate(after_probe(lambda _: httpx.Response(200, json=body)))


@pytest.mark.parametrize(
    ("content", "text", "thought"),
    [
        ("2", "2", ""),
        (" \n2\n", "2", ""),
        ([{"type": "text", "text": "2"}], "2", ""),
        ([{"type": "text", "text": ""}, {"type": "text", "text": "2"}], "2", ""),
        ([{"type": "thinking", "thinking": [{"text": "1?"}]}, {"type": "text", "text": "2"}], "2", "1?"),
        ([{"type": "reasoning", "text": "Hm: 1"}, {"type": "text", "text": "2"}], "2", "Hm: 1"),
        ("<think>Is it 1? No.</think>\n\n2", "2", "Is it 1? No."),
        ("\n<think>\n\n</think>\n\n2", "2", ""),
        # The chat template has written the first mark.
        ("Is it 1? No.\n</think>\n2", "2", "Is it 1? No."),
        ("[THINK]1?[/THINK]2", "2", "1?"),
        ("◁think▷1?◁/think▷2", "2", "1?"),
    ],
)  # fmt: skip
def test_the_level_is_what_follows_the_thought(content, text, thought):
    reply = reply_to(completion(content))
    assert (reply.text, reply.thought) == (text, thought)


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_a_thought_told_apart_is_a_thought(field):
    reply = reply_to(completion("2", **{field: "Is it 1? No."}))
    assert (reply.text, reply.thought) == ("2", "Is it 1? No.")


def test_a_thought_told_twice_is_one():
    assert reply_to(completion("2", reasoning="1?", reasoning_content="1?")).thought == "1?"


@pytest.mark.parametrize("content", [None, "", "  "])
@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_an_answer_in_the_thought_is_no_answer_and_the_failure_says_where_it_stood(content, field):
    with pytest.raises(Unparsable, match=r"content is empty .* reasoning field \('2'\).*without thinking .* parser"):
        reply_to(completion(content, **{field: "2"}))


@pytest.mark.parametrize(
    "body",
    [
        completion("<think>It may be 2", finish_reason="length"),
        completion("<think>It may be 2"),
        completion(None, finish_reason="length", reasoning="It may be 2"),
        completion("", finish_reason="length", reasoning_content="It may be 2"),
    ],
)
def test_an_unfinished_thought_names_the_setting(body):
    with pytest.raises(Unparsable, match=r"still thinking .*It may be 2.* raise rater.max_analysis_tokens = 256"):
        reply_to(body)


def test_an_analysis_may_be_cut_but_not_missing():
    def analysis(body):
        return generate(after_probe(httpx.Response(200, json=body)), choices=()).text

    assert analysis(completion("The drawer is half", finish_reason="length")) == "The drawer is half"
    with pytest.raises(Unparsable, match="answer is empty"):
        analysis(completion(""))
    with pytest.raises(Unparsable, match="declined: 'I may not look at that'"):
        analysis(completion(None, refusal="I may not look at that"))


@pytest.mark.parametrize(
    "content",
    [
        "3 = Good", "Level 3", "3.", "3.0", "'3'", '"3"', "03", "\uff13", "```json\n3\n```", "<answer>3</answer>",
        "</think>", "</think>3</think>", '{"answer": 3}', "[3]", 3, 3.0, True, ["3"], [{"type": "image"}],
        {"text": "3"}, "3 3", [{"type": "text", "text": 3}], [{"type": "output", "text": "3"}],
    ],
)  # fmt: skip
def test_levels_are_not_guessed(content):
    with pytest.raises(Unparsable):
        reply_to(completion(content))


@pytest.mark.parametrize(
    "usage",
    [
        None, [], "many", 5, {}, {"prompt_tokens": None, "completion_tokens": None}, {"prompt_tokens": "12"},
        {"prompt_tokens": -1}, {"prompt_tokens": True}, {"prompt_tokens": 1.5}, {"prompt_tokens": 10**30},
        {"prompt_tokens": {"text": 3}},
    ],
)  # fmt: skip
def test_an_answer_with_odd_counts_is_kept(usage):
    body = completion("2") | {"usage": usage}
    reply = reply_to(body)
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("2", 0, 0)


def test_counts_that_are_known_are_kept_beside_those_that_are_not():
    reply = reply_to(completion("2") | {"usage": {"prompt_tokens": 5, "completion_tokens": None}})
    assert (reply.prompt_tokens, reply.completion_tokens) == (5, 0)
    assert num_tokens(5.0) == 5 and num_tokens(float("nan")) == num_tokens(float("inf")) == 0


def test_halves_of_characters_are_replaced_so_that_an_analysis_can_be_stored_and_sent_on():
    body = json.loads('{"choices": [{"message": {"content": "a drawer \\ud83d", "reasoning": "\\udc00?"}}]}')
    read = read_completion(body)
    assert (read.text, read.thought) == ("a drawer \ufffd", "\ufffd?")
    read.text.encode()


def test_an_error_in_place_of_a_completion_is_told():
    with pytest.raises(ServerError, match="out of memory"):
        read_completion({"error": {"message": "out of memory", "code": 500}})
    with pytest.raises(Unparsable, match="no chat completion"):
        read_completion({"error": None, "object": "list"})


def test_a_thought_ends_at_its_first_mark():
    assert split_thought("<think>a</think>b</think>c") == ("a", "b</think>c", False)
    assert split_thought("<think>a") == ("a", "", True)
    assert split_thought("a <think> b") == ("", "a <think> b", False)


def test_more_room_is_given_to_a_model_that_thinks():
    server = vllm(thought="The drawer is not shut but nearly so , it is Good I think")
    reply = generate(server)
    assert (reply.text, reply.thought) == ("3", server.thought)
    assert server.questions[0]["max_tokens"] == 4 + SETTINGS.max_analysis_tokens
