package standin;

import java.io.IOException;
import java.io.InputStream;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;

/**
 * Version and misbehaviour, from settings.properties in the jar, overridden by standin.properties beside the
 * installation folder (beside, so that it is never part of the folder's state). README.md lists the keys.
 */
record Settings(Properties values) {
    static Settings load(Path home) throws IOException {
        Properties values = new Properties();
        try (InputStream baked = Settings.class.getResourceAsStream("settings.properties")) {
            if (baked == null) {
                throw new Refusal("dls jar: must be built by tests.standin.build, got one without settings.properties");
            }
            values.load(baked);
        }
        Path override = home.resolveSibling("standin.properties");
        if (Files.isReadable(override)) {
            try (Reader reader = Files.newBufferedReader(override)) {
                values.load(reader);
            }
            Log.line("Settings overridden by " + override);
        }
        return new Settings(values);
    }

    String version() {
        return values.getProperty("version", "");
    }

    /** The release line of the portal's labels: "2.2" or "2.3.5". */
    String labels() {
        return values.getProperty("labels", "2.3.5");
    }

    int dataPort() {
        return number("data.port", 30201);
    }

    int startDelay() {
        return number("start.delay", 0);
    }

    /** Seconds until the process ends by itself; below 0: never. */
    int startCrash() {
        return number("start.crash", -1);
    }

    int stopDelay() {
        return number("stop.delay", 0);
    }

    int healthStatus() {
        return number("health.status", 200);
    }

    String uuidSalt() {
        return values.getProperty("uuid.salt", "");
    }

    int storeFormat() {
        return number("store.format", 1);
    }

    int storeMinFormat() {
        return number("store.min_format", 0);
    }

    boolean diskFull() {
        return values.getProperty("disk.full", "no").equals("yes");
    }

    private int number(String key, int preset) {
        String text = values.getProperty(key, "").trim();
        if (text.isEmpty()) {
            return preset;
        }
        try {
            return Integer.parseInt(text);
        } catch (NumberFormatException e) {
            throw new Refusal(key + ": must be a whole number, got " + text);
        }
    }
}
