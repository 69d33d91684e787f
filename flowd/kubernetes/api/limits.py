"""Bounds, timeouts and intervals of the Kubernetes API client."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """Sizes in objects or bytes, times in seconds.

    Attributes:
        page_size: objects in one page of a list. A server that answers from its watch cache sends
            all objects at once; they are decoded as they arrive.
        object_bytes: larger objects are left out; etcd accepts 1.5 MiB by default.
        parallel_lists: number of concurrent lists.
        connect: connect timeout.
        read: read timeout of a list.
        watch_idle: silence after which a watch counts as dead; bookmarks arrive once a minute.
        watch_timeout: range of the random timeoutSeconds of a watch.
        min_watch: a watch that ends sooner is followed by a backoff, like a failure.
        backoff: initial and largest bound of the backoff, which is drawn between 0 and a bound
            that doubles.
        retry_after: longest accepted Retry-After.
        discovery_interval: interval of the discovery of resources that are not served yet.
        start_jitter: longest random delay of the first request in a cluster.
        sync_timeout: how long the first table build waits for resources without an answer.
        debounce: how long changes are collected before the tables are built.
    """

    page_size: int = 500
    object_bytes: int = 8 << 20
    parallel_lists: int = 4
    connect: float = 10.0
    read: float = 60.0
    watch_idle: float = 150.0
    watch_timeout: tuple[float, float] = (300.0, 600.0)
    min_watch: float = 5.0
    backoff: tuple[float, float] = (0.8, 30.0)
    retry_after: float = 300.0
    discovery_interval: float = 60.0
    start_jitter: float = 5.0
    sync_timeout: float = 5.0
    debounce: float = 0.1
