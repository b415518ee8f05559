package standin;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Instant;
import java.time.temporal.ChronoUnit;

/** One line per event on standard output and in logs/dls.log. Query strings and bodies never come here. */
final class Log {
    private static PrintStream file;

    static void open(Path folder) throws IOException {
        Files.createDirectories(folder);
        Path path = folder.resolve("dls.log");
        file = new PrintStream(
                Files.newOutputStream(path, StandardOpenOption.CREATE, StandardOpenOption.APPEND),
                true,
                StandardCharsets.UTF_8);
    }

    static synchronized void line(String text) {
        String line = Instant.now().truncatedTo(ChronoUnit.MILLIS) + " " + text;
        System.out.println(line);
        if (file != null) {
            file.println(line);
        }
    }
}
