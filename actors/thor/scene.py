"""A scene of ALFRED in AI2-THOR 2.1.0: loaded as recorded, and acted in by the twelve actions.

The commands are those of ALFRED's own `ThorEnv`, whose recordings they must repeat. Numbers are plain Python ones:
this version of ai2thor cannot send NumPy's.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from actors.thor.controller import Controller
from actors.thor.settings import ACTION_NAMES
from actors.thor.tasks import ExpertAction, Treatments, class_of

VISIBILITY_M = 1.5
"""What is farther away cannot be interacted with."""
STEP_M = 0.25
CAMERA_OFFSET_M = 0.75
LOOK_DEGREES = 15
HORIZON = (-30.0, 60.0)
"""How far up and down THOR's own actions look, in degrees; teleporting, by which ALFRED looks, knows no end."""
START_YAWS = (0.0, 90.0, 180.0, 270.0)
START_HORIZONS = (30.0, 45.0, 60.0)
"""Of randomised starts, as BOSS draws them."""
_CAN = {
    "PickupObject": lambda one, held: one["pickupable"] and not held,
    "PutObject": lambda one, held: bool(held) and one["receptacle"] and (not one["openable"] or one["isOpen"]),
    "OpenObject": lambda one, held: one["openable"] and not one["isOpen"],
    "CloseObject": lambda one, held: one["openable"] and one["isOpen"],
    "ToggleObjectOn": lambda one, held: one["toggleable"] and not one["isToggled"],
    "ToggleObjectOff": lambda one, held: one["toggleable"] and one["isToggled"],
    "SliceObject": lambda one, held: one["sliceable"] and not one["isSliced"] and "Knife" in class_of(held),
}
INTERACTIONS = tuple(_CAN)


class Scene:
    """One controller's scene."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.treatments = Treatments(set(), set(), set())

    @property
    def metadata(self) -> Mapping[str, Any]:
        """THOR's description of the newest state."""
        return self._controller.last_event.metadata

    @property
    def frame(self) -> np.ndarray:
        """What the agent sees, uint8 [H, W, 3]."""
        return np.ascontiguousarray(self._controller.last_event.frame[..., :3], dtype=np.uint8)

    @property
    def held(self) -> str:
        """Id of what the agent holds, or empty text."""
        inventory = self.metadata["inventoryObjects"]
        return inventory[0]["objectId"] if inventory else ""

    def load(self, scene: Mapping[str, Any]) -> None:
        """Load a scene as `traj_data.json` describes it, with the agent where the recording begins."""
        self.treatments = Treatments(set(), set(), set())
        self._controller.reset(scene["floor_plan"])
        self._controller.step(
            {
                "action": "Initialize",
                "gridSize": STEP_M,
                "cameraY": CAMERA_OFFSET_M,
                "renderImage": True,
                "visibilityDistance": VISIBILITY_M,
                "makeAgentsVisible": False,
            }
        )
        if scene["object_toggles"]:
            self._controller.step({"action": "SetObjectToggles", "objectToggles": scene["object_toggles"]})
        if scene["dirty_and_empty"]:
            for change, forced in (("CanBeDirty", True), ("CanBeFilled", False)):
                self._controller.step({"action": "SetStateOfAllObjects", "StateChange": change, "forceAction": forced})
        self._controller.step({"action": "SetObjectPoses", "objectPoses": scene["object_poses"]})
        self._controller.step(scene["init_action"])

    def repeat(self, action: ExpertAction) -> bool:
        """Do what the expert did. Returns whether it succeeded."""
        return self.act(action.name, action.receptacle_id or action.object_id)

    def act(self, name: str, object_id: str = "") -> bool:
        """Do one of the twelve actions, with the object it is about. Returns whether it succeeded."""
        command = self._command(name, object_id)
        if command is None:
            return False
        try:
            event = self._controller.step(command)
        except ValueError:  # So ai2thor tells of an action that THOR refuses as invalid.
            return False
        succeeded = bool(event.metadata["lastActionSuccess"])
        if succeeded:
            self.treatments.note(name, object_id, event.metadata)
        return succeeded

    def move_agent(self, rng: np.random.Generator) -> None:
        """Put the agent at a place it can stand at, drawn anew with its view; all else stays.

        Raises RuntimeError if it can stand nowhere.
        """
        self._controller.step({"action": "GetReachablePositions"})
        places = sorted((p["x"], p["y"], p["z"]) for p in self.metadata["reachablePositions"])
        for index in rng.permutation(len(places)):
            x, y, z = places[index]
            yaw, horizon = float(rng.choice(START_YAWS)), float(rng.choice(START_HORIZONS))
            command = {"action": "TeleportFull", "x": x, "y": y, "z": z, "rotation": yaw, "horizon": horizon}
            # What the agent holds may be in the way.
            if self._controller.step(command).metadata["lastActionSuccess"]:
                return
        raise RuntimeError("the agent can be put nowhere in this scene")

    def candidates(self, name: str) -> list[Mapping[str, Any]]:
        """Objects that an interaction can be done with now, the nearest first."""
        held, can = self.held, _CAN[name]
        found = [
            one
            for one in self.metadata["objects"]
            if one["visible"] and one["distance"] <= VISIBILITY_M and one["objectId"] != held and can(one, held)
        ]
        return sorted(found, key=lambda one: one["distance"])

    def _command(self, name: str, object_id: str) -> dict[str, Any] | None:
        """THOR's command; None where it cannot be done at all."""
        if name not in ACTION_NAMES:
            raise ValueError(f"{name!r} is no action; the actions are {', '.join(ACTION_NAMES)}")
        if name.startswith("Look"):
            return self._look(-LOOK_DEGREES if name == "LookUp_15" else LOOK_DEGREES)
        if name == "MoveAhead_25":
            return {"action": "MoveAhead", "moveMagnitude": STEP_M, "forceAction": True}
        if name.startswith("Rotate"):
            return {"action": name.removesuffix("_90"), "forceAction": True}
        if not object_id:
            return None
        command = {"action": name, "objectId": object_id}
        if name == "OpenObject":
            return command | {"moveMagnitude": 1.0}
        if name == "CloseObject":
            return command | {"forceAction": True}
        if name == "PutObject":
            put = {"objectId": self.held, "receptacleObjectId": object_id, "forceAction": True, "placeStationary": True}
            return command | put if self.held else None
        return command

    def _look(self, degrees: int) -> dict[str, Any] | None:
        agent = self.metadata["agent"]
        horizon = round(float(agent["cameraHorizon"]) + degrees, 3)
        if not HORIZON[0] <= horizon <= HORIZON[1]:
            return None
        position = {axis: agent["position"][axis] for axis in "xyz"}
        yaw = round(float(agent["rotation"]["y"]), 4)
        return {"action": "TeleportFull", "rotation": yaw, "horizon": horizon, **position}
