"""What waiting inside anyio and the HTTP, WebSocket and gRPC libraries means.

Names only, nothing is imported. Versions the conformance tests ran with are
listed in docs/reference/blocked-on.md.
"""

from __future__ import annotations

from backstay.tasks import _wait_details as detail
from backstay.tasks._wait_rules import Rule, Table, methods

__all__ = ["WEB_RULES"]

_THREAD = Rule("executor", "thread")
_SOCKET_RECV = Rule("socket", "socket recv")
_SOCKET_SEND = Rule("socket", "socket send")
_ACCEPT = Rule("socket", "socket accept")
_WS_RECV = Rule("socket", "websocket recv")
_WS_SEND = Rule("socket", "websocket send")
_HTTP_BODY = Rule("http", "http body read")
_REQUEST_BODY = Rule("http", "http request body")
_RESPONSE_BODY = Rule("http", "http response body")
_RESPONSE_WRITE = Rule("http", "http response write")
_DISCONNECT = Rule("http", "http body or disconnect")
_LIMITER = Rule("semaphore", "capacity limiter")
_CONDITION = Rule("condition", "condition wait")
_DNS = Rule("socket", "dns lookup")
_SLEEP = Rule("timer", "sleep", detail.seconds_left)
_PROCESS = Rule("process", "subprocess wait")

_ANYIO_SOCKETS = "SocketStream UNIXSocketStream UDPSocket ConnectedUDPSocket UNIXDatagramSocket ConnectedUNIXDatagramSocket"

_ANYIO: Table = {
    "anyio.streams.memory": {
        "MemoryObjectReceiveStream.receive": Rule("channel", "channel recv"),
        "MemoryObjectSendStream.send": Rule("channel", "channel send"),
    },
    "anyio._core._synchronization": {
        "Condition.wait": _CONDITION,
        "Condition.wait_for": _CONDITION,
    },
    "anyio._core._eventloop": {
        "sleep": _SLEEP,
        "sleep_until": _SLEEP,
        "sleep_forever": Rule("timer", "sleep forever"),
    },
    "anyio._core._sockets": {
        **methods("", "connect_tcp connect_unix", Rule("socket", "connect")),
        "getaddrinfo": _DNS,
    },
    "anyio.to_thread": {"run_sync": _THREAD},
    "anyio.from_thread": {"BlockingPortal.sleep_until_stopped": Rule("event", "blocking portal")},
    "anyio._backends._asyncio": {
        "Event.wait": Rule("event", "event wait"),
        "Lock.acquire": Rule("lock", "lock acquire"),
        "Semaphore.acquire": Rule("semaphore", "semaphore acquire"),
        **methods("CapacityLimiter", "acquire acquire_on_behalf_of __aenter__", _LIMITER),
        "TaskGroup.__aexit__": Rule("task", "task group exit"),
        "TaskGroup.start": Rule("task", "task group start"),
        "AsyncIOBackend.run_sync_in_worker_thread": _THREAD,
        "AsyncIOBackend.sleep": _SLEEP,
        **methods("AsyncIOBackend", "wait_readable wait_writable", Rule("socket", "socket ready")),
        **methods("AsyncIOBackend", "connect_tcp connect_unix", Rule("socket", "connect")),
        "AsyncIOBackend.getaddrinfo": _DNS,
        **{f"{name}.receive": _SOCKET_RECV for name in _ANYIO_SOCKETS.split()},
        **{f"{name}.send": _SOCKET_SEND for name in _ANYIO_SOCKETS.split()},
        "TCPSocketListener.accept": _ACCEPT,
        "UNIXSocketListener.accept": _ACCEPT,
        "StreamReaderWrapper.receive": Rule("process", "subprocess read"),
        "StreamWriterWrapper.send": Rule("process", "subprocess write"),
        "Process.wait": _PROCESS,
        "_SignalReceiver.__anext__": Rule("signal", "signal"),
    },
}

_WAIT_FREE = "waiting for a free connection"
_CONNECTING = "connecting"
_REPLY = "waiting for the response"
_SENDING = "sending the body"

