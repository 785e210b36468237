"""Judging a policy without a simulator: by recorded episodes that it did not learn from."""
