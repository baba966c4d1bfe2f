import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.util.ArrayList;
import java.util.List;

/** HikariCP with twenty connections. Each line of input is a round: every connection answers queries. */
public class Pools {
    static final int SIZE = 20;

    static void round(HikariDataSource pool, int number) throws Exception {
        List<Connection> connections = new ArrayList<>();
        for (int i = 0; i < SIZE; i++) connections.add(pool.getConnection());
        for (Connection connection : connections) {
            // From the fifth time on pgjdbc gives the statement a name.
            for (int i = 0; i < 3; i++) {
                try (PreparedStatement statement = connection.prepareStatement("SELECT ?::int + 1")) {
                    statement.setInt(1, number);
                    try (ResultSet rows = statement.executeQuery()) {
                        rows.next();
                        if (rows.getInt(1) != number + 1) throw new Exception("another sum");
                    }
                }
            }
        }
        for (Connection connection : connections) connection.close();
    }

    public static void main(String[] arguments) throws Exception {
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl(arguments[0]);
        config.setUsername(arguments[1]);
        config.setPassword(arguments[2]);
        config.setMinimumIdle(SIZE);
        config.setMaximumPoolSize(SIZE);
        config.setIdleTimeout(0);
        config.setMaxLifetime(0);
        HikariDataSource pool = new HikariDataSource(config);
        BufferedReader rounds = new BufferedReader(new InputStreamReader(System.in));
        for (int number = 1; rounds.readLine() != null; number++) {
            try {
                round(pool, number);
                System.out.println("ok");
            } catch (Exception error) {
                System.out.println(error.toString().replace("\n", " "));
            }
        }
        pool.close();
    }
}
