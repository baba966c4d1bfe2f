import psycopg
import serve
import sqlalchemy
from psycopg_program import Psycopg
from sqlalchemy.pool import NullPool


class SqlAlchemy(Psycopg):
    """Through an engine, as its users do; what is psycopg's own goes through the connection it gives out."""

    def engine(self, request):
        options = {}
        if "url" in request:
            url = request["url"].replace("postgresql:", "postgresql+psycopg:", 1)
        elif "environment" in request:
            url = "postgresql+psycopg://"
        else:
            url = sqlalchemy.URL.create(
                "postgresql+psycopg", username=request["user"], password=request.get("password"),
                host=request["host"], port=request["port"], database=request["database"])
            options = serve.given(request, options="options", hostaddr="address", sslrootcert="root_certificate",
                                  channel_binding="channel_binding")
            options["sslmode"] = "verify-full" if "root_certificate" in request else "disable"
        return sqlalchemy.create_engine(url, connect_args=options, poolclass=NullPool, isolation_level="AUTOCOMMIT")

    def __init__(self):
        self.kept = []

    def connect(self, request):
        """psycopg's connection, made by the engine, which closes it when it forgets what it gave out."""
        self.kept.append(self.engine(request).raw_connection())
        connection = self.kept[-1].dbapi_connection
        connection.autocommit = True
        return connection

    def ask(self, request):
        with self.engine(request).connect() as connection:
            return {"answer": connection.execute(sqlalchemy.text(request["sql"])).scalar_one()}

    def refused(self, request):
        try:
            self.ask(request)
        except sqlalchemy.exc.DBAPIError as error:
            return self.parts(error.orig)

    def error_arrives(self, request):
        with self.engine(request).connect() as connection:
            try:
                connection.exec_driver_sql(request["sql"])
            except sqlalchemy.exc.DBAPIError as error:
                after = connection.execute(sqlalchemy.text("select 1")).scalar_one()
                return self.parts(error.orig) | {"after": str(after)}

    def large(self, request):
        rows = size = 0
        with self.engine(request).connect() as connection:
            streaming = connection.execution_options(isolation_level="READ COMMITTED", yield_per=1000)
            for (text,) in streaming.execute(sqlalchemy.text(request["sql"])):
                rows, size = rows + 1, size + len(text)
        return {"rows": rows, "bytes": size}


if __name__ == "__main__":
    serve.main(SqlAlchemy())
