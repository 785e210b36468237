"""What a likert server says of itself, and settings that agree with it."""

import pytest

from actors.rating.endpoint.served import Served, look, read_served
from actors.rating.settings import RaterSettings
from algorithms.ratings import RaterIdentity

SERVER = RaterSettings(model="org/model", dtype="float16", quantization="awq", max_pixels=50_000, seed=3)
SERVED = Served.by(SERVER, RaterIdentity("org/model", "c0ffee"))
ENDPOINT = "http://gpu-7:8300/v1"


def asking(**settings) -> RaterSettings:
    return RaterSettings(endpoint=ENDPOINT, **settings)


@pytest.mark.parametrize(
    "server", [SERVER, RaterSettings(), RaterSettings(model="pocket_windows", temperature=0.5, seed=9)]
)
def test_settings_that_leave_it_open_get_the_keys_of_the_servers_own_engine(server):
    served = Served.by(server, RaterIdentity("m", "r"))
    agreed = served.agreed(asking(max_analysis_tokens=server.max_analysis_tokens, seed=server.seed))
    assert agreed.sampling == server.sampling
    assert agreed.endpoint == ENDPOINT and served.agreed(agreed) == agreed


def test_a_seed_is_the_runs_own_where_it_has_no_effect():
    assert SERVED.agreed(asking(seed=8)).seed == 8
    assert Served.by(RaterSettings(temperature=1.0, seed=4), SERVED.identity).agreed(asking()).seed == 4


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"max_pixels": 9_999},
            r"max_pixels 50000 \(asked for: 9999\); leave rater.max_pixels out, or start the server",
        ),
        ({"min_pixels": 9_999}, r"min_pixels 3136 \(asked for: 9999\)"),
        ({"dtype": "float32", "temperature": 0.7}, r"temperature 0.0 \(asked for: 0.7\), dtype 'float16' \(asked for"),
        ({"revision": "abc"}, r"revision 'c0ffee' \(asked for: 'abc'\)"),
        ({"quantization": "gptq"}, r"quantization 'awq'"),
    ],
)
def test_settings_that_ask_otherwise_are_refused_in_one_message(asked, told):
    with pytest.raises(ValueError, match=f"rater.endpoint {ENDPOINT} is a likert server with {told}"):
        SERVED.agreed(asking(**asked))


def test_settings_that_ask_the_same_are_none_the_worse():
    assert SERVED.agreed(asking(max_pixels=50_000, revision="c0ffee", temperature=0.0)).sampling.max_pixels == 50_000


@pytest.mark.parametrize(
    "models",
    [
        None,
        [],
        {"data": None},
        {"data": []},
        {"data": [{"id": "a"}]},
        {"data": [{"id": "a", "likert": 7}]},
        {"data": [{"id": "a", "likert": {"model": "m"}}]},
        {"data": [{"id": "a", "likert": SERVED.model_dump() | {"seed": "0"}}]},
        {"data": [{"id": "a", "likert": SERVED.model_dump()}, {"id": "b"}]},
    ],
)
def test_another_server_says_nothing(models):
    assert read_served(models, "") is None


def test_one_of_several_models_is_found_by_name():
    entry = {"id": "a", "likert": SERVED.model_dump() | {"of a later version": 1}}
    assert read_served({"data": [entry, {"id": "b"}]}, "a") == SERVED
    assert read_served({"data": [entry]}, "") == SERVED


def test_a_server_that_is_not_there_says_nothing():
    assert look(RaterSettings(endpoint="http://127.0.0.1:9/v1")) is None
    assert look(RaterSettings(endpoint="http://[")) is None
