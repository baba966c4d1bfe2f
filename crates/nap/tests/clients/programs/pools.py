"""Pools of twenty connections. Each line of input is a round: every connection of each pool answers a query at once.

Arguments: the URL. Answers `ok`, or what went wrong.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import psycopg_pool
import sqlalchemy

SIZE = 20
url = sys.argv[1]
query = "SELECT count(*) + {} FROM pg_class WHERE relname = 'pg_class'"


def alchemy_round(engine, number):
    connections = [engine.connect() for _ in range(SIZE)]
    for connection in connections:
        assert connection.execute(sqlalchemy.text(query.format(number))).scalar() == number + 1
        connection.execute(sqlalchemy.text("SELECT set_config('app.user', 'u', true)"))
        connection.commit()
    for connection in connections:
        connection.close()


def psycopg_round(pool, number):
    connections = [pool.getconn() for _ in range(SIZE)]
    for connection in connections:
        # From the fifth time on psycopg prepares it.
        for _ in range(3):
            row = connection.execute("SELECT %s::int + 1", (number,)).fetchone()
            assert row == (number + 1,)
        connection.commit()
    for connection in connections:
        pool.putconn(connection)


async def asyncpg_round(pool, number):
    connections = await asyncio.gather(*(pool.acquire() for _ in range(SIZE)))
    answers = await asyncio.gather(*(connection.fetchval("SELECT $1::int + 1", number) for connection in connections))
    assert answers == [number + 1] * SIZE, answers
    for connection in connections:
        await pool.release(connection)


async def main():
    engine = sqlalchemy.create_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1), pool_size=SIZE, max_overflow=0, pool_pre_ping=True
    )
    # Its own look at its connections (`check`) and its own workers are left as they are.
    pool = psycopg_pool.ConnectionPool(
        url, min_size=SIZE, max_size=SIZE, check=psycopg_pool.ConnectionPool.check_connection
    )
    asynchronous = await asyncpg.create_pool(
        url, min_size=SIZE, max_size=SIZE, max_inactive_connection_lifetime=0, ssl=False
    )
    loop, number = asyncio.get_running_loop(), 0
    with ThreadPoolExecutor(1) as thread:
        while await loop.run_in_executor(thread, sys.stdin.readline):
            number += 1
            try:
                await loop.run_in_executor(thread, alchemy_round, engine, number)
                await loop.run_in_executor(thread, psycopg_round, pool, number)
                await asyncpg_round(asynchronous, number)
                print("ok", flush=True)
            except Exception as error:
                print(repr(error).replace("\n", " "), flush=True)


asyncio.run(main())
