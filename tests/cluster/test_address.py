"""RAY_ADDRESS: what is no address, where nobody answers, and who does not let us in; each one message, and soon."""

import socket
import subprocess
from types import SimpleNamespace

import pytest

from orchestrator.cluster import address
from orchestrator.cluster.address import check_cluster, ray_address
from orchestrator.errors import SettingsError


@pytest.fixture
def answering():
    """The address of something that listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("given", "found"), [(None, None), ("", None), ("local", None), ("auto", "auto"), ("a:6379", "a:6379")]
)
def test_without_an_address_runs_start_a_ray_of_their_own(monkeypatch, given, found):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if given is not None:
        monkeypatch.setenv("RAY_ADDRESS", given)
    assert ray_address() == found


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("10.0.0.1", "must be host:port"),
        ("10.0.0.1:", "must be host:port"),
        ("10.0.0.1:ray", "must be host:port"),
        ("10.0.0.1:0", "must be host:port"),
        ("10.0.0.1:70000", "must be host:port"),
        ("10.0.0.1:6379/", "must be host:port"),
        ("user@10.0.0.1:6379", "must be host:port"),
        (" 10.0.0.1:6379", "must be host:port"),
        ("::1:6379", "must be host:port"),
        ("http://10.0.0.1:8265", "RAY_API_SERVER_ADDRESS"),
        ("ray://10.0.0.1:10001", "submit a job"),
        ("head.invalid:6379", "there is no such host"),
        (f"{70 * 'x'}.y:6379", "there is no such host"),
        ("127.0.0.1:9", "nobody answers"),
        ("[::1]:9", "nobody answers"),
    ],
)
def test_an_address_that_leads_nowhere(monkeypatch, given, message):
    monkeypatch.setattr(subprocess, "run", pytest.fail)
    with pytest.raises(SettingsError, match=message) as refused:
        check_cluster(given)
    assert repr(given) in str(refused.value) and "mend RAY_ADDRESS" in str(refused.value)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("AuthenticationError: no token", r"does not let us in .*auth_token"),
        ("RuntimeError: Version mismatch: 2.60 2.61", r"Version mismatch.*same Ray and Python"),
        ("ConnectionError: nobody there", r"cannot be reached .*mend RAY_ADDRESS"),
        ("", "no reason given"),
    ],
)
def test_a_cluster_that_cannot_be_joined(monkeypatch, answering, output, message):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stderr=output, stdout=""))
    with pytest.raises(SettingsError, match=message):
        check_cluster(answering)


def test_what_listens_and_is_no_ray_is_not_waited_for(monkeypatch, answering):
    monkeypatch.setattr(address, "REACH_S", 0.1)
    with pytest.raises(SettingsError, match=r"cannot be reached \(no answer within 0\.1 s\)"):
        check_cluster(answering)


def test_nodes_are_counted(monkeypatch, answering):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=0, stderr="", stdout="3\n"))
    assert check_cluster(answering) == 3
