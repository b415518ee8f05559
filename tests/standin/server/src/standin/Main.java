package standin;

import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.BindException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.file.Path;
import java.util.concurrent.Executors;

/**
 * Starts the stand-in: lock, state, hardware UUID, data port on loopback, then the portal and the client paths on all
 * addresses. Exit status 1 with one ERROR line in the log when any of that is refused.
 */
final class Main {
    private static final int THREADS = 8;

    public static void main(String[] args) throws Exception {
        Path home = home();
        try {
            Log.open(home.resolve("logs"));
            run(home, Settings.load(home), args);
        } catch (Refusal | IOException e) {
            Log.line("ERROR " + e.getMessage());
            Runtime.getRuntime().halt(1);
        }
    }

    private static void run(Path home, Settings settings, String[] args) throws Exception {
        Ports ports = Ports.parse(args, settings.dataPort());
        Log.line("Stand-in " + settings.version() + ", not a licence server, starts in " + home);
        InstanceLock.take(home.resolve("data"));
        Store store = Store.open(home.resolve("data"), settings);
        State state = new State(store);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> stop(store, settings)));
        crashAfter(settings.startCrash());
        sleep(settings.startDelay());
        String uuid = Identity.uuid(settings.uuidSalt());
        Peer peer = Peer.from(home.resolve("dls.json"));
        openDataPort(ports.data());
        HttpServer http = bind(ports.server());
        http.setExecutor(Executors.newFixedThreadPool(THREADS));
        http.createContext("/", new Router(new Clients(state, peer), new Portal(state, settings, uuid)));
        http.start();
        Log.line("UUID: " + uuid);
        Log.line("Role: " + peer.role());
        Log.line("Ready: http://127.0.0.1:" + ports.server() + "/page/index.html#/");
    }

    /** The installation folder: the one the jar lies in. */
    private static Path home() throws Exception {
        Path jar = Path.of(Main.class.getProtectionDomain().getCodeSource().getLocation().toURI());
        return jar.toRealPath().getParent();
    }

    private static void stop(Store store, Settings settings) {
        Log.line("Stops");
        sleep(settings.stopDelay());
        store.close();
        Log.line("Stopped");
    }

    private static void crashAfter(int seconds) {
        if (seconds < 0) {
            return;
        }
        daemon("crash", () -> {
            sleep(seconds);
            Log.line("ERROR start.crash: told to crash after " + seconds + " seconds");
            Runtime.getRuntime().halt(1);
        });
    }

    private static HttpServer bind(int port) throws IOException {
        try {
            return HttpServer.create(new InetSocketAddress(port), 0);
        } catch (BindException e) {
            throw new Refusal("--server.port: must be a free port, got " + port + " (" + e.getMessage() + ")");
        }
    }

    /** The data port's protocol is unknown: it accepts and closes, and never answers. */
    private static void openDataPort(int port) throws IOException {
        ServerSocket socket = new ServerSocket();
        try {
            socket.bind(new InetSocketAddress(InetAddress.getLoopbackAddress(), port));
        } catch (BindException e) {
            throw new Refusal("--data.port: must be a free port, got " + port + " (" + e.getMessage() + ")");
        }
        daemon("data-port", () -> {
            while (true) {
                try {
                    socket.accept().close();
                } catch (IOException e) {
                    Log.line("data port: " + e.getMessage());
                }
            }
        });
    }

    static void daemon(String name, Runnable body) {
        Thread thread = new Thread(body, name);
        thread.setDaemon(true);
        thread.start();
    }

    static void sleep(int seconds) {
        try {
            Thread.sleep(Math.max(0, seconds) * 1000L);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
