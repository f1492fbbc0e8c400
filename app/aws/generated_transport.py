"""The transport with boto3's generated client, in threads. It has all options of the SDK, at three times the CPU."""

import asyncio
import functools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from botocore import UNSIGNED, xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, ParamValidationError
from botocore.parsers import ResponseParserError
from botocore.session import Session

from app.aws.transport import CONNECT_TIMEOUT, READ_TIMEOUT, USER_AGENT, Answer, Endpoint, Fault, Keys, fault, leaves

THREADS = 16
CLIENT_CONFIG = Config(
    user_agent=USER_AGENT,  # botocore would build its own twice in a call: a seventh of the call's time
    connect_timeout=CONNECT_TIMEOUT,
    read_timeout=READ_TIMEOUT,
    retries={"mode": "standard", "total_max_attempts": 1},
    max_pool_connections=THREADS,
)
FAULTS = (BotoCoreError, HTTPClientError, ResponseParserError, LookupError, ValueError, ArithmeticError, RuntimeError)
"""What boto3 raises besides refusals: for broken connections, and for answers that are not from STS."""


class GeneratedTransport:
    def __init__(self, aws: Session) -> None:
        self._aws = aws
        self._clients: dict[str, tuple[Keys | None, Any]] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sts")

    async def send(self, endpoint: Endpoint, action: str, parameters: Mapping[str, Any], keys: Keys | None) -> Answer:
        call = functools.partial(self._send, self._client(endpoint, keys), action, parameters)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for _, client in self._clients.values():
            client.close()

    def _client(self, endpoint: Endpoint, keys: Keys | None) -> Any:
        """The Region's client. A new one is made when the base credentials have changed."""
        known = self._clients.get(endpoint.region)
        if known is None or known[0] != keys:
            signed = {"signature_version": UNSIGNED} if keys is None else {}
            client = self._aws.create_client(
                "sts",
                region_name=endpoint.region,
                endpoint_url=endpoint.url,
                aws_access_key_id=keys and keys.access_key,
                aws_secret_access_key=keys and keys.secret_key,
                aws_session_token=keys and keys.token,
                config=CLIENT_CONFIG.merge(Config(**signed)),
            )
            known = self._clients[endpoint.region] = (keys, client)
        return known[1]

    @staticmethod
    def _send(client: Any, action: str, parameters: Mapping[str, Any]) -> Answer:
        try:
            answer = getattr(client, xform_name(action))(**parameters)
            metadata = answer.pop("ResponseMetadata")
            texts = {name: _text(value) for name, value in leaves(answer)}
            return Answer(texts | {"RequestId": metadata.get("RequestId", "")}, _date(metadata))
        except ClientError as error:
            metadata = error.response.get("ResponseMetadata", {})
            code = str(error.response.get("Error", {}).get("Code", "Unknown"))
            raise fault(metadata.get("HTTPStatusCode", 0), code, _date(metadata)) from error
        except ParamValidationError as error:  # STS would say so too
            raise Fault("refused", "ValidationError") from error
        except FAULTS as error:
            raise Fault("unavailable", type(error).__name__) from error


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _date(metadata: Mapping[str, Any]) -> str | None:
    date: str | None = metadata.get("HTTPHeaders", {}).get("date")
    return date
