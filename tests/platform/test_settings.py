"""Settings: each wrong value is refused by name, with what it should be, and no secret is repeated."""

import json
import re
import stat
from pathlib import Path

import pytest

from app.platform.environment import keep_secret, kept_secret, load_settings
from app.platform.settings import UNTRIMMED, Settings, SettingsError
from tests.support.old_system import OTHER_SECRET, SECRET

PROVIDERS = Path(__file__).parents[2] / "docs" / "operate" / "sign-in.md"
PRODUCTION = {
    "TOKENVEND_ENVIRONMENT": "production",
    "TOKENVEND_DATABASE_URL": "postgresql+psycopg://tokenvend@db.internal/tokenvend",
    "TOKENVEND_SECRET_KEY": "k9f3-Zq8w-1mLp-77xT-bVn2-Rh5c-Yd4s",
    "TOKENVEND_PUBLIC_URL": "https://tokens.example.org",
    "TOKENVEND_BUCKET": "photos",
    "TOKENVEND_ROLE_ARN": "arn:aws:iam::123456789012:role/vending",
    "TOKENVEND_SMTP_URL": "smtp://photos:secret@mail.internal:587",
    "TOKENVEND_MAIL_FROM": "Photos <photos@example.org>",
    "AWS_REGION": "eu-central-1",
}
SHA_256 = "14:6D:E9:83:C5:73:06:50:D8:EE:B9:95:2F:34:FC:64:16:A0:83:42:E6:1D:BE:A8:8A:04:96:B2:3F:CF:44:E5"
"""Of Android's own documents: keytool prints a certificate's fingerprint so."""
SHA_1 = ":".join(["A1"] * 20)
SENT = "android:apk-key-hash:FG3pg8VzBlDY7rmVLzT8ZBagg0LmHb6oigSWsj_PROU"
FIREBASE = json.dumps(
    {"base64_signer_key": "canary" + "A" * 80 + "==", "base64_salt_separator": "Bw==", "rounds": 8, "mem_cost": 14}
)
IDN = "xn--bcher-kva.example"
APPS = ("https://app.example.org", "capacitor://localhost")
SHELLS = ("ionic://localhost", "tauri://localhost", "chrome-extension://abcdefghijklmnop", "moz-extension://0b1b-4b1e")
PLAIN = {
    "AWS_REGION" if name == "region" else f"TOKENVEND_{name.upper()}"
    for name in Settings.model_fields
    if name not in UNTRIMMED and name != "firebase_hash_config"
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.env` of a developer's, and no `var/` in the checkout."""
    monkeypatch.chdir(tmp_path)


def set_all(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


class TestDevelopment:
    def test_needs_nothing_set(self) -> None:
        settings = keep_secret(load_settings())
        assert settings.environment == "development"
        assert len(settings.secret_key.get_secret_value()) >= 32

    def test_keeps_the_secret_it_made(self) -> None:
        assert keep_secret(load_settings()).secret_key == load_settings().secret_key
        assert stat.S_IMODE(Path("var/secret_key").stat().st_mode) == 0o600

    def test_leaves_no_file_in_a_folder_where_there_is_none(self) -> None:
        """A new key in the wrong folder looks like the service's own."""
        assert load_settings().secret_key.get_secret_value() == ""
        assert list(Path().iterdir()) == []

    def test_reads_the_env_file(self) -> None:
        Path(".env").write_text("TOKENVEND_BUCKET=from-file\n")
        assert load_settings().bucket == "from-file"

    def test_two_processes_agree_on_a_new_secret(self, tmp_path: Path) -> None:
        assert kept_secret(tmp_path / "secret") == kept_secret(tmp_path / "secret")


class TestWrongValues:
    @pytest.mark.parametrize(
        ("name", "value", "hint"),
        [
            ("ENVIRONMENT", "staging", "'development' or 'production'"),
            ("DATABASE_URL", "mysql://u@h/d", "postgresql+psycopg://"),
            ("DATABASE_URL", "nonsense", "must be a URL"),
            ("DATABASE_POOL_SIZE", "0", "greater than or equal to 1"),
            ("SECRET_KEY", "short-secret", "32 or more"),
            ("SECRET_KEY", "a" * 40, "32 or more"),
            ("PUBLIC_URL", "tokens.example.org", "must be an address"),
            ("PUBLIC_URL", "https://tokens.example.org/?a=b", "must be an address"),
            ("BUCKET", "arn:aws:s3:::photos", "name of a bucket"),
            ("BUCKET", "photos/*", "name of a bucket"),
            ("BUCKET", "photos--usw2-az1--x-s3", "no directory bucket"),
            ("ROLE_ARN", "vending", "ARN of a role"),
            ("SOURCE_IDENTITY", "yes", "'on' or 'off'"),
            ("CREDENTIAL_TTL", "899", "greater than or equal to 900"),
            ("CREDENTIAL_TTL", "7200", "must not exceed"),
            ("CREDENTIAL_MAX_TTL", "50000", "must not exceed 43200 for a role"),
            ("UPLOAD_MAX_TTL", "899", "greater than or equal to 900"),
            ("UPLOAD_MAX_TTL", "43201", "less than or equal to 43200"),
            ("UPLOAD_MAX_TTL", "3601", "but in web_identity or saml mode"),
            ("STS_ENDPOINT_URL", "ftp://sts", "must be an address"),
            ("S3_FORCE_PATH_STYLE", "perhaps", "boolean"),
            ("PASSWORD_MIN_LENGTH", "4", "greater than or equal to 8"),
            ("TRUSTED_PROXIES", "10.0.0.0/99", "10.0.0.0/99"),
            ("CORS_ORIGINS", "*", "must be origins"),
            ("OBJECT_TAGS", "off", "'read' or 'write'"),
            ("S3_EXPOSED_HEADERS", "ETag,x-amz-meta-*", "must be whole names"),
            ("STS_ENDPOINT_URL", "http://sts:99999", "port"),
            ("ALLOWED_HOSTS", "https://app.example.org/", "host names"),
            ("ALLOWED_HOSTS", "example.org:8000", "host names"),
            ("LOG_LEVEL", "loud", "'debug'"),
            ("CDN_URL", "http://cdn.example.org", "must start with https://"),
            ("CDN_URL", "https://cdn.example.org/pictures", "neither user nor path nor query"),
            ("CDN_URL", "https://*.example.org", "must have a host"),
            ("CDN_URL", "cdn.example.org", "must be an address"),
            ("CDN_KEY_PAIR_ID", "-----BEGIN PUBLIC KEY-----", "and not the key"),
            ("CDN_KEY_PAIR_ID", "K2&Policy=x", "and not the key"),
            ("CDN_GRID", "59", "greater than or equal to 60"),
            ("CDN_GRID", "3601", "less than or equal to 3600"),
            ("VENDING_MODE", "SAML", "'federation_token'"),
            ("SAML_PROVIDER_ARN", "arn:aws:iam::123456789012:role/x", "must be the ARN of a SAML provider"),
            ("SAML_PROVIDER_ARN", "arn:aws:iam::123456789012:saml-provider/a b", "must be the ARN of a SAML provider"),
            ("SESSION_TAGS", "email", "user_id, session_id, access"),
            ("SESSION_TAGS", "aws:x=y", "user_id, session_id, access"),
            ("SESSION_TAGS", "team=a*b", "user_id, session_id, access"),
            ("SESSION_TAGS", "team=a,Team=b", "each key once"),
            ("TRANSITIVE_TAG_KEYS", "team", "not in SESSION_TAGS"),
            ("POLICY_ARNS", "AmazonS3FullAccess", "ARNs of managed policies"),
            ("POLICY_ARNS", ",".join(["arn:aws:iam::aws:policy/a"] * 11), "10 at most"),
            ("KMS_KEY_ARN", "arn:aws:kms:eu-central-1:123456789012:alias/photos", "not of an alias"),
            ("EXTERNAL_ID", "two words", "2 to 1,224 of"),
            ("EXTERNAL_ID", "x", "2 to 1,224 of"),
            ("MFA_SERIAL", "1 2", "serial number or an ARN"),
            ("STS_REGIONS", "eu-central-1,Frankfurt", "a Region"),
            ("STS_CLIENT", "curl", "'signed' or 'boto3'"),
            ("CACHE_URL", "memcached://x", "memory://"),
            ("METRICS_TOKEN", "short", "16 random characters"),
            ("COGNITO_ENDPOINT_URL", "http://cognito.example.org", "must start with https://"),
            ("COGNITO_ENDPOINT_URL", "cognito.example.org", "must be an address"),
            ("COGNITO_REGION", "Frankfurt?", "must be a Region"),
            ("MIGRATION_URL", "http://old.example.org/check", "must start with https://"),
            ("MIGRATION_URL", "https://user:secret@old.example.org", "no user name"),
            ("MIGRATION_SECRET", "canary-secret", "must be whsec_ and the base64 of 24 to 64 random bytes"),
            ("MIGRATION_SECRET", "whsec_canary", "openssl rand -base64 32"),
            ("WEBHOOK_URL", "https://user:secret@app.example.org", "no user name"),
            ("WEBHOOK_SECRET", "canary-secret", "must be whsec_ and the base64 of 24 to 64 random bytes"),
            ("IMPORT_MAX_BYTES", "1", "greater than or equal to 65536"),
            ("FIREBASE_HASH_CONFIG", "hash_config {", "must be JSON, or the text that Firebase's console shows"),
            ("FIREBASE_HASH_CONFIG", "[1]", "dictionary"),
            ("FIREBASE_HASH_CONFIG", FIREBASE.replace("14", "15"), "less than or equal to 14"),
            ("FIREBASE_HASH_CONFIG", FIREBASE.replace("canary", ""), "must be 64 bytes in base64"),
            ("FIREBASE_HASH_CONFIG", FIREBASE.replace("canary", "canary!"), "must be base64"),
            ("PUBLIC_URL", "https://user:secret@tokens.example.org", "no user name"),
            ("PUBLIC_URL", "https://<your host>", "put the value in the place"),
            ("S3_ENDPOINT_URL", "https://s3.{region}.example.org", "put the value in the place"),
            ("STS_ENDPOINT_URL", "https://sts.{Region}.example.org", "put the value in the place"),
            ("S3_PUBLIC_ENDPOINT_URL", "https://pictures .example.org", "white space"),
            ("APP_LINK_BASE", "https://", "must be an address"),
            ("APP_LINK_BASE", "photos://account?x", "without ? and #"),
            ("ALLOWED_HOSTS", "*", "host names"),
            ("CORS_ORIGINS", "null", "must be origins"),
            ("CORS_ORIGINS", "https://app.example.org/photos", "as in https://app.example.org"),
            ("CORS_ORIGINS", "https://*.example.org", "must be origins"),
            ("PASSKEY_RP_ID", "10.0.0.7", "no IP address"),
            ("PASSKEY_RP_ID", "https://example.org", "without scheme or port"),
            ("PASSKEY_ORIGINS", "http://app.example.org", "must be origins"),
            ("PASSKEY_ORIGINS", "capacitor://localhost", "must be origins"),
            ("PASSKEY_ORIGINS", "android:apk-key-hash:NOT-43-CHARACTERS", "43 characters of base64url"),
            ("PASSKEY_ORIGINS", f"android:apk-key-hash:{SHA_1}", "SHA-256"),
            ("DATABASE_URL", "postgresql+psycopg://app@db.bücher.example/photos", "db.xn--bcher-kva.example"),
            ("DATABASE_URL", "sqlite:///var/tokenvend.db\n", "white space or line feed"),
            ("DATABASE_URL", "postgresql+psycopg://app@db/photos?pgbouncer=true", "set TOKENVEND_DATABASE_POOLER"),
            ("DATABASE_URL", "postgresql+psycopg://app@db/photos?sslmode=require&supa=base-pooler.x", "(supa)"),
            ("DATABASE_URL", "postgresql+psycopg://app@db/photos?schema=public&connection_limit=1", "take it out"),
            ("DATABASE_URL", "postgresql+psycopg://app@db/photos?sslmode=required", "disable, allow, prefer, require"),
            ("COGNITO_CLIENT_ID", "my app", "id of an app client"),
            ("OIDC_PROVIDERS", "google", "one object in JSON"),
            ("OIDC_PROVIDERS", "[]", "dictionary"),
            ("SECRET_KEY", f"\n{PRODUCTION['TOKENVEND_SECRET_KEY']}", "must not begin with white space"),
            ("METRICS_TOKEN", "0123456789abcdef\n", "no white space or line feed"),
            ("COGNITO_CLIENT_SECRET", " s3cret", "no white space or line feed"),
        ],
    )
    def test_are_refused_by_name(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str, hint: str) -> None:
        monkeypatch.setenv(f"TOKENVEND_{name}", value)
        with pytest.raises(SettingsError) as refused:
            load_settings()
        assert re.match(rf"TOKENVEND_{name}: ", str(refused.value))
        assert hint in str(refused.value)

    def test_are_all_named_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_all(monkeypatch, {"TOKENVEND_BUCKET": "x", "TOKENVEND_PUBLIC_URL": "x", "TOKENVEND_BUKET": "x"})
        with pytest.raises(SettingsError) as refused:
            load_settings()
        lines = str(refused.value).splitlines()
        assert [line.split(":")[0] for line in lines] == [
            "TOKENVEND_BUKET",
            "TOKENVEND_PUBLIC_URL",
            "TOKENVEND_BUCKET",
        ]
        assert "did you mean TOKENVEND_BUCKET?" in lines[0]

    @pytest.mark.parametrize(
        "shown",
        [
            FIREBASE,
            """hash_config {
  algorithm: SCRYPT,
  base64_signer_key: %s,
  base64_salt_separator: Bw==,
  rounds: 8,
  mem_cost: 14,
}
""",
            "algorithm: SCRYPT, base64_signer_key: %s, base64_salt_separator: Bw==, rounds: 8, mem_cost: 14",
        ],
        ids=["json", "pasted", "one line"],
    )
    def test_firebases_console_may_be_pasted(self, monkeypatch: pytest.MonkeyPatch, shown: str) -> None:
        """Its text is no JSON (github.com/firebase/scrypt, README)."""
        key = json.loads(FIREBASE)["base64_signer_key"]
        monkeypatch.setenv("TOKENVEND_FIREBASE_HASH_CONFIG", shown.replace("%s", key))
        config = load_settings().firebase_hash_config
        assert config is not None
        assert (config.base64_signer_key.get_secret_value(), config.rounds, config.mem_cost) == (key, 8, 14)

    @pytest.mark.parametrize("name", ["PORT", "SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT_8000_TCP_ADDR"])
    def test_what_kubernetes_sets_beside_a_service_is_told(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        monkeypatch.setenv(f"TOKENVEND_{name}", "tcp://10.0.0.1:8000")
        with pytest.raises(SettingsError, match=f"^TOKENVEND_{name}: .*enableServiceLinks: false"):
            load_settings()

    def test_never_repeat_a_secret(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOKENVEND_SECRET_KEY", "hunter2")
        monkeypatch.setenv("TOKENVEND_DATABASE_URL", "mysql://root:hunter2@db/x")
        monkeypatch.setenv("TOKENVEND_FIREBASE_HASH_CONFIG", '{"base64_signer_key": "hunter2", "rounds": 9}')
        with pytest.raises(SettingsError) as refused:
            load_settings()
        assert "hunter2" not in str(refused.value)

    def test_a_misspelt_name_in_the_env_file_is_refused(self) -> None:
        Path(".env").write_text("TOKENVEND_BUCKETT=x\n")
        with pytest.raises(SettingsError, match="TOKENVEND_BUCKETT: there is no such setting"):
            load_settings()


class TestSpelling:
    """However a value was typed, mounted or pasted, the service uses what clients send and providers say."""

    @pytest.mark.parametrize(
        ("name", "written", "spelt"),
        [
            ("PUBLIC_URL", "HTTPS://Tokens.Example.org:443/Eu/\n", "https://tokens.example.org/Eu"),
            ("PUBLIC_URL", "https://fotos.bücher.example", "https://fotos.xn--bcher-kva.example"),
            ("APP_LINK_BASE", " https://App.Example.org/open/ ", "https://app.example.org/open"),
            ("APP_LINK_BASE", "photos://Account/", "photos://Account"),
            ("S3_PUBLIC_ENDPOINT_URL", "https://Bilder.Bücher.example:443", "https://bilder.xn--bcher-kva.example"),
            ("STS_ENDPOINT_URL", "https://STS.{region}.example.org\n", "https://sts.{region}.example.org"),
            ("OTLP_ENDPOINT", "https://user:P@ss@Collector.example/v1/", "https://user:P@ss@collector.example/v1"),
            ("ALLOWED_HOSTS", "Tokens.Example.org, bücher.example,[::1]", ("tokens.example.org", IDN, "::1")),
            ("CORS_ORIGINS", "https://App.Example.org:443/,capacitor://localhost", APPS),
            ("CORS_ORIGINS", f"{', '.join(SHELLS)}\n", SHELLS),
            ("PASSKEY_RP_ID", "Bücher.example", IDN),
            ("PASSKEY_ORIGINS", "https://App.example.org:443", ("https://app.example.org",)),
            ("PASSKEY_ORIGINS", "chrome-extension://abcdefghijklmnop", ("chrome-extension://abcdefghijklmnop",)),
            ("PASSKEY_ORIGINS", f"android:apk-key-hash:{SHA_256}", (SENT,)),
            ("PASSKEY_ORIGINS", f"android:apk-key-hash:{SHA_256.replace(':', '').lower()}", (SENT,)),
            ("PASSKEY_ORIGINS", SENT, (SENT,)),
            ("PASSKEY_ORIGINS", f"{SENT.replace('_', '/')}=", (SENT,)),
            ("MAIL_FROM", "Fotos <fotos@bücher.example>\n", f"Fotos <fotos@{IDN}>"),
            ("BUCKET", "photos\n", "photos"),
            ("EXTERNAL_ID", " abc", "abc"),
            ("CACHE_URL", "redis://cache:6379/0\r\n", "redis://cache:6379/0"),
            ("DATABASE_URL", "postgresql+psycopg://app@db/photos\n", "postgresql+psycopg://app@db/photos"),
            ("S3_FORCE_PATH_STYLE", "true\n", True),
            ("LOG_LEVEL", "warning ", "warning"),
        ],
    )
    def test_is_that_of_clients(self, monkeypatch: pytest.MonkeyPatch, name: str, written: str, spelt: object) -> None:
        monkeypatch.setenv(f"TOKENVEND_{name}", written)
        assert getattr(load_settings(), name.lower()) == spelt

    def test_of_a_mail_server_leaves_its_password_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOKENVEND_SMTP_URL", "smtp://Me:P%C3%A4 <ss'@Mail.Bücher.example:587\n")
        assert load_settings().smtp_url.get_secret_value() == f"smtp://Me:P%C3%A4 <ss'@mail.{IDN}:587"

    @pytest.mark.parametrize("name", sorted(PLAIN))
    def test_is_never_quoted_or_blank(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        for value, hint in (
            ('"x"', "must have no quotes"),
            ("'x'", "must have no quotes"),
            (" \n", "must not be blank"),
        ):
            monkeypatch.setenv(name, value)
            with pytest.raises(SettingsError, match=f"^{name}: {hint}"):
                load_settings()

    def test_of_a_secret_key_in_use_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the line feed that it was made with nothing would decrypt."""
        key = f"{PRODUCTION['TOKENVEND_SECRET_KEY']}\n"
        monkeypatch.setenv("TOKENVEND_SECRET_KEY", key)
        settings = load_settings()
        assert settings.secret_key.get_secret_value() == key
        assert settings.secret_key_is_untidy
        monkeypatch.setenv("TOKENVEND_SECRET_KEY", key.strip())
        assert not load_settings().secret_key_is_untidy


class TestModes:
    def test_a_federated_session_may_last_longer_than_a_role(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOKENVEND_CREDENTIAL_MAX_TTL", "129600")
        with pytest.raises(SettingsError, match="must not exceed 43200 for a role"):
            load_settings()
        monkeypatch.setenv("TOKENVEND_VENDING_MODE", "federation_token")
        assert load_settings().credential_max_ttl == 129_600

    @pytest.mark.parametrize("mode", ["web_identity", "saml"])
    def test_an_upload_lease_may_last_longer_where_no_role_assumes_another(
        self, monkeypatch: pytest.MonkeyPatch, mode: str
    ) -> None:
        monkeypatch.setenv("TOKENVEND_UPLOAD_MAX_TTL", "43200")
        monkeypatch.setenv("TOKENVEND_VENDING_MODE", mode)
        settings = load_settings()
        assert (settings.credential_max_ttl, settings.upload_ttl, settings.longest_ttl) == (3600, 43_200, 43_200)
        monkeypatch.delenv("TOKENVEND_UPLOAD_MAX_TTL")
        assert (load_settings().upload_ttl, load_settings().longest_ttl) == (3600, 3600)

    def test_federation_needs_no_role(self, monkeypatch: pytest.MonkeyPatch) -> None:
        without = {name: value for name, value in PRODUCTION.items() if name != "TOKENVEND_ROLE_ARN"}
        set_all(monkeypatch, without)
        with pytest.raises(SettingsError, match="TOKENVEND_ROLE_ARN"):
            load_settings().require_engine()
        set_all(monkeypatch, without | {"TOKENVEND_VENDING_MODE": "federation_token"})
        settings = load_settings()
        settings.require_engine()
        assert settings.role_arn == ""

    @pytest.mark.parametrize(
        ("region", "partition"),
        [
            ("eu-central-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("eusc-de-east-1", "aws-eusc"),
        ],
    )
    def test_without_a_role_the_region_tells_the_partition(
        self, monkeypatch: pytest.MonkeyPatch, region: str, partition: str
    ) -> None:
        monkeypatch.setenv("AWS_REGION", region)
        assert load_settings().partition == partition

    def test_saml_needs_a_provider_of_the_roles_account(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_all(monkeypatch, PRODUCTION | {"TOKENVEND_VENDING_MODE": "saml"})
        with pytest.raises(SettingsError, match="TOKENVEND_SAML_PROVIDER_ARN: must be set in production"):
            load_settings()
        account = PRODUCTION["TOKENVEND_ROLE_ARN"].split(":")[4]
        for other in (f"arn:aws-cn:iam::{account}", "arn:aws:iam::999999999999"):
            monkeypatch.setenv("TOKENVEND_SAML_PROVIDER_ARN", f"{other}:saml-provider/tokenvend")
            with pytest.raises(SettingsError, match=r"must be of the account of TOKENVEND_ROLE_ARN"):
                load_settings()
        monkeypatch.setenv("TOKENVEND_SAML_PROVIDER_ARN", f"arn:aws:iam::{account}:saml-provider/tokenvend")
        load_settings().require_engine()

    @pytest.mark.parametrize("mode", ["web_identity", "saml", "federation_token"])
    def test_an_mfa_is_for_a_base_identity_that_assumes_a_role(
        self, monkeypatch: pytest.MonkeyPatch, mode: str
    ) -> None:
        set_all(
            monkeypatch,
            {"TOKENVEND_VENDING_MODE": mode, "TOKENVEND_MFA_SERIAL": "arn:aws:iam::123456789012:mfa/service"},
        )
        with pytest.raises(SettingsError, match=r"^TOKENVEND_MFA_SERIAL: "):
            load_settings()

    def test_the_service_has_no_path_where_sts_asks_for_keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A proxy may cut it off: the same request would ask for the documents of either issuer."""
        monkeypatch.setenv("TOKENVEND_PUBLIC_URL", "https://example.org/sts")
        assert load_settings().path == "/sts"
        monkeypatch.setenv("TOKENVEND_VENDING_MODE", "web_identity")
        with pytest.raises(SettingsError, match=r"^TOKENVEND_PUBLIC_URL: must have another path"):
            load_settings()

    def test_tags_are_off_or_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOKENVEND_SESSION_TAGS", "off")
        assert load_settings().session_tags == ()
        set_all(
            monkeypatch,
            {"TOKENVEND_SESSION_TAGS": "user_id, team=photos", "TOKENVEND_TRANSITIVE_TAG_KEYS": "team"},
        )
        assert load_settings().session_tags == ("user_id", "team=photos")

    def test_an_endpoint_may_stand_for_all_regions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TOKENVEND_STS_ENDPOINT_URL", "https://sts.{region}.vpce.example.org")
        assert load_settings().sts_endpoint_url == "https://sts.{region}.vpce.example.org"

    def test_one_endpoint_is_not_several_regions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_all(
            monkeypatch,
            {"TOKENVEND_STS_ENDPOINT_URL": "https://sts.example.org", "TOKENVEND_STS_REGIONS": "eu-central-1"},
        )
        load_settings()
        monkeypatch.setenv("TOKENVEND_STS_REGIONS", "eu-central-1,eu-west-1")
        with pytest.raises(SettingsError, match=r"^TOKENVEND_STS_ENDPOINT_URL: must have \{region\} in it"):
            load_settings()

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql+psycopg://app@db.example.org/photos",
            "postgresql+psycopg://app@db.example.org/photos?sslmode=require",
            "postgresql+psycopg://app:secret@db.example.org/photos?sslmode=verify-full",
            "postgresql+psycopg://db.example.org/photos?sslmode=verify-full",
            "postgresql+psycopg://app@/photos?host=one.example.org&host=two.example.org&sslmode=verify-full",
            "sqlite:///var/tokenvend.db",
        ],
    )
    def test_a_password_by_iam_is_for_one_known_host(self, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        """It would be for anybody in between to read, else, and it is of no use to another host."""
        set_all(monkeypatch, {"TOKENVEND_DATABASE_URL": url, "TOKENVEND_DATABASE_IAM_AUTH": "true"})
        with pytest.raises(SettingsError, match=r"^TOKENVEND_DATABASE_IAM_AUTH: TOKENVEND_DATABASE_URL must name one"):
            load_settings()

    def test_a_pooler_stands_in_front_of_postgresql(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_all(monkeypatch, {"TOKENVEND_DATABASE_POOLER": "transaction"})
        with pytest.raises(SettingsError, match=r"^TOKENVEND_DATABASE_POOLER: must be none with SQLite"):
            load_settings()
        set_all(monkeypatch, {"TOKENVEND_DATABASE_URL": "postgresql+psycopg://app@host/photos"})
        assert load_settings().database_pooler == "transaction"


class TestProduction:
    def test_takes_a_whole_configuration(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_all(monkeypatch, PRODUCTION)
        settings = load_settings()
        assert settings.hosts == {"tokens.example.org"}
        assert not settings.docs_on

    @pytest.mark.parametrize("missing", sorted(PRODUCTION.keys() - {"TOKENVEND_ENVIRONMENT"}))
    def test_names_what_is_missing(self, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
        set_all(monkeypatch, {name: value for name, value in PRODUCTION.items() if name != missing})
        with pytest.raises(SettingsError, match=f"^{missing}: must be set in production"):
            load_settings()

    def test_names_what_is_missing_beside_what_is_wrong(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_all(monkeypatch, {name: value for name, value in PRODUCTION.items() if name != "TOKENVEND_BUCKET"})
        monkeypatch.setenv("TOKENVEND_PUBLIC_URL", "tokens.example.org")
        with pytest.raises(SettingsError) as refused:
            load_settings()
        names = [line.partition(":")[0] for line in str(refused.value).splitlines()]
        assert names == ["TOKENVEND_PUBLIC_URL", "TOKENVEND_BUCKET"]

    @pytest.mark.parametrize(("name", "value"), [("RATE_LIMITS", "off"), ("PUBLIC_URL", "http://tokens.example.org")])
    def test_refuses_what_is_weak(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        set_all(monkeypatch, PRODUCTION | {f"TOKENVEND_{name}": value})
        with pytest.raises(SettingsError, match=f"^TOKENVEND_{name}: must .* in production"):
            load_settings()

    def test_asks_the_old_system_over_https_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        old = {"TOKENVEND_MIGRATION_URL": "http://127.0.0.1:8001", "TOKENVEND_MIGRATION_SECRET": SECRET}
        set_all(monkeypatch, PRODUCTION | old)
        with pytest.raises(SettingsError, match=r"^TOKENVEND_MIGRATION_URL: must start with https:// in production"):
            load_settings()
        monkeypatch.setenv("TOKENVEND_MIGRATION_URL", "https://old.example.org/check")
        assert load_settings().migration_url == "https://old.example.org/check"
        monkeypatch.delenv("TOKENVEND_MIGRATION_SECRET")
        with pytest.raises(SettingsError, match=r"^TOKENVEND_MIGRATION_SECRET: must be set"):
            load_settings()
        monkeypatch.setenv("TOKENVEND_MIGRATION_SECRET", SECRET)
        monkeypatch.setenv("TOKENVEND_COGNITO_CLIENT_ID", "abc")
        with pytest.raises(SettingsError, match=r"^TOKENVEND_MIGRATION_URL: must not be set beside"):
            load_settings()

    def test_old_systems_secret_may_be_two(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_all(monkeypatch, PRODUCTION | {"TOKENVEND_MIGRATION_SECRET": f"{SECRET}, {OTHER_SECRET}\n"})
        settings = load_settings()
        assert [secret.get_secret_value() for secret in settings.migration_secret] == [SECRET, OTHER_SECRET]
        assert SECRET.removeprefix("whsec_") not in f"{settings!r}{settings.model_dump()}"

    @pytest.mark.parametrize(
        ("url", "private", "why"),
        [
            ("http://app.example.org", "", "must start with https:// in production"),
            ("http://app.internal", "on", None),
            ("https://app.example.org", "", None),
            ("https://10.0.0.8", "", "must be another address"),
            ("https://10.0.0.8", "on", None),
            ("http://10.0.0.8", "on", None),
            ("http://93.184.215.14", "on", "must be another address"),
            ("http://169.254.169.254", "on", "must be another address"),
            ("https://[fd00:ec2::254]", "on", "must be another address"),
        ],
    )
    def test_tells_of_events_where_it_may(
        self, monkeypatch: pytest.MonkeyPatch, url: str, private: str, why: str | None
    ) -> None:
        """OP10: an address is judged at start; a name is judged at each connection."""
        told = {"TOKENVEND_WEBHOOK_URL": url, "TOKENVEND_WEBHOOK_SECRET": SECRET, "TOKENVEND_WEBHOOK_PRIVATE": private}
        set_all(monkeypatch, PRODUCTION | told)
        if why is None:
            assert load_settings().webhook_url == url
        else:
            with pytest.raises(SettingsError, match=f"^TOKENVEND_WEBHOOK_URL: {why}"):
                load_settings()

    def test_signs_what_it_tells(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_all(monkeypatch, PRODUCTION | {"TOKENVEND_WEBHOOK_URL": "https://app.example.org/told"})
        with pytest.raises(SettingsError, match=r"^TOKENVEND_WEBHOOK_SECRET: must be set"):
            load_settings()
        monkeypatch.setenv("TOKENVEND_WEBHOOK_SECRET", f"{SECRET}, {OTHER_SECRET}\n")
        settings = load_settings()
        assert [secret.get_secret_value() for secret in settings.webhook_secret] == [SECRET, OTHER_SECRET]
        assert SECRET.removeprefix("whsec_") not in f"{settings!r}{settings.model_dump()}"

    def test_the_secret_shows_in_no_representation(self) -> None:
        settings = Settings(_env_file=None, secret_key=PRODUCTION["TOKENVEND_SECRET_KEY"])
        assert PRODUCTION["TOKENVEND_SECRET_KEY"] not in f"{settings!r}{settings}{settings.model_dump()}"


TENANT_ID = "0b0f1c2d-3e4f-4a5b-8c6d-7e8f9a0b1c2d"


class TestOidcProviders:
    def test_takes_the_ones_of_the_documents(self, monkeypatch: pytest.MonkeyPatch) -> None:
        section = PROVIDERS.read_text(encoding="utf-8").split("## Outside identities")[1]
        examples = [json.loads(block.split("```")[0]) for block in section.split("```json\n")[1:]]
        monkeypatch.setenv("TOKENVEND_OIDC_PROVIDERS", json.dumps(examples[0] | examples[1]))
        providers = load_settings().oidc_providers
        assert {name: one.issuer for name, one in providers.items()} == {
            "apple": "https://appleid.apple.com",
            "google": "https://accounts.google.com",
            "microsoft": "https://login.microsoftonline.com/{tenantid}/v2.0",
        }

    @pytest.mark.parametrize(
        ("issuer", "hint"),
        [
            ("https://login.microsoftonline.com/<tenant>/v2.0", "in the place of the placeholder"),
            ("https://login.microsoftonline.com/$TENANT/v2.0", "in the place of the placeholder"),
            ("https://*.auth0.com/", "in the place of the placeholder"),
            ("https://anmelden.bücher.example", "anmelden.xn--bcher-kva.example"),
        ],
    )
    def test_an_issuer_that_no_token_has_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, issuer: str, hint: str
    ) -> None:
        value = json.dumps({"p": {"issuer": issuer, "client_ids": ["app"]}})
        monkeypatch.setenv("TOKENVEND_OIDC_PROVIDERS", value)
        with pytest.raises(SettingsError, match=hint):
            load_settings()

    def test_an_issuer_is_left_as_its_tokens_have_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        value = json.dumps({"p": {"issuer": " https://ADFS.Example.org/adfs/\n", "client_ids": ["app\n"]}})
        monkeypatch.setenv("TOKENVEND_OIDC_PROVIDERS", value)
        (provider,) = load_settings().oidc_providers.values()
        assert (provider.issuer, provider.client_ids) == ("https://ADFS.Example.org/adfs/", ("app",))

    @pytest.mark.parametrize(
        "issuer",
        [
            "http://accounts.google.com",
            "http://10.0.0.5/https://accounts.google.com",
            "http://127.0.0.1.example.org",
            "http://localhost@example.org",
            "https://user@example.org",
            "https://accounts.google.com?x=1",
            "https://accounts.google.com#x",
            "https://accounts.google.com\nhttps://b",
            "accounts.google.com",
            "https://" + "x" * 250 + ".org",
            "",
        ],
    )
    def test_an_issuer_is_an_https_address_or_on_this_machine(
        self, monkeypatch: pytest.MonkeyPatch, issuer: str
    ) -> None:
        value = json.dumps({"p": {"issuer": issuer, "client_ids": ["app"]}})
        monkeypatch.setenv("TOKENVEND_OIDC_PROVIDERS", value)
        with pytest.raises(SettingsError, match="TOKENVEND_OIDC_PROVIDERS"):
            load_settings()

    @pytest.mark.parametrize(
        ("issuer", "tenants"),
        [
            ("https://login.microsoftonline.com/common/v2.0", []),
            ("https://login.microsoftonline.com/organizations/v2.0", [TENANT_ID]),
            ("https://login.microsoftonline.com/{tenantid}/v2.0", []),
            ("https://login.microsoftonline.com/{tenantid}/v2.0", ["common"]),
            ("https://login.microsoftonline.com/{tenantid}/v2.0", [TENANT_ID.upper()]),
            ("https://login.microsoftonline.com/{tenantid}/{tenantid}", [TENANT_ID]),
            ("https://login.microsoftonline.com/{tenant}/v2.0", [TENANT_ID]),
            ("https://login.microsoftonline.com/{tenant}/v2.0", []),
            (f"https://login.microsoftonline.com/{TENANT_ID}/v2.0", [TENANT_ID]),
        ],
    )
    def test_of_several_tenants_lists_them(
        self, monkeypatch: pytest.MonkeyPatch, issuer: str, tenants: list[str]
    ) -> None:
        """No setting is taken that could never sign anybody in."""
        value = {"ms": {"issuer": issuer, "client_ids": ["app"], "tenants": tenants}}
        monkeypatch.setenv("TOKENVEND_OIDC_PROVIDERS", json.dumps(value))
        with pytest.raises(SettingsError, match=r"TOKENVEND_OIDC_PROVIDERS.*tenant"):
            load_settings()

    def test_of_several_tenants_has_an_issuer_for_each(self, monkeypatch: pytest.MonkeyPatch) -> None:
        other = TENANT_ID.replace("7", "8")
        issuer = "https://login.microsoftonline.com/{tenantid}/v2.0"
        value = {"ms": {"issuer": issuer, "client_ids": ["app"], "tenants": [TENANT_ID, other]}}
        monkeypatch.setenv("TOKENVEND_OIDC_PROVIDERS", json.dumps(value))
        assert load_settings().oidc_providers["ms"].issuers == {
            f"https://login.microsoftonline.com/{TENANT_ID}/v2.0": TENANT_ID,
            f"https://login.microsoftonline.com/{other}/v2.0": other,
        }
        value["one"] = {"issuer": f"https://login.microsoftonline.com/{other}/v2.0", "client_ids": ["app"]}
        monkeypatch.setenv("TOKENVEND_OIDC_PROVIDERS", json.dumps(value))
        with pytest.raises(SettingsError, match="must name each issuer once"):
            load_settings()

    @pytest.mark.parametrize("client_ids", [[], [""], "app", None])
    def test_names_apps(self, monkeypatch: pytest.MonkeyPatch, client_ids: object) -> None:
        value = json.dumps({"p": {"issuer": "https://example.org", "client_ids": client_ids}})
        monkeypatch.setenv("TOKENVEND_OIDC_PROVIDERS", value)
        with pytest.raises(SettingsError, match="TOKENVEND_OIDC_PROVIDERS"):
            load_settings()
