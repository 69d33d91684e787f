"""Tests against the running cluster, for `make test-cluster`; pytest alone does not collect them."""
