"""Gets the credential for an order from STS, in the operator's `VENDING_MODE`."""

import asyncio
from datetime import datetime

from app.auth.keys import LoadedKey
from app.aws.sts_client import StsClient, StsCredential
from app.aws.transport import Answer
from app.platform.clock import Clock
from app.platform.metrics import Metrics
from app.platform.problems import DecodingUnavailable, FieldError, InvalidRequest, StsRefused, StsUnavailable
from app.platform.settings import KEYLESS, LONGEST_CHAINED, VendingMode
from app.vending import orders
from app.vending.assertion import Assertions
from app.vending.identity_token import IdentityTokens
from app.vending.orders import Order

LONG_LIVED = (
    "the base credentials are long-lived keys, which leak sooner or later: use an instance role, a task role, "
    "IRSA or TOKENVEND_VENDING_MODE=web_identity"
)
CHAINED = (
    f"this service runs with a role and AWS gives a role that assumes another one {LONGEST_CHAINED} s at most (role "
    "chaining): TOKENVEND_CREDENTIAL_MAX_TTL is cut to that; TOKENVEND_VENDING_MODE=web_identity is not chaining"
)

UNKNOWN_ACTION = ("MethodNotAllowed", "InvalidParameterValue")
"""How Ceph RGW and MinIO answer GetCallerIdentity. It has no parameters, so AWS never says the second."""

NOT_BELIEVED = "InvalidIdentityToken"
"""What STS says of an assertion whose key is not in the metadata that IAM has."""


