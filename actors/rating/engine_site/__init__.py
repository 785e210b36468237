"""Start-up code of the rating server's processes. This folder goes on their PYTHONPATH, and on nobody else's."""
