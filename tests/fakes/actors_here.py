"""Actors that are objects of this process, for runs in which processes are not in question: Ray takes long to start."""

import asyncio
import inspect
import types

import pytest
import ray

import algorithms.policies  # noqa: F401 - with RLlib, which makes classes of actors as it is imported


class Done:
    """What stands for a reference to a result: the result."""

    def __init__(self, value):
        self.value = value


class Here:
    """An actor that is an object in this process, with as much of an actor's face as runs make use of."""

    def __init__(self, cls, *arguments):
        self._object = cls(*(known(argument) for argument in arguments))

    def __getattr__(self, name):
        method = getattr(self._object, name)

        def call(*arguments):
            result = method(*(known(argument) for argument in arguments))
            return result if inspect.isawaitable(result) else Done(result)

        def call_for_parts(*arguments):
            return [Done(part) for part in call(*arguments).value]

        parts = types.SimpleNamespace(remote=call_for_parts)
        return types.SimpleNamespace(remote=call, options=lambda num_returns: parts)


def known(reference):
    """What a reference, or each of several, refers to."""
    if isinstance(reference, list):
        return [known(one) for one in reference]
    return reference.value if isinstance(reference, Done) else reference


def _get(reference):
    return asyncio.run(reference) if inspect.iscoroutine(reference) else known(reference)


def actors_here(monkeypatch):
    """From now on `ray.remote` makes actors of this process, and nothing else of Ray is there."""

    def actor(cls):
        made = types.SimpleNamespace(remote=lambda *arguments: Here(cls, *arguments))
        made.options = lambda **_: made
        return made

    nowhere = types.SimpleNamespace(should_capture_child_tasks_in_placement_group=False)
    stand_ins = {
        "init": lambda **_: None, "shutdown": lambda: None, "kill": lambda *_, **__: None, "remote": actor,
        "put": Done, "get": _get, "wait": lambda references, **_: (references, []),
        "get_runtime_context": lambda: nowhere,
    }  # fmt: skip
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(ray, name, stand_in)
    monkeypatch.setattr("orchestrator.cluster.actors.check_placement", lambda demands: None)


HERE_OR_BY_RAY = ["here", pytest.param("by Ray", marks=pytest.mark.slow)]
"""For a fixture that says where a run's actors live: quick tests have them here."""
