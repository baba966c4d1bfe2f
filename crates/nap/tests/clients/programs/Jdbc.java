import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.StringReader;
import java.io.StringWriter;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.postgresql.PGConnection;
import org.postgresql.PGProperty;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

/** pgjdbc: a line with a request comes in, a line with an answer goes out. */
public class Jdbc {
    public static void main(String[] arguments) throws Exception {
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            JsonObject request = JsonParser.parseString(line).getAsJsonObject();
            System.out.println(text(request, "do").equals("together") ? together(request) : answer(request));
        }
    }

    static JsonObject answer(JsonObject request) {
        JsonObject answer = new JsonObject();
        try {
            answer(request, answer);
        } catch (Exception error) {
            answer.addProperty("failed", error.toString());
        }
        return answer;
    }

    /** Answers to requests that are all on their way at once. */
    static JsonObject together(JsonObject request) throws Exception {
        var threads = Executors.newCachedThreadPool();
        List<Future<JsonObject>> asked = new ArrayList<>();
        for (JsonElement one : request.getAsJsonArray("requests")) {
            asked.add(threads.submit(() -> answer(one.getAsJsonObject())));
        }
        JsonArray answers = new JsonArray();
        for (Future<JsonObject> one : asked) {
            answers.add(one.get());
        }
        threads.shutdown();
        JsonObject all = new JsonObject();
        all.add("answers", answers);
        return all;
    }

    static void answer(JsonObject request, JsonObject answer) throws Exception {
        switch (text(request, "do")) {
            case "ask" -> ask(request, answer);
            case "refused" -> refused(request, answer);
            case "error_arrives" -> errorArrives(request, answer);
            case "cancel" -> cancel(request, answer);
            case "copy" -> copy(request, answer);
            case "pipeline" -> pipeline(request, answer);
            case "large" -> large(request, answer);
            case "knows" -> answer.addProperty("knows", PGProperty.forName(text(request, "property")) != null);
            default -> throw new IllegalArgumentException(text(request, "do"));
        }
    }

    static String text(JsonObject request, String name) {
        return request.has(name) ? request.get(name).getAsString() : null;
    }

    static Connection connect(JsonObject request) throws SQLException {
        if (request.has("jdbc_url")) {
            return DriverManager.getConnection(text(request, "jdbc_url"));
        }
        Properties properties = new Properties();
        for (String name : new String[] {"user", "password", "options"}) {
            if (request.has(name)) {
                properties.setProperty(name, text(request, name));
            }
        }
        properties.setProperty("sslmode", request.has("root_certificate") ? "verify-full" : "disable");
        if (request.has("root_certificate")) {
            properties.setProperty("sslrootcert", text(request, "root_certificate"));
        }
        if (request.has("channel_binding")) {
            properties.setProperty("channelBinding", text(request, "channel_binding"));
        }
        if (request.has("socket_file")) {
            properties.setProperty("socketFactory", UnixSockets.class.getName());
            properties.setProperty("socketFactoryArg", text(request, "socket_file"));
        }
        String database = URLEncoder.encode(text(request, "database"), StandardCharsets.UTF_8);
        String host = request.has("socket_file") ? "localhost" : text(request, "host");
        String url = "jdbc:postgresql://" + host + ":" + text(request, "port") + "/" + database;
        return DriverManager.getConnection(url, properties);
    }

    static String one(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            if (!statement.execute(sql)) {
                return null;
            }
            ResultSet rows = statement.getResultSet();
            rows.next();
            return rows.getString(1);
        }
    }

    static void tell(JsonObject answer, SQLException error) {
        answer.addProperty("sqlstate", error.getSQLState());
        answer.addProperty("message", error.getMessage());
        ServerErrorMessage told = error instanceof PSQLException ours ? ours.getServerErrorMessage() : null;
        if (told != null) {
            answer.addProperty("message", told.getMessage());
            answer.addProperty("detail", told.getDetail());
            answer.addProperty("hint", told.getHint());
        }
    }

    static void ask(JsonObject request, JsonObject answer) throws SQLException {
        try (Connection connection = connect(request)) {
            answer.addProperty("answer", one(connection, text(request, "sql")));
        }
    }

    static void refused(JsonObject request, JsonObject answer) {
        try {
            connect(request);
        } catch (SQLException error) {
            tell(answer, error);
        }
    }

    static void errorArrives(JsonObject request, JsonObject answer) throws SQLException {
        try (Connection connection = connect(request)) {
            try {
                one(connection, text(request, "sql"));
            } catch (SQLException error) {
                tell(answer, error);
                answer.addProperty("after", one(connection, "select 1"));
            }
        }
    }

    static void cancel(JsonObject request, JsonObject answer) throws Exception {
        try (Connection connection = connect(request); Connection watcher = connect(request)) {
            Statement sleeper = connection.createStatement();
            Thread canceller = new Thread(() -> {
                try {
                    while (!"1".equals(one(watcher, text(request, "watch")))) {
                        Thread.sleep(10);
                    }
                    sleeper.cancel();
                } catch (Exception error) {
                    throw new IllegalStateException(error);
                }
            });
            canceller.start();
            try {
                sleeper.execute(text(request, "sql"));
            } catch (SQLException error) {
                answer.addProperty("sqlstate", error.getSQLState());
                answer.addProperty("after", one(connection, "select 1"));
            }
            canceller.join();
        }
    }

    static void copy(JsonObject request, JsonObject answer) throws Exception {
        try (Connection connection = connect(request)) {
            one(connection, text(request, "create"));
            var copying = connection.unwrap(PGConnection.class).getCopyAPI();
            copying.copyIn(text(request, "copy_in"), new StringReader(text(request, "rows")));
            StringWriter back = new StringWriter();
            copying.copyOut(text(request, "copy_out"), back);
            answer.addProperty("same", back.toString().equals(text(request, "rows")));
            answer.addProperty("sum", one(connection, text(request, "sum")));
        }
    }

    /** A batch: pgjdbc sends all of it before it reads the first answer. */
    static void pipeline(JsonObject request, JsonObject answer) throws SQLException {
        try (Connection connection = connect(request)) {
            one(connection, text(request, "create"));
            PreparedStatement insert = connection.prepareStatement("insert into goods values (?, '')");
            for (int number = 0; number < request.get("count").getAsInt(); number++) {
                insert.setInt(1, number);
                insert.addBatch();
            }
            insert.executeBatch();
            answer.addProperty("sum", Integer.valueOf(one(connection, text(request, "sum"))));
        }
    }

    static void large(JsonObject request, JsonObject answer) throws SQLException {
        try (Connection connection = connect(request)) {
            connection.setAutoCommit(false); // rows come in parts only inside a transaction
            Statement statement = connection.createStatement();
            statement.setFetchSize(1000);
            ResultSet texts = statement.executeQuery(text(request, "sql"));
            int rows = 0;
            long bytes = 0;
            while (texts.next()) {
                rows++;
                bytes += texts.getString(1).length();
            }
            answer.addProperty("rows", rows);
            answer.addProperty("bytes", bytes);
        }
    }
}
