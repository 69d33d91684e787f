"""The sources of access logs beside Envoy's own service: files that are followed, OTLP logs."""

from pathlib import Path
from typing import TYPE_CHECKING

from flowd.model.losses import Losses
from flowd.settings import Settings

if TYPE_CHECKING:
    from flowd.agent import RequestSource
    from flowd.capture.logs.otlp_server import OtlpLogsServer


class LogSources:
    """Those that the settings ask for, in `sources` by the name of their part in the status.

    Raises:
        UsageError: a format file that cannot be used.
    """

    def __init__(self, settings: Settings, losses: Losses) -> None:
        self.sources: dict[str, RequestSource] = {}
        self.otlp: OtlpLogsServer | None = None
        if not (settings.access_log or settings.access_log_format or settings.otlp_logs_listen):
            return
        from flowd.accesslog.snippet import load_formats

        path = settings.access_log_format
        formats = load_formats(Path(path)) if path else []
        if settings.access_log:
            from flowd.capture.logs import files

            self.sources[files.PART] = files.FileSource(
                settings.access_log, losses, formats, settings.state_dir
            )
        if settings.otlp_logs_listen:
            from flowd.capture.logs import otlp_server

            self.otlp = otlp_server.OtlpLogsServer(settings.otlp_logs_listen, losses, formats)
            self.sources[otlp_server.PART] = self.otlp

    async def start(self) -> None:
        """Listen where something is to be listened to.

        Raises:
            UsageError: the address cannot be bound.
        """
        if self.otlp:
            await self.otlp.start()
