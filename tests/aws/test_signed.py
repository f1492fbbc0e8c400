"""What the fast transport makes by itself for speed is what the libraries would make."""

from urllib.parse import urlencode

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from app.aws import signed_transport
from app.aws.connections import place_of


class TestForm:
    def test_is_what_urlencode_makes(self) -> None:
        told = {"Policy": "".join(map(chr, range(128))), "RoleSessionName": "é€😀 ~", "DurationSeconds": 900}
        tags = [{"Key": "a b", "Value": "+&=%"}, {"Key": "ü", "Value": ""}]
        fields = {"Action": "AssumeRole", "Version": "2011-06-15", **told}
        fields |= {f"Tags.member.{n}.{name}": value for n, tag in enumerate(tags, 1) for name, value in tag.items()}
        assert signed_transport._form("AssumeRole", {**told, "Tags": tags}) == urlencode(fields).encode()


class TestSignature:
    @pytest.mark.parametrize(
        ("url", "host"),
        [
            ("https://sts.us-east-1.amazonaws.com", "sts.us-east-1.amazonaws.com"),
            ("https://sts.us-east-1.amazonaws.com:443/", "sts.us-east-1.amazonaws.com"),
            ("http://127.0.0.1:80", "127.0.0.1"),
            ("http://127.0.0.1:8333/", "127.0.0.1:8333"),
            ("http://[::1]:8333", "[::1]:8333"),
            ("https://sts.example.org:80", "sts.example.org:80"),
        ],
    )
    def test_is_botocores_own(self, url: str, host: str) -> None:
        body = signed_transport._form("GetCallerIdentity", {})
        made = []
        for kind, fields in ((SigV4Auth, {}), (signed_transport._Signature, {"Host": place_of(url).authority})):
            request = AWSRequest("POST", url, headers={**fields, **signed_transport.HEADERS}, data=body)
            request.context["timestamp"] = "20260601T120000Z"
            signer = kind(Credentials("AKIATESTTESTTEST", "secret", "token"), "sts", "us-east-1")
            signer._modify_request_before_signing(request)
            text = signer.string_to_sign(request, signer.canonical_request(request))
            made.append((text, signer.signature(text, request)))
        assert made[0] == made[1]
        assert place_of(url).authority == host
