package standin;

import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/**
 * Main or standby, from dls.json: the first server is the main, the second the standby, "self" is this one. A standby
 * asks the main's client path once a second and refuses clients while it is answered; how the vendor's standby finds
 * out is unknown.
 */
final class Peer {
    private static final int TIMEOUT_MS = 2000;
    private static final int MAX_ANSWER = 65536;
    private final String role;
    private volatile boolean mainUp;

    private Peer(String role) {
        this.role = role;
    }

    /** Single when the file is absent; a Refusal when it breaks the documented form. */
    static Peer from(Path file) throws IOException {
        if (!Files.exists(file)) {
            return new Peer("single");
        }
        Map<String, Object> json = Json.object("dls.json", Files.readString(file));
        if (!"main_standby".equals(json.get("serverMode"))) {
            throw new Refusal("dls.json: serverMode must be main_standby, got " + json.get("serverMode"));
        }
        if (!(json.get("servers") instanceof List<?> servers && servers.size() == 2
                && servers.indexOf("self") >= 0 && servers.indexOf("self") == servers.lastIndexOf("self")
                && servers.stream().allMatch(Peer::isSelfOrUrl))) {
            throw new Refusal("dls.json: servers must be \"self\" and one URL, got " + Json.write(json.get("servers")));
        }
        if (servers.get(0).equals("self")) {
            return new Peer("main");
        }
        Peer standby = new Peer("standby");
        standby.follow((String) servers.get(0));
        return standby;
    }

    private static boolean isSelfOrUrl(Object server) {
        return server instanceof String text && text.matches("self|https?://\\S+");
    }

    /** single, main or standby. */
    String role() {
        return role;
    }

    boolean refusesClients() {
        return mainUp;
    }

    private void follow(String mainUrl) {
        String url = mainUrl + (mainUrl.endsWith("/") ? "" : "/") + "auth/";
        mainUp = answers(url);
        Main.daemon("peer", () -> {
            while (true) {
                Main.sleep(1);
                boolean up = answers(url);
                if (up != mainUp) {
                    Log.line("Main server is " + (up ? "up" : "down"));
                }
                mainUp = up;
            }
        });
    }

    /** True for an answer in the form of the client path; an error page of a proxy is none. */
    private static boolean answers(String url) {
        try {
            HttpURLConnection connection = (HttpURLConnection) URI.create(url).toURL().openConnection();
            connection.setConnectTimeout(TIMEOUT_MS);
            connection.setReadTimeout(TIMEOUT_MS);
            connection.setInstanceFollowRedirects(false);
            boolean error = connection.getResponseCode() >= 400;
            try (InputStream body = error ? connection.getErrorStream() : connection.getInputStream()) {
                String text = body == null ? "" : new String(body.readNBytes(MAX_ANSWER), StandardCharsets.UTF_8);
                return Json.object("answer", text).containsKey("errorCode");
            }
        } catch (IOException | Refusal e) {
            return false;
        }
    }
}
