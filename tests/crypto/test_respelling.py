"""Hashes as other systems store them are spelt as passlib does, and take the password that they were made of.

Those of Django 5.2, Werkzeug 3.1, passlib 1.7 (LDAP), better-auth 1.7, oslo 1.2 and Lucia 3.2 were made by these, with
the least work that they take. The rest were made as the source of each system lays them out: Spring Security 6,
Nextcloud, Keycloak, Payload 3.90, Drupal 7.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passlib.hash import cta_pbkdf2_sha1, dlitz_pbkdf2_sha1

from app.crypto.foreign_hashes import BLOCK, LEAST_KEY
from app.crypto.password_hashes import HIGHEST_PRICE, PASSWORD_CONTEXT, UnusableHash, hash_price, stored_spelling
from app.crypto.respelling import LONGEST, respell

PASSWORD = "violet tractor é"
GUIDE = Path(__file__).parents[2] / "deploy" / "imports" / "README.md"
STORED = {
    "Django pbkdf2_sha256": "pbkdf2_sha256$1000$uiWSBhFhPfLzI0l3Mah4fC$lRK9RY4MVmLX6OlO7uv+B8J+4yk3UExXvSYFxH2DMQE=",
    "Django pbkdf2_sha1": "pbkdf2_sha1$1000$uiWSBhFhPfLzI0l3Mah4fC$BUQTNDiUumZcqeaSh4/mC76bDPk=",
    "Django argon2": (
        "argon2$argon2id$v=19$m=64,t=1,p=1$dWlXU0JoRmhQZkx6STBsM01haDRmQw$tLevh7xg+ONXLrg4INA9RSIwfZb7/2/p7Lv8+2zRFJw"
    ),
    "Django bcrypt": "bcrypt$$2b$04$GEUgxyEywu1csJNMeE5Xo.ONxvFvmxD9yyCFYuZ5J49tfpgkcewJa",
    "Django scrypt": (
        "scrypt$1024$4qhnzypm16g4zc2VQGM55X$8$5$tO6ir2dpCHE3wmjp0I20srIYadT9iU0OvFwtuhKeABQc/oKLlBfFtzpVW"
        "QqliX7B2RA5QCoirNtJ1RVqL/+3qA=="
    ),
    "Werkzeug pbkdf2:sha256": (
        "pbkdf2:sha256:1000$i2hXuzkmmJAIfoqU$92d6222f81c5dfe224753ea614bf06ab61c623e5392794903c742f88d9fa224c"
    ),
    "Werkzeug pbkdf2:sha512": (
        "pbkdf2:sha512:1000$iTXNc3k2ICKwhOVH$36223a769e25dd8ff29fcb46a53ebbc2bc112962f67315d25dce6b3e98ed"
        "1982cb17ca0f14d0fd60c23090395e5deba54dd22b7ffa0e1ab657e54619f7ffb9e3"
    ),
    "Werkzeug pbkdf2:sha1": "pbkdf2:sha1:1000$ERo2Ei7BwdyACB1K$5938cdb2d4c4280b64642ad07df32d00edfb9fe5",
    "Werkzeug scrypt": (
        "scrypt:1024:8:1$D49T7lC9iu0SJr4W$80b91eeb0b0b5fe2703318aa68762de77715812d7ef5354bfc31ccdecdacad9"
        "89c58d739076bce73873796c54a93dcf8ea098ea3483547ce33a9eadb22860bae"
    ),
    "LDAP ldap_pbkdf2_sha1": "{PBKDF2}1000$SclZ6917j1EqJcQ4B2BMyQ$XtE9ZxI5n.FEjaYExQiGR5TzcGQ",
    "LDAP ldap_pbkdf2_sha256": "{PBKDF2-SHA256}1000$f49xbu1dS.ldC0EIQWhNKQ$2YzXUsW297GKULwdz5nI4nAJm68HoC7GIBnlEraIuKI",
    "LDAP ldap_pbkdf2_sha512": (
        "{PBKDF2-SHA512}1000$8d7731tLCeF8r7WWcm4tJQ$yMvWj4bn81AUX2gQXsXrXDOxteB5OPFV8tSBWKagGLO4lorM/8oqQ"
        "9qhJBcCeZ.xmuFM8xmyobIp6GffWNR.gg"
    ),
    "LDAP bcrypt": "{CRYPT}$2b$04$eTudh.4eUrNj856FLCqLWeknSoK/LFvcdbKqavG9d3T2rkQoXLXBS",
    "Nextcloud argon2id": (
        "3|$argon2id$v=19$m=64,t=1,p=1$02FW2FoM9PfskF9zQFVCGg$xSZeHGQjRdzqCDpQSlyrXlSWzykSG4TUoeqsM/Fustw"
    ),
    "Nextcloud argon2i": (
        "2|$argon2i$v=19$m=64,t=1,p=1$wiA94vxGemLXsqIEwxj40w$WPyXpkerc2SgvKDMKBEet+cf47E6bP1L3WJ+Boy9xWo"
    ),
    "Nextcloud bcrypt": "1|$2y$04$4pGVmjkptB9Avwpv0z4W3O11lM51mGgoroUfIY1C6YawdoMzRMM1m",
    "Spring bcrypt": "{bcrypt}$2a$04$7uf//gZFrQn5sx07PWqsKeSWkUKogTZFhtrrisKxGqCJRtSdb.uRS",
    "Spring argon2": (
        "{argon2@SpringSecurity_v5_8}$argon2id$v=19$m=64,t=1,p=1$1b4w7k4lqfAK5XMTkQWZ5w$+85/8VxnJ9EPb2lFz"
        "HobbJCuAZf+yhWxKyxCVqF6fL8"
    ),
    "Spring pbkdf2 of 5.8": (
        "{pbkdf2@SpringSecurity_v5_8}000102030405060708090a0b0c0d0e0f6e42569cac48c775a8f78483ab77e9618499"
        "bf2413ff26d5f6d21ba0a7431a1c"
    ),
    "Spring pbkdf2": "{pbkdf2}0001020304050607ab1eb7db16380db0525c5415de45f658bd3c6fe25c1504eff20ef3e298213e1a",
    "Spring scrypt": (
        "{scrypt@SpringSecurity_v5_8}$a0801$AAECAwQFBgcICQoLDA0ODw==$Wq/TAMTX6QwjV1ge8t+W4rZxyUymhru1GEgZ0G1QMGs="
    ),
    "Keycloak pbkdf2-sha256": (
        "$pbkdf2-sha256$i=1000,l=64$AAECAwQFBgcICQoLDA0ODw$6Bb7GlsRwoQYzfRzS38REDiR1AmsvSb/HYRD8Vl5jllM9p"
        "TgECIcVSn4sgu071WSC2BuE9a9m7JuRjjpu5z7Zg"
    ),
    "PHC pbkdf2": "$pbkdf2$i=1000,l=32$AAECAwQFBgcICQoLDA0ODw$r65s4lXHB8Rkldrt+51Y8Kp2bd/JBA+HvCJeRxquLMo",
    "PHC scrypt of 64 bytes": (
        "$scrypt$ln=10,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$Wq/TAMTX6QwjV1ge8t+W4rZxyUymhru1GEgZ0G1QMGvkjY2NoV9"
        "NT3gQ+p3BTG8fUwNFgwIrVrRgwngBq/dnNw"
    ),
    "better-auth": (
        "242c92d0ce20a0182b6a57e1b5b3ceb6:8d307121aba5f8f22c6ca915b073bf96a5fbdc5d2089077192c5c9fb559cb45"
        "0bfcfa71e45db065afa5fbf20bb4473accdfdbdca44b4fe4bda15b8ad310d9caf"
    ),
    "oslo and Lucia 3": (
        "f5c6d2b05788be647fbfc83b8dbb2b11:0ad90211432a26343f5df981907ae68053ce09bc2bb140fcfc1fd666bb39ba0"
        "64646c8ecee8ac710008c9b7fd30d3973b0686a9c28cf5a32bee991de862e2d5f"
    ),
    "Lucia 2": (
        "s2:8c8062588eba780d9a843e7a1fc21e33:fa630581b65e3e01e7c9fab70736cafa95ba2bda306cfed40161770f20d0"
        "1fb89e1a5bde46eed945cb80e535653037c8b3effab6fa20a50d66d8d6cf6191d803"
    ),
    "Payload": (
        "5a878c696296d56e38157df5d4fb51b4f2da03d1a163aa1eb672996be969e49f:pbkdf2-sha256-v1:185992aad3fb41"
        "27f12d7bb7ba1bc6ddf4e445bd425fe51dd177b5f53351a557"
    ),
    "Payload before 3.90": (
        "5a878c696296d56e38157df5d4fb51b4f2da03d1a163aa1eb672996be969e49f:743dabb7561e229a6b1d02b05dcaad8"
        "08a09d59e1942c652dbc2fe478f54a7a87ea5e0c5806c8c0a11fb0a242fbcb35b516db2cc13c9043c98ca70e9a7b7be3"
        "dcdccf6f32097f0b18dc9574f60e5c33b4df209ad2404eee4d758c1aeb15d81e1d7861f032d76f4a869e58c9ad7431aa"
        "afd72f89cc20f6f38378e39321a9d0f50ec44144a94bbce8caddc3532adfd42b97753df60c5ff34e2ade6d605424d3fb"
        "05ede17b0011d5f46729a7e194063eac9bc729eaee8f45b321980dd0196a81b1d4f0aa9d22d30b184cd7017b238b9624"
        "404df990c73b97e26f2560cac7869d1790205f7b98904429c048b7941a1f4afb4c71ed6b408e9b684d49d9d9398f0dde"
        "b3dbcb66131bdeb4f0bda91a68314f1f447894d776e5a824c85e485d71d54978bae6f95eee79bd7119d7ea42337865b4"
        "93872119ff3e895010f498a9a47e9ff46d9dde22ab5e8c8595d9c63aec44b83079cac030c106638b918f6e3f86d363d2"
        "8275a9eb6c475729a9461ec964ceec4d15a435ace5dfadd440d22d4f62851bf0ae6ee587b5944c45b4251b95af907759"
        "7f93a69ba9d0a93183b084a058ab3f8a58ab9ad1a2344797009a6f2faeb266caec4439ac7d227e84bef5079045b7be3c"
        "26875d024fb6dbd680231ebc41fbbaa432cda2464d8f07c5a882706d947d42f3ed8831f835e2d090c3ddf830b1d9bfc6"
        "e8d57b53a3acc10333f30e6176d625ae1"
    ),
    "Linux sha512_crypt": (
        "$6$rounds=1000$DQe8hLZHUWkVXr9I$v8Khx18aOxAtD0WZvOZZdw6S75okftQLMdCsnpmtTmsbGdPHySg34DRdPkYqvjH3"
        "dUOkAVsAmV6dWnWodW4Y//"
    ),
    "Linux sha256_crypt": "$5$rounds=1000$pRvguzOwFwl7hUCp$8Z.L02omCmB0UreqynTpf8Xseo849HvS0AGAuISX24B",
    "Linux md5_crypt": "$1$tM0lXeJL$tqWr7QIKdmM.pcxEKGp.R0",
    "htpasswd apr1": "$apr1$2EPRTGYn$8jMAdXZ2kCCUL/PzenADn1",
    "phpBB phpass": "$H$56lYrb5tl4nvxxr4VVQ6YBy9ESpJuJ/",
    "WordPress phpass": "$P$51vZgTAfNc8A9RpXIJSoFRzL.w8JjQ.",
    "LDAP SSHA": "{SSHA}wnGzj3HhhCmbE9M+/Pqvxz4zbatJKSWk",
    "LDAP SSHA256": "{SSHA256}NaHlYy6kAhbFS8qL5elyWOe7pLv21kfNTC9Ln2kaKs77PyektNba+w==",
    "LDAP SSHA512": (
        "{SSHA512}JAY3w8UgJXsFVDyVgZH1arwua4NKyRBrhaNC7pMEz3crS1CWKqSmp6COhUMRz6woYFFVwR6rIJmzlKl7mzvuL+Qc45xzrjXG"
    ),
    "LDAP SMD5": "{SMD5}GFJxgSyiaUTY7iKPj0NvL61VilE=",
    "passlib bcrypt_sha256": "$bcrypt-sha256$v=2,t=2b,r=4$CPPbE.FoESubPRM6BBx7S.$NEWlCouHyEJ8sMk8Yss0f1j.W5/Kmna",
    "passlib fshp": "{FSHP1|16|1000}uHfu/Z+TEgIgpLSWsnZuzaGCV1h6eFXU3jAb/7qG3mMoEGppg/GTnWKCfpUNWPbz",
    "NetBSD sha1_crypt": "$sha1$100$EvPz.wGW$vYP0/19nzjEFh0P0e/TcjFWc7kKS",
    "Django bcrypt_sha256": "bcrypt_sha256$$2b$04$Xfa9ooy/BC3sP08Jh.UeVOvwqv6GIPCPuYKulyHTQZgNZ7796u.xS",
    "Django sha1": "sha1$Ryj1aah9IeKI$177dc6d61b74577e8f73a922e2dd66b60106995a",
    "Atlassian PKCS5S2": "{PKCS5S2}/H/vvZcSAqCUMgYA4JzzPqZPfXz3Bv7HOlylHD9G7bbV/iAUioevodtAYSqjIx0R",
    "GRUB": (
        "grub.pbkdf2.sha512.1000.C7388790D2DA1BE33CA734662C0540480901E0FCFF7F2F258450EADD5B0BA13406A0F47E"
        "2FE53C47082144E8FD3F674CA99592B276CE3947883166CC79CF9973.D7E1473012D2888D65C2A6BCD8B6DC5BEC930FF"
        "1D078441EFA63C8D9985B9F8C2E2F6F30DD4B17DEFE18C88390D890707F54E85C9BC7D8450EE994829676DFB8"
    ),
    "Drupal": "$S$5vIoLeT121clzI1zUDhDHMpb0VQCx4Bi6cwno1r4WAZQk2p0zhLZ",
    "Drupal of version 6": "U$S$5vIoLeT12bRQvUpghHg.NVT78ioEWwqalN38qSbab/cyloKLPqsX",
    "Drupal of version 6, moved early": "U$P$5vIoLeT12hFfAdhQQ3AuS869V280pn/",
    "Werkzeug pbkdf2:sha384": (
        "pbkdf2:sha384:1000$viOlet0123456789$2ad699bdd05255ba1978ceb4691476a142321bed299708a825d8e267a4f7cc30"
        "45370dd9d3e9a89e9a5e72535b11176c"
    ),
    "WordPress": "$wp$2y$04$uw.6DQ0EbR8mn5RHV4R7Xe3k0WCLQnkpT/uey1B.AFrNkTRrCE.rG",
}


IDENTITY = [
    "AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg==",
    "ANXrDknc7fGPpigibZXXZFMX4aoqz44JveK6jQuwY3eH/UyPhvr5xTPeGYEckLxz9A==",
    "AQAAAAAAAAD6AAAAEAhftMyfTJylOlZT+eEotFXd1elee8ih5WsjXaR3PA9M",
    "AQAAAAEAA9CQAAAAIESkQuj2Du8Y+kbc5lcN/W/3NiAZFEm11P27nrSN5/tId+bR1SwV8CO1Jd72r4C08OLvplNlCDc3oQZ8efcW+jQ=",
    "AQAAAAIAAAAyAAAAEOMwvh3+FZxqkdMBz2ekgGhwQ4B6pZWND6zgESBuWiHw",
    (
        "AQAAAAIAAAD6AAAAIJbVi5wbMR+htSfFp8fTw8N8GOS/Sje+S/4YZcgBfU7EQuqv4OkVYmc4VJl9AGZzmRTxSkP7LtVi9IWyUxX8IAAfZ8v+"
        "ZfhjCcudtC1YERSqE1OEdXLW9VukPuJWBBjLuw=="
    ),
    "AQAAAAIAAYagAAAAEAABAgMEBQYHCAkKCwwNDg/Q8A0WMKbtHQJQ2DHCdoEeeFBrgNlldq6vH4qX/CGqGQ==",
]
"""Of `my password`: the test vectors of ASP.NET Core Identity (dotnet/aspnetcore, PasswordHasherTest.cs)."""


def payload_2(rounds: int, size: int, *, said: int | None = None) -> str:
    """As Payload writes it after 3.90 (payloadcms/payload, generatePasswordSaltHash.ts)."""
    salt = "5a878c696296d56e38157df5d4fb51b4f2da03d1a163aa1eb672996be969e49f"
    key = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt.encode(), rounds, size)
    return f"{salt}:pbkdf2-sha256-v2-i{rounds}-l{said or size}:{key.hex()}"


def phc(digest: str, size: int, *, rounds: int = 1000, salt: bytes = b"0123456789abcdef") -> str:
    """PBKDF2 as a PHC string, with a key of so many bytes."""
    key = hashlib.pbkdf2_hmac(digest, PASSWORD.encode(), salt, rounds, size)
    parts = (base64.b64encode(part).decode().rstrip("=") for part in (salt, key))
    return f"$pbkdf2-{digest}$i={rounds},l={size}${'$'.join(parts)}"


class TestPbkdf2:
    @pytest.mark.parametrize("text", IDENTITY)
    def test_of_asp_net_takes_the_password_and_no_other(self, text: str) -> None:
        stored = stored_spelling(text)
        assert PASSWORD_CONTEXT.verify("my password", stored)
        assert not PASSWORD_CONTEXT.verify("my passwort", stored)
        assert PASSWORD_CONTEXT.needs_update(stored)

    @pytest.mark.parametrize("size", [LEAST_KEY, 20, 24, 32, 48, 64, 128])
    @pytest.mark.parametrize("digest", BLOCK)
    def test_of_any_length_takes_the_password_and_no_other(self, digest: str, size: int) -> None:
        stored = stored_spelling(phc(digest, size))
        assert len(stored) <= 255
        assert stored_spelling(stored) == stored
        assert PASSWORD_CONTEXT.verify(PASSWORD, stored)
        assert not PASSWORD_CONTEXT.verify(PASSWORD + " ", stored)

    @pytest.mark.parametrize("digest", BLOCK)
    def test_costs_the_same_whatever_its_length(self, digest: str) -> None:
        """AU22: one block of the key is computed."""
        prices = {hash_price(stored_spelling(phc(digest, size))) for size in (LEAST_KEY, 32, 64, 256)}
        assert len(prices) == 1
        with pytest.raises(UnusableHash, match="times the work of the service's own"):
            stored_spelling(phc(digest, 32).replace("i=1000", "i=999999999"))

    @pytest.mark.parametrize(
        "text",
        [
            phc("sha512", LEAST_KEY - 1),
            phc("sha512", 32, salt=b""),
            phc("sha512", 32, salt=bytes(180)),  # would not fit the column
            phc("sha512", 32).replace("i=1000", "i=0"),
            phc("sha512", 32).replace("i=1000", "i=9999999999"),
            phc("sha512", 32).replace("sha512", "md5"),
            IDENTITY[2][:-20],
            IDENTITY[3].replace("AQAAAAE", "AQAAAAM"),
            IDENTITY[4].replace("AQAAAAIAAAAyAAAAE", "AQAAAAIAAAAyAAAAD"),  # 15 bytes of salt
            IDENTITY[4].replace("AQAAAAIAAAAyAAAAE", "AQAAAAIAAAAy/////"),
        ],
    )
    def test_without_enough_of_salt_or_key_is_none(self, text: str) -> None:
        with pytest.raises(UnusableHash):
            stored_spelling(text)

    @pytest.mark.parametrize("rounds", [1, 400, 1000])
    @pytest.mark.parametrize("handler", [cta_pbkdf2_sha1, dlitz_pbkdf2_sha1])
    def test_of_p5k2_takes_the_password_and_no_other(self, handler: Any, rounds: int) -> None:
        stored = stored_spelling(handler.using(rounds=rounds).hash(PASSWORD))
        assert stored.startswith(f"$pbkdf2${rounds}$")
        assert PASSWORD_CONTEXT.verify(PASSWORD, stored)
        assert not PASSWORD_CONTEXT.verify(PASSWORD + " ", stored)

    @pytest.mark.parametrize(("rounds", "size"), [(1000, 32), (100, 64), (100, 16)])
    def test_of_payload_takes_the_password_and_no_other(self, rounds: int, size: int) -> None:
        stored = stored_spelling(payload_2(rounds, size))
        assert PASSWORD_CONTEXT.verify(PASSWORD, stored)
        assert not PASSWORD_CONTEXT.verify(PASSWORD + " ", stored)

    @pytest.mark.parametrize("text", [payload_2(100, 15), payload_2(100, 32, said=64), payload_2(100, 32) + "0"])
    def test_of_payload_with_a_key_of_another_length_is_none(self, text: str) -> None:
        with pytest.raises(UnusableHash):
            stored_spelling(text)

    def test_stray_bits_at_the_end_of_a_salt_change_nothing(self) -> None:
        clean = phc("sha512", 32)
        salt = clean.split("$")[3]
        stray = clean.replace(salt, salt[:-1] + "h")
        assert stray != clean
        assert stored_spelling(stray) == clean


class TestRespelt:
    def test_is_in_the_guide(self) -> None:
        table = GUIDE.read_text(encoding="utf-8").partition("## Password hashes")[2].partition("## ")[0]
        assert [system for system in STORED if system.split()[0] not in table] == []

    @pytest.mark.parametrize("system", STORED)
    def test_takes_the_password_and_no_other(self, system: str) -> None:
        """AU22"""
        stored = stored_spelling(STORED[system])
        assert len(stored) <= 255
        assert hash_price(stored) <= HIGHEST_PRICE
        assert PASSWORD_CONTEXT.verify(PASSWORD, stored)
        assert not PASSWORD_CONTEXT.verify(PASSWORD + " ", stored)

    @pytest.mark.parametrize("system", STORED)
    def test_is_the_same_when_it_is_spelt_again(self, system: str) -> None:
        once = stored_spelling(STORED[system])
        assert stored_spelling(once) == once

    @pytest.mark.parametrize(
        "text",
        [
            "pbkdf2_sha256$1000$salt$" + "A" * 20,  # 15 bytes
            "pbkdf2_sha256$1000$salt$!",
            "pbkdf2_md5$1000$salt$" + "A" * 44,
            "scrypt$1000$salt$8$1$" + "A" * 86,  # not a power of two
            "scrypt$0$salt$8$1$" + "A" * 86,
            "scrypt:1024:8:1$salt$" + "a" * 63,
            "scrypt:1024:8:1$salt$" + "a" * 62,
            "a" * 32 + ":" + "b" * 126,
            "{noop}violet tractor",
            "{pbkdf2}" + "a" * 78,
            "{bcrypt}violet",
            "4|$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$" + "A" * 43,
            "$S$4violetsa" + "A" * 43,  # fewer rounds than Drupal ever had
            "$S$Tviolets" + "A" * 43,
            "$S$Dvioletsa" + "A" * 42,
            "U$2b$04$Xfa9ooy/BC3sP08Jh.UeVOvwqv6GIPCPuYKulyHTQZgNZ7796u.xS",
            "U$S$nothing",
            "U$P$nothing",
            "$scrypt$ln=10,r=8,p=1$c2FsdA$" + "A" * 42,
            "a" * 64 + ":" + "b" * 1026,
        ],
    )
    def test_is_nothing_that_would_take_a_wrong_password(self, text: str) -> None:
        assert respell(text) in (text, text.partition("}")[2], text.partition("|")[2])
        with pytest.raises(UnusableHash):
            stored_spelling(text)

    @given(st.text(max_size=LONGEST + 10))
    def test_never_fails(self, text: str) -> None:
        respell(text)
