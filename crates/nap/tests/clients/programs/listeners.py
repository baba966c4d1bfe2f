"""Listeners of psycopg and asyncpg: each notification is a line of output, the name of who heard it first.

Arguments: the URL. Says `ready` when all listen; `again` would be a second connection.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import psycopg

url = sys.argv[1]


def say(line):
    # At once: two threads do this.
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def psycopg_listens(ready):
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("LISTEN jobs")
        ready()
        for notification in connection.notifies():
            say(f"psycopg {notification.payload}")


async def main():
    loop = asyncio.get_running_loop()
    listens = asyncio.Event()
    with ThreadPoolExecutor(2) as threads:
        waiting = loop.run_in_executor(threads, psycopg_listens, lambda: loop.call_soon_threadsafe(listens.set))
        connection = await asyncpg.connect(url, ssl=False)
        await connection.add_listener("jobs", lambda _c, _pid, _channel, payload: say(f"asyncpg {payload}"))
        connection.add_termination_listener(lambda _: say("asyncpg ended"))
        await listens.wait()
        say("ready")
        await waiting


asyncio.run(main())
