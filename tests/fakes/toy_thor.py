"""A kitchen along a line with the face of ai2thor 2.1.0's controller, and ALFRED's own files of it."""

import copy
import json
from types import SimpleNamespace

import numpy as np
from PIL import Image

MUG, FAR_MUG, APPLE = "Mug|+01.00|+00.90|+00.00", "Mug|+01.25|+00.90|+00.00", "Apple|+01.00|+00.95|+00.00"
KNIFE, TABLE = "ButterKnife|+01.00|+00.90|+00.10", "CounterTop|+01.00|+00.80|+00.00"
MICROWAVE, FRIDGE = "Microwave|+03.00|+01.00|+00.00", "Fridge|+05.00|+00.50|+00.00"
SINK, FAR_SINK, FAUCET = (
    "Sink|+07.00|+00.80|+00.00|SinkBasin", "Sink|+09.00|+00.80|+00.00|SinkBasin", "Faucet|+07.00|+01.00|+00.00",
)  # fmt: skip
LAMP = "DeskLamp|+04.00|+01.00|+00.00"
LENGTH = 10.0
SCENE = {
    "floor_plan": "FloorPlan7",
    "scene_num": 7,
    "init_action": {"action": "TeleportFull", "x": 0.5, "y": 0.9, "z": 0.0, "rotation": 90, "horizon": 30},
    "object_poses": [{"objectName": "Mug_1"}],
    "object_toggles": [{"objectType": "DeskLamp", "isOn": False}],
    "dirty_and_empty": False,
}


def thing(object_id, **traits):
    """THOR's description of an object; where it is stands in its id."""
    parts = object_id.split("|")
    found = {
        "objectId": object_id, "objectType": parts[4] if len(parts) > 4 else parts[0],
        "position": dict(zip("xyz", map(float, parts[1:4]), strict=True)), "receptacleObjectIds": None,
    }  # fmt: skip
    flags = ("pickupable", "receptacle", "openable", "isOpen", "toggleable", "isToggled", "sliceable", "isSliced")
    return found | {flag: traits.get(flag, False) for flag in flags}


class ToyThor:
    """reset / step / last_event. The agent moves along x; what is within 1.5 m of it is visible."""

    def __init__(self, slippery=()):
        self.commands = []
        self.scenes = []
        self.slippery = list(slippery)
        """Commands that fail the next time they are given, once each."""
        self.last_event = None

    def reset(self, scene_name):
        self.scenes.append(scene_name)
        self.agent = {"x": 0.0, "y": 0.9, "z": 0.0, "yaw": 90.0, "horizon": 30.0}
        self.held = None
        box = {"receptacle": True, "openable": True}
        self.objects = {
            one["objectId"]: one
            for one in (
                thing(MUG, pickupable=True), thing(FAR_MUG, pickupable=True), thing(KNIFE, pickupable=True),
                thing(APPLE, pickupable=True, sliceable=True), thing(TABLE, receptacle=True),
                thing(MICROWAVE, toggleable=True, **box), thing(FRIDGE, **box), thing(SINK, receptacle=True),
                thing(FAR_SINK, receptacle=True), thing(FAUCET, toggleable=True),
                thing(LAMP, toggleable=True, isToggled=True),
            )
        }  # fmt: skip
        self.inside = {name: [] for name, one in self.objects.items() if one["receptacle"]}
        self.inside[TABLE] = [MUG, FAR_MUG, KNIFE, APPLE]
        return self.event(True)

    def step(self, command):
        json.dumps(command)  # As ai2thor sends it: NumPy's numbers cannot be.
        self.commands.append(copy.deepcopy(command))
        name = command["action"]
        if name in self.slippery:
            self.slippery.remove(name)
            return self.event(False)
        done = getattr(self, name)(**{key: value for key, value in command.items() if key != "action"})
        return self.event(done is not False)

    def stop(self):
        self.commands.append("stop")

    def event(self, success):
        x = self.agent["x"]
        for name, one in self.objects.items():
            one["distance"] = abs(one["position"]["x"] - x)
            one["visible"] = one["distance"] <= 1.5
            one["receptacleObjectIds"] = list(self.inside[name]) if name in self.inside else None
        metadata = {
            "lastActionSuccess": success,
            "objects": list(self.objects.values()),
            "inventoryObjects": [{"objectId": self.held, "objectType": self.held.split("|")[0]}] if self.held else [],
            "agent": {
                "position": {axis: self.agent[axis] for axis in "xyz"}, "rotation": {"y": self.agent["yaw"]},
                "cameraHorizon": self.agent["horizon"],
            },
            "reachablePositions": [{"x": 0.25 * n, "y": 0.9, "z": 0.0} for n in range(int(4 * LENGTH))],
        }  # fmt: skip
        frame = np.full((300, 300, 3), 40, np.uint8)
        left = int(x / LENGTH * 280)
        frame[:, left : left + 20] = 250
        frame[:100, :, 1] = 200 if self.held else 0
        frame[200:, :, 2] = 200 if self.objects[MICROWAVE]["isOpen"] else 0
        # As ai2thor gives it: a view from bottom to top.
        self.last_event = SimpleNamespace(metadata=copy.deepcopy(metadata), frame=np.flip(frame[::-1].copy(), axis=0))
        return self.last_event

    # ------------------------------------------------------------------------------------------ THOR's commands

    def Initialize(self, **settings):
        assert settings["renderImage"] and settings["gridSize"] == 0.25

    def SetObjectToggles(self, objectToggles):
        for one in self.objects.values():
            for toggle in objectToggles:
                if one["objectType"] == toggle["objectType"]:
                    one["isToggled"] = toggle["isOn"]

    def SetStateOfAllObjects(self, **change):
        pass

    def SetObjectPoses(self, objectPoses):
        pass

    def GetReachablePositions(self):
        pass

    def TeleportFull(self, x, y, z, rotation, horizon):
        self.agent = {"x": x, "y": y, "z": z, "yaw": float(rotation), "horizon": float(horizon)}

    def MoveAhead(self, moveMagnitude, forceAction):
        step = {90.0: moveMagnitude, 270.0: -moveMagnitude}.get(self.agent["yaw"], 0.0)
        if not 0.0 <= self.agent["x"] + step <= LENGTH:
            return False
        self.agent["x"] += step

    def RotateLeft(self, forceAction):
        self.agent["yaw"] = (self.agent["yaw"] - 90.0) % 360.0

    def RotateRight(self, forceAction):
        self.agent["yaw"] = (self.agent["yaw"] + 90.0) % 360.0

    def OpenObject(self, objectId, moveMagnitude):
        self.objects[objectId]["isOpen"] = True

    def CloseObject(self, objectId, forceAction):
        self.objects[objectId]["isOpen"] = False

    def PickupObject(self, objectId):
        for names in self.inside.values():
            if objectId in names:
                names.remove(objectId)
        self.held = objectId

    def PutObject(self, objectId, receptacleObjectId, forceAction, placeStationary):
        assert objectId == self.held
        self.inside[receptacleObjectId].append(objectId)
        place = self.objects[receptacleObjectId]["position"]
        self.objects[objectId]["position"] = dict(place)
        self.held = None

    def ToggleObjectOn(self, objectId):
        self.objects[objectId]["isToggled"] = True

    def ToggleObjectOff(self, objectId):
        self.objects[objectId]["isToggled"] = False

    def SliceObject(self, objectId):
        if objectId == MUG:
            raise ValueError("a mug cannot be sliced")
        self.objects[objectId]["isSliced"] = True
        for number in range(2):
            slice_id = f"{objectId}|AppleSliced_{number}"
            self.objects[slice_id] = thing(slice_id, pickupable=True)
            self.inside[TABLE].append(slice_id)


