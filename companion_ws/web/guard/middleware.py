"""The door every request goes through: host, origin, token, handler, headers.

Rules of this file:

1. Default deny: a route that is not in the table is answered to nobody.
2. Host (421) before origin (403) before peer (404) before token (401, 403)
   before the body (408, 413): nothing of a stranger is read or kept, and where
   a stranger may say something, little of it at once.
   A request holds its token from there on to its last byte: revoked meanwhile, it is
   cancelled in that step.
3. Whatever goes wrong leaves as `application/problem+json`, or for a browser as a page,
   without a trace, and with the same headers as everything else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable
from secrets import token_hex
from typing import Final

import structlog
from aiohttp import hdrs, web
from structlog.contextvars import bound_contextvars

from companion_ws.access.credential import Credential
from companion_ws.access.tokens import Claims, Tokens
from companion_ws.addresses import Addresses, is_loopback
from companion_ws.config import Config
from companion_ws.core.errors import (
    BadRequest,
    CompanionError,
    Forbidden,
    HostRefused,
    NotFound,
    OriginRefused,
    Unavailable,
)
from companion_ws.logs import shown_path
from companion_ws.nodes.passes import HEADER
from companion_ws.nodes.place import Elsewhere
from companion_ws.traces import asked_in
from companion_ws.web.guard import headers, problems
from companion_ws.web.guard.access_log import AccessLog
from companion_ws.web.guard.bodies import SMALL_BYTES, Bodies
from companion_ws.web.guard.carriers import bearer, has_authorization
from companion_ws.web.guard.forwarded import caller, hops_of
from companion_ws.web.guard.passing import PASS, Passing
from companion_ws.web.guard.route import Route

CLAIMS: Final = web.RequestKey("CLAIMS", Claims)
"""What the caller's token says; set where the route needs one."""
CREDENTIAL: Final = web.RequestKey("CREDENTIAL", Credential)
"""The token that came with the request; set where `CLAIMS` is."""
CLIENT: Final = AccessLog.client
"""The caller's address; a trusted proxy's word counts."""
SCHEME: Final = web.RequestKey("SCHEME", str)
"""What the caller speaks, `http` or `https`; a trusted proxy's word counts."""
_VOUCHED: Final = web.RequestKey("_VOUCHED", bool)
"""Whether a public route's request has proved whose it is."""

SENT_AT_ONCE_BYTES: Final = 64 * 1024
"""A shorter answer is with the kernel as soon as it is written."""
REQUEST_ID_BYTES: Final = 6
"""Enough to tell a day's requests apart in a log."""
ANY_HOST: Final = frozenset({"/healthz", "/readyz"})
"""Health checks may use any name, or HTTP/1.0 and none; they learn nothing."""
_BODY_METHODS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-forwarded-proto")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
InWords = Callable[[web.Request, int, str], Awaitable[web.StreamResponse | None]]
"""What a person reads instead of a problem with this status and detail; None for a program."""

log = structlog.get_logger(__name__)


