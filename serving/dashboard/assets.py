"""Assets: the page's own files and the library it draws with, compressed once and kept."""

from __future__ import annotations

import gzip
import hashlib
from functools import cache
from importlib.resources import files

from starlette.datastructures import Headers
from starlette.responses import Response

PLOTLY = "plotly.min.js"
_STATIC = files("serving.dashboard") / "static"
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_CACHED = "no-cache"
"""Asked about every time, answered with 304 while it is the same: a page never mixes modules of two releases."""
_CACHED_LONG = "public, max-age=31536000, immutable"
"""For addresses that hold the hash of what they name."""
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",  # plotly writes its style into the page
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""Content-Security-Policy: nothing comes from elsewhere, and nothing goes there."""
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "vary": "accept-encoding",
}


class Asset:
    """One file. Only its compressed form is kept: plotly's is 1.4 MB instead of 4.8."""

    def __init__(self, name: str, data: bytes) -> None:
        self.digest = hashlib.sha256(data).hexdigest()[:16]
        self._type = _TYPES[name.rpartition(".")[2]]
        self._compressed = gzip.compress(data, 6, mtime=0)

    def response(self, request: Headers, version: str = "") -> Response:
        """The file, or 304 for who has it. version: the hash in the address, if there is one."""
        headers = {
            **_HEADERS,
            "etag": f'"{self.digest}"',
            "cache-control": _CACHED_LONG if version == self.digest else _CACHED,
        }
        if self.digest in request.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if takes_gzip(request):
            return Response(self._compressed, headers=headers | {"content-encoding": "gzip"}, media_type=self._type)
        return Response(gzip.decompress(self._compressed), headers=headers, media_type=self._type)


@cache
def page() -> Asset:
    """The page itself, which names plotly by its hash. The first call takes a quarter of a second."""
    html = (_STATIC / "index.html").read_text("utf-8")
    # all of them at once, instead of one after another as each is found to need the next
    modules = "\n".join(
        f'<link rel="modulepreload" href="dashboard/static/{name}">' for name in sorted(_own_files()) if name.endswith(".js")
    )
    return Asset(
        "index.html", html.replace("{plotly}", f"{PLOTLY}?v={plotly().digest}").replace("{modules}", modules).encode()
    )


@cache
def plotly() -> Asset:
    """The library as its own package has it."""
    return Asset(PLOTLY, (files("plotly") / "package_data" / PLOTLY).read_bytes())


def named(name: str) -> Asset | None:
    """What lies at `static/<name>`; None: nothing."""
    return plotly() if name == PLOTLY else _own_files().get(name)


@cache
def _own_files() -> dict[str, Asset]:
    """Whatever names clients make up, these are all that there are."""
    return {entry.name: Asset(entry.name, entry.read_bytes()) for entry in _STATIC.iterdir() if entry.is_file()}


def takes_gzip(request: Headers) -> bool:
    """Whether the client can unpack it."""
    for part in request.get("accept-encoding", "").lower().split(","):
        coding, _, weight = part.replace(" ", "").partition(";")
        if coding in ("gzip", "*"):
            return weight not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
