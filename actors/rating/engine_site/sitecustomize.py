"""Run by Python at the start of every process that has this folder on its PYTHONPATH.

Engines are spawned as fresh Python processes, which import transformers before any code of ours could run in them.
"""

import importlib.machinery
import importlib.util
import os
import sys

# The folder itself is on the path, so the module is found without its package.
from likert_engine_hooks import die_with_parent, is_multiprocessing_child, mend_torchvision


def _run_shadowed() -> None:
    """Run the `sitecustomize` that this one hides, if there is one."""
    here = os.path.dirname(os.path.abspath(__file__))
    others = [entry for entry in sys.path if os.path.abspath(entry) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


mend_torchvision()
if is_multiprocessing_child():
    die_with_parent()
_run_shadowed()
