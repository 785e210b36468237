"""An engine of our own: vLLM, in processes of its own."""
