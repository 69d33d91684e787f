"""flowd: who talked to whom on this node, and through which Gateway API route."""

__version__ = "0.1.0"
