"""What the Python programs share: a line with a request comes in, a line with an answer goes out."""

import json
import socket
import sys
from concurrent.futures import ThreadPoolExecutor


def main(client):
    def answer(request):
        try:
            return getattr(client, request["do"])(request)
        except Exception as error:  # whatever it is, the test is to see it
            return {"failed": f"{type(error).__module__}.{type(error).__name__}: {error}"}

    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "together":
            with ThreadPoolExecutor(len(request["requests"])) as threads:
                answers = {"answers": list(threads.map(answer, request["requests"]))}
        else:
            answers = answer(request)
        print(json.dumps(answers), flush=True)


def given(request, **names):
    """The parts of a connection that the request has, by the names that the driver uses."""
    return {name: request[part] for name, part in names.items() if part in request}


_resolve = socket.getaddrinfo


def _resolve_here(host, *rest, **more):
    return _resolve("127.0.0.1" if str(host).endswith(".localhost") else host, *rest, **more)


# Not every machine resolves the names below localhost.
socket.getaddrinfo = _resolve_here


class DbApi:
    """The cases of a driver with PEP 249's cursors; `connect`, `parts` and the rest are the driver's own."""

    error = Exception

    def one(self, connection, sql):
        cursor = connection.cursor()
        cursor.execute(sql)
        return str(cursor.fetchone()[0])

    def ask(self, request):
        connection = self.connect(request)
        try:
            return {"answer": self.one(connection, request["sql"])}
        finally:
            connection.close()

    def refused(self, request):
        try:
            self.ask(request)
        except self.error as error:
            return self.parts(error)
        return {"failed": "was let in"}

    def error_arrives(self, request):
        connection = self.connect(request)
        try:
            self.one(connection, request["sql"])
        except self.error as error:
            return self.parts(error) | {"after": self.one(connection, "select 1")}
        finally:
            connection.close()
        return {"failed": "no error came"}
