"""Where a server listens, and when it needs a key."""

import socket

import pytest

from actors.rating.backend import RaterError
from actors.rating.serving import listening
from actors.rating.serving.listening import CannotServe, is_loopback, key_for, open_sockets, serve
from actors.rating.settings import RaterSettings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LocalHost"])
def test_this_machine_needs_no_key(host):
    assert is_loopback(host) and key_for(host, None) is None and key_for(host, "sesame") == "sesame"


ELSEWHERE = [
    "",
    "0.0.0.0",
    "::",
    "10.0.0.1",
    "128.0.0.1",
    "::ffff:127.0.0.1",
    "localhost.example.org",
    "127.1",
    "gpu-7",
]


@pytest.mark.parametrize("host", ELSEWHERE)
def test_any_other_address_needs_one(host):
    assert not is_loopback(host) and key_for(host, "sesame") == "sesame"
    with pytest.raises(CannotServe, match="a key is needed: put one that is hard to guess into the environment"):
        key_for(host, None)


@pytest.mark.parametrize("key", ["", " ", "two words", "new\nline", "sésame", "tab\t"])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_key_that_no_header_carries_is_refused_and_not_shown(host, key):
    with pytest.raises(CannotServe, match="LIKERT_SERVE_KEY is empty, or has blanks or letters beyond ASCII") as error:
        key_for(host, key)
    assert not key.strip() or key not in str(error.value)


def test_a_port_in_use_is_told_before_a_model_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotServe, match=f"--host 127.0.0.1 --port {port} cannot be listened on: Address already"):
            serve(RaterSettings(), "127.0.0.1", port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "1.2.3.4.5", "a" * 300, "::1::"])
def test_an_address_that_there_is_not_is_told(host):
    with pytest.raises(CannotServe, match="there is no such address"):
        open_sockets(host, 0)


def test_an_address_of_another_machine_is_told():
    with pytest.raises(CannotServe, match="cannot be listened on: Cannot assign requested address"):
        open_sockets("192.0.2.1", 0)


def test_all_addresses_of_a_name_share_a_port():
    sockets = open_sockets("localhost", 0)
    assert len({one.getsockname()[1] for one in sockets}) == 1
    for one in sockets:
        one.close()


def test_one_process_holds_one_engine():
    with pytest.raises(CannotServe, match="start another one on another port"):
        serve(RaterSettings(num_replicas=2))
    with pytest.raises(CannotServe, match="`likert rater start`"):
        serve(RaterSettings(server="shared"))


def test_a_model_that_does_not_exist_is_told_before_anything_starts():
    with pytest.raises(CannotServe, match=r"rater\.model 'nowhere': there is no such folder"):
        serve(RaterSettings(model="nowhere"))


def test_a_model_that_cannot_be_loaded_is_told_and_the_server_ended(monkeypatch):
    ended, told = [], []

    class Broken:
        def __init__(self, settings):
            pass

        async def start(self):
            raise RaterError("no memory")

        async def shutdown(self):
            ended.append(True)

    monkeypatch.setattr(listening, "RatingServer", Broken)
    with pytest.raises(CannotServe, match="the rating server did not start: no memory"):
        serve(RaterSettings(), port=0, tell=told.append)
    assert ended == [True] and told == ["rating server: loading pocket"]
