import asyncio
import io
import ssl

import asyncpg
import serve


def in_loop(method):
    return lambda self, request: asyncio.run(method(self, request))


class Asyncpg:
    async def connect(self, request):
        if "url" in request:
            return await asyncpg.connect(request["url"])
        if "environment" in request:
            return await asyncpg.connect()
        parts = serve.given(request, host="host", port="port", user="user", password="password", database="database")
        settings = dict(request.get("parameters", {}))
        if "options" in request:
            settings["options"] = request["options"]
        certificate = request.get("root_certificate")
        parts["ssl"] = ssl.create_default_context(cafile=certificate) if certificate else False
        return await asyncpg.connect(**parts, server_settings=settings)

    def parts(self, error):
        return {"sqlstate": error.sqlstate, "message": error.message, "detail": error.detail, "hint": error.hint}

    @in_loop
    async def ask(self, request):
        connection = await self.connect(request)
        answer = await connection.fetchval(request["sql"])
        await connection.close()
        return {"answer": answer}

    @in_loop
    async def refused(self, request):
        try:
            await self.connect(request)
        except asyncpg.PostgresError as error:
            return self.parts(error)

    @in_loop
    async def error_arrives(self, request):
        connection = await self.connect(request)
        try:
            await connection.execute(request["sql"])
        except asyncpg.PostgresError as error:
            return self.parts(error) | {"after": str(await connection.fetchval("select 1"))}

    @in_loop
    async def cancel(self, request):
        connection, watcher = await self.connect(request), await self.connect(request)
        sleeper = asyncio.create_task(connection.execute(request["sql"]))
        while await watcher.fetchval(request["watch"]) != 1:
            await asyncio.sleep(0.01)
        sleeper.cancel()  # asyncpg sends a CancelRequest and swallows the server's error
        try:
            await sleeper
        except asyncio.CancelledError:
            after = str(await connection.fetchval("select 1"))
            gone = await watcher.fetchval(request["watch"])
            return {"sqlstate": "57014" if gone == 0 else None, "after": after}

    @in_loop
    async def copy(self, request):
        connection = await self.connect(request)
        await connection.execute(request["create"])
        await connection.copy_to_table("goods", source=io.BytesIO(request["rows"].encode()))
        back = io.BytesIO()
        await connection.copy_from_query(request["select"], output=back)
        total = await connection.fetchval(request["sum"])
        await connection.close()
        return {"sum": str(total), "same": back.getvalue().decode() == request["rows"]}

    @in_loop
    async def pipeline(self, request):
        connection = await self.connect(request)
        await connection.execute(request["create"])
        # Its one way to have many on the way: all Binds of executemany go out before the first answer is read.
        rows = [(number, "") for number in range(request["count"])]
        await connection.executemany("insert into goods values ($1, $2)", rows)
        return {"sum": int(await connection.fetchval(request["sum"]))}

    @in_loop
    async def large(self, request):
        connection = await self.connect(request)
        rows = size = 0
        async with connection.transaction():
            async for record in connection.cursor(request["sql"], prefetch=1000):
                rows, size = rows + 1, size + len(record[0])
        return {"rows": rows, "bytes": size}


if __name__ == "__main__":
    serve.main(Asyncpg())
