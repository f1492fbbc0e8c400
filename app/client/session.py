"""Keeps the session of this machine's user in one file. Many processes read it, and one at a time renews it."""

import json
import os
import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from app.client.service import ClientError, Refused, Service, Tokens

LOCK_TIMEOUT = 30.0


class SignedOut(ClientError):
    def __init__(self, why: str, *, url: str = "URL", email: str = "EMAIL") -> None:
        super().__init__(f"{why}: run `tokenvend login --url {shlex.quote(url)} --email {shlex.quote(email)}`")


class Session(NamedTuple):
    url: str
    email: str
    tokens: Tokens

    @property
    def as_json(self) -> str:
        return json.dumps({"url": self.url, "email": self.email, "tokens": self.tokens._asdict()})

    def ended(self) -> SignedOut:
        return SignedOut("Your session has ended", url=self.url, email=self.email)


class Store:
    """`tokenvend/session.json` in the directory for configuration, readable by its owner alone."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "session.json"

    @classmethod
    def of_user(cls) -> "Store":
        configured = Path(os.environ.get("XDG_CONFIG_HOME", ""))
        # A relative path is to be ignored, says the XDG specification.
        return cls((configured if configured.is_absolute() else Path.home() / ".config") / "tokenvend")

    def find(self) -> Session | None:
        try:
            kept = json.loads(self._file.read_bytes())
            tokens = Tokens(**kept["tokens"] | {"expires_at": float(kept["tokens"]["expires_at"])})
            texts = [kept["url"], kept["email"], tokens.access_token, tokens.refresh_token]
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            texts = [None]
        if not all(isinstance(text, str) for text in texts):
            raise SignedOut(f"{self._file} is damaged")
        return Session(kept["url"], kept["email"], tokens)

    def get(self, *, of: Session | None = None) -> Session:
        """Raises `SignedOut`, also where it is not a session of the same account as `of`."""
        session = self.find()
        if session is None:
            raise SignedOut("You are not signed in")
        if of is not None and (session.url, session.email.lower()) != (of.url, of.email.lower()):
            raise SignedOut("Another account has signed in", url=of.url, email=of.email)
        return session

    def keep(self, session: Session) -> None:
        """Writes the session under the lock, so that the renewal of another session does not overwrite it."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory.chmod(0o700)
        with self._locked():
            write_private(self._file, session.as_json)

    def end(self) -> bool:
        """Ends the session at the service, then forgets it. False if there was none."""
        if self.find() is None:
            return False
        with self._locked():
            session = self.get()
            Service(session.url).log_out(session.tokens.refresh_token)
            self._file.unlink()
        return True

    def fresh(self, *, min_left: float, refused: str | None = None, of: Session | None = None) -> Session:
        """The session, with an access token that lives for as many seconds and is not the refused one.

        `of`: a session of the same account, which it has to be. Raises `SignedOut`, `Unavailable`.
        """

        def is_fresh(session: Session) -> bool:
            tokens = session.tokens
            return tokens.access_token != refused and tokens.expires_at - time.time() > min_left

        session = self.get(of=of)
        if is_fresh(session):
            return session
        with self._locked(), _uninterrupted():
            session = self.get(of=of)  # another process may have renewed it while this one waited
            if is_fresh(session):
                return session
            try:
                tokens = Service(session.url).refresh(session.tokens.refresh_token)
            except Refused as refusal:
                raise session.ended() if refusal.status == 401 else refusal from refusal
            session = Session(session.url, session.email, tokens)
            write_private(self._file, session.as_json)
        return session

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time. The lock is a file of its own: the session's is replaced by each renewal."""
        import fcntl  # noqa: PLC0415 - Windows has none, and the server's commands are imported with this module

        lock = os.open(self._directory / "session.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            deadline = time.monotonic() + LOCK_TIMEOUT
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise ClientError("Another tokenvend is still renewing the session: try again") from None
                    time.sleep(0.02)
            yield
        finally:
            os.close(lock)


def write_private(file: Path, text: str) -> None:
    """Writes the whole file or nothing, to the disk, readable by its owner alone."""
    import tempfile  # noqa: PLC0415 - what is only read needs none

    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # made with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Makes Ctrl-C wait. Between the service's answer and the disk, it would cost the session."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
