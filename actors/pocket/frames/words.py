"""What the pocket rater says about a picture: for each task, a few honest sentences on the hand and the object."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TaskWords:
    """Sentences of one task. A picture is described by one of `hand`, if there are any, and one of `object`."""

    hand: tuple[str, ...]
    """From far to near; empty if the robot is hidden."""
    object: tuple[str, ...]
    """From the start to the goal."""

    def analysis(self, hand_state: int, object_state: int) -> str:
        """The description of a picture, by indices into `hand` and `object`."""
        said = self.object[object_state]
        return f"{self.hand[hand_state]} {said}" if self.hand else said


WORDS: dict[str, TaskWords] = {
    "drawer_close": TaskWords(
        ("The gripper is far from the drawer.", "The gripper is close to the drawer."),
        (
            "The drawer is wide open.",
            "The drawer has begun to close.",
            "The drawer is mostly closed.",
            "The drawer is closed.",
        ),
    ),
    "handle_press": TaskWords(
        ("The gripper is far from the handle.", "The gripper is close to the handle."),
        (
            "The handle is up.",
            "The handle has begun to move down.",
            "The handle is mostly pressed.",
            "The handle is pressed down.",
        ),
    ),
    "button_press": TaskWords(
        (
            "The gripper is far from the button.",
            "The gripper is near the button.",
            "The gripper is at the button.",
        ),
        ("The button sticks out.", "The button is partly pressed.", "The button is pressed in."),
    ),
    "window_close": TaskWords(
        (
            "The gripper is far from the window's handle.",
            "The gripper is near the window's handle.",
            "The gripper is at the window's handle.",
        ),
        ("The window is open.", "The window is partly closed.", "The window is closed."),
    ),
    "door_close": TaskWords(
        (
            "The gripper is far from the door's edge.",
            "The gripper is near the door's edge.",
            "The gripper is at the door's edge.",
        ),
        ("The door is wide open.", "The door is partly closed.", "The door is closed."),
    ),
    "drawer_open": TaskWords(
        (),
        (
            "The drawer is closed.",
            "The drawer is slightly open.",
            "The drawer is about half open.",
            "The drawer is mostly open.",
            "The drawer is fully open.",
        ),
    ),
    "sweep_into": TaskWords(
        (),
        (
            "The cube is far from the hole.",
            "The cube has moved towards the hole.",
            "The cube is close to the hole.",
            "The cube is at the edge of the hole.",
            "The cube is on the hole.",
        ),
    ),
    "soccer": TaskWords(
        (),
        (
            "The ball is far from the goal.",
            "The ball has moved towards the goal.",
            "The ball is close to the goal.",
            "The ball is at the goal line.",
            "The ball is inside the goal.",
        ),
    ),
}
"""By task name. The number of sentences is that of the thresholds of the task's true stages, plus one."""
