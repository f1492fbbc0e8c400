"""What a policy for the CDN allows: by its text, and by a matcher that knows nothing of the builder."""

import itertools
import posixpath
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

import pytest
from botocore.signers import CloudFrontSigner
from hypothesis import assume, example, given
from hypothesis import strategies as st

from app.policy import cdn_policy, session_policy
from tests.policy.cloudfront import allows, leads_out, matches, path_of
from tests.policy.test_session_policy import keys, paths

CDN = "https://cdn.example.org"
USER = uuid.UUID("0b3c6f0e-5d0c-4f4b-9a55-1f2e3d4c5b6a")
UNTIL = datetime(2026, 11, 23, 18, 15, tzinfo=UTC)
NOW = UNTIL - timedelta(seconds=1)
SAFE = st.sampled_from(["/", "/!$&'()*+,;=:@", "/~", "/?*"])
"""What clients leave as it is when they percent-encode a key, rightly or not."""
HOSTILE = (
    "../",
    "%2e%2e/",
    "..%2f",
    "%252e%252e%252f",
    "*",
    "?",
    "%2a",
    "%3f",
    "/",
    "%2f",
    ".",
    "\\",
    "%5c",
    "%00",
    "#",
)


def url_of(key: str, *, safe: str = "/") -> str:
    """As a client writes it."""
    return f"{CDN}/{quote(key, safe=safe)}"


class TestPolicy:
    def test_is_the_text_that_cloudfront_takes(self) -> None:
        prefix = session_policy.narrowed_prefix(USER, "Fotos/Zürich 🏔/")
        assert cdn_policy.policy(CDN, prefix, UNTIL) == (
            '{"Statement":[{"Resource":"https://cdn.example.org/users/0b3c6f0e-5d0c-4f4b-9a55-1f2e3d4c5b6a/'
            'Fotos/Z%C3%BCrich%20%F0%9F%8F%94/*","Condition":{"DateLessThan":{"AWS:EpochTime":1795457700}}}]}'
        )

    @given(st.uuids(), paths)
    def test_is_that_of_botocore(self, user: uuid.UUID, path: str) -> None:
        prefix = session_policy.narrowed_prefix(user, path)
        resource = f"{cdn_policy.folder_url(CDN, prefix)}*"
        assert cdn_policy.policy(CDN, prefix, UNTIL) == CloudFrontSigner("K", bytes).build_policy(resource, UNTIL)

    def test_ends_at_its_moment(self) -> None:
        text = cdn_policy.policy(CDN, session_policy.user_prefix(USER), UNTIL).encode()
        url = url_of(f"users/{USER}/a.jpg")
        assert allows(text, url, NOW)
        assert not allows(text, url, UNTIL)

    @pytest.mark.parametrize(
        "prefix",
        [
            "",
            "users/",
            "users/*/",
            "*",
            f"users/{USER}",
            f"users/{USER}/albums",
            f"users/{str(USER).upper()}/",
            f"users/{USER}/../",
            f"users/{USER}/%2e%2e/",
            f"users/{USER}/./",
            f"users/{USER}//",
            f"/users/{USER}/",
            f"x/users/{USER}/",
            f"users/{USER}/a\n/x",
        ],
    )
    def test_is_of_a_users_prefix_alone(self, prefix: str) -> None:
        with pytest.raises(ValueError, match="not the prefix of a user"):
            cdn_policy.policy(CDN, prefix, UNTIL)

    @pytest.mark.parametrize("origin", ["https://*", "https://cdn.example.org/x", "https://cdn.example.org?", "*", ""])
    def test_is_of_an_origin_alone(self, origin: str) -> None:
        with pytest.raises(ValueError, match="not an origin"):
            cdn_policy.policy(origin, session_policy.user_prefix(USER), UNTIL)


