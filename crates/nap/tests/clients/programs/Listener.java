import java.sql.DriverManager;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

/** A listener of pgjdbc: each notification is a line of output. Arguments: URL, user, password. Says `ready` when it listens. */
class Listener {
    public static void main(String[] arguments) throws Exception {
        try (var connection = DriverManager.getConnection(arguments[0], arguments[1], arguments[2])) {
            try (var statement = connection.createStatement()) {
                statement.execute("LISTEN jobs");
            }
            System.out.println("ready");
            while (true) {
                // 0: until one comes.
                for (PGNotification notification : connection.unwrap(PGConnection.class).getNotifications(0)) {
                    System.out.println("pgjdbc " + notification.getParameter());
                }
            }
        }
    }
}