AHEAD = ("MoveAhead_25", "", "")
HEATED = [
    ("GotoLocation", "", [AHEAD] * 2),
    ("PickupObject", "Take the mug.", [("PickupObject", MUG, "")]),
    ("GotoLocation", "", [AHEAD] * 6),
    ("HeatObject", "Heat it.", [
        ("OpenObject", MICROWAVE, ""), ("PutObject", MUG, MICROWAVE), ("CloseObject", MICROWAVE, ""),
        ("ToggleObjectOn", MICROWAVE, ""), ("ToggleObjectOff", MICROWAVE, ""), ("OpenObject", MICROWAVE, ""),
        ("PickupObject", MUG, ""), ("CloseObject", MICROWAVE, ""),
    ]),
    ("GotoLocation", "", [AHEAD] * 6),
    ("PutObject", "Put it into the fridge.", [
        ("OpenObject", FRIDGE, ""), ("PutObject", MUG, FRIDGE), ("CloseObject", FRIDGE, ""),
    ]),
    ("NoOp", "", []),
]  # fmt: skip
"""Skills with their sentences and actions: name, object, receptacle."""


def write_demonstration(folder, skills=HEATED, scene=SCENE, px=300):
    """A demonstration as ALFRED has it: `traj_data.json`, and pictures of what the expert saw."""
    from actors.thor.scene import Scene
    from actors.thor.tasks import ExpertAction

    (folder / "raw_images").mkdir(parents=True)
    view = Scene(ToyThor())
    view.load(scene)
    low, images = [], []

    def picture(low_idx, high_idx):
        name = f"{len(images):09d}.png"
        images.append({"low_idx": low_idx, "high_idx": high_idx, "image_name": name})
        Image.fromarray(view.frame).resize((px, px), Image.Resampling.BOX).save(folder / "raw_images" / name)

    for high_idx, (_, _, actions) in enumerate(skills):
        for name, object_id, receptacle_id in actions:
            picture(len(low), high_idx)
            ids = {"objectId": object_id, "receptacleObjectId": receptacle_id}
            api = {"action": name} | {key: value for key, value in ids.items() if value}
            low.append({"high_idx": high_idx, "discrete_action": {"action": name, "args": {}}, "api_action": api})
            assert view.repeat(ExpertAction(name, object_id, receptacle_id)), (name, object_id)
    picture(len(low) - 1, len(skills) - 1)
    found = {
        "scene": scene,
        "plan": {
            "high_pddl": [{"discrete_action": {"action": kind, "args": []}} for kind, _, _ in skills],
            "low_actions": low,
        },
        "images": images,
        "turk_annotations": {"anns": [{"high_descs": [text for _, text, _ in skills]}]},
    }
    (folder / "traj_data.json").write_text(json.dumps(found))
    return found
