"""What a fixed camera never shows is left out of the drawing, and no pixel changes."""

import mujoco
import numpy as np
import pytest

from actors.worlds.metaworld.environment import TaskEnvironment
from actors.worlds.metaworld.renderer import FrameRenderer
from actors.worlds.metaworld.settings import CameraSettings, MetaWorldTask
from actors.worlds.unseen import UnseenGeoms

# The camera looks along x from the origin, and sees what is less far from the axis than it is away.
SCENE = """
<mujoco>
  <worldbody>
    <camera name="eye" pos="0 0 0" xyaxes="0 -1 0 0 0 1" fovy="90"/>
    <geom name="seen" type="sphere" size="0.1" pos="2 0 0"/>
    <geom name="behind" type="sphere" size="0.1" pos="-2 0 0"/>
    <geom name="touching" type="sphere" size="0.1" pos="2 2.1 0"/>
    <geom name="beside" type="sphere" size="0.1" pos="2 2.3 0"/>
    <geom name="floor" type="plane" size="1 1 1" pos="0 0 -5"/>
    <body name="turns" pos="2 4 0">
      <joint type="hinge" axis="0 0 1"/>
      <geom name="short" type="sphere" size="0.1" pos="0 0.9 0"/>
      <geom name="long" type="sphere" size="0.1" pos="0 1.9 0"/>
      <body pos="0 0.5 0">
        <joint type="hinge" axis="1 0 0"/>
        <geom name="second" type="sphere" size="0.1" pos="0 0.3 0"/>
        <geom name="second_long" type="sphere" size="0.1" pos="0 1.5 0"/>
      </body>
    </body>
    <body pos="2 4 0">
      <joint type="slide" axis="0 1 0" range="-0.5 0.5" limited="true"/>
      <geom name="slides" type="sphere" size="0.1"/>
    </body>
    <body pos="2 4 0">
      <joint type="slide" axis="0 1 0" range="-3 3" limited="true"/>
      <geom name="slides_far" type="sphere" size="0.1"/>
    </body>
    <body pos="2 4 0">
      <joint type="slide" axis="0 1 0"/>
      <geom name="slides_endlessly" type="sphere" size="0.1"/>
    </body>
    <body pos="-9 0 0"><freejoint/><geom name="free" type="sphere" size="0.1"/></body>
    <body pos="-9 0 0" mocap="true"><geom name="moved_from_outside" type="sphere" size="0.1"/></body>
  </worldbody>
</mujoco>
"""


def names(model: mujoco.MjModel, unseen: np.ndarray) -> set[str]:
    return {model.geom(int(geom)).name for geom in np.flatnonzero(unseen)}


def test_only_what_can_never_come_into_the_picture_is_unseen() -> None:
    model = mujoco.MjModel.from_xml_string(SCENE)
    unseen = UnseenGeoms(model, model.camera("eye").id)
    assert names(model, unseen.where(model.body_pos)) == {"behind", "beside", "short", "second", "slides"}


def test_what_a_reset_moved_is_drawn_and_what_hangs_on_it() -> None:
    model = mujoco.MjModel.from_xml_string(SCENE)
    unseen = UnseenGeoms(model, model.camera("eye").id)
    model.body_pos[model.body("turns").id] += 0.1
    assert names(model, unseen.where(model.body_pos)) == {"behind", "beside", "slides"}


def test_a_camera_that_moves_may_see_everything() -> None:
    model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><geom name="behind" type="sphere" size="0.1" pos="-2 0 0"/><body><joint type="hinge"/>'
        '<geom type="sphere" size="0.1"/><camera name="eye" xyaxes="0 -1 0 0 0 1"/></body></worldbody></mujoco>'
    )
    assert not UnseenGeoms(model, model.camera("eye").id).where(model.body_pos).any()


@pytest.mark.parametrize("env_id", ["drawer-close-v3", "soccer-v3"])
def test_no_pixel_changes(env_id: str) -> None:
    camera = CameraSettings(position=(0.75, 0.52, 0.5), look_at=(0.0, 0.64, 0.13), fovy_deg=52.0)
    task = MetaWorldTask(
        name="task", env_id=env_id, instruction="do it", focus="it", camera=camera, image_px=112, randomised_starts=True
    )
    world, renderer, whole = TaskEnvironment(task), FrameRenderer(task), FrameRenderer(task)
    whole._unseen = None
    random = np.random.default_rng(0)
    for seed in range(3):
        world.reset(seed)
        states = []
        # Far to one side and to the other, up and down.
        for direction in random.uniform(-1.0, 1.0, size=(20, 4)):
            for _ in range(3):
                world.step(2.0 * direction)
            states.append(world.frame_state())
        np.testing.assert_array_equal(
            renderer.render(world.scene(), np.stack(states)), whole.render(world.scene(), np.stack(states))
        )
    model = renderer._model
    hidden = np.flatnonzero((model.geom_group == 5) & (model.geom_type == mujoco.mjtGeom.mjGEOM_MESH))
    assert model.mesh_facenum[model.geom_dataid[hidden]].sum() > 20_000
    for one in (world, renderer, whole):
        one.close()
