"""What the server is told on the command line, checked."""

from __future__ import annotations

import argparse
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hlfd.errors import UsageError

_DEVICE = re.compile(r"auto|cpu|cuda(:\d{1,2})?")
_HOST = re.compile(r"[A-Za-z0-9.:_-]{1,253}")


@dataclass(frozen=True)
class Options:
    """All options of ``python -m hlfd_web``; the constructor raises ``UsageError`` for values that cannot work."""

    host: str = "127.0.0.1"
    port: int = 8080
    data_root: Path = Path("hlfd-data")
    device: str = "auto"
    token: str = "auto"
    token_file: Path | None = None
    allow_host: tuple[str, ...] = ()
    max_upload_mb: int = 2000
    max_sessions: int = 8
    idle_minutes: float = 60.0
    open: bool | None = None
    verbose: bool = False

    def __post_init__(self) -> None:
        if not _DEVICE.fullmatch(self.device):
            raise UsageError(f'--device "{self.device}" is none of auto, cpu, cuda and cuda:N.', "Name one of them.")
        for name in (self.host, *self.allow_host):
            if not _HOST.fullmatch(name):
                raise UsageError(f'"{name}" is no name or address of a computer.', "Give one such as 127.0.0.1.")
        ranges: dict[str, tuple[float, float, float]] = {
            "--port": (self.port, 0, 65535),
            "--max-upload-mb": (self.max_upload_mb, 1, 1_000_000),
            "--max-sessions": (self.max_sessions, 1, 1000),
            "--idle-minutes": (self.idle_minutes, 0.05, 100_000),
        }
        for option, (value, least, most) in ranges.items():
            if not least <= value <= most:
                raise UsageError(f"{option} {value:g} was given; {least:g} to {most:g} was expected.")
        self._check_token()

    def _check_token(self) -> None:
        if self.token == "off" and self.token_file is not None:
            raise UsageError("--token off and --token-file exclude each other.", "Leave one of them out.")
        if self.token == "off" and self.reachable:
            where = f"the address {self.host}" if not is_loopback(self.host) else "a name of this server (--allow-host)"
            raise UsageError(
                f"With {where} other computers reach the server; without a token anybody could use it and its data.",
                "Leave out --token off, or listen on 127.0.0.1 and go there through an SSH tunnel.",
            )

    @property
    def reachable(self) -> bool:
        """Whether other computers reach the server, by themselves or through a reverse proxy."""
        return not is_loopback(self.host) or bool(self.allow_host)

    @property
    def needs_token(self) -> bool:
        """Whether a visitor must show the token."""
        return self.token == "on" or self.token_file is not None or (self.token == "auto" and self.reachable)


def is_loopback(host: str) -> bool:
    """Return whether an address or name means this computer alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def default_data_root() -> Path:
    """Return the folder of the user's own data for the browser application."""
    import platformdirs

    return Path(platformdirs.user_data_path("hlfd", appauthor=False)) / "Web"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="hlfd-web", description="HLFD in the browser.", allow_abbrev=False)
    add = made.add_argument
    add("--host", default="127.0.0.1", help="address to listen on; default: this computer alone")
    add("--port", type=int, default=8080, help="default: 8080; 0 takes a free one")
    add("--data-root", type=Path, default=None, metavar="DIR", help="the one folder that pages read and write")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--token", choices=("auto", "on", "off"), default="auto", help="auto asks for it where others reach the server")
    add("--token-file", type=Path, default=None, metavar="FILE", help="the token to ask for; made when it is missing")
    add("--allow-host", action="append", default=[], metavar="NAME", help="name behind a reverse proxy; repeatable")
    add("--max-upload-mb", type=int, default=2000, metavar="N", help="largest file that can be uploaded")
    add("--max-sessions", type=int, default=8, metavar="N", help="most browsers at a time")
    add("--idle-minutes", type=float, default=60.0, metavar="N", help="a session without use ends after this time")
    add(
        "--open",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="open the page here; default: with a display",
    )
    add("--verbose", action="store_true", help="tell what sessions print")
    return made


def read_options(arguments: Sequence[str]) -> Options:
    """Return the options of a command line; ``--help`` and unknown options leave through ``SystemExit`` (0 or 2)."""
    values = vars(parser().parse_args(arguments))
    values["data_root"] = values["data_root"] or default_data_root()
    values["allow_host"] = tuple(values["allow_host"])
    return Options(**values)
