"""T11: which URLs from outside may be fetched, and that nothing private is ever asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from roomkit._fetch import FetchedMedia, fetch_media
from roomkit._urls import check_url, is_public
from roomkit.exceptions import MediaFetchError, UnsafeURLError

if TYPE_CHECKING:
    from collections.abc import Callable

REFUSED = (
    "http://127.0.0.1/",
    "http://127.1/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://017700000001/",
    "http://localhost/",
    "http://localhost./",
    "http://LOCALHOST:8080/",
    "http://0.0.0.0/",
    "http://0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.64.0.1/",
    "http://192.0.0.192/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:a00:1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:7f00:1::]/",
    "http://[fc00::1]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://8.8.8.8@127.0.0.1/",
    "http://user:pass@example.org/",
    "http://127。0。0。1/",
    "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/",
    "http://8.8.8.8\\@127.0.0.1/",
    "http://8.8.8.8:99999/",
    "http:///etc/passwd",
    "file:///etc/passwd",
    "gopher://8.8.8.8/",
    "ftp://8.8.8.8/",
    "data:text/plain,hello",
    "//8.8.8.8/",
    "8.8.8.8",
    "",
    "http://8.8.8.8/a b",
    "http://8.8.8.8/\r\nHost: x",
    "http://" + "a" * 9000,
)

PUBLIC = "93.184.216.34"


def resolving(*addresses: str) -> Callable[..., object]:
    """Return a resolver that knows one answer for every host."""

    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    return resolve


class TestCheckURL:
    """The table of what is refused, and what passes."""

    @pytest.mark.parametrize("url", REFUSED)
    async def test_refused(self, url: str) -> None:
        """Nothing that leads into a private network, however it is spelled."""
        with pytest.raises(UnsafeURLError) as caught:
            await check_url(url)
        assert not url or len(url) < 8 or url not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "host", "port"),
        [
            ("http://8.8.8.8/x", "8.8.8.8", 80),
            ("https://[2606:4700::1111]:8443/", "2606:4700::1111", 8443),
            ("https://Example.ORG./a?b=c#d", "example.org", 443),
            ("https://b\u00fccher.example/", "b\u00fccher.example", 443),
        ],
    )
    async def test_passes(self, url: str, host: str, port: int) -> None:
        """A public host passes, and comes back as it is spelled in requests."""
        safe = await check_url(url, resolver=resolving(PUBLIC))
        assert (safe.host, safe.port) == (host, port)
        assert url not in repr(safe)

    async def test_every_address_counts(self) -> None:
        """One private address among the public ones is one too many."""
        with pytest.raises(UnsafeURLError):
            await check_url("https://a.example/", resolver=resolving(PUBLIC, "10.0.0.1"))

    async def test_a_host_that_is_not_there(self) -> None:
        """No address, no request."""
        for resolver in (resolving(), _failing):
            with pytest.raises(UnsafeURLError):
                await check_url("https://a.example/", resolver=resolver)

    async def test_an_allowed_host_may_be_private(self) -> None:
        """By name, or by name and port; other ports stay refused."""
        assert (await check_url("http://127.0.0.1:81/", allow_hosts=["127.0.0.1"])).port == 81
        await check_url("http://127.0.0.1:81/", allow_hosts=["127.0.0.1:81"])
        with pytest.raises(UnsafeURLError):
            await check_url("http://127.0.0.1:82/", allow_hosts=["127.0.0.1:81"])

    def test_not_even_an_address(self) -> None:
        """What is no address is not public."""
        assert not is_public("example.org")
        assert is_public(PUBLIC)


async def _failing(host: str, port: int) -> list[str]:
    raise OSError("no such host")


class TestFetchMedia:
    """The one way to fetch what a message refers to."""

    async def test_it_asks_the_address_that_was_looked_at(self) -> None:
        """A name that changes its address between look-up and request changes nothing."""
        seen: list[httpx.Request] = []
        answers = [[PUBLIC], ["127.0.0.1"]]

        async def rebinding(host: str, port: int) -> list[str]:
            return answers.pop(0)

        def handle(request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return httpx.Response(
                200, content=b"jpeg", headers={"content-type": "image/JPEG; q=1"}
            )

        media = await fetch_media(
            "https://cdn.example/a.jpg?x=1", resolver=rebinding, transport=_to(handle)
        )
        assert media == FetchedMedia(b"jpeg", "image/jpeg")
        assert (seen[0].url.host, seen[0].headers["host"]) == (PUBLIC, "cdn.example")
        assert seen[0].extensions["sni_hostname"] == "cdn.example"
        assert str(seen[0].url).endswith("/a.jpg?x=1")

    async def test_redirects_are_looked_at_too(self) -> None:
        """One into the private network is refused, and never asked."""
        asked: list[str] = []

        def handle(request: httpx.Request) -> httpx.Response:
            asked.append(request.url.host)
            return httpx.Response(302, headers={"location": "http://169.254.169.254/"})

        with pytest.raises(UnsafeURLError):
            await fetch_media(
                "https://cdn.example/", resolver=resolving(PUBLIC), transport=_to(handle)
            )
        assert asked == [PUBLIC]

    async def test_endless_redirects(self) -> None:
        """After three of them it is enough."""
        asked: list[str] = []

        def handle(request: httpx.Request) -> httpx.Response:
            asked.append(request.url.path)
            return httpx.Response(307, headers={"location": "/again"})

        with pytest.raises(MediaFetchError) as caught:
            await fetch_media(
                "https://cdn.example/", resolver=resolving(PUBLIC), transport=_to(handle)
            )
        assert (len(asked), caught.value.retryable) == (4, False)

    async def test_credentials_go_to_their_host_only(self) -> None:
        """Not to another host, not over plain http, not along with a redirect."""
        seen: dict[str, str | None] = {}

        def handle(request: httpx.Request) -> httpx.Response:
            host = request.headers["host"]
            seen[f"{request.url.scheme}://{host}"] = request.headers.get("authorization")
            if host == "api.vendor.example" and request.url.scheme == "https":
                return httpx.Response(302, headers={"location": "https://cdn.example/x"})
            return httpx.Response(200, content=b"x")

        for url in ("https://api.vendor.example/m", "http://api.vendor.example/m"):
            await fetch_media(
                url,
                headers={"authorization": "Bearer canary"},
                auth_hosts=["api.vendor.example"],
                resolver=resolving(PUBLIC),
                transport=_to(handle),
            )
        assert seen == {
            "https://api.vendor.example": "Bearer canary",
            "https://cdn.example": None,
            "http://api.vendor.example": None,
        }

    @pytest.mark.parametrize("told", [True, False])
    async def test_too_long(self, told: bool) -> None:
        """A body past the bound is refused, whether or not the server says its length."""

        async def endless() -> object:
            while True:
                yield b"x" * 1000

        def handle(request: httpx.Request) -> httpx.Response:
            if told:
                return httpx.Response(200, content=b"x" * 2000)
            return httpx.Response(200, content=endless())

        with pytest.raises(MediaFetchError, match="longer"):
            await fetch_media(
                "https://cdn.example/",
                max_bytes=1500,
                resolver=resolving(PUBLIC),
                transport=_to(handle),
            )

    async def test_too_slow(self) -> None:
        """The bound holds for everything together."""

        async def handle(request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            return httpx.Response(200)

        with pytest.raises(MediaFetchError, match="in time") as caught:
            await fetch_media(
                "https://cdn.example/",
                timeout=0.05,
                resolver=resolving(PUBLIC),
                transport=_to(handle),
            )
        assert caught.value.retryable

    @pytest.mark.parametrize(("status", "again"), [(404, False), (429, True), (503, True)])
    async def test_refused_by_the_server(self, status: int, again: bool) -> None:
        """The status is told, and whether another try may help."""
        with pytest.raises(MediaFetchError) as caught:
            await fetch_media(
                "https://cdn.example/",
                resolver=resolving(PUBLIC),
                transport=_to(lambda request: httpx.Response(status)),
            )
        assert (caught.value.status_code, caught.value.retryable) == (status, again)

    async def test_compressed_unasked(self) -> None:
        """A bomb that unpacks to gigabytes is not even opened."""

        def handle(request: httpx.Request) -> httpx.Response:
            assert request.headers["accept-encoding"] == "identity"
            return httpx.Response(200, stream=httpx.ByteStream(b"x"), headers=PACKED)

        with pytest.raises(MediaFetchError, match="compressed"):
            await fetch_media(
                "https://cdn.example/", resolver=resolving(PUBLIC), transport=_to(handle)
            )

    async def test_a_broken_connection(self) -> None:
        """Errors tell their kind, not the URL."""

        def handle(request: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("https://cdn.example/secret is down")

        with pytest.raises(MediaFetchError) as caught:
            await fetch_media(
                "https://cdn.example/secret", resolver=resolving(PUBLIC), transport=_to(handle)
            )
        assert "secret" not in str(caught.value)

    async def test_a_loopback_canary_is_never_asked(self) -> None:
        """With a real socket: none of the spellings of this machine gets a connection."""
        asked = 0

        async def touched(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            asked += 1
            writer.close()

        server = await asyncio.start_server(touched, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        hosts = (
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "localhost",
            "[::ffff:127.0.0.1]",
        )
        async with server:
            for host in hosts:
                with pytest.raises((UnsafeURLError, MediaFetchError)):
                    await fetch_media(f"http://{host}:{port}/", timeout=2.0)
        assert asked == 0


PACKED = {"content-encoding": "gzip"}


def _to(handle: Callable[..., object]) -> httpx.MockTransport:
    return httpx.MockTransport(handle)  # type: ignore[arg-type]
