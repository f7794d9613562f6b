"""Access: who may read and who may change, by token, Host and address. Pure rules, no HTTP."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""The names of this machine that it alone answers to."""
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::([0-9]{1,5}))?")


class Level(IntEnum):
    """The rights of a request."""

    NONE = 0
    READ = 1
    CHANGE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The rules of one site."""

    token: str | None = None
    """Reads and changes."""
    read_token: str | None = None
    """Only reads."""
    hosts: frozenset[str] = frozenset(LOOPBACK)
    """The hosts that are answered, without ports."""
    read_only: bool = False

    @property
    def is_local(self) -> bool:
        """Whether only this machine is meant to ask. Otherwise a proxy may stand here."""
        return all(map(is_loopback, self.hosts))

    @property
    def has_tokens(self) -> bool:
        """Whether there is a token to give."""
        return self.token is not None or self.read_token is not None

    def of_token(self, given: str) -> Level:
        """Return the rights that a token gives."""
        for known, level in ((self.token, Level.CHANGE), (self.read_token, Level.READ)):
            if known is not None and _same(known, given):
                return level
        return Level.NONE

    def of_cookie(self, given: str) -> Level:
        """Return the rights that a cookie gives."""
        for known, level in ((self.token, Level.CHANGE), (self.read_token, Level.READ)):
            if known is not None and _same(cookie_of(known), given):
                return level
        return Level.NONE

    @property
    def cookie(self) -> str:
        """The name of the cookie. Servers on other ports of this machine have other ones."""
        secret = f"{self.token}\n{self.read_token}".encode()
        return f"gorkflow-{hashlib.sha256(b'name:' + secret).hexdigest()[:12]}"


def rules(
    *,
    token: str | None,
    read_token: str | None,
    hosts: Sequence[str],
    read_only: bool,
) -> Access:
    """Return the rules that an owner asks for.

    Raises:
        ValueError: If a token is too short, or a host is not valid; or if other machines can reach
            a host, and there is no token.
        TypeError: If an argument has the wrong type.
    """
    for name, given in (("token", token), ("read_token", read_token)):
        _check_token(name, given)
    if token is not None and token == read_token:
        raise ValueError("read_token is the token, which may change things; use two")
    if isinstance(hosts, str):
        raise TypeError(f"hosts must be a list of names: write hosts=[{hosts!r}]")
    known = {_known(host) for host in hosts}
    foreign = sorted(host for host in known if not is_loopback(host))
    access = Access(token=token, read_token=read_token, hosts=frozenset(known), read_only=read_only)
    if foreign and not access.has_tokens:
        raise ValueError(
            f"host {foreign[0]!r} can be reached from other machines; give a token, which every "
            "request then needs"
        )
    return access


def _check_token(name: str, given: object) -> None:
    if given is None:
        return
    if not isinstance(given, str):
        raise TypeError(f"{name} must be a text, not a {type(given).__name__}")
    if len(given) < 16 or not re.fullmatch(r"[\x21-\x7e]+", given):
        raise ValueError(
            f"{name} must have 16 or more visible ASCII characters; make one with "
            "secrets.token_urlsafe()"
        )


def _known(host: str) -> str:
    bare = f"[{host}]" if host.count(":") > 1 and not host.startswith("[") else host
    found = split_host(bare)
    if found is None or found[1]:
        raise ValueError(f"{host!r} is not the name or address of a host, without a port")
    return found[0]


def split_host(text: str) -> tuple[str, str] | None:
    """Return host and port of a ``Host`` header, each in one form; ``None``: it is not valid."""
    found = _HOST.fullmatch(text)
    if found is None:
        return None
    name, port = found[1].lower(), found[2] or ""
    if port and not 0 < int(port) < 65536:
        return None
    if name.startswith("["):
        try:
            return ipaddress.IPv6Address(name[1:-1]).compressed, port
        except ValueError:
            return None
    return name.removesuffix("."), port


def is_loopback(host: str) -> bool:
    """Return whether a host or address means this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def cookie_of(token: str) -> str:
    """Return the value of the cookie that stands for a token, which it does not contain."""
    return hmac.new(token.encode(), b"gorkflow cookie", hashlib.sha256).hexdigest()


def _same(known: str, given: str) -> bool:
    return hmac.compare_digest(known.encode(), given.encode(errors="replace"))
