"""Headers that every answer carries: what a page may load, who may show it, and that nothing is guessed."""

from __future__ import annotations

import base64
import hashlib
import re

from aiohttp import web

_INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
_HOST = re.compile(r"[A-Za-z0-9.:\[\]_-]{1,260}")

_FIXED = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=(), usb=(), payment=()",
}

PLAIN = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""For the pages of the server itself."""
FILE = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
"""For files of users: no script, no request, an origin of their own."""


def application(page: bytes, host: str) -> str:
    """Return the policy for the page of a session.

    Vue compiles templates in the browser and vuetify writes styles, so ``unsafe-eval`` and inline styles cannot be
    refused; scripts inside of the page are, except those of trame's own page, which are named by their hashes.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in _INLINE.findall(page)
    )
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""  # older Safari: 'self' is http alone
    return (
        f"default-src 'self'; script-src 'self' 'unsafe-eval' {hashes}; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self' data:; connect-src 'self'{sockets}; "
        "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )


async def add(request: web.Request, response: web.StreamResponse) -> None:
    """Add what is missing; a signal of the server before an answer begins, an answer to an error too."""
    for name, value in _FIXED.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Content-Security-Policy", PLAIN)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.pop("Server", None)
