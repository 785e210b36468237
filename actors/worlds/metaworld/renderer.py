"""Frames of a task, drawn from stored state: the same state gives the same pixels in any process."""

import atexit
import difflib
import weakref
from collections.abc import Iterable

import mujoco
import numpy as np

from actors.worlds import opengl
from actors.worlds.metaworld import frame_state
from actors.worlds.metaworld.environment import TaskEnvironment, model_path
from actors.worlds.metaworld.settings import CameraSettings, MetaWorldTask
from actors.worlds.unseen import UnseenGeoms
from algorithms.episodes import Scene

_ROBOT_ROOT = "base"
_NEVER_DRAWN = 5
"""A group of geoms that MuJoCo leaves out."""
_OWN_CAMERA = "topview"
"""The stock camera that gives way to a camera of the user's own; any that stands still would do."""


class FrameRenderer:
    """Draws a task as its settings say. It needs no environment: a scene and a frame state are enough.

    Each renderer has an OpenGL context and a model of its own, so that several may work in turn in one process. A
    renderer costs about half a second to make; keep it.
    """

    def __init__(self, task: MetaWorldTask) -> None:
        """Raises ValueError for an unknown name in `object_colours`, RuntimeError if no OpenGL works."""
        self._gl: opengl.GLContext | None = None
        self._px = task.image_px
        self._fast = task.quality == "fast"
        self._model = _styled_model(task)
        self._data = mujoco.MjData(self._model)
        self._camera = _camera(self._model, task.camera)
        self._upside_down = _is_upside_down(self._model, self._camera.fixedcamid)
        self._gl = opengl.create_context(self._px, self._px)
        self._gl.make_current()
        self._mjr = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._mjr)
        self._view = mujoco.MjvScene(self._model, maxgeom=1000)
        self._options = mujoco.MjvOption()
        self._rectangle = mujoco.MjrRect(0, 0, self._px, self._px)
        self._groups = self._model.geom_group.copy()
        self._options.geomgroup[_NEVER_DRAWN] = 0
        # Shadows and reflections of what is beside the picture may fall into it.
        self._unseen = UnseenGeoms(self._model, self._camera.fixedcamid) if self._fast else None
        # Registered after the context's library set its own clean-up, so that this runs before it.
        atexit.register(_close_if_alive, weakref.ref(self))

    def render(self, scene: Scene, frame_states: np.ndarray) -> np.ndarray:
        """The frames, uint8 [N, px, px, 3], upright, of states float32 [N, F] of one episode."""
        if self._gl is None:
            raise RuntimeError("the renderer is closed")
        frames = np.empty((len(frame_states), self._px, self._px, 3), dtype=np.uint8)
        self._gl.make_current()
        self._place(scene)
        for frame, state in zip(frames, frame_states, strict=True):
            frame_state.restore(self._model, self._data, state)
            self._draw(frame)
        # OpenGL's first row is the lowest one. A camera that MetaWorld mounted upside down shows the rows in the right
        # order then, and its columns the wrong way round.
        return frames[:, :, ::-1] if self._upside_down else frames[:, ::-1]

    def close(self) -> None:
        """Free the OpenGL context."""
        if self._gl is not None:
            self._gl.make_current()
            self._mjr.free()
            self._gl.free()
            self._gl = None

    def __del__(self) -> None:
        # Left to itself, MuJoCo may free its textures in the context that is current, which is another renderer's.
        if getattr(self, "_gl", None) is not None:
            self.close()

    def _place(self, scene: Scene) -> None:
        """Place things, and leave out what this camera can never see: of the robot, up to half of the triangles."""
        frame_state.restore_scene(self._model, scene)
        if self._unseen is not None:
            hidden = self._unseen.where(self._model.body_pos)
            self._model.geom_group[:] = np.where(hidden, _NEVER_DRAWN, self._groups)

    def _draw(self, out: np.ndarray) -> None:
        mujoco.mjv_updateScene(
            self._model, self._data, self._options, None, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._view
        )
        if self._fast:
            self._view.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            self._view.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        mujoco.mjr_render(self._rectangle, self._view, self._mjr)
        mujoco.mjr_readPixels(out, None, self._rectangle, self._mjr)


