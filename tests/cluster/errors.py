"""The error that every step of the cluster raises, with what failed and where to look."""


class ClusterError(Exception):
    """A step that failed: one sentence for a person, and the last lines of what a command said."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.args[0]}\n{self.detail}" if self.detail else str(self.args[0])
