package standin;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/** Client paths, portal, or 404. Logs method, path and status of every request, never the query: it can hold a secret. */
final class Router implements HttpHandler {
    private final Clients clients;
    private final Portal portal;

    Router(Clients clients, Portal portal) {
        this.clients = clients;
        this.portal = portal;
    }

    @Override
    public void handle(HttpExchange exchange) {
        String path = exchange.getRequestURI().getPath();
        try (exchange) {
            if (!clients.answer(exchange, path) && !portal.answer(exchange, path)) {
                byte[] text = "Not found. Stand-in, not a licence server.\n".getBytes(StandardCharsets.UTF_8);
                Http.send(exchange, 404, "text/plain; charset=utf-8", text);
            }
        } catch (IOException | RuntimeException e) {
            Log.line("ERROR " + path + ": " + e);
        }
        Log.line(exchange.getRequestMethod() + " " + path + " " + exchange.getResponseCode());
    }
}
