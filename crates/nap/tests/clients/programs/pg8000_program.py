import io
import ssl

import pg8000.dbapi
import serve


class Pg8000(serve.DbApi):
    error = pg8000.dbapi.DatabaseError

    def connect(self, request):
        parts = serve.given(request, host="host", port="port", user="user", password="password", database="database",
                            unix_sock="socket_file")
        settings = dict(request.get("parameters", {}))
        if "options" in request:
            settings["options"] = request["options"]
        certificate = request.get("root_certificate")
        parts["ssl_context"] = ssl.create_default_context(cafile=certificate) if certificate else False
        connection = pg8000.dbapi.connect(**parts, startup_params=settings)
        # It binds the channel by itself when it can, and cannot be told to require it.
        if "channel_binding" in request and connection.auth.mechanism_name != "SCRAM-SHA-256-PLUS":
            raise AssertionError(connection.auth.mechanism_name)
        connection.autocommit = True
        return connection

    def parts(self, error):
        told = error.args[0]
        return {"sqlstate": told["C"], "message": told["M"], "detail": told.get("D"), "hint": told.get("H")}

    def copy(self, request):
        connection = self.connect(request)
        cursor = connection.cursor()
        cursor.execute(request["create"])
        cursor.execute(request["copy_in"], stream=io.BytesIO(request["rows"].encode()))
        back = io.BytesIO()
        cursor.execute(request["copy_out"], stream=back)
        return {"sum": self.one(connection, request["sum"]), "same": back.getvalue().decode() == request["rows"]}

    def large(self, request):
        connection = self.connect(request)
        cursor = connection.cursor()
        cursor.execute("begin")
        cursor.execute("declare large cursor for " + request["sql"])
        rows = size = 0
        while True:
            cursor.execute("fetch 5000 from large")
            texts = cursor.fetchall()
            if not texts:
                return {"rows": rows, "bytes": size}
            rows, size = rows + len(texts), size + sum(len(text) for (text,) in texts)


if __name__ == "__main__":
    serve.main(Pg8000())