_AIOHTTP_CALL = Rule(
    "http",
    "http request",
    detail.http_call,
    detail_depth=3,
    phases={
        "aiohttp.connector:BaseConnector._wait_for_available_connection": _WAIT_FREE,
        "aiohttp.connector:TCPConnector._create_connection": _CONNECTING,
        "aiohttp.connector:UnixConnector._create_connection": _CONNECTING,
        "aiohttp.client_reqrep:ClientRequest.send": _SENDING,
        "aiohttp.client_reqrep:ClientResponse.start": _REPLY,
    },
)

_AIOHTTP: Table = {
    "aiohttp.client": {
        "ClientSession._request": _AIOHTTP_CALL,
        "ClientSession._ws_connect": Rule("socket", "websocket connect", detail.http_call),
        "ClientSession.close": Rule("http", "http client close"),
    },
    "aiohttp.client_reqrep": methods("ClientResponse", "read text json", _RESPONSE_BODY),
    "aiohttp.client_ws": {
        "ClientWebSocketResponse.*": _WS_RECV,
        **methods(
            "ClientWebSocketResponse",
            "ping pong send_frame send_str send_bytes send_json",
            _WS_SEND,
        ),
    },
    "aiohttp.web_ws": {
        "WebSocketResponse.receive": _WS_RECV,
        **methods(
            "WebSocketResponse", "ping pong send_frame send_str send_bytes send_json", _WS_SEND
        ),
    },
    "aiohttp.web_request": methods("BaseRequest", "read text json post", _REQUEST_BODY),
    "aiohttp.streams": {"StreamReader.*": _HTTP_BODY, "DataQueue.read": _HTTP_BODY},
    "aiohttp.base_protocol": {"BaseProtocol._drain_helper": _RESPONSE_WRITE},
    "aiohttp.web_response": methods("StreamResponse", "write drain", _RESPONSE_WRITE),
    "aiohttp.web_protocol": {
        "RequestHandler.start": Rule("http", "http next request", innermost=True),
    },
}


def _httpx(client: str, core: str) -> Table:
    """Say the same for httpx and for its successor, which differ in the package name alone."""
    call = Rule(
        "http",
        "http request",
        detail.http_call,
        detail_depth=3,
        phases={
            f"{core}._async.connection_pool:AsyncPoolRequest.wait_for_connection": _WAIT_FREE,
            f"{core}._async.connection:AsyncHTTPConnection._connect": _CONNECTING,
            f"{core}._async.http11:AsyncHTTP11Connection._send_request_body": _SENDING,
            f"{core}._async.http11:AsyncHTTP11Connection._receive_response_headers": _REPLY,
        },
    )
    return {
        f"{client}._client": {"AsyncClient.*": call, "BoundAsyncStream.*": _RESPONSE_BODY},
        f"{client}._models": {"Response.*": _RESPONSE_BODY, "Request.*": _REQUEST_BODY},
    }


_ASGI: Table = {
    **{
        f"uvicorn.protocols.http.{name}": {
            "RequestResponseCycle.receive": _DISCONNECT,
            "RequestResponseCycle.send": _RESPONSE_WRITE,
        }
        for name in ("h11_impl", "httptools_impl")
    },
    "uvicorn.protocols.http.flow_control": {"FlowControl.drain": _RESPONSE_WRITE},
    "uvicorn.protocols.websockets.websockets_impl": {"WebSocketProtocol.asgi_receive": _WS_RECV},
    "uvicorn.protocols.websockets.websockets_sansio_impl": {
        "WebSocketsSansIOProtocol.receive": _WS_RECV
    },
    "uvicorn.protocols.websockets.wsproto_impl": {"WSProtocol.receive": _WS_RECV},
    "uvicorn.lifespan.on": {"LifespanOn.receive": Rule("event", "lifespan")},
    "starlette.requests": methods("Request", "stream body json _get_form", _REQUEST_BODY),
    "starlette.responses": {
        "StreamingResponse.listen_for_disconnect": Rule("http", "client disconnect"),
    },
    "starlette.websockets": methods(
        "WebSocket",
        "receive receive_text receive_bytes receive_json iter_text iter_bytes iter_json",
        _WS_RECV,
    ),
    "starlette.concurrency": methods("", "run_in_threadpool iterate_in_threadpool", _THREAD),
    "starlette.middleware.base": {
        "BaseHTTPMiddleware.__call__.<locals>.call_next": Rule("http", "inner application"),
    },
}

