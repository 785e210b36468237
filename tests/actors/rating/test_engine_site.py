"""Start-up code of the processes that hold an engine."""

import os
import signal
import subprocess
import sys
import tempfile
import time

import psutil
import pytest

from actors.rating.engine.environment import ENGINE_SITE, engine_environment, socket_folder


def run(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def torchvision_of(folder, has_operators: bool) -> str:
    """A PYTHONPATH with stand-ins: a torch that knows torchvision's operators or not, and prints what is declared."""
    (folder / "torch.py").write_text(
        "from types import SimpleNamespace\n"
        "class Library:\n"
        "    def __init__(self, namespace, kind): pass\n"
        "    def define(self, schema): print('declared', schema.split('(')[0])\n"
        "library = SimpleNamespace(Library=Library)\n"
        f"ops = SimpleNamespace(torchvision=SimpleNamespace({'nms=print' if has_operators else ''}))\n"
    )
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text("from . import _meta_registrations\n")
    (folder / "torchvision" / "_meta_registrations.py").write_text("print('registering')\n")
    return os.pathsep.join([str(ENGINE_SITE), str(folder)])


def test_missing_operators_are_declared_before_torchvision_registers_them(tmp_path):
    lines = run("import torchvision", PYTHONPATH=torchvision_of(tmp_path, has_operators=False)).splitlines()
    assert lines == ["declared nms", "declared qnms", "registering"]


def test_where_the_operators_load_nothing_is_declared(tmp_path):
    assert run("import torchvision", PYTHONPATH=torchvision_of(tmp_path, has_operators=True)) == "registering"


def test_another_sitecustomize_still_runs(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.was_run = True")
    path = os.pathsep.join([str(ENGINE_SITE), str(tmp_path)])
    assert run("import sys; print(sys.was_run)", PYTHONPATH=path) == "True"


def test_the_environment_keeps_the_path_and_is_the_same_when_applied_twice(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    first = engine_environment()
    assert first["PYTHONPATH"].split(os.pathsep) == [str(ENGINE_SITE), "/somewhere"]
    monkeypatch.setenv("PYTHONPATH", first["PYTHONPATH"])
    assert engine_environment() == first


PARENT = """
import multiprocessing, threading, time
import grandchildren

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    child = spawn.Process(target=grandchildren.hold, args=(1,))
    child.start()
    time.sleep(600)
"""

GRANDCHILDREN = """
import multiprocessing, os, time

def hold(generations):
    if generations:
        multiprocessing.get_context("spawn").Process(target=hold, args=(generations - 1,)).start()
    print(os.getpid(), flush=True)
    while True:  # busy in Python, as a hung engine may be
        pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_spawned_processes_die_with_a_killed_parent(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    (tmp_path / "grandchildren.py").write_text(GRANDCHILDREN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ENGINE_SITE), str(tmp_path)])}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], env=environment, stdout=subprocess.PIPE)
    children = [psutil.Process(int(parent.stdout.readline())) for _ in range(2)]
    assert all(child.is_running() for child in children)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    gone, alive = psutil.wait_procs(children, timeout=20)
    assert len(gone) == 2 and not alive


def test_other_processes_do_not_die_with_their_parent():
    # A plain subprocess of a rating server is not an engine.
    code = (
        "import subprocess, sys; null = subprocess.DEVNULL; sleep = 'import time; time.sleep(600)'; "
        "print(subprocess.Popen([sys.executable, '-c', sleep], stdout=null, stderr=null).pid)"
    )
    child = psutil.Process(int(run(code, **engine_environment())))
    try:
        time.sleep(0.2)
        assert child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    finally:
        child.kill()


def test_an_engine_meets_its_processes_where_paths_of_sockets_are_short(monkeypatch):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/" + 69 * "x")
    assert socket_folder() == "/" + 69 * "x"
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/" + 70 * "x")
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    assert socket_folder() == "/tmp"
    monkeypatch.setenv("RAY_TMPDIR", "/short")
    assert socket_folder() == "/short"
