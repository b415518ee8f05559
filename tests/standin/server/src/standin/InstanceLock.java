package standin;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/** One process per installation folder: a lock on data/.lock, held until the process ends, however it ends. */
final class InstanceLock {
    private static FileLock held;

    static void take(Path data) throws IOException {
        Files.createDirectories(data);
        FileChannel channel =
                FileChannel.open(data.resolve(".lock"), StandardOpenOption.CREATE, StandardOpenOption.WRITE);
        held = channel.tryLock();
        if (held == null) {
            throw new Refusal("installation folder: must be used by one server, got a second one on " + data);
        }
    }
}
