"""OpenAI's chat completions and models: what is asked, what is answered, and what is refused in words."""

import json
import math

import pytest

from actors.rating.backend import Refused, Reply, ServerError
from actors.rating.settings import RaterSettings
from algorithms.prompts import Prompt
from tests.actors.rating.serving.asking import call, chat, data_url, likely, picture, served, shown

LEVELS = {"structured_outputs": {"choice": ["1", "2", "3"]}}
CHAT = "/v1/chat/completions"


def named_schema(schema: dict) -> dict:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}


def complete(body: dict, function=likely, settings: RaterSettings | None = None) -> dict:
    (response,) = call(function, ("POST", CHAT, body), settings=settings)
    assert response.status_code == 200, response.text
    return response.json()


def refusal(body: dict, settings: RaterSettings | None = None, status: int = 400) -> dict:
    """The error of a request that must not reach the model."""

    def never(*_):
        raise AssertionError("must not be asked")

    (response,) = call(never, ("POST", CHAT, body), settings=settings)
    assert response.status_code == status, response.text
    return response.json()["error"]


def test_a_conversation_reaches_the_model_as_a_prompt():
    asked = []

    def answer(*given):
        asked.append(given)
        return Reply("It is shut.", None, 40, 5)

    red, blue = picture((8, 8)), picture((16, 8))
    turns = [
        {"role": "system", "content": "You judge."},
        {"role": "user", "content": [shown(data_url(red)), shown(data_url(blue)), {"type": "text", "text": "Look."}]},
        {"role": "assistant", "content": "I see a drawer."},
        {"role": "user", "content": [{"type": "text", "text": "How"}, {"type": "text", "text": " far?"}]},
    ]
    body = complete({"model": "pocket", "messages": turns, "max_tokens": 99}, answer)
    expected = Prompt("How far?", True, "You judge.", (("Look.", "I see a drawer."),), max_tokens=99)
    assert asked == [(expected, (red, blue), ())]
    [choice] = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "It is shut.", "refusal": None}
    assert (choice["finish_reason"], choice["logprobs"]) == ("stop", None)
    assert body["usage"] == {"prompt_tokens": 40, "completion_tokens": 5, "total_tokens": 45}
    assert (body["object"], body["model"]) == ("chat.completion", "pocket")


def test_without_a_system_message_the_model_gets_none():
    asked = []
    complete({"messages": [{"role": "user", "content": "Hello"}]}, lambda *given: asked.append(given) or "Hi")
    assert asked == [(Prompt("Hello", False, system=""), (), ())]


def test_no_answer_is_longer_than_the_context():
    asked = []
    complete(chat(max_tokens=10**30), lambda prompt, *_: asked.append(prompt.max_tokens) or "So.")
    assert asked == [4096]


def test_an_answer_that_was_cut_short_says_so():
    body = complete(chat(max_completion_tokens=3), lambda *_: Reply("It is", None, 7, 3, cut_short=True))
    assert body["choices"][0]["finish_reason"] == "length"


