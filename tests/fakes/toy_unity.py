"""A program in place of AI2-THOR's Unity build: speaks to ai2thor's server as Unity does, and shows the toy kitchen."""

import http.client
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fakes.toy_thor import ToyThor

BOUNDARY = "toykitchen"


def part(name, body, kind="text/plain; charset=utf-8", file=""):
    head = f'\r\n--{BOUNDARY}\r\nContent-disposition: form-data; name="{name}"{file}\r\nContent-Type: {kind}\r\n\r\n'
    return head.encode() + body


def message(event, sequence_id, error=None):
    """What Unity posts after each command: a description of the state and the picture, from bottom to top."""
    agent = event.metadata | {
        "screenWidth": 300, "screenHeight": 300, "colors": None, "colorBounds": None, "thirdPartyCameras": None,
        "errorCode": "InvalidAction" if error else "", "errorMessage": error or "",
    }  # fmt: skip
    if error:
        agent["lastActionSuccess"] = False
    metadata = {"agents": [agent], "sequenceId": sequence_id, "activeAgentId": 0}
    return (
        part("metadata", json.dumps(metadata).encode())
        + part("token", os.environ["AI2THOR_CLIENT_TOKEN"].encode())
        + part("image", event.frame[::-1].tobytes(), "image/png", '; filename="frame.png"')
        + f"\r\n--{BOUNDARY}--\r\n".encode()
    )


def main():
    toy = ToyThor()
    event, sequence_id, error = toy.reset("FloorPlan1"), 0, None
    while True:
        server = http.client.HTTPConnection(os.environ["AI2THOR_HOST"], int(os.environ["AI2THOR_PORT"]))
        kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
        server.request("POST", "/train", message(event, sequence_id, error), kind)
        command = json.loads(server.getresponse().read())
        server.close()
        if not command:
            return
        sequence_id, error = command.pop("sequenceId"), None
        if command["action"] == "Reset":
            event = toy.reset(command["sceneName"])
            continue
        if isinstance(command.get("rotation"), dict):
            command["rotation"] = command["rotation"]["y"]
        try:
            event = toy.step(command)
        except ValueError as refused:
            error = str(refused)


if __name__ == "__main__":
    main()
