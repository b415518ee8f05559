package standin;

import com.sun.net.httpserver.HttpExchange;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.security.SecureRandom;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * The portal's page and its JSON calls below /api/. The labels are the documented ones; the calls are the stand-in's
 * own, since the vendor documents none.
 */
final class Portal {
    private static final int MAX_BODY = 1 << 20;
    private static final String COOKIE = "standin-session";
    private static final Map<String, String> TYPES = Map.of(
            "/page/index.html", "text/html; charset=utf-8",
            "/page/portal.js", "text/javascript; charset=utf-8",
            "/page/portal.css", "text/css; charset=utf-8");

    private interface Call {
        void run(Map<String, Object> fields) throws IOException;
    }

    private final State state;
    private final Settings settings;
    private final String uuid;
    private final Set<String> sessions = ConcurrentHashMap.newKeySet();
    private final Map<String, Call> calls = new HashMap<>();

    Portal(State state, Settings settings, String uuid) {
        this.state = state;
        this.settings = settings;
        this.uuid = uuid;
        calls.put("/api/change-password", this::changePassword);
        calls.put("/api/import", f -> state.importLicense(
                text(f, "text"), uuid, text(f, "project"), text(f, "newProject")));
        calls.put("/api/new-project", f -> state.newProject(text(f, "name")));
        calls.put("/api/server-url", f -> state.setServerUrl(text(f, "which"), text(f, "url")));
        calls.put("/api/alert-sender", f -> state.setAlert("sender", f));
        calls.put("/api/alert-receiver", f -> state.setAlert("receiver", f));
    }

    /** False when the path is none of the portal's. */
    boolean answer(HttpExchange exchange, String path) throws IOException {
        if (TYPES.containsKey(path)) {
            page(exchange, path);
        } else if (path.equals("/api/state")) {
            Http.json(exchange, 200, view(exchange));
        } else if (path.equals("/api/first-visit") || path.equals("/api/login")) {
            post(exchange, fields -> signIn(exchange, path, fields));
        } else if (path.equals("/api/logout")) {
            post(exchange, fields -> sessions.remove(session(exchange)));
        } else if (calls.containsKey(path) && !sessions.contains(session(exchange))) {
            Http.json(exchange, 401, Map.of("message", "log in first"));
        } else if (calls.containsKey(path)) {
            post(exchange, calls.get(path));
        } else {
            return false;
        }
        return true;
    }

    private void page(HttpExchange exchange, String path) throws IOException {
        try (InputStream resource = Portal.class.getResourceAsStream(path.substring("/page/".length()))) {
            Http.send(exchange, settings.healthStatus(), TYPES.get(path), resource.readAllBytes());
        }
    }

    private Map<String, Object> view(HttpExchange exchange) {
        boolean loggedIn = sessions.contains(session(exchange));
        Map<String, Object> view = new HashMap<>();
        view.put("standin", true);
        view.put("version", settings.version());
        view.put("labels", settings.labels());
        view.put("passwordSet", state.passwordSet());
        view.put("loggedIn", loggedIn);
        if (loggedIn) {
            view.put("uuid", uuid);
            view.putAll(state.view());
        }
        return view;
    }

    private void post(HttpExchange exchange, Call call) throws IOException {
        if (!exchange.getRequestMethod().equals("POST")) {
            Http.json(exchange, 405, Map.of("message", "use POST"));
            return;
        }
        try {
            String body = new String(Http.body(exchange, MAX_BODY), StandardCharsets.UTF_8);
            call.run(Json.object("request", body));
        } catch (Refusal e) {
            Http.json(exchange, 400, Map.of("message", e.getMessage()));
            return;
        } catch (IOException e) {
            Log.line("ERROR " + e.getMessage());
            Http.json(exchange, 500, Map.of("message", String.valueOf(e.getMessage())));
            return;
        }
        Http.json(exchange, 200, Map.of());
    }

    private void signIn(HttpExchange exchange, String path, Map<String, Object> fields) throws IOException {
        if (path.equals("/api/first-visit")) {
            state.setFirstPassword(text(fields, "password"));
        } else if (!text(fields, "user").equals("admin") || !state.passwordMatches(text(fields, "password"))) {
            throw new Refusal("login: must be admin and the right password");
        }
        byte[] random = new byte[16];
        new SecureRandom().nextBytes(random);
        String session = HexFormat.of().formatHex(random);
        sessions.add(session);
        exchange.getResponseHeaders().set("Set-Cookie", COOKIE + "=" + session + "; HttpOnly; SameSite=Strict");
    }

    private void changePassword(Map<String, Object> fields) throws IOException {
        if (!state.passwordMatches(text(fields, "old"))) {
            throw new Refusal("old password: must be the right one");
        }
        state.setPassword(text(fields, "new"));
    }

    private static String session(HttpExchange exchange) {
        for (String header : exchange.getRequestHeaders().getOrDefault("Cookie", List.of())) {
            for (String pair : header.split(";\\s*")) {
                if (pair.startsWith(COOKIE + "=")) {
                    return pair.substring(COOKIE.length() + 1);
                }
            }
        }
        return "";
    }

    private static String text(Map<String, Object> fields, String name) {
        return fields.get(name) instanceof String text ? text : "";
    }
}