def test_a_level_is_one_of_the_choices_and_has_log_probabilities():
    asked = []

    def answer(prompt, images, choices):
        asked.append(choices)
        return Reply("3", (0.0, 0.25, 0.75), 9, 1)

    body = complete(chat(**LEVELS, logprobs=True, top_logprobs=2, max_tokens=4), answer)
    assert asked == [("1", "2", "3")]
    [choice] = body["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("3", "stop")
    [token] = choice["logprobs"]["content"]
    assert (token["token"], token["logprob"], token["bytes"]) == ("3", math.log(0.75), [51])
    assert [(one["token"], one["logprob"]) for one in token["top_logprobs"]] == [
        ("3", math.log(0.75)),
        ("2", math.log(0.25)),
    ]


def test_a_choice_without_any_probability_stands_for_it_in_json():
    answer = Reply("3", (0.0, 0.25, 0.75), 9, 1)
    body = complete(chat(**LEVELS, logprobs=True, top_logprobs=20), lambda *_: answer)
    assert body["choices"][0]["logprobs"]["content"][0]["top_logprobs"][-1]["logprob"] == -9999.0


def test_a_rater_that_tells_no_probabilities_gives_none():
    body = complete(chat(**LEVELS, logprobs=True), lambda *_: Reply("2", None, 9, 1))
    assert body["choices"][0]["logprobs"] is None


def test_an_enum_of_numbers_is_a_choice():
    body = complete(chat(**named_schema({"type": "integer", "enum": [1, 2, 3]}), logprobs=True, top_logprobs=3))
    assert body["choices"][0]["message"]["content"] == "1"
    assert [token["token"] for token in body["choices"][0]["logprobs"]["content"]] == ["1"]


def test_an_enum_of_texts_is_a_choice_in_quotation_marks():
    body = complete(chat(**named_schema({"enum": ["A", "B"]}), logprobs=True, top_logprobs=3))
    [choice] = body["choices"]
    assert json.loads(choice["message"]["content"]) == "A"
    assert "".join(token["token"] for token in choice["logprobs"]["content"]) == choice["message"]["content"]
    assert refusal(chat(**named_schema({"enum": ["A", "B"]}), max_tokens=2))["param"] == "max_tokens"


@pytest.mark.parametrize(
    "fields",
    [
        {"structured_outputs": {"json": {"type": "array", "items": {"type": "integer"}, "maxItems": 3}}},
        {"structured_outputs": {"json": json.dumps({"type": "array", "items": {"type": "integer"}, "maxItems": 3})}},
        named_schema({"type": "array", "items": {"type": "integer"}, "maxItems": 3}),
    ],
)
def test_a_schema_reaches_the_model(fields):
    asked = []
    complete(chat(**fields), lambda prompt, *_: asked.append(json.loads(prompt.schema)) or "[1]")
    assert asked == [{"type": "array", "items": {"type": "integer"}, "maxItems": 3}]


def test_an_object_of_any_kind():
    asked = []
    complete(chat(response_format={"type": "json_object"}), lambda prompt, *_: asked.append(prompt.schema) or "{}")
    assert asked == ['{"type": "object"}']


def test_fields_that_ask_for_nothing_are_no_obstacle():
    body = chat(
        model="pocket", temperature=0, top_p=0.9, seed=123, n=1, stream=False, stop=None, tools=None, user="me",
        presence_penalty=0.0, response_format={"type": "text"}, store=False, metadata={"a": "b"}, logprobs=False,
    )  # fmt: skip
    assert complete(body)["choices"][0]["message"]["content"] == "It is half open."


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n": 2}, "n 2: this server does not do that; leave it out, or send 1"),
        ({"n": True}, "n true"),
        ({"stream": True}, "stream true: this server does not do that"),
        ({"stop": ["\n"]}, "stop"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"frequency_penalty": 0.5}, "frequency_penalty 0.5"),
        ({"temperature": 0.7}, "temperature 0.7: this server answers at temperature 0; leave it out, or start one"),
        ({"temperature": "0"}, "temperature: Input should be a valid number"),
        ({"temprature": 0.7}, "'temprature' is not known to this server"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "differ"),
        ({"logprobs": True}, "of choices only"),
        ({"top_logprobs": 3}, "without logprobs"),
        ({"top_logprobs": 21, "logprobs": True}, "less than or equal to 20"),
        ({"structured_outputs": {"regex": "[1-3]"}}, "one of 'choice' and 'json'"),
        ({"structured_outputs": {}}, "holds nothing"),
        ({"structured_outputs": {"choice": []}}, "1 to 64 different answers"),
        ({"structured_outputs": {"choice": ["1", "1"]}}, "1 to 64 different answers"),
        ({"structured_outputs": {"choice": "123"}}, "must be a list of texts"),
        ({"structured_outputs": {"json": "{"}}, "not JSON"),
        ({"response_format": {"type": "grammar"}}, "must be 'text', 'json_object' or 'json_schema'"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema must be an object"),
        (named_schema({"type": "string", "pattern": "(a+)+b"}), "has 'pattern', which this server does not obey"),
        (named_schema({"type": "array", "maxItems": 10**9}), "has maxItems 1000000000"),
        (LEVELS | named_schema({"type": "array"}), "ask for different answers"),
        ({"mm_processor_kwargs": {"size": {"shortest_edge": 1, "longest_edge": 2}}}, "pictures of 12544 to 12544"),
        ({"mm_processor_kwargs": {"fps": 2}}, "mm_processor_kwargs"),
        ({"messages": []}, "at least 1 item"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "must be one system message or none"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "y"}]}, "user and assistant in"),
        ({"messages": [{"role": "user", "content": [{"type": "video_url"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user"}]}, "messages[0].content: Field required"),
        ({"messages": "hello"}, "messages: Input should be a valid list"),
    ],
)  # fmt: skip
def test_what_is_not_done_is_refused_in_words(fields, message):
    error = refusal(chat() | fields)
    assert message in error["message"]
    assert error["type"] == "invalid_request_error" and error["param"]


def test_a_schema_without_end_is_refused():
    schema: dict = {"type": "integer"}
    for _ in range(40):
        schema = {"type": "array", "items": schema}
    assert "16 deep" in refusal(chat(**named_schema(schema)))["message"]
    wide = {"type": "object", "properties": {str(index): {} for index in range(600)}}
    assert "larger than 500 parts" in refusal(chat(**named_schema(wide)))["message"]


def test_a_picture_elsewhere_than_before_the_first_text_is_refused():
    late = {"role": "user", "content": [{"type": "text", "text": "Look"}, shown(data_url(picture()))]}
    assert "picture after text" in refusal({"messages": [late]})["message"]
    turns = [*chat()["messages"], {"role": "assistant", "content": "So."}]
    second = {"role": "user", "content": [shown(data_url(picture())), {"type": "text", "text": "And now?"}]}
    error = refusal({"messages": [*turns, second]})
    assert "messages[3] has a picture: they may stand in the first user message only" in error["message"]


@pytest.mark.parametrize("url", ["http://127.0.0.1/a.png", "file:///etc/passwd", "/etc/passwd", "data:text/html,x", ""])
def test_nothing_is_fetched(url):
    error = refusal(chat(shown(url)))
    assert "this server fetches nothing" in error["message"]
    assert error["param"] == "messages[1].content[0].image_url.url"


def test_the_sampling_is_the_servers_own_or_refused():
    settings = RaterSettings(temperature=0.5, seed=3)
    for fields in ({"temperature": 0.5, "seed": 3}, {}, {"top_p": 1}):
        complete(chat(**fields), settings=settings)
    for fields in ({"temperature": 0.0}, {"seed": 4}, {"top_p": 0.9}, {"top_k": 5}):
        assert refusal(chat(**fields), settings)["param"] == next(iter(fields))


def test_another_model_is_not_served():
    error = refusal(chat(model="gpt-4o"), status=404)
    assert (error["code"], error["param"]) == ("model_not_found", "model") and "'pocket'" in error["message"]


@pytest.mark.parametrize(("error", "status"), [(Refused("too long"), 400), (ServerError("broken"), 502)])
def test_a_failure_is_an_error(error, status):
    def fail(*_):
        raise error

    (response,) = call(fail, ("POST", CHAT, chat()))
    assert response.status_code == status and str(error) in response.json()["error"]["message"]


def test_a_level_that_is_none_is_no_answer():
    (response,) = call(lambda *_: Reply("4", None), ("POST", CHAT, chat(**LEVELS)))
    assert response.status_code == 502 and "the answer '4' is none of 1, 2, 3" in response.text


def test_the_models_entry_says_who_answers_and_how():
    settings = RaterSettings(model="org/model", dtype="float16", max_pixels=50_000, temperature=0.5)
    all_models, one, other = call(
        likely, ("GET", "/v1/models", None), ("GET", "/v1/models/org/model", None), ("GET", "/v1/models/x", None),
        settings=settings,
    )  # fmt: skip
    [entry] = all_models.json()["data"]
    assert entry == one.json() and other.status_code == 404
    assert (entry["id"], entry["owned_by"], entry["max_model_len"]) == ("org/model", "likert", 4096)
    assert entry["likert"] == {
        "model": "function", "revision": "fake", "temperature": 0.5, "seed": 0, "min_pixels": 3136,
        "max_pixels": 50_000, "precision": "float16",
    }  # fmt: skip


def test_whoever_was_told_of_another_server_is_not_answered():
    told = {
        "model": "function", "revision": "fake", "temperature": 0.0, "seed": 0, "min_pixels": 12_544,
        "max_pixels": 12_544, "precision": "auto",
    }  # fmt: skip
    assert complete(chat(likert=told))["choices"]
    for change in ({"max_pixels": 50_000}, {"revision": "other"}):
        error = refusal(chat(likert=told | change), status=412)
        assert "not the one that the asker was told of; it has" in error["message"] and error["param"] == "likert"


def test_chat_counts_in_the_statistics():
    _, response = call(likely, ("POST", CHAT, chat(**LEVELS)), ("GET", "/v1/statistics", None))
    assert (response.json()["num_rated"], response.json()["prompt_tokens"]) == (1, 7)


def test_openais_own_client_is_answered():
    openai = pytest.importorskip("openai")
    with served(likely, key="sesame") as address:
        client = openai.OpenAI(base_url=address, api_key="sesame", max_retries=0)
        assert [model.id for model in client.models.list()] == ["pocket"]
        answer = client.chat.completions.create(
            model="pocket",
            messages=chat(shown(data_url(picture())))["messages"],
            temperature=0,
            logprobs=True,
            top_logprobs=3,
            extra_body=LEVELS,
        )
        assert (answer.choices[0].message.content, answer.usage.prompt_tokens) == ("1", 7)
        [token] = answer.choices[0].logprobs.content
        assert math.exp(token.top_logprobs[0].logprob) == pytest.approx(4 / 7)
        turns = [*chat()["messages"], answer.choices[0].message, {"role": "user", "content": "Why?"}]
        assert client.chat.completions.create(model="pocket", messages=turns).choices[0].message.content
        with pytest.raises(openai.BadRequestError, match="temperature 1: this server answers at temperature 0"):
            client.chat.completions.create(model="pocket", messages=turns, temperature=1)
        stranger = openai.OpenAI(base_url=address, api_key="guess", max_retries=0)
        with pytest.raises(openai.AuthenticationError, match="this key is not the server's"):
            stranger.models.list()
