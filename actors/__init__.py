"""Where work happens: plain classes, usable without Ray, that the orchestrator turns into Ray actors."""
