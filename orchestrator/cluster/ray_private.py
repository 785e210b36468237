"""Every import of a private module of a library, with the reason. Written for Ray 2.60.0, which pyproject.toml pins.

`ray.nodes()` tells what nodes have, and `ray.available_resources()` what the cluster as a whole has free. What each
node has free is told in public only by the state API, which needs a dashboard, and a Ray of our own starts none. What
an autoscaler may add is told by nothing public. Ray's own `ray status` reads the same two places.
"""

from collections.abc import Mapping

from ray._private.state import state


def free_resources() -> list[Mapping[str, float]]:
    """What each living node has free now. Ray is connected."""
    return list(state.available_resources_per_node().values())


def autoscaler_node_types() -> list[tuple[dict[str, float], int]]:
    """Resources of each type of node that an autoscaler may add, and how many at most, below 0 for any number.

    Nothing where there is no autoscaler. Ray is connected.
    """
    config = state.get_cluster_config()
    if config is None:
        return []
    return [(dict(group.resources), group.max_count) for group in config.node_group_configs]
