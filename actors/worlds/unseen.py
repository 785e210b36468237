"""Which geoms of a MuJoCo scene a fixed camera can never show, however the joints move: they need not be drawn."""

import itertools

import mujoco
import numpy as np

MARGIN_M = 0.01
"""Kept between a geom and the edge of the picture, for what rounding adds."""
_CORNERS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
_UNBOUNDED = (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_HFIELD)


class UnseenGeoms:
    """The geoms of a model, as it was loaded, that lie beside the picture of a fixed camera wherever they can get to.

    What hangs on a joint may be anywhere that the joints between it and the world can carry it, also beyond their
    limits if they turn. What floats freely, slides without a limit, or is moved from outside is never among them.

    Shadows and reflections of unseen geoms may well be seen: with these on, everything must be drawn.
    """

    def __init__(self, model: mujoco.MjModel, camera: int, aspect: float = 1.0) -> None:
        """`aspect`: the picture's width over its height."""
        self._places = model.body_pos.copy()
        self._geom_bodies = model.geom_bodyid.copy()
        self._below = _below(model)
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        carriers = _carriers(model)
        self._unseen = np.zeros(model.ngeom, dtype=bool)
        still = model.cam_mode[camera] == mujoco.mjtCamLight.mjCAMLIGHT_FIXED and not carriers[model.cam_bodyid[camera]]
        for edge in _edges(model, data, camera, aspect) if still else ():
            self._unseen |= _beyond(model, data, carriers, edge)

    def where(self, body_pos: np.ndarray) -> np.ndarray:
        """bool [ngeom]: those unseen with bodies at `body_pos` float64 [nbody, 3]; what was moved is drawn."""
        moved = (body_pos != self._places).any(axis=1)
        return self._unseen & ~self._below[:, moved].any(axis=1)[self._geom_bodies]


def _below(model: mujoco.MjModel) -> np.ndarray:
    """bool [nbody, nbody]: whether the first body is the second, or hangs on it."""
    below = np.eye(model.nbody, dtype=bool)
    for body in range(1, model.nbody):
        below[body] |= below[model.body_parentid[body]]
    return below


def _carriers(model: mujoco.MjModel) -> np.ndarray:
    """Of each body the nearest one, itself or above, that moves against what it hangs on; 0 if it stands still."""
    carriers = np.zeros(model.nbody, dtype=int)
    for body in range(1, model.nbody):
        moves = model.body_jntnum[body] or model.body_mocapid[body] >= 0
        carriers[body] = body if moves else carriers[model.body_parentid[body]]
    return carriers


def _edges(
    model: mujoco.MjModel, data: mujoco.MjData, camera: int, aspect: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """The four planes through the camera and an edge of the picture: a point, and the normal that points outwards."""
    slope = np.tan(np.radians(model.cam_fovy[camera]) / 2.0)
    # A camera looks against its third axis.
    axes = data.cam_xmat[camera].reshape(3, 3).T
    normals = [
        sign * axes[axis] + wide * axes[2] for axis, wide in ((0, slope * aspect), (1, slope)) for sign in (-1, 1)
    ]
    return [(data.cam_xpos[camera], normal / np.linalg.norm(normal)) for normal in normals]


def _beyond(
    model: mujoco.MjModel, data: mujoco.MjData, carriers: np.ndarray, edge: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """bool [ngeom]: whether all that a geom can reach lies outside of this edge."""
    origins = _nearest_origins(model, data, carriers, edge)
    beyond = np.zeros(model.ngeom, dtype=bool)
    for geom in range(model.ngeom):
        if model.geom_type[geom] in _UNBOUNDED:
            continue
        carrier = carriers[model.geom_bodyid[geom]]
        points = _points(model, data, geom)
        if not carrier or _circles(model, carriers, carrier):
            nearest = _nearest(model, data, carriers, carrier, points, edge).min()
        else:
            nearest = origins[carrier] - np.linalg.norm(points - data.xpos[carrier], axis=1).max()
        beyond[geom] = nearest > MARGIN_M
    return beyond


def _nearest_origins(
    model: mujoco.MjModel, data: mujoco.MjData, carriers: np.ndarray, edge: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """float [nbody]: how far outside of an edge each carrier's origin is at least, in metres."""
    nearest = np.zeros(model.nbody)
    for body in np.unique(carriers[carriers > 0]):
        above = carriers[model.body_parentid[body]]
        if _circles(model, carriers, body):
            nearest[body] = _nearest(model, data, carriers, body, data.xpos[body : body + 1], edge)[0]
        elif above:
            nearest[body] = nearest[above] - np.linalg.norm(data.xpos[body] - data.xpos[above]) - _play(model, body)
        else:
            nearest[body] = _outside(data.xpos[body], edge) - _play(model, body)
    return nearest


def _circles(model: mujoco.MjModel, carriers: np.ndarray, body: int) -> bool:
    """Whether a body only turns around an axis that stands still."""
    joint = model.body_jntadr[body]
    only_turns = model.body_jntnum[body] == 1 and model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE
    return bool(only_turns and not carriers[model.body_parentid[body]])


def _nearest(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    carriers: np.ndarray,
    carrier: int,
    points: np.ndarray,
    edge: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """How far outside of an edge points [N, 3] are, [N]; at the worst angle if they circle with their carrier."""
    if not carrier:
        return _outside(points, edge)
    joint = model.body_jntadr[carrier]
    anchor, axis = data.xanchor[joint], data.xaxis[joint]
    along = (points - anchor) @ axis
    middles = anchor + along[:, None] * axis
    radii = np.linalg.norm(points - middles, axis=1)
    return _outside(middles, edge) - radii * np.sqrt(max(0.0, 1.0 - (edge[1] @ axis) ** 2))


def _outside(points: np.ndarray, edge: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return (points - edge[0]) @ edge[1]


def _play(model: mujoco.MjModel, body: int) -> float:
    """How far a body's joints can carry its origin from where it is at the start, in metres."""
    if model.body_mocapid[body] >= 0:
        return np.inf
    play = 0.0
    for joint in range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body]):
        kind = model.jnt_type[joint]
        if kind == mujoco.mjtJoint.mjJNT_FREE or (kind == mujoco.mjtJoint.mjJNT_SLIDE and not model.jnt_limited[joint]):
            return np.inf
        if kind == mujoco.mjtJoint.mjJNT_SLIDE:
            # Limits are soft; twice the way is never used up.
            play += 2.0 * float(np.abs(model.jnt_range[joint] - model.qpos0[model.jnt_qposadr[joint]]).max())
        else:
            play += 2.0 * float(np.linalg.norm(model.jnt_pos[joint]))
    return play


def _points(model: mujoco.MjModel, data: mujoco.MjData, geom: int) -> np.ndarray:
    """Points [N, 3] in the world whose convex hull holds a geom: a mesh's own, or the corners of its box."""
    if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = model.geom_dataid[geom]
        start = model.mesh_vertadr[mesh]
        local = model.mesh_vert[start : start + model.mesh_vertnum[mesh]].astype(np.float64)
    else:
        local = model.geom_aabb[geom, :3] + _CORNERS * model.geom_aabb[geom, 3:]
    return data.geom_xpos[geom] + local @ data.geom_xmat[geom].reshape(3, 3).T
