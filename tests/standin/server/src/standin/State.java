package standin;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What the server knows, replayed from the store; every change is on the disk before it counts. */
final class State {
    private static final long FIRST_HANDSHAKE = 101_000_001L;
    private static final Map<String, List<String>> ALERT_FIELDS = Map.of(
            "sender", List.of("host", "port", "sslTrust", "address", "password"),
            "receiver", List.of("to", "cc", "bcc"));

    /** A project: its handshake code names it to clients. */
    record Project(String handshake, String name, List<Map<String, Object>> items) {}

    private final Store store;
    private final Map<String, Project> projects = new LinkedHashMap<>();
    private final List<String> licenses = new ArrayList<>();
    private final Map<String, Map<String, Object>> alerts = new LinkedHashMap<>();
    private final Map<String, String> serverUrls = new LinkedHashMap<>();
    private Password password;
    private String organization = "";
    private long usageReports;

    State(Store store) {
        this.store = store;
        store.records().forEach(this::apply);
    }

    private void apply(Map<String, Object> record) {
        String type = (String) record.get("type");
        switch (type) {
            case "password" -> password = Password.from(record);
            case "license" -> applyLicense(record);
            case "project" -> addProject(record);
            case "server-url" -> serverUrls.put((String) record.get("which"), (String) record.get("url"));
            case "alert-sender", "alert-receiver" -> alerts.put(type, record);
            case "usage" -> usageReports++;
            default -> throw new Refusal("data/store.log: must hold known records, got " + type);
        }
    }

    private void applyLicense(Map<String, Object> record) {
        String text = (String) record.get("text");
        LicenseFile file = LicenseFile.parse(text, (String) record.get("uuid"));
        organization = file.organization();
        addProject(record);
        licenses.add(file.id());
        projects.get((String) record.get("project")).items().addAll(file.items());
    }

    private void addProject(Map<String, Object> record) {
        String handshake = (String) record.get("project");
        projects.putIfAbsent(handshake, new Project(handshake, (String) record.get("name"), new ArrayList<>()));
    }

    private void change(String type, Map<String, Object> fields) throws IOException {
        apply(store.append(type, fields));
    }

    synchronized boolean passwordSet() {
        return password != null;
    }

    synchronized boolean passwordMatches(String clear) {
        return password != null && password.matches(clear);
    }

    synchronized void setPassword(String clear) throws IOException {
        if (clear.isEmpty()) {
            throw new Refusal("password: must not be empty");
        }
        change("password", Password.of(clear).record());
    }

    /** The first visit only; a second one is refused. */
    synchronized void setFirstPassword(String clear) throws IOException {
        if (passwordSet()) {
            throw new Refusal("password: must be unset on the first visit, it is set already");
        }
        setPassword(clear);
    }

    /** Imports into the project with this handshake code, or into a new one of this name when the code is empty. */
    synchronized void importLicense(String text, String uuid, String handshake, String newName) throws IOException {
        LicenseFile file = LicenseFile.parse(text, uuid);
        if (licenses.contains(file.id())) {
            throw new Refusal("license file: must not be imported yet, got LicenseId " + file.id() + " again");
        }
        if (!organization.isEmpty() && !organization.equals(file.organization())) {
            throw new Refusal("license file: must be of organization " + organization + ", got "
                    + file.organization());
        }
        if (!handshake.isEmpty() && !projects.containsKey(handshake)) {
            throw new Refusal("project: must exist, got " + handshake);
        }
        String target = handshake.isEmpty() ? newHandshake(file.organization()) : handshake;
        String name = handshake.isEmpty() ? checkedName(newName) : projects.get(handshake).name();
        change("license", Map.of("project", target, "name", name, "uuid", uuid, "text", text));
    }

    synchronized void newProject(String name) throws IOException {
        if (organization.isEmpty()) {
            throw new Refusal("project: needs an organization ID, import a license file first");
        }
        change("project", Map.of("project", newHandshake(organization), "name", checkedName(name)));
    }

    private String newHandshake(String organizationId) {
        return organizationId + "-" + (FIRST_HANDSHAKE + projects.size());
    }

    private String checkedName(String name) {
        String trimmed = name.strip();
        if (trimmed.isEmpty() || projects.values().stream().anyMatch(project -> project.name().equals(trimmed))) {
            throw new Refusal("project name: must be new and not empty, got " + trimmed);
        }
        return trimmed;
    }

    /** `which` is main or standby; an empty URL removes it. */
    synchronized void setServerUrl(String which, String url) throws IOException {
        if (!which.matches("main|standby")) {
            throw new Refusal("server URL: must be main or standby, got " + which);
        }
        if (!url.isEmpty() && !url.matches("https?://\\S+")) {
            throw new Refusal("server URL: must begin with http:// or https://, got " + url);
        }
        change("server-url", Map.of("which", which, "url", url));
    }

    /** `who` is sender or receiver; other fields than theirs are dropped. */
    synchronized void setAlert(String who, Map<String, Object> fields) throws IOException {
        Map<String, Object> known = new LinkedHashMap<>(fields);
        known.keySet().retainAll(ALERT_FIELDS.get(who));
        change("alert-" + who, known);
    }

    synchronized long recordUsage(byte[] body) throws IOException {
        change("usage", Map.of("body", Base64.getEncoder().encodeToString(body)));
        return usageReports;
    }

    synchronized String organization() {
        return organization;
    }

    synchronized boolean knowsHandshake(String handshake) {
        return projects.containsKey(handshake);
    }

    /** Everything the portal's pages show; secrets stay here. */
    synchronized Map<String, Object> view() {
        List<Object> items = new ArrayList<>();
        List<Object> shown = new ArrayList<>();
        for (Project project : projects.values()) {
            items.addAll(project.items());
            shown.add(Map.of(
                    "id", project.handshake(),
                    "name", project.name(),
                    "key", keyString(project.handshake()),
                    "items", project.items()));
        }
        Map<String, Object> view = new LinkedHashMap<>();
        view.put("items", items);
        view.put("projects", shown);
        view.put("serverUrls", serverUrls);
        view.put("usageReports", usageReports);
        view.put("alertSender", withoutPassword(alerts.getOrDefault("alert-sender", Map.of())));
        view.put("alertReceiver", alerts.getOrDefault("alert-receiver", Map.of()));
        return view;
    }

    private static Map<String, Object> withoutPassword(Map<String, Object> sender) {
        Map<String, Object> shown = new LinkedHashMap<>(sender);
        shown.remove("password");
        return shown;
    }

    /** `DLS2` and the Base64 of compact JSON; URLs that are not set are left out. */
    private String keyString(String handshake) {
        Map<String, Object> key = new LinkedHashMap<>();
        key.put("handshakeCode", handshake);
        key.put("organizationID", organization);
        for (String which : List.of("main", "standby")) {
            String url = serverUrls.getOrDefault(which, "");
            if (!url.isEmpty()) {
                key.put(which + "ServerURL", url);
            }
        }
        return "DLS2" + Base64.getEncoder().encodeToString(Json.write(key).getBytes(StandardCharsets.UTF_8));
    }
}
