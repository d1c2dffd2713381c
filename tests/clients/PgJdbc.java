import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.postgresql.PGConnection;

/** pgjdbc: text and binary, simple and extended, batches, cursors, COPY, cancellation, metadata. */
public final class PgJdbc {
    interface Action {
        void run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        // Prepared under a name and in binary at once; at the fifth time; never.
        for (String[] options : new String[][] {{"prepareThreshold", "-1"}, {}, {"preferQueryMode", "simple"}}) {
            play(options);
        }
        System.out.println("ok");
    }

    static Connection connect(String... options) throws SQLException {
        var env = System.getenv();
        var properties = new Properties();
        properties.setProperty("user", env.get("PGUSER"));
        properties.setProperty("password", env.get("PGPASSWORD"));
        properties.setProperty("sslmode", env.get("PGSSLMODE"));
        for (int n = 0; n < options.length; n += 2) {
            properties.setProperty(options[n], options[n + 1]);
        }
        var url = "jdbc:postgresql://%s:%s/%s".formatted(env.get("PGHOST"), env.get("PGPORT"), env.get("PGDATABASE"));
        return DriverManager.getConnection(url, properties);
    }

    static void play(String... options) throws Exception {
        try (Connection conn = connect(options)) {
            reads(conn);
            denials(conn);
            transactions(conn);
            batches(conn);
            copies(conn);
            cancels(conn);
            metadata(conn);
        }
    }

    static void reads(Connection conn) throws Exception {
        try (PreparedStatement one = conn.prepareStatement("select id, email, card, ssn, born from customers where id = ?")) {
            for (int n = 0; n < 8; n++) {
                one.setInt(1, 1);
                try (ResultSet rows = one.executeQuery()) {
                    check(rows.next() && rows.getInt(1) == 1, "no row");
                    same(rows.getString(2), "a***@example.com");
                    same(rows.getString(3), "***************1111");
                    same(rows.getString(4), "[redacted] ");
                    same(rows.getDate(5).toString(), "1985-12-10");
                }
            }
        }
        // In pieces, over a portal.
        conn.setAutoCommit(false);
        try (Statement all = conn.createStatement()) {
            all.setFetchSize(3);
            int count = 0;
            try (ResultSet rows = all.executeQuery("select c.email, o.cents from customers c join orders o on o.customer = c.id")) {
                for (; rows.next(); count++) {
                    check(rows.getString(1).contains("***@"), rows.getString(1));
                }
            }
            same(count, 40);
        }
        conn.setAutoCommit(true);
    }

    static void denials(Connection conn) throws Exception {
        try (Statement any = conn.createStatement()) {
            var error = fails("42501", () -> any.execute("delete from orders"));
            check(error.getMessage().contains("no-destructive-sql"), error.getMessage());
            fails("22012", () -> any.execute("select 1 / 0"));
            fails("42P01", () -> any.execute("select * from nowhere"));
            fails("23505", () -> any.execute("insert into orders (id, customer, product, cents) values (1, 1, 'x', 1)"));
            same(number(conn, "select 5"), 5);
        }
    }

    static void transactions(Connection conn) throws Exception {
        conn.setAutoCommit(false);
        try (Statement any = conn.createStatement()) {
            any.executeUpdate("insert into orders (id, customer, product, cents) values (900, 1, 'lamp', 5)");
            var before = conn.setSavepoint();
            fails("42501", () -> any.execute("truncate orders"));
            fails("25P02", () -> any.execute("select 1"));
            conn.rollback(before);
            same(number(conn, "select count(*)::int from orders"), 41);
            conn.rollback();
            same(number(conn, "select count(*)::int from orders"), 40);
            conn.commit();
        }
        conn.setAutoCommit(true);
    }

    static void batches(Connection conn) throws Exception {
        conn.setAutoCommit(false);
        try (PreparedStatement one = conn.prepareStatement("insert into orders (id, customer, product, cents) values (?, ?, ?, ?)")) {
            for (int n = 0; n < 50; n++) {
                one.setInt(1, 1000 + n);
                one.setInt(2, 1);
                one.setString(3, "thing " + n);
                one.setInt(4, n);
                one.addBatch();
            }
            same(one.executeBatch().length, 50);
        }
        same(number(conn, "select count(*)::int from orders"), 90);
        try (Statement some = conn.createStatement()) {
            some.addBatch("insert into orders (id, customer, product, cents) values (5000, 1, 'x', 1)");
            some.addBatch("update orders set cents = 0");
            some.addBatch("insert into orders (id, customer, product, cents) values (5001, 1, 'x', 1)");
            fails("42501", some::executeBatch);
        }
        conn.rollback();
        conn.setAutoCommit(true);
        same(number(conn, "select count(*)::int from orders"), 40);
    }

    static void copies(Connection conn) throws Exception {
        var copy = conn.unwrap(PGConnection.class).getCopyAPI();
        var rows = new StringBuilder();
        for (int n = 0; n < 500; n++) {
            rows.append(7000 + n).append("\t1\tthing\t5\n");
        }
        same(copy.copyIn("copy orders (id, customer, product, cents) from stdin", new StringReader(rows.toString())), 500L);
        fails("42501", () -> copy.copyOut("copy customers to stdout", new StringWriter()));
        try (Statement any = conn.createStatement()) {
            same(any.executeUpdate("delete from orders where id >= 7000"), 500);
        }
    }

    static void cancels(Connection conn) throws Exception {
        try (Statement slow = conn.createStatement()) {
            slow.setQueryTimeout(1);
            fails("57014", () -> slow.execute("select pg_sleep(600)"));
        }
        same(number(conn, "select 3"), 3);
    }

    static void metadata(Connection conn) throws Exception {
        var about = conn.getMetaData();
        List<String> found = new ArrayList<>();
        try (ResultSet tables = about.getTables(null, "public", "%", new String[] {"TABLE", "VIEW"})) {
            while (tables.next()) {
                found.add(tables.getString("TABLE_NAME"));
            }
        }
        same(found.toString(), "[customers, orders, contacts]");
        found.clear();
        try (ResultSet columns = about.getColumns(null, "public", "customers", "%")) {
            while (columns.next()) {
                found.add(columns.getString("COLUMN_NAME"));
            }
        }
        same(found.toString(), "[id, name, email, card, ssn, born, note]");
        try (ResultSet keys = about.getImportedKeys(null, "public", "orders")) {
            check(keys.next(), "no foreign key");
            same(keys.getString("PKTABLE_NAME"), "customers");
        }
        try (ResultSet keys = about.getPrimaryKeys(null, "public", "orders")) {
            check(keys.next(), "no primary key");
        }
        try (ResultSet indexes = about.getIndexInfo(null, "public", "orders", true, false)) {
            check(indexes.next(), "no index");
        }
        try (ResultSet types = about.getTypeInfo()) {
            check(types.next(), "no type");
        }
        check(about.getSQLKeywords().contains("ilike"), about.getSQLKeywords());
    }

    static int number(Connection conn, String text) throws SQLException {
        try (Statement any = conn.createStatement(); ResultSet rows = any.executeQuery(text)) {
            rows.next();
            return rows.getInt(1);
        }
    }

    static SQLException fails(String state, Action action) throws Exception {
        try {
            action.run();
        } catch (SQLException error) {
            same(error.getSQLState(), state);
            return error;
        }
        throw new AssertionError("no " + state);
    }

    static void same(Object is, Object expected) {
        check(is.equals(expected), is + " is not " + expected);
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
