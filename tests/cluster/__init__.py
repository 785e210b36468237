"""A real cluster on one machine: `make test-cluster`."""
