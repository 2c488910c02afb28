"""The token that a visitor must show where others reach the server, and the cookie that remembers it."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from hlfd.errors import OutputError, UsageError

_LEAST = 16


class Token:
    """A secret text; comparisons take the same time whatever is wrong."""

    def __init__(self, text: str) -> None:
        self.text = text
        # not the token itself: whoever reads a cookie file cannot log in elsewhere with it
        self.cookie = hmac.new(text.encode(), b"hlfd cookie", hashlib.sha256).hexdigest()

    def matches(self, text: str) -> bool:
        """Return whether ``text`` is the token."""
        return hmac.compare_digest(text.encode("utf-8", "surrogateescape"), self.text.encode())

    def matches_cookie(self, text: str) -> bool:
        """Return whether ``text`` is the value of the cookie that a login gave."""
        return hmac.compare_digest(text.encode("utf-8", "surrogateescape"), self.cookie.encode())


def new_token() -> Token:
    """Return a random token of 256 bits."""
    return Token(secrets.token_urlsafe(32))


def read_token(path: Path) -> Token:
    """Return the token in a file; make one there, readable by its owner only, when the file is missing."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read(path)
    except OSError as error:
        raise OutputError(f'The token file "{path}" cannot be made: {error.strerror}.', "Name another.") from error
    token = new_token()
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(token.text + "\n")
    return token


def _read(path: Path) -> Token:
    try:
        if path.stat().st_mode & 0o077:
            raise UsageError(f'Others can read the token file "{path}".', f'Close it with: chmod 600 "{path}"')
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f'The token file "{path}" cannot be read: {error}.', "Name another with --token-file."
        ) from error
    if len(text) < _LEAST or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(
            f'The token file "{path}" holds no token; at least {_LEAST} letters and digits were expected.',
            "Delete it, and a good one is made.",
        )
    return Token(text)
