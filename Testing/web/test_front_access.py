"""Who may use the server: names, other pages, the token, options that would leave it open."""

from __future__ import annotations

import re
import stat

import pytest

from hlfd.errors import HlfdError, UsageError
from hlfd_web.front.options import Options, is_loopback, read_options
from hlfd_web.front.token import read_token
from Testing.web.front_server import RunningFront


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    made = RunningFront(tmp_path_factory.mktemp("access") / "root")
    yield made
    made.close()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    made = RunningFront(tmp_path_factory.mktemp("guarded") / "root", token="on")
    yield made
    made.close()


class TestNames:
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST", "[::1]"])
    def test_of_this_computer_are_answered(self, running, host):
        assert running.visitor().get("/health", Host=f"{host}:{running.port}").status == 200

    @pytest.mark.parametrize(
        "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "192.0.2.1"]
    )
    def test_of_others_are_not(self, running, host):
        """A page of evil.example that lets its name point to 127.0.0.1 gets nothing."""
        assert running.visitor().get("/health", Host=host).status == 403
        assert running.visitor().get("/", Host=f"{host}:{running.port}").status in (400, 403)

    def test_that_were_allowed_are_answered(self, tmp_path):
        proxied = RunningFront(tmp_path / "root", allow_host=("hlfd.example.org",))
        try:
            assert proxied.visitor().get("/health", Host="hlfd.example.org").status == 200
            assert proxied.visitor().get("/health", Host="other.example.org").status == 403
            assert proxied.front.token is not None
        finally:
            proxied.close()


class TestOtherPages:
    @pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "https://127.0.0.1", ""])
    def test_cannot_change_anything(self, running, origin):
        assert running.visitor().post("/session/leave", Origin=origin).status == 403

    def test_cannot_open_a_websocket(self, running):
        visitor = running.visitor().open()
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
        upgrade["Sec_WebSocket_Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        for origin in ("http://evil.example", f"http://localhost:{running.port}", None):
            assert visitor.get("/ws", Origin=origin, **upgrade).status == 403
        assert visitor.get("/ws", Origin=f"http://127.0.0.1:{running.port}").status in (400, 403)

    def test_cannot_load_parts_of_it_or_start_sessions(self, running):
        count = len(running.front.sessions)
        for mode, dest in (("no-cors", "image"), ("cors", "empty"), ("navigate", "iframe")):
            headers = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": mode, "Sec_Fetch_Dest": dest}
            assert running.visitor().get("/", **headers).status == 403
        assert len(running.front.sessions) == count

    def test_can_link_to_it(self, running):
        headers = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "navigate", "Sec_Fetch_Dest": "document"}
        assert running.visitor().get("/", **headers).status == 200


