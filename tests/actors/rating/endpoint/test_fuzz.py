"""Whatever an endpoint answers: a reply that states a level, or the module's own error; nothing else, and no guess."""

import asyncio
import gzip
import json
import math
from contextlib import suppress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.rating.backend import Needs, RaterError
from actors.rating.endpoint.client import EndpointBackend
from algorithms.prompts import Prompt
from algorithms.scoring_prompts import parse_scores, scores_schema
from tests.fakes.endpoints import LEVELS, PNG, QUESTION, SETTINGS, Server, completion, ollama, tops, vllm
from tests.fakes.fuzz import A_HUNDRED, TEN_THOUSAND

SCORE = Prompt("Score.", with_images=True, schema=scores_schema(3))

words = st.sampled_from(
    ["1", "2", "3", " 2", "\n3", "▁2", "4", "3 = Good", "2.0", "", " ", "The", "<think>", "</think>",
     "<think>2</think>3",
     "[1,2,3]", "[1, 2, 11]", '{"answer": 2}', '{"answer": [1,2,3]}', '{"answer": 2, "answer": 3}', "```json\n3\n```",
     "\ud800", "NaN", "[" * 2000, "1" * 5000, "<|im_end|>", "</s>", "stop", "length", "text", "A", "true"]
) | st.text(max_size=8)  # fmt: skip
numbers = (
    st.integers()
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.sampled_from([0, -0.1, -0.0, 1e308, -1e308, 10**400, -(10**400), 2**63])
)
scalars = st.none() | st.booleans() | numbers | words
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=8
)


ANSWERS = ("1", "2", "3", "\n2", " 3", "True", "False", "[1,2,3]")
quiet = st.sampled_from([{"\n": 0.9, "1": 0.1}, {"<|im_start|>": 1.0}, {" ": 0.5, "2": 0.5}, {"": 1.0}])
odd = st.dictionaries(words, st.floats(0, 1), min_size=1, max_size=4)


@st.composite
def good_bodies(draw):
    """A completion as a server may well write it, with counts, thoughts and log-probabilities or without."""
    answer = draw(st.sampled_from(ANSWERS))
    others = draw(st.lists(st.sampled_from([*ANSWERS, "The", "4"]), max_size=4, unique=True))
    share = 1.0 / (1 + len(others))
    positions = [*draw(st.lists(quiet | odd, max_size=1)), {answer: share} | dict.fromkeys(others, share)]
    content = answer
    match draw(st.integers(0, 5)):
        case 0:
            content = f"<think>3 or 2</think>{answer}"
            positions = [{"<think>": 1.0}, {"3 or": 1.0}, {" 2": 0.6, " 3": 0.4}, {"</think>": 1.0}, positions[-1]]
        case 1:
            content = [{"type": "text", "text": answer}]
    body = completion(content, tops(*positions) if draw(st.booleans()) else None)
    if draw(st.integers(0, 3)) == 3:
        body["choices"][0]["message"][draw(st.sampled_from(["reasoning", "reasoning_content"]))] = draw(words)
    body["choices"][0]["finish_reason"] = draw(st.sampled_from(["stop", "length", None]))
    return body


@st.composite
def damaged(draw, body):
    """The same with up to three places changed, lost or doubled, at any depth."""
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        parent, name, here = None, None, body
        while isinstance(here, dict | list) and here and (parent is None or draw(st.integers(0, 5))):
            names = list(here) if isinstance(here, dict) else list(range(len(here)))
            parent, name = here, draw(st.sampled_from(names))
            here = parent[name]
        if parent is None:
            continue
        what = draw(st.sampled_from(["other", "lost", "doubled"]))
        if what == "other":
            parent[name] = draw(anything)
        elif what == "lost":
            del parent[name]
        else:
            parent[name] = [here, here]
    return body


