"""The environment of processes that hold an engine, or a part of one."""

import os
import re
import tempfile
import warnings
from pathlib import Path

from actors.rating.engine_site.likert_engine_hooks import die_with_parent, mend_torchvision
from actors.rating.settings import RaterSettings

ENGINE_SITE = Path(__file__).parents[1] / "engine_site"

SOCKET_PATH_BYTES = 107
"""What Linux lets the path of a Unix socket be."""
SOCKET_NAME_BYTES = 37
"""vLLM's sockets are called by a UUID, behind a slash."""

DEPRECATED_INSIDE = "vllm.triton_utils.dispatcher"
"""A module that looks at everything in torch, and so is warned of what it does not use."""

LEFT_BEHIND = "ignore:resource_tracker:UserWarning"
"""What Python says of an engine that was ended by force, while it clears up after it."""


def engine_environment() -> dict[str, str]:
    """Environment of a process that holds an engine, for a Ray `runtime_env`; its children inherit it.

    The engine also sets what is missing when it starts, so that it works in any process.
    """
    warned = filter(None, os.environ.get("PYTHONWARNINGS", "").split(","))
    paths = [str(ENGINE_SITE), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        # A forked engine would skip the start-up code, and inherit locks and sockets of Ray.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        # Binding would put every engine of a machine on the same cores.
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        # Each start would print a page of advice; what stops an engine is raised, and told by the rating server.
        "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "ERROR"),
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
        # torch's errors only: it warns that there is no Triton where there is no GPU.
        "TORCH_LOGS": os.environ.get("TORCH_LOGS", "-torch"),
        "PYTHONWARNINGS": ",".join(dict.fromkeys([*warned, f"ignore::FutureWarning:{DEPRECATED_INSIDE}", LEFT_BEHIND])),
    }


def prepare_environment() -> None:
    """Give this process, and those it will spawn, the environment of an engine, and leave what is set there."""
    environment = engine_environment()
    os.environ |= {name: environment[name] for name in ("PYTHONPATH", "PYTHONWARNINGS")}
    for name, value in (environment | {"VLLM_RPC_BASE_PATH": socket_folder()}).items():
        os.environ.setdefault(name, value)


def prepare_process(settings: RaterSettings) -> bool:
    """Make this process, and those it will spawn, fit to import vllm. Returns whether engines run on a processor."""
    prepare_environment()
    warnings.filterwarnings("ignore", category=FutureWarning, module=re.escape(DEPRECATED_INSIDE))
    mend_torchvision()
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        os.environ["OMP_NUM_THREADS"] = str(max(1, int(settings.num_cpus)))
        if settings.tensor_parallel_size == 1:
            # The model then runs in the engine's own process. vLLM's default is a worker process beside it, and the two
            # poll shared memory without pause while they wait for each other, on cores that others need.
            os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    return current_platform.is_cpu()


def fork_engines(settings: RaterSettings) -> None:
    """Have vLLM fork this process for an engine, from the thread that calls this.

    Only for a process of which no thread but this one does anything, and without Ray. What a spawned engine gets at its
    start is given to a forked one here.
    """
    import torch

    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
    torch.set_num_threads(max(1, int(settings.num_cpus)))
    os.register_at_fork(after_in_child=die_with_parent)


def socket_folder() -> str:
    """Where the engine's processes meet: the folder for temporary files, unless paths of sockets below are too long."""
    usual = tempfile.gettempdir()
    fits = len(os.fsencode(usual)) <= SOCKET_PATH_BYTES - SOCKET_NAME_BYTES
    return usual if fits else os.environ.get("RAY_TMPDIR", "/tmp")