_WS_LIBRARY: Table = {
    "websockets.asyncio.connection": {
        **methods("Connection", "recv recv_streaming __aiter__", _WS_RECV),
        **methods("Connection", "send drain ping", _WS_SEND),
        **methods("Connection", "close wait_closed", Rule("socket", "websocket close")),
    },
    "websockets.asyncio.client": {"connect.*": Rule("socket", "websocket connect")},
    "websockets.asyncio.server": methods(
        "Server", "serve_forever wait_closed", Rule("socket", "serve forever")
    ),
}

_UNARY = Rule("grpc", "grpc unary call")
_STREAM_RECV = Rule("grpc", "grpc stream recv")
_STREAM_SEND = Rule("grpc", "grpc stream send")
_STATUS = Rule("grpc", "grpc status")
_GRPC_CONNECT = Rule("grpc", "grpc connect")
_GRPC_NEXT = Rule("grpc", "grpc next call")
_GRPC_WATCH = Rule("grpc", "grpc client cancel watch")

_GRPC: Table = {
    "grpc.aio._call": {
        "_UnaryResponseMixin.__await__": _UNARY,
        "UnaryUnaryCall._invoke": _UNARY,
        "StreamUnaryCall._conduct_rpc": _UNARY,
        **methods("_StreamResponseMixin", "_fetch_stream_responses _read read", _STREAM_RECV),
        **methods("_StreamRequestMixin", "_write write _done_writing done_writing", _STREAM_SEND),
        "UnaryStreamCall._send_unary_request": Rule("grpc", "grpc stream call"),
        "StreamStreamCall._prepare_rpc": Rule("grpc", "grpc stream call"),
        **{
            f"{name}.wait_for_connection": _GRPC_CONNECT
            for name in ("_StreamRequestMixin", "UnaryUnaryCall", "UnaryStreamCall")
        },
        **methods(
            "Call", "initial_metadata trailing_metadata code details debug_error_string", _STATUS
        ),
        "Call._raise_for_status": _STATUS,
    },
    "grpc.aio._interceptor": {
        "_InterceptedUnaryResponseMixin.__await__": _UNARY,
        **methods(
            "_InterceptedStreamResponseMixin",
            "_wait_for_interceptor_task_response_iterator read",
            _STREAM_RECV,
        ),
        **methods("_InterceptedStreamRequestMixin", "write done_writing", _STREAM_SEND),
        **methods("InterceptedCall", "initial_metadata trailing_metadata code details", _STATUS),
    },
    "grpc.aio._channel": {
        **methods("Channel", "channel_ready wait_for_state_change", _GRPC_CONNECT),
        **methods("Channel", "close _close", Rule("grpc", "grpc channel close")),
    },
    "grpc.aio._server": {
        "Server.wait_for_termination": Rule("grpc", "grpc server wait"),
        "Server.stop": Rule("grpc", "grpc server stop"),
    },
    "grpc._cython.cygrpc": {
        "AioServer._server_main_loop": _GRPC_NEXT,
        "AioServer._request_call": _GRPC_NEXT,
        "AioServer.wait_for_termination": Rule("grpc", "grpc server wait"),
        "_schedule_rpc_coro": _GRPC_WATCH,
        "_handle_cancellation_from_core": _GRPC_WATCH,
        "_AioCall._handle_status_once_received": _STATUS,
        "_AioCall.unary_unary": _UNARY,
        "_ServicerContext.read": _STREAM_RECV,
        "_ServicerContext.write": _STREAM_SEND,
        "_receive_message": _STREAM_RECV,
        "_MessageReceiver._async_message_receiver": _STREAM_RECV,
        "_send_message": _STREAM_SEND,
        "execute_batch": Rule("grpc", "grpc operation"),
    },
}

WEB_RULES: Table = {
    **_ANYIO,
    **_AIOHTTP,
    **_httpx("httpx2", "httpcore2"),
    **_httpx("httpx", "httpcore"),
    **_ASGI,
    **_WS_LIBRARY,
    **_GRPC,
}
