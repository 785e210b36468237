"""The choice of an OpenGL backend, and what is said where there is none."""

import pytest

from actors.worlds import opengl


@pytest.fixture(autouse=True)
def fresh_choice(monkeypatch):
    """No choice made before, and none kept after."""
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    opengl.chosen_backend.cache_clear()
    yield
    opengl.chosen_backend.cache_clear()


def pretend(monkeypatch, **failures):
    """Make every probe fail with the given reason, or work where there is none."""
    probed = []
    monkeypatch.setattr(opengl, "probe", lambda backend: probed.append(backend) or failures.get(backend))
    return probed


def test_egl_is_preferred(monkeypatch):
    probed = pretend(monkeypatch)
    assert opengl.chosen_backend() == "egl"
    assert probed == ["egl"]


def test_osmesa_is_taken_where_egl_fails(monkeypatch):
    pretend(monkeypatch, egl="no EGL here")
    assert opengl.chosen_backend() == "osmesa"


def test_the_users_choice_is_honoured(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    probed = pretend(monkeypatch)
    assert opengl.chosen_backend() == "osmesa"
    assert probed == ["osmesa"]


def test_backends_are_probed_once(monkeypatch):
    probed = pretend(monkeypatch)
    opengl.chosen_backend()
    opengl.chosen_backend()
    assert probed == ["egl"]


@pytest.mark.parametrize("asked", [None, "egl"])
def test_where_nothing_works_the_packages_are_named(monkeypatch, asked):
    if asked:
        monkeypatch.setenv("MUJOCO_GL", asked)
    pretend(monkeypatch, egl="no EGL here", osmesa="no OSMesa here")
    with pytest.raises(RuntimeError) as caught:
        opengl.chosen_backend()
    message = str(caught.value)
    assert "egl: no EGL here" in message
    assert ("osmesa: no OSMesa here" in message) is (asked is None)
    command = "apt-get install -y --no-install-recommends libegl1 libgl1 libgl1-mesa-dri libosmesa6"
    assert command in message


def test_drawing_switched_off_says_so(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disabled")
    with pytest.raises(RuntimeError, match="MUJOCO_GL=disabled switches drawing off; unset it"):
        opengl.chosen_backend()


def test_unknown_backend_says_so(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "vulkan")
    with pytest.raises(RuntimeError, match="MUJOCO_GL=vulkan is no backend"):
        opengl.chosen_backend()


def test_probe_reports_why_a_backend_fails(monkeypatch):
    # PyOpenGL can serve one platform in a process; asking for the other is a failure that needs no missing library.
    monkeypatch.setenv("PYOPENGL_PLATFORM", "osmesa")
    assert "Cannot use EGL" in opengl.probe("egl")


def test_probe_gives_up_on_a_hanging_driver(monkeypatch):
    monkeypatch.setattr(opengl, "_PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr(opengl, "_PROBE_TIMEOUT_S", 0.2)
    assert opengl.probe("egl") == "no context within 0 s"
