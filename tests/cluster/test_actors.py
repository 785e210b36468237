"""Connecting to Ray leaves this process its own way to end."""

import signal

import pytest

from orchestrator.cluster.actors import START_ATTEMPTS, TOO_SLOW, patiently
from orchestrator.errors import SettingsError


def theirs(*_):
    """What Ray makes of SIGTERM."""


@pytest.fixture
def ours():
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield signal.default_int_handler
    signal.signal(signal.SIGTERM, before)


def test_sigterm_does_what_it_did_before_ray_was_started(ours):
    assert patiently(lambda: signal.signal(signal.SIGTERM, theirs) and "connected") == "connected"
    assert signal.getsignal(signal.SIGTERM) is ours


def test_also_where_ray_does_not_start(ours):
    attempts = []

    def init():
        attempts.append(signal.signal(signal.SIGTERM, theirs))
        raise RuntimeError(f"node {TOO_SLOW}")

    with pytest.raises(SettingsError, match="did not start"):
        patiently(init)
    assert len(attempts) == START_ATTEMPTS
    assert signal.getsignal(signal.SIGTERM) is ours