def check_task(task: MetaWorldTask) -> None:
    """Check what only the simulator knows: start vector and object names. Needs no OpenGL.

    Raises:
        ValueError: `fixed_start.random_vector` has the wrong length or is rejected by the task, or `object_colours`
            names what the scene has not.
    """
    _styled_model(task)
    env = TaskEnvironment(task)
    env.reset(0)
    env.close()


def _styled_model(task: MetaWorldTask) -> mujoco.MjModel:
    """The task's model with its looks changed; only what is drawn differs."""
    model = mujoco.MjModel.from_xml_path(str(model_path(task.env_id)))
    model.vis.global_.offwidth = task.image_px
    model.vis.global_.offheight = task.image_px
    if task.quality == "fast":
        # Shadows and four samples a pixel take most of the time of a software OpenGL. Both are sized at its start.
        model.vis.quality.shadowsize = 0
        model.vis.quality.offsamples = 0
    for name, colour in task.object_colours.items():
        _paint(model, name, colour)
    robot = _subtree(model, model.body(_ROBOT_ROOT).id)
    if not task.robot_visible:
        model.geom_rgba[_geoms_of(model, robot), 3] = 0.0
    # The markers on the robot's fingers say nothing about the task.
    hidden_sites = np.isin(model.site_bodyid, robot) if task.goal_visible else slice(None)
    model.site_rgba[hidden_sites, 3] = 0.0
    return model


def _paint(model: mujoco.MjModel, name: str, colour: tuple[float, float, float, float]) -> None:
    geom_names = {model.geom(index).name: index for index in range(model.ngeom)}
    body_names = {model.body(index).name: index for index in range(1, model.nbody)}
    if name in geom_names:
        geoms = np.array([geom_names[name]])
    elif name in body_names:
        geoms = _geoms_of(model, _subtree(model, body_names[name]))
        # What MetaWorld makes transparent serves collisions only.
        geoms = geoms[model.geom_rgba[geoms, 3] > 0.0]
    else:
        raise ValueError(_unknown_object(name, geom_names.keys() | body_names.keys()))
    model.geom_matid[geoms] = -1
    model.geom_rgba[geoms] = colour


def _unknown_object(name: str, known: Iterable[str]) -> str:
    names = sorted(filter(None, known))
    nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    return f"object_colours: no body or geom is named {name!r}; {hint}known names: {', '.join(names)}"


def _subtree(model: mujoco.MjModel, root: int) -> np.ndarray:
    """Ids of a body and all that hang on it; MuJoCo numbers parents before children."""
    inside = np.zeros(model.nbody, dtype=bool)
    inside[root] = True
    for body in range(root + 1, model.nbody):
        inside[body] = inside[model.body_parentid[body]]
    return np.flatnonzero(inside)


def _geoms_of(model: mujoco.MjModel, bodies: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.isin(model.geom_bodyid, bodies))


def _camera(model: mujoco.MjModel, wanted: CameraSettings | str) -> mujoco.MjvCamera:
    """The camera to draw with; one of the user's own replaces a stock camera in this model."""
    name = wanted
    if isinstance(wanted, CameraSettings):
        name = _OWN_CAMERA
        index = model.camera(name).id
        model.cam_pos[index] = wanted.position
        model.cam_quat[index] = _look_at(np.array(wanted.position), np.array(wanted.look_at))
        model.cam_fovy[index] = wanted.fovy_deg
    camera = mujoco.MjvCamera()
    camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
    camera.fixedcamid = model.camera(name).id
    return camera


def _look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Quaternion [4] of a camera that looks at a point, with the world's z axis up in its picture."""
    backward = (position - target) / np.linalg.norm(position - target)
    right = np.cross([0.0, 0.0, 1.0], backward)
    if np.linalg.norm(right) < 1e-6:
        # Straight down or up, z has no direction in the picture: put the robot's forward direction up.
        right = np.array([1.0, 0.0, 0.0])
    right /= np.linalg.norm(right)
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, np.stack([right, np.cross(backward, right), backward], axis=1).ravel())
    return quaternion


def _is_upside_down(model: mujoco.MjModel, camera: int) -> bool:
    """MetaWorld rolls its corner cameras by half a turn: the picture's up direction points down in the world."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return bool(data.cam_xmat[camera].reshape(3, 3)[2, 1] < -1e-6)


def _close_if_alive(reference: "weakref.ref[FrameRenderer]") -> None:
    renderer = reference()
    if renderer is not None:
        renderer.close()
