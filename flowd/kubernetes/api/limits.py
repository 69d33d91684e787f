"""Every bound and time of the Kubernetes client in one place; tests pass their own."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in objects or bytes, times in seconds.

    Attributes:
        page: objects asked for at a time where the server pages (one that answers from its watch
            cache sends all at once, and that is decoded as it comes).
        object_bytes: an object over this is left out; etcd itself takes 1.5 MiB by default.
        lists: lists under way at a time.
        idle: silence after which a watch is taken for dead; bookmarks come once a minute.
        watch: when the server is told to end a watch, drawn between the two.
        lively: after a watch that ended sooner comes a pause, as after a failure.
        backoff: first and longest pause; the pause is drawn between 0 and a bound that doubles.
        retry_after: the longest pause that a server may ask for.
        discover: how often kinds that were not served are looked for again.
        start: in a cluster the first request waits up to this, drawn.
        settle: how long the first picture may wait for kinds that have not answered.
        gather: changes are gathered this long before the tables are built.
    """

    page: int = 500
    object_bytes: int = 8 << 20
    lists: int = 4
    connect: float = 10.0
    read: float = 60.0
    idle: float = 150.0
    watch: tuple[float, float] = (300.0, 600.0)
    lively: float = 5.0
    backoff: tuple[float, float] = (0.8, 30.0)
    retry_after: float = 300.0
    discover: float = 60.0
    start: float = 5.0
    settle: float = 5.0
    gather: float = 0.1
