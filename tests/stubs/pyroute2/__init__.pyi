from collections.abc import Iterable
from typing import Any

class IPRoute:
    def __init__(self) -> None: ...
    def tc(
        self,
        command: str,
        kind: str | None = ...,
        index: int = ...,
        handle: int = ...,
        **kwarg: Any,
    ) -> tuple[Any, ...]: ...
    def get_filters(self, index: int = ..., *, parent: int = ...) -> Iterable[Any]: ...
    def close(self) -> None: ...
