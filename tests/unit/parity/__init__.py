"""Unit tests of flowd.parity."""
