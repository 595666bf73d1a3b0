"""The page's files: a fixed list, read once, served with headers that bind the page to this server."""

from __future__ import annotations

from importlib import resources

from aiohttp import web

TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}


class Pages:
    """Answers GET /dashboard and /dashboard/FILE. Knows its files by name; no request is ever made into a path."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, str]] = {}
        for entry in resources.files("rtserver.dashboard").joinpath("static").iterdir():
            ending = "." + entry.name.rpartition(".")[2]
            if entry.is_file() and ending in TYPES:
                self._files[entry.name] = (entry.read_bytes(), TYPES[ending])

    async def index(self, request: web.Request) -> web.Response:
        return self._response(request, "index.html")

    async def file(self, request: web.Request) -> web.Response:
        return self._response(request, request.match_info["file"])

    def _response(self, request: web.Request, name: str) -> web.Response:
        if name not in self._files:
            raise web.HTTPNotFound(text="no such page\n")
        body, kind = self._files[name]
        policy = f"default-src 'self'; connect-src 'self' ws://{request.host}; img-src 'self' data:"
        headers = {
            "Content-Security-Policy": f"{policy}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
            "Cache-Control": "no-cache",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Vary": "Accept",
        }
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)
