"""Sends the mails that wait in the outbox. A process makes one pass at a time."""

import asyncio

from app.crypto.vault import Vault
from app.mail import letters, outbox
from app.mail.outbox import Mail
from app.mail.transport import Transport, Undelivered
from app.platform.clock import Clock
from app.platform.db import Database
from app.platform.logs import log
from app.platform.metrics import Metrics
from app.platform.settings import Settings


class Postman:
    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        vault: Vault,
        database: Database,
        transport: Transport,
        *,
        metrics: Metrics,
    ) -> None:
        self.transport = transport
        self._clock = clock
        self._vault = vault
        self._database = database
        self._metrics = metrics
        self._bounded = settings.rate_limits == "on"
        self._sender = settings.mail_from
        self._link_base = settings.link_base
        self._pass = asyncio.Lock()

    async def send_waiting(self) -> bool:
        """Sends as many mails at once as the transport can. Returns whether there may be more."""
        async with self._pass:
            most = self.transport.most_at_once
            taken = await self._database.write(
                outbox.take, self._vault, self._clock.now(), most=most, bounded=self._bounded
            )
            for kind in taken.dropped:
                self._metrics.mails_dropped.labels(kind).inc()
                log.warning("mail_dropped", kind=kind, reason="too_many_to_one_recipient")
            await asyncio.gather(*map(self._send, taken.mails))
        return taken.count == most

    async def _send(self, mail: Mail) -> None:
        try:
            await self._deliver(mail)
        except Undelivered as error:
            given_up = await self._database.write(outbox.note_failed, self._clock.now(), mail, for_good=error.for_good)
            event = "mail_given_up" if given_up else "mail_waits"
            log.error(event, mail=str(mail.id), kind=mail.kind, attempts=mail.attempts, reason=error.reason)
        else:
            await self._database.write(outbox.note_sent, self._clock.now(), mail)

    async def _deliver(self, mail: Mail) -> None:
        if not mail.readable:
            raise Undelivered("secret_key_changed")  # another replica may have its key
        message = letters.compose(
            mail.kind,
            mail_id=mail.id,
            sender=self._sender,
            recipient=mail.recipient,
            token=mail.token,
            link_base=self._link_base,
            at=mail.created_at,
        )
        await self.transport.send(message)

    def close(self) -> None:
        self.transport.close()
