"""`gorkflow web`: the page, served from this machine; with TARGET, a worker as well."""

from __future__ import annotations

import secrets
import socket
import webbrowser
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from gorkflow.cli._app import CONTEXT, Command, Seconds, store_option
from gorkflow.cli._leaving import run_in_loop
from gorkflow.cli._output import CliError, ExitCode, say, stdout_is_ours
from gorkflow.cli._target import check_exists, load, naming_source
from gorkflow.cli._worker import Wanted, engine_of, stay, telling
from gorkflow.engine.client import Client
from gorkflow.stores.memory import MemoryStore

if TYPE_CHECKING:
    from gorkflow.web.site import Site

_PORT = 8765
_TRIES = 20  # further ports, where nobody asked for one
_EVERYWHERE = {"0.0.0.0", "::", ""}  # noqa: S104 - recognised, not bound


@click.command(
    "web",
    cls=Command,
    context_settings=CONTEXT,
    example=(
        "gorkflow web --open",
        "gorkflow web shop.py --store sqlite:runs.db",
        "GORKFLOW_TOKEN=$(openssl rand -hex 16) gorkflow web --host 0.0.0.0",
    ),
)
@click.argument("targets", nargs=-1, metavar="[TARGET…]")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="N",
    help=f"The port.  [default: {_PORT}, or the next free one]",
)  # fmt: skip
@click.option(
    "--allow-host", "names", multiple=True, metavar="NAME",
    help="Answer under this name, too; repeatable. Then every request needs a token.",
)  # fmt: skip
@click.option(
    "--token", envvar="GORKFLOW_TOKEN", metavar="TEXT", show_envvar=True,
    help="The token for changes, and for other hosts.  [default: a new one]",
)  # fmt: skip
@click.option(
    "--read-token", envvar="GORKFLOW_READ_TOKEN", metavar="TEXT", show_envvar=True,
    help="A token that may only read.",
)  # fmt: skip
@click.option("--read-only", is_flag=True, help="Change nothing, with any token.")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--grace", type=Seconds(0.0), default=5.0, show_default=True, metavar="SECONDS",
    help="With TARGET: time for running steps once a signal stops it.",
)  # fmt: skip
@store_option
@click.pass_context
def web_command(
    ctx: click.Context, *, targets: tuple[str, ...], host: str, port: int | None,
    names: tuple[str, ...], token: str | None, read_token: str | None, read_only: bool,
    opens: bool, grace: float, store: str | None,
) -> None:  # fmt: skip
    """Show runs, workflows and schedules in the browser.

    TARGET is as for `gorkflow worker`: then its workflows can be started on the page, and this
    process runs them. Without it, the page shows what the store has. Ctrl-C stops it.

    This machine reads without a token, unless --host or --allow-host names another host. Give
    --allow-host before you put a proxy in front.
    """
    wanted = WantedPage(
        targets=targets, store=store, host=host, port=port, names=names, token=token or None,
        read_token=read_token or None, read_only=read_only, opens=opens, grace=grace,
    )  # fmt: skip
    ctx.exit(show(wanted))


@dataclass(frozen=True, kw_only=True)
class WantedPage:
    """The wishes of the command line."""

    targets: Sequence[str] = ()
    store: str | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    names: Sequence[str] = ()
    token: str | None = None
    read_token: str | None = None
    read_only: bool = False
    opens: bool = False
    grace: float = 5.0


Beside = Callable[[Client], AbstractAsyncContextManager[None]]
"""Given the engine or client, returns what is there while the page is served."""


def show(wanted: WantedPage, beside: Beside = lambda _: nullcontext()) -> ExitCode:
    """Serve the page until SIGTERM or Ctrl-C.

    Raises:
        CliError: If a target or the address can't be used.
    """
    with stdout_is_ours(), naming_source(wanted.store), telling():
        engine = _engine(wanted)
        site = _site(wanted, engine)
        place = _listening(wanted)
        grace = wanted.grace if wanted.targets else 0.0
        return run_in_loop(stay(engine, grace, _served(wanted, site, place, beside)))


def _engine(wanted: WantedPage) -> Client:
    if not wanted.targets:
        client = Client(check_exists(wanted.store))
        if isinstance(client.store, MemoryStore):
            raise CliError(
                "there is nothing to show in 'memory:'; name a file with --store, or a TARGET"
            )
        return client
    targets = [load(text) for text in wanted.targets]
    return engine_of(Wanted(targets=wanted.targets, store=wanted.store), targets, [])


def _site(wanted: WantedPage, engine: Client) -> Site:
    """Return the site, with the rules that follow from the address."""
    import gorkflow.web  # an extra

    _ = gorkflow.web.app  # says what is missing
    from gorkflow.web._access import LOOPBACK, is_loopback, rules
    from gorkflow.web.site import Site

    is_here = is_loopback(wanted.host)
    if not is_here and wanted.token is None and wanted.read_token is None:
        raise CliError(
            f"other machines can reach --host {wanted.host}, so the page needs a token that you "
            "know: set GORKFLOW_TOKEN, or listen at 127.0.0.1 and forward the port with ssh -L"
        )
    token = wanted.token
    if token is None and wanted.read_token is None and not wanted.read_only:
        token = secrets.token_urlsafe(24)
    own = (socket.gethostname(),) if wanted.host in _EVERYWHERE else (wanted.host,)
    hosts = dict.fromkeys([*LOOPBACK, *own, *wanted.names])
    try:
        access = rules(
            token=token,
            read_token=wanted.read_token,
            hosts=list(hosts),
            read_only=wanted.read_only,
        )
    except ValueError as error:
        raise CliError(str(error)) from None
    return Site(engine=engine, access=access)


def _listening(wanted: WantedPage) -> socket.socket:
    """Return a socket at the address that is wanted.

    Raises:
        CliError: If there is none.
    """
    from gorkflow.web._server import listening

    first = _PORT if wanted.port is None else wanted.port
    last = first + (_TRIES if wanted.port is None else 0)
    for port in range(first, last + 1):
        try:
            place = listening(wanted.host, port)
        except OSError as error:
            if port < last and "in use" in str(error).lower():
                continue
            raise CliError(
                f"can't listen at {wanted.host} port {port}: {error.strerror or error}; choose "
                "another one with --port",
                ExitCode.CONFLICT,
            ) from None
        if port != first:
            say(f"port {first} is taken, so this is port {port}")
        return place
    raise AssertionError(first)


@asynccontextmanager
async def _served(
    wanted: WantedPage, site: Site, place: socket.socket, beside: Beside
) -> AsyncGenerator[None]:
    from gorkflow.web._server import serving

    async with serving(site, place), beside(site.engine):
        link = _link(wanted, site, place.getsockname()[1])
        say(f"{link}\nthe page of {site.store_name}; stop it with Ctrl-C")
        if wanted.opens and not webbrowser.open(link):
            say("no browser can be opened here; open the link yourself")
        yield


def _link(wanted: WantedPage, site: Site, port: int) -> str:
    host = socket.gethostname() if wanted.host in _EVERYWHERE else wanted.host
    shown = f"[{host}]" if ":" in host else host
    made = site.access.token if wanted.token is None else None  # one that was given is known
    return f"http://{shown}:{port}/" + (f"?token={made}" if made else "")
