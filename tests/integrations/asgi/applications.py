"""One small application, written for each framework: the same paths do the same things.

`/hello`, `/slow` (5 s), `/boom`, `/half` (streams and fails), `/stream` (5 chunks), `/upload`
(says how much came), `/orders/{order_id}`, `/background`, `/ws` (echo), `/spawn` (leaves a task).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from backstay.tasks import current_scope

__all__ = ["FRAMEWORKS", "Diary"]


class Diary:
    """What happened inside, for the test to read."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.spawned: list[asyncio.Task[Any]] = []

    async def slow(self) -> None:
        self.notes.append("slow began")
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            self.notes.append("slow cancelled")
            raise
        self.notes.append("slow ended")

    async def half(self) -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.sleep(0.05)
        raise ValueError("in the middle")

    async def stream(self) -> AsyncIterator[bytes]:
        for i in range(5):
            yield b"%d" % i
            await asyncio.sleep(0.03)

    async def later(self) -> None:
        await asyncio.sleep(0.2)
        self.notes.append("background done")

    def spawn(self) -> None:
        self.spawned.append(asyncio.create_task(asyncio.sleep(60)))

    def name(self) -> str:
        scope = current_scope()
        return scope.name if scope is not None else "no scope"


def _starlette(diary: Diary) -> Any:
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route, WebSocketRoute

    async def hello(request: Any) -> Any:
        return PlainTextResponse("hello")

    async def slow(request: Any) -> Any:
        await diary.slow()
        return PlainTextResponse("slow")

    async def boom(request: Any) -> Any:
        raise ValueError("boom")

    async def half(request: Any) -> Any:
        return StreamingResponse(diary.half())

    async def stream(request: Any) -> Any:
        return StreamingResponse(diary.stream())

    async def upload(request: Any) -> Any:
        await asyncio.sleep(0.15)
        return PlainTextResponse(str(len(await request.body())))

    async def order(request: Any) -> Any:
        return PlainTextResponse(diary.name())

    async def background(request: Any) -> Any:
        return PlainTextResponse("ok", background=BackgroundTask(diary.later))

    async def spawn(request: Any) -> Any:
        diary.spawn()
        return PlainTextResponse("ok")

    async def echo(socket: Any) -> None:
        await socket.accept()
        while True:
            text = await socket.receive_text()
            if text == "boom":
                raise ValueError("boom")
            await socket.send_text(text)

    @asynccontextmanager
    async def life(app: Any) -> AsyncIterator[None]:
        diary.notes.append("up")
        yield
        diary.notes.append("down")

    routes: list[Any] = [
        Route("/hello", hello),
        Route("/slow", slow),
        Route("/boom", boom),
        Route("/half", half),
        Route("/stream", stream),
        Route("/upload", upload, methods=["POST"]),
        Route("/orders/{order_id}", order),
        Route("/background", background),
        Route("/spawn", spawn),
        WebSocketRoute("/ws", echo),
    ]
    return Starlette(routes=routes, lifespan=life)


def _fastapi(diary: Diary) -> Any:
    from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
    from fastapi.responses import PlainTextResponse, StreamingResponse

    @asynccontextmanager
    async def life(app: Any) -> AsyncIterator[None]:
        diary.notes.append("up")
        yield
        diary.notes.append("down")

    app = FastAPI(lifespan=life, default_response_class=PlainTextResponse)

    async def hello() -> str:
        return "hello"

    async def slow() -> str:
        await diary.slow()
        return "slow"

    async def boom() -> str:
        raise ValueError("boom")

    async def half() -> StreamingResponse:
        return StreamingResponse(diary.half())

    async def stream() -> StreamingResponse:
        return StreamingResponse(diary.stream())

    async def upload(request: Request) -> str:
        await asyncio.sleep(0.15)
        return str(len(await request.body()))

    async def order(order_id: str) -> str:
        return diary.name()

    async def background(tasks: BackgroundTasks) -> str:
        tasks.add_task(diary.later)
        return "ok"

    async def spawn() -> str:
        diary.spawn()
        return "ok"

    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        while True:
            text = await socket.receive_text()
            if text == "boom":
                raise ValueError("boom")
            await socket.send_text(text)

    # The annotations above are strings and name local classes; FastAPI wants the classes.
    for function in (half, stream):
        function.__annotations__["return"] = StreamingResponse
    upload.__annotations__["request"] = Request
    background.__annotations__["tasks"] = BackgroundTasks
    echo.__annotations__["socket"] = WebSocket
    gets: dict[str, Callable[..., Any]] = {
        "/hello": hello, "/slow": slow, "/boom": boom, "/half": half, "/stream": stream,
        "/orders/{order_id}": order, "/background": background, "/spawn": spawn,
    }  # fmt: skip
    for path, handler in gets.items():
        app.get(path)(handler)
    app.post("/upload")(upload)
    app.websocket("/ws")(echo)
    return app


