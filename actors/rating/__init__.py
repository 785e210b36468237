"""The rating server: the only place that runs or calls a vision-language model."""
