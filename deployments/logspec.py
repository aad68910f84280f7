"""What a fleet's config may say of its logs."""

from typing import Any, Literal

from tuning.configfile import Spec


class LogsSpec(Spec):
    """What the fleet's processes write into Serve's log files."""

    format: Literal["text", "json"] | None = None
    """`json` writes an object a line. None takes RAY_SERVE_LOG_ENCODING, else text."""

    requests: Literal["none", "failed", "all"] = "none"
    """Which requests get a line of their own; it never has anything of their contents."""

    @property
    def serve_options(self) -> dict[str, Any]:
        """The same as Serve's `logging_config`; its own access log costs more than a predict."""
        encoding = {} if self.format is None else {"encoding": self.format.upper()}
        return {"enable_access_log": False, **encoding}
