package standin;

import com.sun.net.httpserver.Headers;
import com.sun.net.httpserver.HttpExchange;
import java.io.IOException;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Map;

/**
 * The paths the vendor's client SDKs call, with errors in the shape they understand: status 400 and a whole number as
 * errorCode. No request is ever authorised. Which code a real server picks in which case is known only from the
 * vendor's list of error codes.
 */
final class Clients {
    private static final int MAX_REPORT = 65536;
    private static final int STANDBY_REFUSES = 100;
    private static final int NO_SUCH_HANDSHAKE = 101;
    private static final int MALFORMED = 103;
    private static final int NO_MATCHING_LICENSE = 104;
    private static final int ORGANIZATION_OR_HANDSHAKE = 121;

    private final State state;
    private final Peer peer;

    Clients(State state, Peer peer) {
        this.state = state;
        this.peer = peer;
    }

    /** False when the path is none of the clients'. */
    boolean answer(HttpExchange exchange, String path) throws IOException {
        String method = switch (path) {
            case "/auth/" -> "GET";
            case "/verify/v2" -> "POST";
            default -> "";
        };
        if (method.isEmpty()) {
            return false;
        }
        allowOrigins(exchange.getResponseHeaders(), method);
        if (exchange.getRequestMethod().equals("OPTIONS")) {
            Http.send(exchange, 200, "text/plain", new byte[0]);
        } else if (!exchange.getRequestMethod().equals(method)) {
            Http.json(exchange, 405, Map.of("message", "use " + method));
        } else if (peer.refusesClients()) {
            refuse(exchange, STANDBY_REFUSES, "standby server refuses while the main server works");
        } else if (method.equals("GET")) {
            authorise(exchange);
        } else {
            recordUsage(exchange);
        }
        return true;
    }

    private static void allowOrigins(Headers headers, String method) {
        headers.set("Access-Control-Allow-Origin", "*");
        headers.set("Access-Control-Allow-Headers", "lts-time, content-type");
        headers.set("Access-Control-Allow-Methods", method + ", OPTIONS");
    }

    private void authorise(HttpExchange exchange) throws IOException {
        Map<String, Object> request;
        try {
            request = request(exchange.getRequestURI().getRawQuery());
        } catch (IllegalArgumentException | Refusal e) {
            refuse(exchange, MALFORMED, "validation field missing or malformed");
            return;
        }
        if (!(request.get("hs") instanceof String handshake && request.get("og") instanceof String organization)) {
            refuse(exchange, ORGANIZATION_OR_HANDSHAKE, "organization or handshake code missing");
        } else if (!state.knowsHandshake(handshake)) {
            refuse(exchange, NO_SUCH_HANDSHAKE, "no such handshake code");
        } else if (!state.organization().equals(organization)) {
            refuse(exchange, ORGANIZATION_OR_HANDSHAKE, "organization does not match");
        } else {
            refuse(exchange, NO_MATCHING_LICENSE, "no matching licence");
        }
    }

    private static Map<String, Object> request(String query) {
        String ext = "";
        for (String pair : (query == null ? "" : query).split("&")) {
            if (pair.startsWith("ext=")) {
                // A plus sign of Base64 may come unescaped: it is no space here.
                ext = URLDecoder.decode(pair.substring(4).replace("+", "%2B"), StandardCharsets.UTF_8);
            }
        }
        return Json.object("ext", new String(Base64.getDecoder().decode(ext), StandardCharsets.UTF_8));
    }

    private void recordUsage(HttpExchange exchange) throws IOException {
        byte[] body;
        try {
            body = Http.body(exchange, MAX_REPORT);
        } catch (Refusal e) {
            Http.json(exchange, 413, Map.of("message", e.getMessage()));
            return;
        }
        try {
            long number = state.recordUsage(body);
            Http.json(exchange, 200, Map.of("message", "Recorded. Stand-in, not a licence server", "report", number));
        } catch (IOException e) {
            Log.line("ERROR " + e.getMessage());
            Http.json(exchange, 500, Map.of("message", String.valueOf(e.getMessage())));
        }
    }

    private static void refuse(HttpExchange exchange, int code, String message) throws IOException {
        Http.json(exchange, 400, Map.of("errorCode", code, "message", "Stand-in, not a licence server: " + message));
    }
}
