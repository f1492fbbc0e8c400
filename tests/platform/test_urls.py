"""Hosts, origins and URLs have one spelling, whichever way a person wrote them."""

import pytest

from app.platform.urls import host_name, http_url, origin, with_plain_host


class TestHostName:
    @pytest.mark.parametrize(
        ("written", "spelt"),
        [
            ("Tokens.Example.ORG", "tokens.example.org"),
            (" tokens.example.org\n", "tokens.example.org"),
            ("tokens.example.org.", "tokens.example.org"),
            ("fotos.bücher.example", "fotos.xn--bcher-kva.example"),
            ("fotos.BÜCHER.example", "fotos.xn--bcher-kva.example"),
            ("fotos.bu\u0308cher.example", "fotos.xn--bcher-kva.example"),
            ("straße.example", "xn--strae-oqa.example"),
            ("例え。jp", "xn--r8jz45g.jp"),
            ("ｅｘａｍｐｌｅ.org", "example.org"),
            ("XN--Bcher-KVA.example", "xn--bcher-kva.example"),
            ("token_vend", "token_vend"),
            ("localhost", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "::1"),
            ("2001:0DB8:0:0::7", "2001:db8::7"),
        ],
    )
    def test_is_spelt_as_browsers_send_it(self, written: str, spelt: str) -> None:
        assert host_name(written) == spelt
        assert host_name(spelt) == spelt

    @pytest.mark.parametrize(
        "wrong",
        [
            *(
                "",
                " ",
                ".",
                "a..b",
                "-a.example",
                "a-.example",
                "a b",
                "a/b",
                "*.example.org",
                "example.org:8000",
                "127.1",
            ),
            *("256.0.0.1", "💩.example", "fe80::1%eth0", "a@b", "x" * 64, "a." * 127 + "a", '"a"', "ü" * 80),
        ],
    )
    def test_is_nothing_else(self, wrong: str) -> None:
        with pytest.raises(ValueError, match=r"."):
            host_name(wrong)


class TestHttpUrl:
    @pytest.mark.parametrize(
        ("written", "spelt"),
        [
            ("HTTPS://Tokens.Example.ORG/", "https://tokens.example.org"),
            ("\thttps://tokens.example.org\r\n", "https://tokens.example.org"),
            ("https://tokens.example.org:443", "https://tokens.example.org"),
            ("http://tokens.example.org:80/", "http://tokens.example.org"),
            ("http://tokens.example.org:443", "http://tokens.example.org:443"),
            ("https://fotos.bücher.example:8443/Eu/Tokens/", "https://fotos.xn--bcher-kva.example:8443/Eu/Tokens"),
            ("https://example.org/bücher", "https://example.org/b%C3%BCcher"),
            ("https://example.org/a%2Fb", "https://example.org/a%2Fb"),
            ("http://[0:0::1]:8000", "http://[::1]:8000"),
        ],
    )
    def test_is_spelt_one_way(self, written: str, spelt: str) -> None:
        assert http_url(written) == spelt
        assert http_url(spelt) == spelt

    @pytest.mark.parametrize(
        ("wrong", "hint"),
        [
            ("tokens.example.org", "such as https://"),
            ("https:tokens.example.org", "such as https://"),
            ("https://", "such as https://"),
            ("ftp://example.org", "such as https://"),
            ("https://example.org/?a", "such as https://"),
            ("https://example.org:0", "such as https://"),
            ("https://example.org:65536", "port of 1 to 65535"),
            ("https://tokens.exa\nmple.org", "white space"),
            ("'https://example.org'", "quotes"),
            ("https://user:secret@example.org", "no user name"),
            ("https://{tenant}.example.org", "put the value in the place"),
            ("https://<tenant>.example.org", "put the value in the place"),
            ("https://example.org//a", "empty segment"),
            ("https://example.org/a/../b", "empty segment"),
            ("https://*.example.org", "must have a host"),
        ],
    )
    def test_says_what_is_wrong(self, wrong: str, hint: str) -> None:
        with pytest.raises(ValueError, match=hint) as refused:
            http_url(wrong)
        assert "secret" not in str(refused.value)

    def test_may_have_a_place_for_something(self) -> None:
        url = "https://STS.{region}.vpce.example.org:443"
        assert http_url(url, placeholder="{region}") == "https://sts.{region}.vpce.example.org"
        assert (
            http_url("https://sts-{region}.example.org", placeholder="{region}") == "https://sts-{region}.example.org"
        )


class TestOrigin:
    @pytest.mark.parametrize(
        ("written", "sent"),
        [
            ("https://App.Example.org:443/", "https://app.example.org"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("http://[::1]:5173", "http://[::1]:5173"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("Ionic://localhost", "ionic://localhost"),
            ("tauri://localhost", "tauri://localhost"),
            (
                "chrome-extension://abcdefghijklmnopabcdefghijklmnop/",
                "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            ),
            (
                "moz-extension://2f6ad3a5-0b1b-4b1e-9c5e-3f1c3b0d9f11",
                "moz-extension://2f6ad3a5-0b1b-4b1e-9c5e-3f1c3b0d9f11",
            ),
            (
                "safari-web-extension://2F6AD3A5-0B1B-4B1E-9C5E-3F1C3B0D9F11",
                "safari-web-extension://2F6AD3A5-0B1B-4B1E-9C5E-3F1C3B0D9F11",
            ),
            ("app://obsidian.md", "app://obsidian.md"),
        ],
    )
    def test_is_what_a_browser_sends(self, written: str, sent: str) -> None:
        assert origin(written) == sent

    @pytest.mark.parametrize(
        "wrong",
        [
            *("*", "null", "", "file://", "https://*.example.org", "https://*", "app.example.org", "capacitor://*"),
            *(
                "https://app.example.org/a",
                "https://app.example.org?",
                "https://app.example.org#",
                "https://u@a.example",
            ),
        ],
    )
    def test_is_nothing_else(self, wrong: str) -> None:
        with pytest.raises(ValueError, match=r"^must "):
            origin(wrong)

    def test_a_path_is_refused_with_the_origin_to_write(self) -> None:
        with pytest.raises(ValueError, match=r"as in https://app.example.org$"):
            origin("https://App.example.org:443/photos")


class TestPlainHost:
    def test_leaves_the_rest_alone(self) -> None:
        url = "smtp://me%40Example.org:Pä%20s\"<'^s@Mail.Bücher.example:587"
        assert with_plain_host(url) == url.replace("Mail.Bücher", "mail.xn--bcher-kva")
        assert with_plain_host("smtps://u:p@[::1]:465/") == "smtps://u:p@[::1]:465/"
