"""The vault: one key written with, all accepted, and nothing that an earlier version stored is lost."""

import pytest

from app.crypto import kinds
from app.crypto.kinds import KINDS, Keyed, Sealed
from app.crypto.vault import DecryptionFailed, Vault, digest_by
from tests.support.service import SECRET_KEY

NEW, OLD, OLDER = "N3w-key-of-32-random-characters-0001", SECRET_KEY, "01d-key-of-32-random-characters-0002"
STORED = {
    kinds.REFRESH_TOKEN: "76d4c936df89b6ed2cc341d82f4dabf3742e2693431b9bba558f563ec640cfe7",
    kinds.REFRESH_SUCCESSOR: "6cd6c49a4153b5ca294d141c421aeacb35640df5e355fd65a1cfc8386a0e5ec5",
    kinds.SINGLE_USE_TOKEN.of("mfa"): "32ee1952d2204b124022ed7a190192ce9517840f0d0704da285099533e4360d2",
    kinds.CHALLENGE_PASSWORD: "cc6130068d45d9a3347425f2a69990bd65be23457d74ba0aabdd1888bae1295e",
    kinds.LINK_ADDRESS: "22af06bb2bbb673fb391842141f6ff630303d0812f6284f24977afeccdde11bf",
    kinds.RECOVERY_CODE: "eda1d5e6b43f9b34f6a41287df5e35c13c78708852bd1abf4fa9fa80d3c062f2",
    kinds.GUESSED_ACCOUNT: "bb9e9410f707e9bb3e878038a97fcfcb600efb483091364626b114741144eda7",
    kinds.MAIL_RECIPIENT.of("strangers"): "904be17b08535d202b5143be859194242b58e8655491511c24831331b73dfe3a",
    kinds.CREDENTIAL_ORDER: "95dec9157c93c7523f46192ae169695773480163099833e67782fa0fbf51604c",
}
"""What earlier versions made of (b"ab", b"c")."""
SEALED = {
    kinds.SIGNING_KEY: "c90091b1769e5cde1b97d67451ad769a7ab718544f73eb63ad8702b39f5e0a08b4dbd6e7",
    kinds.TOTP_SECRET: "2458baa71e649f638494740900803642c9334ce82a458f22c7b707da8074dc133ef0bc54",
    kinds.MAIL_TOKEN: "6670af77a496c395d92b8ea5ca2f19eed00953733a1b4fb5712ca5f88e411c1730f189cd",
    kinds.PROVIDER_TOKEN: "5525b1fca2c03a65b61dde0f517a08405a83efd9a52f6e04c1185802cf1524287fdb88a6",
    kinds.PREHASH_KEY: "c08b263372f3d09af60f31ed1f62f5d54981f0aaafa559594bb52dbab2630f9b4d46a2c8",
    kinds.VENDED_CREDENTIAL: "e06b9d7b7e1274c9248f766e13d0be4d5f652366bc0541b5855fd242688258692adac8c8",
}


class TestWhatEarlierVersionsStored:
    @pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.purpose)
    def test_is_digested_alike(self, kind: Keyed) -> None:
        assert Vault(OLD).digest(kind, b"ab", b"c").hex() == STORED[kind]
        assert Vault(NEW, [OLD]).digests(kind, b"ab", b"c")[1].hex() == STORED[kind]

    @pytest.mark.parametrize("kind", SEALED, ids=lambda kind: kind.purpose)
    def test_is_opened(self, kind: Sealed) -> None:
        for vault in (Vault(OLD), Vault(NEW, [OLD]), Vault(NEW, [OLDER, OLD])):
            assert vault.decrypt(kind, bytes.fromhex(SEALED[kind]), bound_to="somebody") == b"a secret"
        with pytest.raises(DecryptionFailed):
            Vault(NEW).decrypt(kind, bytes.fromhex(SEALED[kind]), bound_to="somebody")


