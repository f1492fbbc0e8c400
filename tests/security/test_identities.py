"""When two spellings are one person, when they are two, and what is no address at all."""

import unicodedata

import pytest

from tests.security.cheap_hashing import CountingContext
from tests.security.observed import assert_problem, row_counts
from tests.security.races import all_at_once
from tests.support.service import PASSWORD, Service

ONE_PERSON = [
    "kiffi@bücher.example.org",
    "Kiffi@bücher.example.org",
    "KIFFI@bücher.example.org",
    "kIfFi@BÜCHER.example.org",
    "kiffi@BÜCHER.EXAMPLE.ORG",
    "kiffi@xn--bcher-kva.example.org",
    "KIFFI@XN--BCHER-KVA.EXAMPLE.ORG",
    unicodedata.normalize("NFD", "kiffi@bücher.example.org"),
    "ki\ufb03@bücher.example.org",  # the ligature ffi, which NFKC takes apart
    "ki\ufb00i@bücher.example.org",  # the ligature ff
    "kif\ufb01@bücher.example.org",  # the ligature fi
    "\u212aiffi@bücher.example.org",  # the Kelvin sign
    "\uff4b\uff49\uff46\uff46\uff49@bücher.example.org",  # full width
    "\uff2b\uff29\uff26\uff26\uff29@bücher.example.org",
    "\U0001d424\U0001d422\U0001d41f\U0001d41f\U0001d422@bücher.example.org",  # mathematical bold
    "\U0001d4c0iffi@bücher.example.org",  # script
    "\u24daiffi@bücher.example.org",  # a circled k
    "k\u2170ffi@bücher.example.org",  # the Roman numeral one
    "k\u2071ffi@bücher.example.org",  # superscript i
    "kiff\u2139@bücher.example.org",  # the information sign
]

TWO_PEOPLE = [
    ("ada@example.org", "ada+photos@example.org"),
    ("a.d.a@example.org", "ada2@example.org"),
    ("first.last@gmail.com", "firstlast@gmail.com"),
    ("admin@example.org", "\u0430dmin@example.org"),  # Cyrillic а
    ("omar@example.org", "\u03bfmar@example.org"),  # Greek ο
    ("i1@example.org", "\u01311@example.org"),  # dotless i
    ("i2@example.org", "\u01302@example.org"),  # İ
    ("ss@strasse.example.org", "ss@straße.example.org"),  # IDNA 2008 keeps ß
    ("paypal@example.org", "paypa1@example.org"),
    ("post@пример.example.org", "post@primer.example.org"),
]

NO_ADDRESS = [
    "", " ", "@", "a", "a@", "@example.org", "a@b", "a@localhost", "a@@example.org", "a b@example.org",
    "a@example.org.", ".a@example.org", "a..b@example.org", "a@-example.org", "a@exa_mple.org", "a@[127.0.0.1]",
    "a@[IPv6:::1]", "a@127.0.0.1", '"a b"@example.org', '"a"@example.org', "Ada <ada@example.org>", "<a@example.org>",
    "a@example.org,b@example.org", "a@example.org;b@example.org", "a@example.org b@example.org", "mailto:a@example.org",
    "a@example.org\r\nBcc: b@example.org", "a\r\n@example.org", "a\0@example.org",
    "a\u200b@example.org", "a\ufeff@example.org", "a@exam\u200dple.org", "a\u202eb@example.org", "a\u2028@example.org",
    "a\u00a0@example.org", "a\u00ad@example.org", "a@xn--.example.org", "a@xn--a-ecp.example.org", "x" * 300,
    "x" * 250 + "@example.org", "a@" + "b" * 64 + ".org", "a@" + "b." * 130 + "org", "\ufdfa" * 70 + "@example.org",
    "a(comment)@example.org", "a@example.org(comment)", "a%00@example.org\0", "\x1b[31m@example.org",
    "a\x7f@example.org", "${aws:username}@example.org", "a/../b@example.org", "$(id)@example.org",
]  # fmt: skip

TAKEN_AS_THEY_ARE = [
    "*@example.org", "a?b@example.org", "$aws@example.org", "{{7*7}}@example.org", "'or'1'='1@example.org",
    "a/b@example.org", "|id@example.org", "a'--@example.org", "%2e%2e@example.org", "`id`@example.org",
]  # fmt: skip


class TestOneIdentity:
    def test_the_corpus_is_twenty_different_texts(self) -> None:
        assert len(set(ONE_PERSON)) == 20

    def test_twenty_spellings_at_once_make_one_account(self, service: Service, hashing: CountingContext) -> None:
        """HT5: released together by a barrier: one is registered, nineteen are told that it is taken."""
        statuses = sorted(all_at_once(lambda number: service.register(ONE_PERSON[number]).status_code))
        assert statuses == [201] + [409] * 19
        assert service.sql("SELECT count(*) FROM users") == [(1,)]
        assert service.sql("SELECT count(*) FROM audit_events WHERE event = 'user.registered'") == [(20,)]

    def test_every_spelling_signs_in_to_it(self, shared: Service) -> None:
        """HT5: and finds the address as it was given first, to which alone mail would go."""
        assert shared.register(ONE_PERSON[0]).status_code == 201
        for email in ONE_PERSON:
            token = shared.log_in(email).json()["tokens"]["access_token"]
            profile = shared.client.get("/v1/me", headers={"Authorization": f"Bearer {token}"}).json()
            assert profile["email"] == ONE_PERSON[0]

    @pytest.mark.parametrize(("one", "other"), TWO_PEOPLE)
    def test_lookalikes_are_never_merged(self, shared: Service, one: str, other: str) -> None:
        """HT5: neither dots and tags, which are the provider's business, nor letters that only look alike."""
        devices = [shared.device(one), shared.device(other)]
        assert devices[0].user_id != devices[1].user_id
        prefixes = {device.get("/v1/me").json()["prefix"] for device in devices}
        assert len(prefixes) == 2

    @pytest.mark.parametrize("email", NO_ADDRESS, ids=lambda email: ascii(email)[:40])
    def test_what_is_no_address_is_refused(self, service_with_account: Service, email: str) -> None:
        """HT5, HT12: 422, not echoed, nothing written; signing in with it is an ordinary 401."""
        service = service_with_account
        before = row_counts(service)
        answer = service.client.post("/v1/users", json={"email": email, "password": PASSWORD})
        assert_problem(answer, 422, "invalid_request")
        assert [error["location"] for error in answer.json()["errors"]] == ["body.email"]
        assert row_counts(service) == before
        assert service.log_in(email).status_code == (401 if len(email) <= 320 else 422)

    @pytest.mark.parametrize("email", TAKEN_AS_THEY_ARE)
    def test_odd_but_valid_addresses_are_only_text(self, shared: Service, email: str) -> None:
        """HT5, HT12: what would be a pattern or a command elsewhere matches nobody else's account."""
        shared.register("victim@example.org")
        assert shared.device(email).get("/v1/me").json()["email"] == email
        assert shared.log_in(email.replace("example", "sample")).status_code == 401


@pytest.fixture(scope="module")
def service_with_account(shared: Service) -> Service:
    shared.register("a@example.org")
    return shared
