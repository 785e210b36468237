"""The pocket raters, small Qwen-VLs that ship with the package, and how they are made.

There are two, one of frames and one of windows. What both are made of stands here; what is one's own, in its folder.
"""

from actors.rating.engine_site.likert_engine_hooks import mend_torchvision

# Transformers imports torchvision, if it is there, together with its first model.
mend_torchvision()
