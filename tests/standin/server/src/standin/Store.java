package standin;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * data/store.log: a header line with the format's number, then one JSON object a line, each flushed to the disk before
 * append returns. A last line without its newline is a write that a crash cut off; it was never confirmed and is
 * dropped at the next start. Any other damage is refused.
 */
final class Store {
    private final FileChannel file;
    private final boolean full;
    private final List<Map<String, Object>> records;

    private Store(FileChannel file, boolean full, List<Map<String, Object>> records) {
        this.file = file;
        this.full = full;
        this.records = records;
    }

    static Store open(Path folder, Settings settings) throws IOException {
        makePrivate(folder);
        Path path = folder.resolve("store.log");
        FileChannel file = FileChannel.open(
                path, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
        byte[] bytes = Files.readAllBytes(path);
        int whole = lastNewline(bytes) + 1;
        if (whole < bytes.length) {
            Log.line("Store: drops " + (bytes.length - whole) + " bytes of a write that was cut off");
            file.truncate(whole);
        }
        file.position(whole);
        List<Map<String, Object>> lines = parse(new String(bytes, 0, whole, StandardCharsets.UTF_8));
        Store store = new Store(file, settings.diskFull(), lines);
        if (lines.isEmpty()) {
            store.write(header(settings));
            flushFolder(folder);
        } else {
            checkFormat(lines.remove(0), settings);
        }
        return store;
    }

    private static void makePrivate(Path folder) throws IOException {
        if (Files.getFileStore(folder).supportsFileAttributeView("posix")) {
            Files.setPosixFilePermissions(folder, PosixFilePermissions.fromString("rwx------"));
        }
    }

    private static int lastNewline(byte[] bytes) {
        int at = bytes.length - 1;
        while (at >= 0 && bytes[at] != '\n') {
            at--;
        }
        return at;
    }

    private static List<Map<String, Object>> parse(String text) {
        List<Map<String, Object>> lines = new ArrayList<>();
        text.lines().forEach(line -> lines.add(Json.object("data/store.log line " + (lines.size() + 1), line)));
        return lines;
    }

    private static Map<String, Object> header(Settings settings) {
        Map<String, Object> header = new LinkedHashMap<>();
        header.put("store", "stand-in");
        header.put("format", settings.storeFormat());
        header.put("version", settings.version());
        return header;
    }

    private static void checkFormat(Map<String, Object> header, Settings settings) {
        long format = header.get("format") instanceof Long number ? number : -1;
        if (format < settings.storeMinFormat()) {
            throw new Refusal("data/store.log: must have format " + settings.storeMinFormat()
                    + " or later to be read by " + settings.version() + ", got " + format);
        }
    }

    /** A new directory entry is on the disk only once its folder is flushed; Windows has no such call. */
    private static void flushFolder(Path folder) {
        try (FileChannel channel = FileChannel.open(folder, StandardOpenOption.READ)) {
            channel.force(true);
        } catch (IOException e) {
            Log.line("Store: folder not flushed: " + e.getMessage());
        }
    }

    /** The records that were on the disk at the start. */
    List<Map<String, Object>> records() {
        return records;
    }

    /** Adds type and time, writes, flushes, and only then returns the record. */
    synchronized Map<String, Object> append(String type, Map<String, Object> fields) throws IOException {
        if (full) {
            throw new IOException("data/store.log: No space left on device");
        }
        Map<String, Object> record = new LinkedHashMap<>();
        record.put("type", type);
        record.put("at", Instant.now().toString());
        record.putAll(fields);
        write(record);
        return record;
    }

    private void write(Map<String, Object> record) throws IOException {
        ByteBuffer line = ByteBuffer.wrap((Json.write(record) + "\n").getBytes(StandardCharsets.UTF_8));
        long start = file.position();
        try {
            while (line.hasRemaining()) {
                file.write(line);
            }
            file.force(true);
        } catch (IOException e) {
            file.truncate(start);
            throw e;
        }
    }

    /** Waits for a running append; later ones fail. */
    synchronized void close() {
        try {
            file.close();
        } catch (IOException e) {
            Log.line("Store: " + e.getMessage());
        }
    }
}