class Guard:
    """Makes the application, and decides for each request whether its handler sees it."""

    def __init__(
        self,
        config: Config,
        addresses: Addresses,
        tokens: Tokens,
        refused: Callable[[str], None] = lambda code: None,
        *,
        is_verbs_door: bool = False,
        in_words: InWords | None = None,
        passing: Passing | None = None,
    ) -> None:
        """`passing` knows the requests that other servers pass on; without it there are none."""
        self._limit_bytes = config.limit_message_bytes
        self._admin_port = config.admin_port
        self._is_verbs_door = is_verbs_door
        self._forwarded_header = config.forwarded_header
        self._addresses = addresses
        self._tokens = tokens
        self._passing = passing
        self._refused = refused
        self._in_words = in_words
        self._bodies = Bodies()
        self._routes: dict[web.AbstractRoute, Route] = {}
        self._unmounted: dict[web.AbstractRoute, str] = {}

    def application(self, routes: Iterable[Route]) -> web.Application:
        """Return an application with these routes, `HEAD` beside each `GET`."""
        app = web.Application(middlewares=[self._answer], client_max_size=self._limit_bytes)
        for route in routes:
            methods = [route.method]
            if route.method == "GET" and route.path != "/ws":
                methods.append("HEAD")
            for method in methods:
                added = app.router.add_route(
                    method, route.path, route.handler, expect_handler=_expect
                )
                self._routes[added] = route
                self._unmounted[added] = _path_of(added)
        app.on_response_prepare.append(self._secure)
        return app

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        request[AccessLog.request_id] = request_id = token_hex(REQUEST_ID_BYTES)
        trace = request.headers.get("traceparent")
        with bound_contextvars(request_id=request_id), asked_in(trace):
            return await self._readable(request, await self._answered(request, handler))

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await self._checked(request, handler)
            return _explained(response)
        except Elsewhere:
            # It has just moved; where a request comes again it finds its way.
            moved = Unavailable("The session has just moved to another server; try again.")
            excuse = self._excuse(request, moved.message)
            return self._refusal(request, moved.code, excuse or problems.of_ours(moved))
        except CompanionError as error:
            excuse = self._excuse(request, error.message)
            return self._refusal(request, error.code, excuse or problems.of_ours(error))
        except web.HTTPException as error:
            excuse = self._excuse(request, error.reason)
            return self._refusal(request, str(error.status), excuse or problems.of_theirs(error))
        except ConnectionError:
            raise  # The caller has gone; nobody is left to tell.
        except Exception:
            # The outermost edge of a request: whatever it is, it is ours.
            log.exception("request_failed", method=request.method, path=shown_path(request.path))
            if request.writer.output_size > 0:
                raise ConnectionResetError("The answer was under way already.") from None
            detail = "Something went wrong here. It has been logged."
            return self._excuse(request, detail) or problems.problem(500, "internal", detail)

    async def _readable(
        self, request: web.Request, response: web.StreamResponse
    ) -> web.StreamResponse:
        """Return a page instead of a problem where a person asked."""
        detail = problems.detail_of(response)
        if self._in_words is None or detail is None:
            return response
        page = await self._in_words(request, response.status, detail)
        if page is None:
            return response
        page.headers.update(problems.headers_of(response))
        if response.keep_alive is False:
            page.force_close()
        return page

    def _excuse(self, request: web.Request, reason: str) -> web.StreamResponse | None:
        """Return what the route answers instead of a refusal, once it knows who asks."""
        route = self._routes.get(request.match_info.route)
        if route is None or route.excuse is None or not request.get(_VOUCHED, False):
            return None
        return route.excuse(reason)

    def _refusal(
        self, request: web.Request, code: str, response: web.StreamResponse
    ) -> web.StreamResponse:
        self._refused(code)
        if request.can_read_body and not request.content.is_eof():
            # What was not read would be taken for the next request, or read without an end.
            response.force_close()
            if hdrs.CONTENT_ENCODING in request.headers and hasattr(request.protocol, "leave_body"):
                request.protocol.leave_body()
        return response

    async def _checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        peer = request.remote or ""
        route = self._routes.get(request.match_info.route)
        passed = self._passing.recognised(request) if self._passing is not None else None
        origin = None
        if passed is not None:
            # Another server of ours has seen to host and origin.
            request[PASS] = passed
            request[CLIENT], request[SCHEME] = passed.caller.address, passed.caller.scheme
        else:
            request[CLIENT], request[SCHEME] = self._caller(request, peer)
            if route is None or route.path not in ANY_HOST:
                self._check_host(request)
            origin = self._check_origin(request)
        if route is not None and route.admin and not self._is_local(request, peer):
            self._check_anywhere(request, route)
        if origin is not None and _is_preflight(request):
            return web.Response(status=204)
        if route is None:
            if request.match_info.http_exception is None:
                raise NotFound("There is nothing here.")
            return await handler(request)
        self._notice(request)
        if not route.who:
            return await self._handled(request, route, handler)
        with await self._authenticated(request, route) as credential:
            request[CREDENTIAL], request[CLAIMS] = credential, credential.claims
            try:
                with credential.held():
                    response = await self._handled(request, route, handler)
                    # It may have stood still meanwhile, and not have heard who was revoked.
                    self._tokens.check_current()
                    if isinstance(response, web.Response) and _is_long(response):
                        # Sent here, while the token is held: its reader may take minutes.
                        await response.prepare(request)
                        await response.write_eof()
                    return response
            except CompanionError as error:
                if request.writer.output_size == 0:
                    raise
                # The answer is under way: what waits for a slow reader goes no further.
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionResetError(error.message) from None

    async def _handled(
        self, request: web.Request, route: Route, handler: Handler
    ) -> web.StreamResponse:
        if request.method in _BODY_METHODS:
            request[_VOUCHED] = route.vouch is not None and route.vouch(request)
            is_known = bool(route.who) or request[_VOUCHED]
            limit = self._limit_bytes
            if not is_known:
                # A wider limit, or none, is for those who have a token.
                limit = min(limit or SMALL_BYTES, SMALL_BYTES)
            limit = max(limit, route.body_bytes) if limit else 0
            await self._bodies.read(request, limit, None if is_known else request[CLIENT])
        return await handler(request)

    def _caller(self, request: web.Request, peer: str) -> tuple[str, str]:
        """Return address and scheme of who asks; a trusted proxy's word counts."""
        if not self._addresses.trusts(peer):
            return peer, request.scheme
        said = {name: request.headers.getall(name, []) for name in _FORWARDED}
        hops = hops_of(self._forwarded_header, said)
        asking = caller(peer, request.scheme, hops, self._addresses.trusts)
        return asking.address, asking.scheme

    def _notice(self, request: web.Request) -> None:
        """Learn from the socket itself, which nobody can forge, where this server is."""
        if self._is_verbs_door or PASS in request:
            return  # No phone comes this way.
        name, route = request.get_extra_info("sockname"), request.match_info.route
        if isinstance(name, tuple):
            prefix = _path_of(route).removesuffix(self._unmounted[route])
            self._addresses.learn(name[1], prefix)

    def _check_host(self, request: web.Request) -> None:
        named = request.headers.getall(hdrs.HOST, [])
        if len(named) != 1 or not self._addresses.answers_host(named[0]):
            raise HostRefused(
                "This server does not answer to that name; allow it with --allow-host."
            )

    def _check_origin(self, request: web.Request) -> str | None:
        """Return the origin to share the answer with, None where nobody else asks."""
        origins = request.headers.getall(hdrs.ORIGIN, [])
        if not origins:
            return None
        host = request.headers.get(hdrs.HOST, "")
        if len(origins) != 1 or not self._addresses.answers_origin(
            origins[0], request[SCHEME], host
        ):
            raise OriginRefused(
                "Pages of this origin may not use this server; allow it with --allow-origin."
            )
        return origins[0] if self._addresses.allows_cors(origins[0]) else None

    def _is_local(self, request: web.Request, peer: str) -> bool:
        """Return whether an admin route may answer: a peer of this machine, and no proxy between."""
        if not is_loopback(peer) or PASS in request:
            return False
        if self._is_verbs_door or not self._addresses.needs_admin_port:
            return True
        name = request.get_extra_info("sockname")
        return isinstance(name, tuple) and name[1] == self._admin_port

    def _check_anywhere(self, request: web.Request, route: Route) -> None:
        """Let in whose token opens this route from anywhere; to all others there is none."""
        with contextlib.suppress(CompanionError):
            if self._tokens.verify(bearer(request)).kind in route.anywhere:
                return
        raise NotFound("There is nothing here.")

    async def _authenticated(self, request: web.Request, route: Route) -> Credential:
        ticketed = await route.ticket(request) if route.ticket is not None else None
        if ticketed is not None and has_authorization(request):
            raise BadRequest("Send a token or a ticket, not both.")
        credential = self._tokens.show(ticketed or bearer(request))
        if credential.claims.kind not in route.who:
            credential.let_go()
            raise Forbidden("This token may not use this route.")
        return credential

    async def _secure(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers; runs for every answer, streams and sockets too."""
        route = self._routes.get(request.match_info.route)
        if HEADER in request.headers and (route is None or not route.is_internal):
            # One request of a client, and never the next one, which nobody has looked at.
            response.force_close()
        headers.secure(
            response.headers,
            request.headers.get(hdrs.HOST, ""),
            is_tls=request.secure or request.get(SCHEME) == "https",
            is_embeddable=_is_embeddable(request, route),
            embedders=self._addresses.embedders,
        )
        if not self._addresses.embedders:
            return
        response.headers.add(hdrs.VARY, "Origin")
        origin = request.headers.get(hdrs.ORIGIN, "")
        if self._addresses.allows_cors(origin) and not (route is not None and route.admin):
            headers.share(response.headers, origin)
            if _is_preflight(request):
                headers.answer_preflight(response.headers)


async def _expect(request: web.Request) -> web.StreamResponse | None:
    """Say that a body may come; aiohttp's own answer to other wishes repeats them."""
    if request.headers[hdrs.EXPECT].lower() != "100-continue":
        return problems.problem(417, "expectation_failed", "Only 100-continue can be expected.")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0
    return None


def _is_long(response: web.Response) -> bool:
    """Whether an answer may outlast its request: it does not fit into the socket's buffer."""
    body = response.body
    return isinstance(body, bytes | bytearray) and len(body) > SENT_AT_ONCE_BYTES


def _path_of(route: web.AbstractRoute) -> str:
    return route.resource.canonical if route.resource is not None else ""


def _explained(response: web.StreamResponse) -> web.StreamResponse:
    """Return an error that came without a body as a problem; its headers stay."""
    is_bare = isinstance(response, web.Response) and response.body is None
    if response.status < 400 or response.prepared or not is_bare:
        return response
    return problems.of_theirs(response)


def _is_preflight(request: web.Request) -> bool:
    return (
        request.method == hdrs.METH_OPTIONS
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    )


def _is_embeddable(request: web.Request, route: Route | None) -> bool:
    return route is not None and route.path == "/ui" and request.query.get("embed") == "1"
