"""Control events of a Gateway as they happen."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import msgspec

from qmtl.backoff import backoff
from qmtl.errors import NotAllowedError, UnreachableError, UsageError
from qmtl.telemetry.logs import logger
from qmtl.wire.client import DEFAULT_URL, find_token
from qmtl.wire.events import LAGGED, Event, parse

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

_OPEN_S, _CLOSE_S = 10.0, 2.0
_FIRST_S, _LONGEST_S = 0.2, 5.0
_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_REFUSED = frozenset({401, 403})
#: Close code of a server that does not let one in.
_POLICY = 1008
_log = logger("sdk")


class WebSocketClient:
    """Listens to a Gateway; a connection that breaks is taken up again behind the last event that came.

    Parameters
    ----------
    url : str
        Of the Gateway, such as ``http://127.0.0.1:8000``.
    strategy_id : str, optional
        Only events of this strategy, and those that concern everybody.
    token : str, optional
        Bearer token; found as :class:`~qmtl.wire.client.GatewayClient` finds it when left out.
    on_message : callable, optional
        Called with each event by :meth:`run`; it may be a coroutine function.
    last_event_id : str
        Begin behind this event, as far as the Gateway still has what followed.

    Examples
    --------
    >>> async def watch():
    ...     async for event in WebSocketClient("http://127.0.0.1:8000").events():
    ...         print(event.type, event.data)
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        strategy_id: str | None = None,
        token: str | None = None,
        on_message: Callable[[Event], Any] | None = None,
        last_event_id: str = "",
    ) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in _SCHEMES or not parts.hostname:
            raise UsageError(f"{url!r} is no URL of a Gateway", hint=f"such as {DEFAULT_URL}")
        self._socket_url = f"{_SCHEMES[parts.scheme]}://{parts.netloc}/ws"
        scheme = "https" if parts.scheme in {"https", "wss"} else "http"
        self._token = token if token is not None else find_token(f"{scheme}://{parts.netloc}")
        self.url, self.strategy_id, self._on_message = url, strategy_id, on_message
        #: Of the last event that was given: another client may go on behind it.
        self.last_event_id = last_event_id
        self._closed = asyncio.Event()
        self._socket: ClientConnection | None = None

    async def events(self) -> AsyncIterator[Event]:
        """Yield events until closed.

        Raises
        ------
        UnreachableError
            Nobody answers the first time; later, it is tried again for as long as it takes.
        NotAllowedError
            The token is missing or does not let one in.
        """
        from websockets.exceptions import WebSocketException

        attempt, connected = 0, False
        while not self._closed.is_set():
            try:
                async for told in self._listen():
                    attempt, connected = 0, True
                    if told is not None:
                        yield told
            except (OSError, WebSocketException) as error:
                self._check(error, connected=connected)
            wait = backoff(attempt, _FIRST_S, _LONGEST_S)
            attempt += 1
            await self._rest(wait)

    async def run(self) -> None:
        """Give each event to ``on_message`` until closed; errors are those of :meth:`events`."""
        async for told in self.events():
            answer = self._on_message(told) if self._on_message is not None else None
            if inspect.isawaitable(answer):
                await answer

    async def close(self) -> None:
        """End :meth:`events` and :meth:`run`; the connection is closed."""
        self._closed.set()
        if self._socket is not None:
            await self._socket.close()

    async def _listen(self) -> AsyncIterator[Event | None]:
        """Yield None as soon as the connection stands, then events until it ends."""
        from websockets.asyncio.client import connect

        asked = {"strategy_id": self.strategy_id, "last_event_id": self.last_event_id}
        query = urlencode({key: value for key, value in asked.items() if value})
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        timing = {"open_timeout": _OPEN_S, "close_timeout": _CLOSE_S}
        url = f"{self._socket_url}?{query}" if query else self._socket_url
        async with connect(url, additional_headers=headers, proxy=None, **timing) as socket:  # type: ignore[arg-type]
            self._socket = socket
            try:
                yield None
                async for frame in socket:
                    told = _event(frame)
                    if told is not None and told.type != LAGGED:  # then it closes, and we resume
                        self.last_event_id = told.id
                        yield told
            finally:
                self._socket = None

    def _check(self, error: Exception, *, connected: bool) -> None:
        """Raise what trying again does not mend."""
        from websockets.exceptions import ConnectionClosed, InvalidStatus

        status = error.response.status_code if isinstance(error, InvalidStatus) else 0
        policy = isinstance(error, ConnectionClosed) and error.rcvd is not None and error.rcvd.code == _POLICY
        if status in _REFUSED or policy:
            raise NotAllowedError("the Gateway refused", status=status or 401, hint="set QMTL_TOKEN") from error
        if not connected:
            hint = "is it running? `qmtl up` starts one"
            raise UnreachableError(f"no Gateway answers at {self.url}: {error}", hint=hint) from error
        _log.warning("the Gateway went away; trying again", why=str(error))

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._closed.wait()
        except TimeoutError:
            return


def _event(frame: str | bytes) -> Event | None:
    """Decode a frame; what this version does not know is passed over."""
    try:
        return parse(frame.encode() if isinstance(frame, str) else frame)
    except msgspec.DecodeError:
        _log.warning("a frame was no event")
        return None
