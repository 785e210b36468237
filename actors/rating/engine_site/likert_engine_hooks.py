"""What a process that holds an engine, or a part of one, needs before anything else is imported.

Imported in two ways: as part of the package, and as a top-level module by `sitecustomize`. So it imports the standard
library only, and nothing of ours.
"""

import ctypes
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


def mend_torchvision() -> None:
    """Make `import torchvision` work where its compiled operators do not load, such as beside a processor-only torch.

    torchvision describes two operators to torch by name and fails if they do not exist. Declaring them is enough for
    all that does not call them. Where the operators load, nothing is changed.
    """
    sys.meta_path.insert(0, _BeforeRegistrations())


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends, however that comes about.

    A killed parent cannot clean up, and an engine that outlives it would keep its memory. Asking the kernel works
    also while this process hangs with Python's lock held, which a watching thread would not survive.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def is_multiprocessing_child() -> bool:
    """Whether this process was spawned by `multiprocessing`: an engine, or one of an engine's workers."""
    return "--multiprocessing-fork" in sys.orig_argv


class _BeforeRegistrations:
    """Import hook that finds nothing, but sees when torchvision is about to register its operators."""

    def __init__(self) -> None:
        self._library: Any = None

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if name != "torchvision._meta_registrations":
            return
        # torchvision imports `extension`, which tries to load the operators, before the registrations.
        import torch

        if not hasattr(torch.ops.torchvision, "nms"):
            self._library = torch.library.Library("torchvision", "FRAGMENT")
            self._library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            self._library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
