"""`likert pocket train`, small."""

import pytest

from actors.pocket.frames.training import FramePlan
from orchestrator.pocket.frames import FrameRecipe, report, train

TINY = FrameRecipe(
    num_frames=60,
    num_held_out=40,
    num_two_turn=8,
    plan=FramePlan(
        vision_steps=2, vision_batch=8, text_steps=2, text_batch=8, joint_steps=2, joint_batch=8, learning_rate=1e-3
    ),
)


@pytest.mark.slow
def test_equal_seeds_make_equal_checkpoints_and_the_phases_are_told(tmp_path, capfd):
    for name in ("one", "other"):
        judged = train(tmp_path / name, seed=3, recipe=TINY, tasks=("drawer_close", "handle_press"))
    one, other = (tmp_path / name / "model.safetensors" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()
    assert (tmp_path / "one" / "report.md").read_text() == report(judged)
    told = capfd.readouterr().err
    for phase in ("draw frames: 4/4 sets", "vision: 2/2", "text: 2/2", "joint: 2/2", "judge: 2/2 tasks"):
        assert phase in told