class Broker:
    def __init__(
        self,
        sts: StsClient,
        clock: Clock,
        metrics: Metrics,
        *,
        mode: VendingMode,
        identity_tokens: IdentityTokens,
        assertions: Assertions | None = None,
        is_aws: bool = True,
    ) -> None:
        self._sts = sts
        self._is_aws = is_aws
        self._clock = clock
        self._metrics = metrics
        self._mode = mode
        self._identity_tokens = identity_tokens
        self._assertions = assertions
        self._chains: asyncio.Task[bool] | None = None

    async def obtain(self, order: Order) -> StsCredential:
        """A fresh credential. Raises `KeysUnavailable`, and what `StsClient.call` raises."""
        match self._mode:
            case "assume_role":
                answer = await self._sts.call("AssumeRole", orders.assume_role(order))
            case "web_identity":
                parameters = orders.assume_role_with_web_identity(order, self._identity_tokens.mint(order))
                answer = await self._sts.call("AssumeRoleWithWebIdentity", parameters, signed=False)
            case "saml":
                answer = await self._with_assertion(order)
            case "federation_token":
                answer = await self._sts.call("GetFederationToken", orders.get_federation_token(order))
        issued = _credential(answer)
        if issued.expires_at <= self._clock.now():
            raise StsUnavailable(cause="STS answered with a credential that has expired")
        if (packed := answer.texts.get("PackedPolicySize", "")).isdecimal():
            self._metrics.packed_policy_size.observe(int(packed))
        return issued

    async def knows_waiting_key(self, order: Order) -> bool | None:
        """Whether IAM has the key for assertions that does not sign yet. None if there is no such key.

        Asks for a credential by that key, and throws it away. Raises what `StsClient.call` raises.
        """
        if self._assertions is None or (key := self._assertions.keyring.waiting()) is None:
            return None
        try:
            await self._with_assertion(order, key)
        except StsRefused as problem:
            if str(problem.cause).startswith(NOT_BELIEVED):
                return False
            raise
        return True

    async def _with_assertion(self, order: Order, key: LoadedKey | None = None) -> Answer:
        assert self._assertions is not None
        parameters = orders.assume_role_with_saml(order, self._assertions.sign(order, key=key))
        return await self._sts.call("AssumeRoleWithSAML", parameters, signed=False)

    async def chains_roles(self) -> bool:
        """Whether one role assumes another. STS then limits the duration to an hour.

        Raises what `StsClient.call` raises.
        """
        if self._mode != "assume_role":
            return False
        if self._chains is None:
            self._chains = asyncio.create_task(self._runs_with_a_role())
            self._chains.add_done_callback(self._forget_failure)
        return await asyncio.shield(self._chains)

    async def _runs_with_a_role(self) -> bool:
        return ":assumed-role/" in (await self.caller_arn() or "")

    def _forget_failure(self, asked: asyncio.Task[bool]) -> None:
        if asked.cancelled() or asked.exception() is not None:
            self._chains = None

    async def check(self) -> None:
        """Checks that STS answers and, if calls are signed, that it knows us. Raises what `StsClient.call` raises."""
        if self._mode not in KEYLESS:
            await self.caller_arn()
            return
        try:
            await self._sts.call("GetCallerIdentity", {}, signed=False)
        except StsRefused:
            return  # It answers. It is right to refuse: in these modes nothing is signed.

    async def caller_arn(self) -> str | None:
        """GetCallerIdentity: who STS says we are. None if it answers but cannot say, such as Ceph RGW and MinIO.

        Raises what `StsClient.call` raises.
        """
        try:
            return _text(await self._sts.call("GetCallerIdentity", {}), "Arn")
        except StsRefused as problem:
            if str(problem.cause).startswith(UNKNOWN_ACTION):
                return None
            raise

    async def account_of(self, access_key_id: str) -> str:
        """GetAccessKeyInfo: the account that a key belongs to. Raises what `StsClient.call` raises."""
        return _text(await self._sts.call("GetAccessKeyInfo", {"AccessKeyId": access_key_id}), "Account")

    async def decode(self, encoded_message: str) -> str:
        """DecodeAuthorizationMessage: why AWS refused a request, as JSON.

        Raises `InvalidRequest` if it is not such a message, `DecodingUnavailable` if the engine is not AWS and refuses,
        and what `StsClient.call` raises.
        """
        parameters = {"EncodedMessage": encoded_message}
        try:
            return _text(await self._sts.call("DecodeAuthorizationMessage", parameters), "DecodedMessage")
        except StsRefused as problem:
            if not self._is_aws:
                raise DecodingUnavailable from problem
            if not str(problem.cause).startswith("InvalidAuthorizationMessage"):
                raise
            said = "STS cannot decode this. Send the whole encoded part of AWS's message."
            raise InvalidRequest(errors=[FieldError("body.encoded_message", "not_decodable", said)]) from problem

    async def warnings(self, longest: int) -> list[str]:
        """What is wrong with the identity that signs our calls. Raises what `StsClient.call` raises."""
        if self._mode in KEYLESS:
            return []
        found = []
        if await self._sts.signs_with_long_lived_keys():
            found.append(LONG_LIVED)
        if longest > LONGEST_CHAINED and await self.chains_roles():
            found.append(CHAINED)
        return found

    @property
    def clock_skew(self) -> float | None:
        """How many seconds STS's clock is ahead of this machine's; None if it has not told."""
        return self._sts.clock_skew

    async def close(self) -> None:
        await self._sts.close()


async def exchange_mfa(sts: StsClient, serial: str, code: str, duration: int) -> StsCredential:
    """GetSessionToken: base credentials authenticated with the MFA `code`. Raises what `StsClient.call` raises."""
    parameters = {"SerialNumber": serial, "TokenCode": code, "DurationSeconds": duration}
    return _credential(await sts.call("GetSessionToken", parameters))


def _credential(answer: Answer) -> StsCredential:
    try:
        expires_at = datetime.fromisoformat(_text(answer, "Expiration"))
    except ValueError:
        expires_at = None
    if expires_at is None or expires_at.tzinfo is None:
        raise _not_whole()
    return StsCredential(
        access_key_id=_text(answer, "AccessKeyId"),
        secret_access_key=_text(answer, "SecretAccessKey"),
        session_token=_text(answer, "SessionToken"),
        expires_at=expires_at,
        request_id=answer.texts.get("RequestId"),
    )


def _text(answer: Answer, name: str) -> str:
    text = answer.texts.get(name)
    if not text:
        raise _not_whole()
    return text


def _not_whole() -> StsUnavailable:
    return StsUnavailable(cause="STS's answer lacks what was asked for", retry_after=5)
