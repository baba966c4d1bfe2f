import threading
import time

import psycopg
import serve


class Psycopg(serve.DbApi):
    error = psycopg.Error

    def connect(self, request, **more):
        for string in ("url", "keywords"):
            if string in request:
                return psycopg.connect(request[string], autocommit=True, **more)
        if "environment" in request:
            return psycopg.connect(autocommit=True, **more)
        parts = serve.given(
            request, host="host", port="port", user="user", password="password", dbname="database", options="options",
            hostaddr="address", sslrootcert="root_certificate", channel_binding="channel_binding")
        parts["sslmode"] = "verify-full" if "root_certificate" in request else "disable"
        return psycopg.connect(**parts, autocommit=True, **more)

    def parts(self, error):
        told = error.diag
        return {"sqlstate": error.sqlstate, "message": told.message_primary or str(error), "detail": told.message_detail,
                "hint": told.message_hint or str(error)}

    def cancel(self, request):
        with self.connect(request) as connection, self.connect(request) as watcher:
            def cancel():
                while self.one(watcher, request["watch"]) != "1":
                    time.sleep(0.01)
                connection.cancel_safe()
            canceller = threading.Thread(target=cancel)
            canceller.start()
            try:
                connection.execute(request["sql"])
            except psycopg.Error as error:
                canceller.join()
                return {"sqlstate": error.sqlstate, "after": self.one(connection, "select 1")}

    def copy(self, request):
        with self.connect(request) as connection:
            cursor = connection.cursor()
            cursor.execute(request["create"])
            with cursor.copy(request["copy_in"]) as copy:
                copy.write(request["rows"])
            with cursor.copy(request["copy_out"]) as copy:
                back = b"".join(copy).decode()
            return {"sum": self.one(connection, request["sum"]), "same": back == request["rows"]}

    def pipeline(self, request):
        with self.connect(request) as connection, connection.pipeline():
            cursors = [connection.execute("select %s::int", (number,)) for number in range(request["count"])]
            return {"sum": sum(cursor.fetchone()[0] for cursor in cursors)}

    def large(self, request):
        with self.connect(request) as connection:
            rows = size = 0
            for (text,) in connection.cursor().stream(request["sql"]):
                rows, size = rows + 1, size + len(text)
            return {"rows": rows, "bytes": size}


if __name__ == "__main__":
    serve.main(Psycopg())
