import com.amazonaws.services.dynamodbv2.local.main.ServerRunner;
import com.amazonaws.services.dynamodbv2.local.server.DynamoDBProxyServer;
import java.io.OutputStream;
import java.io.PrintStream;
import java.lang.reflect.Field;
import org.eclipse.jetty.server.Connector;
import org.eclipse.jetty.server.Server;

/**
 * Runs DynamoDB Local on 127.0.0.1 only. By itself it listens on every address, to whoever asks, and has no option
 * against that; so this reaches the Jetty server inside and sets its connectors' host before they open.
 *
 * Arguments: the port, and a folder to keep the tables in. Without a folder they are in memory only. Without a port, or
 * with 0, it takes a free one and ends when standard input does, so that it can't outlive the tests that started it.
 * Its one line on standard output is the endpoint, once that answers.
 */
class Loopback {
    public static void main(String[] args) throws Exception {
        int port = args.length > 0 ? Integer.parseInt(args[0]) : 0;
        PrintStream out = System.out;
        System.setOut(new PrintStream(OutputStream.nullOutputStream())); // it prints its options
        DynamoDBProxyServer local = args.length > 1
            ? ServerRunner.createServerFromCommandLineArgs(new String[] {"-sharedDb", "-dbPath", args[1]})
            : ServerRunner.createServerFromCommandLineArgs(new String[] {"-sharedDb", "-inMemory"});

        Field field = DynamoDBProxyServer.class.getDeclaredField("server");
        field.setAccessible(true);
        Server jetty = (Server) field.get(local);
        for (Connector connector : jetty.getConnectors()) {
            connector.setHost("127.0.0.1");
            connector.setPort(port);
        }
        try {
            jetty.start();
        } catch (Exception e) { // its threads would keep this process up
            System.err.println("starting DynamoDB Local on 127.0.0.1:" + port + ": " + e);
            System.exit(1);
        }
        out.println("http://127.0.0.1:" + jetty.getConnectors()[0].getLocalPort());

        if (port == 0) {
            System.in.transferTo(OutputStream.nullOutputStream());
            Runtime.getRuntime().halt(0);
        }
    }
}