@st.composite
def responses(draw):
    """An answer over HTTP: mostly a body that is nearly good; sometimes none, cut, packed, or of another status."""
    body = draw(damaged(draw(good_bodies()))) if draw(st.integers(0, 9)) < 9 else draw(anything)
    content = json.dumps(body).encode()
    status = draw(st.sampled_from([200] * 40 + [201, 204, 301, 400, 401, 404, 418, 422, 429, 500, 501, 503, 599]))
    headers = {}
    match draw(st.integers(0, 19)):
        case 16:
            content = content[: draw(st.integers(0, len(content)))]
        case 17:
            content = draw(st.binary(max_size=40))
        case 18:
            content, headers = gzip.compress(content), {"Content-Encoding": "gzip"}
        case 19:
            headers = {"Content-Encoding": draw(st.sampled_from(["gzip", "br", "gzip, gzip", "identity", "nonsense"]))}
    return status, headers, content


LEVEL = ((PNG,), LEVELS, QUESTION)
questions = st.sampled_from(
    [LEVEL, LEVEL, LEVEL, ((), ("True", "False"), QUESTION), ((PNG,), (), SCORE), ((PNG,), (), QUESTION)]
)
servers = st.sampled_from([vllm, ollama, lambda: Server(obedient=True)])


async def ask(server, response, question):
    """What comes of a question to a server that was found well and answers like this; None for one of our errors."""
    status, headers, content = response
    images, choices, prompt = question
    broken = []

    def handler(request):
        if broken:
            return httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))
        return server(request)

    backend = EndpointBackend(SETTINGS, httpx.MockTransport(handler))
    await backend.start()
    if choices or prompt.schema:
        await backend.check(Needs(choices, prompt.schema))
    broken.append(True)
    with suppress(RaterError):
        return await backend.generate(prompt, images, choices)
    return None


def stated(content):
    """Every text of an answer, to compare with; thoughts taken away as a reader would."""
    body = json.loads(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
    told = body["choices"][0]["message"]["content"]
    if isinstance(told, list):
        told = "".join(part["text"] for part in told if part["type"] == "text")
    for mark in ("</think>", "[/THINK]", "◁/think▷"):
        told = told.partition(mark)[2] or told
    return told.strip()


def check_reply(server, response, question):
    reply = asyncio.run(ask(server, response, question))
    if reply is None:
        return
    _, choices, prompt = question
    said = stated(response[2])
    assert 200 <= response[0] < 300
    assert 0 <= reply.prompt_tokens <= 10**9 and 0 <= reply.completion_tokens <= 10**9
    (reply.text + reply.thought).encode()
    if choices:
        assert reply.text in choices
        assert said in (reply.text, f'"{reply.text}"', f'{{"answer": {reply.text}}}')
    elif prompt.schema:
        with suppress(ValueError):
            assert json.loads(said) == list(parse_scores(reply.text, 3))
    if reply.probabilities is not None:
        assert choices and len(reply.probabilities) == len(choices)
        assert all(0.0 <= p <= 1.0 for p in reply.probabilities)
        assert math.isclose(sum(reply.probabilities), 1.0, rel_tol=1e-9)
        assert reply.probabilities[choices.index(reply.text)] > 0.0


def check_probe(response, needs):
    """A server that answers so from its first question on: a line about it, or our error."""

    async def run():
        status, headers, content = response
        backend = EndpointBackend(
            SETTINGS,
            httpx.MockTransport(lambda _: httpx.Response(status, headers=headers, stream=httpx.ByteStream(content))),
        )
        await backend.start()
        with suppress(RaterError):
            return await backend.check(needs)

    line = asyncio.run(run())
    assert line is None or (line.startswith("rater: http://rater.test/v1") and "\n" not in line)


needs = st.sampled_from([Needs(LEVELS), Needs(schema=scores_schema(3)), Needs(("True", "False"), "", True, 3)])


@A_HUNDRED
@given(servers, responses(), questions)
def test_an_answer_is_what_it_states_or_our_own_error(server, response, question):
    check_reply(server(), response, question)


@pytest.mark.slow
@TEN_THOUSAND
@given(servers, responses(), questions)
def test_ten_thousand_answers_are_what_they_state_or_our_own_error(server, response, question):
    check_reply(server(), response, question)


@A_HUNDRED
@given(responses(), needs)
def test_a_probe_ends_with_a_line_or_our_own_error(response, needs):
    check_probe(response, needs)


@pytest.mark.slow
@TEN_THOUSAND
@given(responses(), needs)
def test_ten_thousand_probes_end_with_a_line_or_our_own_error(response, needs):
    check_probe(response, needs)