class TestToken:
    def test_is_asked_for_before_anything_else(self, guarded):
        visitor = guarded.visitor()
        assert "Access token" in visitor.get("/").text
        for path in ("/session/state", "/files/results/a", "/vue.global.js", "/ws"):
            assert visitor.get(path).status == 401
        assert visitor.post("/files/upload?name=a.nii", b"x").status == 401
        assert len(guarded.front.sessions) == 0

    def test_opens_the_page_and_is_remembered_in_a_cookie_that_scripts_cannot_read(self, guarded):
        visitor = guarded.visitor()
        answer = visitor.post("/login", guarded.front.token.text.encode())
        assert answer.status == 204
        cookie = answer.headers["Set-Cookie"]
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in cookie.split(";")}
        assert guarded.front.token.text not in cookie
        assert "Access token" not in visitor.open().get("/").text

    def test_goes_over_tls_only_once_the_page_did(self, guarded):
        answer = guarded.visitor().post("/login", guarded.front.token.text.encode(), X_Forwarded_Proto="https")
        assert "Secure" in answer.headers["Set-Cookie"]

    @pytest.mark.parametrize("given", [b"", b"wrong", b"\xff\xfe\0", b"a" * 400])
    def test_that_is_wrong_opens_nothing(self, guarded, given):
        visitor = guarded.visitor()
        assert visitor.post("/login", given).status in (403, 413)
        assert not visitor.cookies

    def test_that_is_endless_is_not_read(self, guarded):
        assert guarded.visitor().post("/login", b"a" * 100_000).status == 413

    @pytest.mark.parametrize("cookie", ["", "wrong", "é", "a" * 3000])
    def test_cookie_that_is_wrong_opens_nothing(self, guarded, cookie):
        visitor = guarded.visitor()
        visitor.cookies[f"hlfd_token_{guarded.port}"] = cookie
        assert visitor.get("/session/state").status == 401

    def test_stands_behind_the_hash_of_the_address(self, guarded):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#/\?token=[\w-]{43}", guarded.front.address)

    def test_file_is_made_for_its_owner_only_and_used_again(self, tmp_path):
        path = tmp_path / "token"
        made = read_token(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert read_token(path).text == made.text

    @pytest.mark.parametrize(("text", "mode"), [("short", 0o600), ("", 0o600), ("a" * 40, 0o644), ("a b" * 9, 0o600)])
    def test_file_that_is_weak_or_open_is_refused(self, tmp_path, text, mode):
        path = tmp_path / "token"
        path.write_text(text)
        path.chmod(mode)
        with pytest.raises(UsageError):
            read_token(path)


class TestOptions:
    def test_listen_on_this_computer_alone_unless_told_otherwise(self):
        options = read_options([])
        assert (options.host, options.needs_token, options.reachable) == ("127.0.0.1", False, False)

    @pytest.mark.parametrize("arguments", [["--host", "0.0.0.0"], ["--host", "::"], ["--host", "192.0.2.7"]])
    def test_another_address_needs_a_token(self, arguments):
        assert read_options(arguments).needs_token
        with pytest.raises(UsageError, match="without a token anybody could use it"):
            read_options([*arguments, "--token", "off"])

    def test_a_name_behind_a_proxy_needs_a_token(self):
        assert read_options(["--allow-host", "hlfd.example.org"]).needs_token
        with pytest.raises(UsageError, match="token"):
            read_options(["--allow-host", "hlfd.example.org", "--token", "off"])

    def test_a_token_can_be_asked_for_here_too(self):
        assert read_options(["--token", "on"]).needs_token
        assert read_options(["--token-file", "secret"]).needs_token

    @pytest.mark.parametrize(
        "arguments",
        [
            ["--device", "gpu"],
            ["--device", "cuda:x"],
            ["--port", "70000"],
            ["--port", "-1"],
            ["--host", "a b"],
            ["--max-sessions", "0"],
            ["--max-upload-mb", "0"],
            ["--idle-minutes", "0"],
            ["--token", "off", "--token-file", "f"],
        ],
    )
    def test_that_cannot_work_are_refused_in_a_sentence(self, arguments):
        with pytest.raises(HlfdError):
            read_options(arguments)

    def test_loopback_is_told_from_other_addresses(self):
        assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"))
        assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "127.0.0.1.nip.io"))

    def test_the_constructor_checks_too(self):
        with pytest.raises(UsageError):
            Options(host="0.0.0.0", token="off")


def test_every_answer_tells_the_browser_to_be_careful(running):
    for path in ("/", "/health", "/front/front.css", "/nowhere", "/files/results/nothing"):
        headers = running.visitor().get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "object-src 'none'" in headers["Content-Security-Policy"]
        assert "Server" not in headers


def test_the_page_of_a_session_allows_scripts_of_this_server_alone(running):
    visitor = running.visitor().open()
    policy = visitor.get("/").headers["Content-Security-Policy"]
    (scripts,) = [part for part in policy.split(";") if "script-src" in part]
    assert "'unsafe-inline'" not in scripts
    assert re.findall(r"https?://", scripts) == []
    assert "base-uri 'self'" in policy
