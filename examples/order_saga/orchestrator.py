"""The orchestrator: runs the saga for every order of the script, in a process of its own, which may die at any moment.

It keeps nothing that matters in memory. Started anew it does the same as the first time: the runner takes up what the
journal knows to be unfinished, and orders that the journal has never heard of are begun. It tells what happens in lines
of JSON on standard output; nothing depends on anybody hearing them. When its standard input is closed it dies, no more
gently than by a kill: it does not outlive whoever started it.
"""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import httpx2

from resilience.saga import SagaFailed, SagaRunner, SagaStuck, SQLiteJournal

from .clients import Inventory, Orders, Payments
from .saga import PlaceOrder
from .script import Script
from .values import Order

AT_ONCE = 8
"""Orders under way at the same time."""


async def place_all(saga: PlaceOrder, journal: SQLiteJournal, script: Script) -> None:
    """Place every order that is not placed yet; those that another process has left in the middle are gone on with."""
    known = {order.id: order.status for order in await journal.list()}
    for order_id, status in known.items():
        tell(order_id, "resumed" if status == "open" else status)
    limit = anyio.CapacityLimiter(AT_ONCE)
    async with SagaRunner(journal, saga), anyio.create_task_group() as tasks:
        for order in script.orders:
            if known.get(order.id, "open") == "open":
                await limit.acquire_on_behalf_of(order)
                tasks.start_soon(place, saga, journal, order, limit)


async def place(saga: PlaceOrder, journal: SQLiteJournal, order: Order, limit: anyio.CapacityLimiter) -> None:
    """Place one order. It makes no difference whether it is new or the runner has it already: the id tells."""
    try:
        tell(order.id, "began")
        await saga.run(order, id=order.id, journal=journal)
        tell(order.id, "completed")
    except SagaFailed as failed:
        tell(order.id, failed.outcome, str(failed.cause))
    except SagaStuck as stuck:
        tell(order.id, "stuck", str(stuck.cause))
    finally:
        limit.release_on_behalf_of(order)


def tell(order: str, event: str, reason: str = "") -> None:
    """Write one line, in one system call."""
    os.write(sys.stdout.fileno(), json.dumps({"order": order, "event": event, "reason": reason}).encode() + b"\n")


def die_with_input() -> None:
    """End this process when nobody holds the other end of its standard input any more."""
    sys.stdin.read()
    os._exit(1)


@asynccontextmanager
async def clients(urls: list[str]) -> AsyncGenerator[PlaceOrder]:
    """The saga, connected to the services."""
    async with AsyncExitStack() as stack:
        inventory, payments, orders = [
            await stack.enter_async_context(httpx2.AsyncClient(base_url=url)) for url in urls
        ]
        yield PlaceOrder(Inventory(inventory), Payments(payments), Orders(orders))


async def run(options: argparse.Namespace) -> None:
    """Place all orders."""
    with SQLiteJournal(options.journal) as journal:
        async with clients(options.services) as saga:
            await place_all(saga, journal, Script(options.orders, options.seed))


def main() -> None:
    """Run until every order has ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--orders", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("services", nargs=3, help="the addresses of inventory, payments and orders")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # ctrl-c is for whoever started us
    threading.Thread(target=die_with_input, daemon=True).start()
    anyio.run(run, parser.parse_args())


if __name__ == "__main__":
    main()
