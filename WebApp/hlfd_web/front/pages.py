"""The server's own pages: log in, wait for a session, all places taken. Their scripts are in ``static``."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from aiohttp import web

STATIC = Path(__file__).with_name("static")
FILES = {"page.js": "text/javascript", "login.js": "text/javascript", "wait.js": "text/javascript"}
FILES |= {"front.css": "text/css"}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>HLFD</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/front/front.css">
<script src="/front/{script}" defer></script>
</head>
<body class="hlfd-front">
<main>
<h1>HLFD</h1>
{body}
<p class="hlfd-notice">Demonstration, not for clinical use.</p>
</main>
</body>
</html>
"""

_LOGIN = """<form id="login">
<label for="token">Access token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required data-testid="front-token">
<button type="submit" data-testid="front-login">Open</button>
<p id="message" role="alert"></p>
</form>
<p>The server printed the token when it started.</p>"""

_WAIT = """<div id="wait" role="status" aria-live="polite">
<div class="hlfd-spinner" id="spinner" aria-hidden="true"></div>
<p id="message" data-testid="front-message">{message}</p>
<button id="again" type="button" hidden data-testid="front-again">Try again</button>
</div>"""

_HEAD = b"""<head>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/front/front.css">
<script src="/front/page.js"></script>"""
_LOADING = '<div class="hlfd-front"><div class="hlfd-spinner"></div><p role="status">Opening...</p></div>'


def dress(page: bytes) -> bytes:
    """Return the page of a session with our script in it, our title, and leave to enlarge it with two fingers."""
    page = re.sub(rb'<meta\s+name="(viewport|description|keywords)".*?>', b"", page, flags=re.DOTALL)
    page = re.sub(rb"<title>.*?</title>", b"<title>HLFD</title>", page, count=1)
    page = re.sub(rb"<strong\s*>.*?</strong\s*>", b"<strong>HLFD needs JavaScript.</strong>", page, flags=re.DOTALL)
    return page.replace(b"<head>", _HEAD, 1)


async def loading(_request: web.Request) -> web.Response:
    """Answer with what the page of a session shows until its application is there."""
    return web.Response(text=_LOADING, content_type="text/html")


def login_page() -> web.Response:
    """Return the page that asks for the token, or takes it from the address (behind the ``#``, which no log sees)."""
    return _answer("login.js", _LOGIN, 200)


def wait_page(message: str = "Starting, a few seconds...", status: int = 200) -> web.Response:
    """Return the page that asks the server how its session is until it can be opened."""
    return _answer("wait.js", _WAIT.format(message=escape(message)), status)


def _answer(script: str, body: str, status: int) -> web.Response:
    return web.Response(text=_PAGE.format(script=script, body=body), content_type="text/html", status=status)


async def static_file(request: web.Request) -> web.Response:
    """Answer ``/front/NAME``: one of the few files that the pages need."""
    name = request.match_info["name"]
    if name not in FILES:
        raise web.HTTPNotFound
    response = web.Response(body=(STATIC / name).read_bytes(), content_type=FILES[name], charset="utf-8")
    response.headers["Cache-Control"] = "no-cache"
    return response
