"""Where a Ray of our own keeps its files: each place that it cannot is one message that names the remedy."""

import os

import psutil
import pytest
import ray

from orchestrator.cluster import actors as cluster
from orchestrator.cluster import own_ray
from orchestrator.cluster.own_ray import SOCKET_PATH_BYTES, temporary_folder
from orchestrator.errors import SettingsError


@pytest.fixture
def short(tmp_path_factory, monkeypatch):
    """A short folder of the test's own; pytest's are too long for Ray."""
    import tempfile

    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    with tempfile.TemporaryDirectory(prefix="lk", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield folder


def test_a_folder_of_this_machine_is_good(short, monkeypatch):
    assert str(temporary_folder()) == short and os.listdir(short) == []
    monkeypatch.setenv("TMPDIR", f"{short}/new")
    assert temporary_folder().is_dir()
    monkeypatch.delenv("TMPDIR")
    assert str(temporary_folder()) == "/tmp"


def test_it_may_be_as_long_as_the_socket_below_allows(short, monkeypatch):
    longest = SOCKET_PATH_BYTES - len(f"/ray/session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store")
    fitting = f"{short}/".ljust(longest, "x")
    monkeypatch.setenv("TMPDIR", fitting)
    assert str(temporary_folder()) == fitting
    monkeypatch.setenv("TMPDIR", fitting + "x")
    with pytest.raises(SettingsError, match=rf"TMPDIR = .*{longest + 1} bytes long.*of {longest} or fewer.*RAY_TMPDIR"):
        temporary_folder()
    monkeypatch.setenv("TMPDIR", fitting + "//")
    temporary_folder()
    # Bytes, not characters.
    monkeypatch.setenv("TMPDIR", f"{short}/".ljust(longest - 1, "x") + "é")
    with pytest.raises(SettingsError, match="bytes long"):
        temporary_folder()


def test_rays_own_variable_goes_first(short, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/tmp/" + 70 * "x")
    with pytest.raises(SettingsError, match=r"^TMPDIR = "):
        temporary_folder()
    monkeypatch.setenv("RAY_TMPDIR", short)
    assert str(temporary_folder()) == short
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + 70 * "y")
    with pytest.raises(SettingsError, match=r"^RAY_TMPDIR = "):
        temporary_folder()


@pytest.mark.parametrize("given", ["", ".", "here", "~/tmp"])
def test_it_begins_at_the_root(monkeypatch, given):
    monkeypatch.setenv("RAY_TMPDIR", given)
    with pytest.raises(SettingsError, match=r"must be named from the root"):
        temporary_folder()


def test_a_file_is_no_folder(short, monkeypatch):
    open(f"{short}/file", "w").close()
    for given in (f"{short}/file", f"{short}/file/below"):
        monkeypatch.setenv("TMPDIR", given)
        with pytest.raises(SettingsError, match=r"cannot keep its temporary files there .*RAY_TMPDIR"):
            temporary_folder()


def test_a_full_disk_and_one_without_sockets(short, monkeypatch):
    def refuse(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(own_ray.Path, "write_bytes", refuse)
        with pytest.raises(SettingsError, match="No space left on device"):
            temporary_folder()
    with monkeypatch.context() as patch:
        patch.setattr(own_ray.socket.socket, "bind", refuse)
        with pytest.raises(SettingsError, match="Set RAY_TMPDIR"):
            temporary_folder()
    assert os.listdir(short) == []


def test_no_ray_is_started_where_it_cannot_be(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + 70 * "x")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", pytest.fail)
    with pytest.raises(SettingsError, match="bytes long") as refused:
        cluster.connect([])
    assert refused.value.exit_code == 2


def test_whoever_wants_other_niceness_sets_it(monkeypatch):
    monkeypatch.setenv(own_ray.NICENESS, "7")
    own_ray.let_workers_be_as_nice_as_we()
    assert os.environ[own_ray.NICENESS] == "7"


class Actor:
    def children_of_ray(self):
        """What the processes are called that Ray has started beside this one."""
        return [child.name() for child in psutil.Process().parent().children()]


def test_ray_starts_no_workers_that_nobody_asked_for(short, monkeypatch):
    for name in ("RAY_ADDRESS", own_ray.PRESTARTED):
        monkeypatch.delenv(name, raising=False)
    with cluster.connected([]):
        names = ray.get(cluster.actor_class(Actor, {"CPU": 1.0}).remote().children_of_ray.remote())
    assert any("Actor" in name for name in names)
    assert not any("IDLE" in name for name in names)