class TestKeys:
    def test_one_is_written_with_and_all_are_accepted_in_one_order(self) -> None:
        vault = Vault(NEW, [OLD, OLDER])
        for fingerprint, key in zip(vault.fingerprints, (NEW, OLD, OLDER), strict=True):
            vault.write_with(fingerprint)
            assert vault.writes_with == fingerprint == Vault(key).writes_with
            assert vault.digest(kinds.RECOVERY_CODE, b"x") == Vault(key).digest(kinds.RECOVERY_CODE, b"x")
            sealed = vault.encrypt(kinds.TOTP_SECRET, b"x", bound_to="y")
            assert Vault(key).decrypt(kinds.TOTP_SECRET, sealed, bound_to="y") == b"x"
            assert vault.opener(kinds.TOTP_SECRET, sealed, bound_to="y") == fingerprint
            assert vault.matches(kinds.LINK_ADDRESS, Vault(key).digest(kinds.LINK_ADDRESS, b"x"), b"x")
            assert vault.digests(kinds.RECOVERY_CODE, b"x") == tuple(
                Vault(each).digest(kinds.RECOVERY_CODE, b"x") for each in (NEW, OLD, OLDER)
            )
        assert not vault.matches(kinds.LINK_ADDRESS, Vault("z" * 40).digest(kinds.LINK_ADDRESS, b"x"), b"x")

    def test_a_new_one_is_not_written_with_before_all_replicas_know_it(self) -> None:
        assert Vault(NEW).writes_with == Vault(NEW).fingerprints[0]
        assert Vault(NEW, [OLD]).writes_with == Vault(OLD).fingerprints[0]
        assert Vault(NEW, [OLD, OLDER]).writes_with == Vault(OLD).fingerprints[0]

    def test_are_told_apart_by_fingerprints_that_tell_nothing_else(self) -> None:
        prints = Vault(NEW, [OLD, OLDER]).fingerprints
        assert len(set(prints)) == 3
        assert {len(each) for each in prints} == {32}
        assert not any(part in each for each in prints for part in (NEW, OLD, OLDER))

    def test_one_kinds_own_opens_no_other_kind(self) -> None:
        """What is kept of an earlier key finds recovery codes, and nothing else."""
        vault = Vault(NEW, [OLD])
        own = vault.own_key(kinds.RECOVERY_CODE, vault.fingerprints[1])
        assert digest_by(own, b"ab", b"c").hex() == STORED[kinds.RECOVERY_CODE]
        assert not any(
            digest_by(own, b"ab", b"c").hex() == STORED[kind] for kind in STORED.keys() - {kinds.RECOVERY_CODE}
        )

    def test_what_is_renewed_is_under_the_one_that_is_written_with(self) -> None:
        vault = Vault(NEW, [OLD])
        vault.write_with(vault.fingerprints[0])
        renewed = vault.renewed(kinds.TOTP_SECRET, bytes.fromhex(SEALED[kinds.TOTP_SECRET]), bound_to="somebody")
        assert renewed is not None
        assert Vault(NEW).decrypt(kinds.TOTP_SECRET, renewed, bound_to="somebody") == b"a secret"
        assert vault.renewed(kinds.TOTP_SECRET, renewed, bound_to="somebody") is None


class TestKinds:
    def test_derive_a_key_each(self) -> None:
        """But of a shared credential, whose name and content have had one from the beginning."""
        purposes = [kind.purpose for kind in KINDS if kind is not kinds.CREDENTIAL_ORDER]
        assert len(set(purposes)) == len(purposes)
        assert not any(one != other and one.startswith(f"{other}: ") for one in purposes for other in purposes)

    def test_are_all_tried_against_what_earlier_versions_stored(self) -> None:
        tried = {kind.purpose.partition(": ")[0] for kind in (*STORED, *SEALED)}
        assert {kind.purpose for kind in KINDS} - tried == {kinds.KEPT_KEY.purpose, kinds.FINGERPRINT.purpose}
