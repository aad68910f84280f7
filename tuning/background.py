"""A call beside the work at hand."""

import threading
from collections.abc import Callable


class Background:
    """A call on another thread whose exception is raised where it is joined."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the end of the call.

        Raises:
            BaseException: Whatever the call raised.
        """
        self.wait()
        if self._error is not None:
            raise self._error

    def wait(self) -> None:
        """Wait for the end of the call, however it ends."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:  # noqa: BLE001, handed to the thread that joins
            self._error = error
