import itertools
import os

import dj_database_url
import django
import django.db
import serve
from django.conf import settings
from django.db import connections
from psycopg_program import Psycopg


class Django(Psycopg):
    """Through Django's connections; what is psycopg's own goes through the connection they hold."""

    error = django.db.Error

    def __init__(self):
        settings.configure(DATABASES={"default": {}})
        django.setup()
        self.names = itertools.count()

    def connect(self, request):
        if "url" in request:
            database = dj_database_url.parse(request["url"])
        elif "environment" in request:
            # It wants a name; libpq below it reads the rest.
            database = {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"]}
        else:
            options = serve.given(request, options="options", hostaddr="address", sslrootcert="root_certificate",
                                  channel_binding="channel_binding")
            options["sslmode"] = "verify-full" if "root_certificate" in request else "disable"
            database = {"ENGINE": "django.db.backends.postgresql", "OPTIONS": options} | serve.given(
                request, NAME="database", USER="user", PASSWORD="password", HOST="host", PORT="port")
        name = f"made{next(self.names)}"
        connections.settings[name] = connections.configure_settings({"default": database})["default"]
        return connections[name]

    def parts(self, error):
        return super().parts(error.__cause__)

    def driver(self, request):
        """psycopg's connection, made by Django."""
        connection = self.connect(request)
        connection.ensure_connection()
        return connection.connection

    def cancel(self, request):
        return WithDriver(self.driver).cancel(request)

    def copy(self, request):
        return WithDriver(self.driver).copy(request)

    def pipeline(self, request):
        return WithDriver(self.driver).pipeline(request)

    def large(self, request):
        with self.connect(request).chunked_cursor() as cursor:
            cursor.execute(request["sql"])
            rows = size = 0
            while texts := cursor.fetchmany(2000):
                rows, size = rows + len(texts), size + sum(len(text) for (text,) in texts)
            return {"rows": rows, "bytes": size}


class WithDriver(Psycopg):
    def __init__(self, connect):
        self.connect = connect


if __name__ == "__main__":
    serve.main(Django())
