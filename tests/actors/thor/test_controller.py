"""Finding THOR's build and starting it, what is said where it is missing, and patience with it."""

import sys
import time
from functools import partial

import pytest

from actors.thor import controller as thor_controller
from actors.thor.controller import PatientController, ThorUnavailable, check_thor, start_thor
from actors.thor.environment import ThorEnvironment
from actors.thor.settings import RELEASE, ThorSettings
from tests.fakes.thor_tasks import OBJECTS, TAKE, pair, task
from tests.fakes.toy_thor import MUG, ToyThor


@pytest.fixture
def toy():
    return ToyThor()


@pytest.fixture
def installed(monkeypatch):
    """As if the extra were there."""
    monkeypatch.setattr(thor_controller.importlib.util, "find_spec", lambda name: object())


def program(path, mode=0o755):
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def test_without_the_extra_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ai2thor", None)
    monkeypatch.setattr(thor_controller.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ThorUnavailable, match=r"pip install 'likert-rl\[thor\]'"):
        start_thor(ThorSettings(source=tmp_path))


def test_without_a_build_it_is_said_where_one_belongs(installed, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    where = tmp_path / ".ai2thor" / "releases" / RELEASE / RELEASE
    with pytest.raises(ThorUnavailable, match=f"{where} is no program: place.*evaluation.thor.build.*docs/alfred.md"):
        check_thor(ThorSettings(source=tmp_path))
    plain = program(tmp_path / "plain", mode=0o644)
    with pytest.raises(ThorUnavailable, match=r"plain is no program.*chmod \+x"):
        check_thor(ThorSettings(source=tmp_path, build=plain))
    monkeypatch.setenv("DISPLAY", ":0")
    where.parent.mkdir(parents=True)
    program(where)
    check_thor(ThorSettings(source=tmp_path))
    check_thor(ThorSettings(source=tmp_path, build=program(tmp_path / "mine")))
    monkeypatch.delenv("DISPLAY")
    with pytest.raises(ThorUnavailable, match="DISPLAY is not set"):
        check_thor(ThorSettings(source=tmp_path))


def test_the_build_is_started_by_its_name_so_that_nothing_is_downloaded(installed, monkeypatch, tmp_path):
    started = []

    class Unity(ToyThor):
        local_executable_path = None

        def start(self, **size):
            started.append((self.local_executable_path, size))

    module = type(sys)("ai2thor.controller")
    module.Controller = Unity
    monkeypatch.setitem(sys.modules, "ai2thor", type(sys)("ai2thor"))
    monkeypatch.setitem(sys.modules, "ai2thor.controller", module)
    monkeypatch.setenv("DISPLAY", ":0")
    build = program(tmp_path / "thor")
    env = ThorEnvironment(ThorSettings(source=tmp_path, build=build), OBJECTS)
    assert started == [(str(build), {"player_screen_width": 300, "player_screen_height": 300})]
    env.reset(options={"task": task(TAKE)})
    assert env.step(pair("PickupObject", "Mug"))[1] == 1.0


def test_a_build_that_died_is_given_up_on_and_errors_come_through(toy):
    class Dead(ToyThor):
        def step(self, command):
            time.sleep(60)

    begun = time.monotonic()
    with pytest.raises(ThorUnavailable, match=r"not answered for 0\.2 s.*evaluation.thor.timeout_s"):
        PatientController(Dead(), 0.2).step({"action": "Pass"})
    assert time.monotonic() - begun < 10
    patient = PatientController(toy, 30.0)
    patient.reset("FloorPlan1")
    assert patient.last_event is toy.last_event
    with pytest.raises(ValueError, match="cannot be sliced"):
        patient.step({"action": "SliceObject", "objectId": MUG})


def test_environments_can_be_sent_to_another_process():
    import pickle

    make = partial(ThorEnvironment, ThorSettings(source="."), OBJECTS)
    assert pickle.loads(pickle.dumps(make)).args == make.args