def _litestar(diary: Diary) -> Any:
    from litestar import Litestar, Request, WebSocket, get, post, websocket
    from litestar.background_tasks import BackgroundTask
    from litestar.response import Response, Stream

    text = {"media_type": "text/plain"}

    async def hello() -> str:
        return "hello"

    async def slow() -> str:
        await diary.slow()
        return "slow"

    async def boom() -> str:
        raise ValueError("boom")

    async def half() -> Stream:
        return Stream(diary.half())

    async def stream() -> Stream:
        return Stream(diary.stream())

    async def upload(request: Request) -> str:  # type: ignore[type-arg]
        await asyncio.sleep(0.15)
        return str(len(await request.body()))

    async def order(order_id: str) -> str:
        return diary.name()

    async def background() -> Response:  # type: ignore[type-arg]
        return Response("ok", background=BackgroundTask(diary.later))

    async def spawn() -> str:
        diary.spawn()
        return "ok"

    async def echo(socket: WebSocket) -> None:  # type: ignore[type-arg]
        await socket.accept()
        while True:
            message = await socket.receive_text()
            if message == "boom":
                raise ValueError("boom")
            await socket.send_text(message)

    for function in (half, stream):
        function.__annotations__["return"] = Stream
    upload.__annotations__["request"] = Request
    background.__annotations__["return"] = Response
    echo.__annotations__["socket"] = WebSocket

    async def up(app: Any) -> None:
        diary.notes.append("up")

    async def down(app: Any) -> None:
        diary.notes.append("down")

    handlers: list[Any] = [
        get("/hello", **text)(hello),  # type: ignore[arg-type]
        get("/slow", **text)(slow),  # type: ignore[arg-type]
        get("/boom", **text)(boom),  # type: ignore[arg-type]
        get("/half")(half),
        get("/stream")(stream),
        get("/orders/{order_id:str}", **text)(order),  # type: ignore[arg-type]
        get("/background", **text)(background),  # type: ignore[arg-type]
        get("/spawn", **text)(spawn),  # type: ignore[arg-type]
        post("/upload", status_code=200, **text)(upload),  # type: ignore[arg-type]
        websocket("/ws")(echo),
    ]
    return Litestar(
        handlers,
        on_startup=[up],
        on_shutdown=[down],
        request_max_body_size=None,
        openapi_config=None,
    )


def _raw(diary: Diary) -> Any:
    async def text(send: Any, body: bytes, status: int = 200) -> None:
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def chunks(send: Any, parts: AsyncIterator[bytes]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def echo(receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            if message["text"] == "boom":
                raise ValueError("boom")
            await send({"type": "websocket.send", "text": message["text"]})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            diary.notes.append("up")
            await send({"type": "lifespan.startup.complete"})
            await receive()
            diary.notes.append("down")
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["type"] == "websocket":
            await echo(receive, send)
            return
        path = scope["path"]
        if path.startswith("/orders/"):
            await text(send, diary.name().encode())
        elif path == "/slow":
            await diary.slow()
            await text(send, b"slow")
        elif path == "/boom":
            raise ValueError("boom")
        elif path in {"/half", "/stream"}:
            await chunks(send, diary.half() if path == "/half" else diary.stream())
        elif path == "/upload":
            await asyncio.sleep(0.15)
            size, more = 0, True
            while more:
                message = await receive()
                size, more = size + len(message["body"]), message["more_body"]
            await text(send, str(size).encode())
        elif path == "/spawn":
            diary.spawn()
            await text(send, b"ok")
        else:
            await text(send, b"ok" if path == "/background" else b"hello")
            if path == "/background":
                await diary.later()

    return app


FRAMEWORKS: dict[str, Callable[[Diary], Any]] = {
    "starlette": _starlette,
    "fastapi": _fastapi,
    "litestar": _litestar,
    "raw": _raw,
}