class TestPattern:
    @given(st.uuids(), paths)
    def test_has_one_wildcard_at_its_end(self, user: uuid.UUID, path: str) -> None:
        prefix = session_policy.narrowed_prefix(user, path)
        resource = cdn_policy.policy(CDN, prefix, UNTIL).partition('"Resource":"')[2].partition('"')[0]
        assert resource.endswith("/*")
        assert not set(resource[:-1]) & set("*?#\\\"'<>{}| ")
        assert resource.isascii()

    @given(st.uuids(), paths, keys)
    def test_matches_every_key_of_the_folder(self, user: uuid.UUID, path: str, key: str) -> None:
        prefix = session_policy.narrowed_prefix(user, path)
        text = cdn_policy.policy(CDN, prefix, UNTIL).encode()
        url = cdn_policy.folder_url(CDN, prefix) + quote(key, safe="/")
        assert allows(text, url, NOW)
        assert allows(text, f"{url}?color=red", NOW)
        assert unquote(path_of(url)) == f"/{prefix}{key}"

    @given(st.uuids(), paths, st.uuids(), keys, SAFE)
    def test_matches_no_other_folder(self, user: uuid.UUID, path: str, other: uuid.UUID, key: str, safe: str) -> None:
        """However a client encodes what it asks for."""
        assume(user != other)
        text = cdn_policy.policy(CDN, session_policy.narrowed_prefix(user, path), UNTIL).encode()
        foreign = [
            f"users/{other}/{path}{key}",
            f"users/{user}a/{path}{key}",
            f"users/{str(user)[:-1]}/{path}{key}",
            f"users/{user}",
            f"Users/{user}/{path}{key}",
            f"/users/{user}/{path}{key}",
            f"users//{user}/{path}{key}",
            f"users/*/{path}{key}",
            f"users/{'?' * 36}/{path}{key}",
            f"{user}/{path}{key}",
        ]
        if str(user).upper() != str(user):
            foreign.append(f"users/{str(user).upper()}/{path}{key}")
        if path:
            foreign += [f"users/{user}/{path[:-1]}2/{key}", f"users/{user}/{path[:-1]}", f"users/{user}/"]
        for reached in foreign:
            assert not allows(text, url_of(reached, safe=safe), NOW), reached
        own = f"users/{user}/{path}"
        for place in (f"{CDN}.evil/", "http://cdn.example.org/", f"https://evil/{CDN}/"):
            assert not allows(text, place + quote(own, safe="/"), NOW)

    @given(st.uuids(), paths, st.lists(st.sampled_from(HOSTILE) | st.uuids().map(str) | st.just("users"), max_size=8))
    @example(USER, "albums/", ["../", "../", "../", "users", "/", "x"])
    @example(USER, "", ["%252e%252e%252f", "x"])
    def test_and_the_rule_of_paths_keep_each_url_in_the_folder(
        self, user: uuid.UUID, path: str, parts: list[str]
    ) -> None:
        """Whoever on the way decodes a path, once or twice, and then takes its dots away."""
        prefix = session_policy.narrowed_prefix(user, path)
        text = cdn_policy.policy(CDN, prefix, UNTIL).encode()
        for start in (cdn_policy.folder_url(CDN, prefix), f"{CDN}/", f"{CDN}/users/"):
            url = start + "".join(parts)
            if not allows(text, url.partition("#")[0], NOW) or leads_out(path_of(url)):
                continue
            reached = path_of(url)
            for _ in range(3):
                reached = unquote(reached)
                assert _tidied(reached).startswith(_tidied(f"/{prefix}")), url

    @given(st.uuids(), paths, st.uuids(), paths)
    def test_of_one_folder_is_in_another_ones_if_the_folder_is(
        self, user: uuid.UUID, path: str, other: uuid.UUID, elsewhere: str
    ) -> None:
        folders = [session_policy.narrowed_prefix(user, path), session_policy.narrowed_prefix(other, elsewhere)]
        folders.append(folders[0] + "x/")
        for one, another in itertools.permutations(folders, 2):
            pattern = f"{cdn_policy.folder_url(CDN, one)}*"
            assert matches(pattern, cdn_policy.folder_url(CDN, another)) == another.startswith(one)


def _tidied(path: str) -> str:
    return posixpath.normpath(path.replace("\\", "/")) + "/"
