package standin;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermission;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.Locale;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * The UUID, a hash over the hardware labels the vendor documents: processor, MAC address, machine id, board serial.
 * The vendor's own formula is unknown. Only labels every user may read count, so that the UUID is the same for root
 * and for the service's user, and nothing of the installation counts, so that it survives a new installation.
 */
final class Identity {
    private static final Path CPUINFO = Path.of("/proc/cpuinfo");
    private static final Path INTERFACES = Path.of("/sys/class/net");
    private static final Path MACHINE_ID = Path.of("/etc/machine-id");
    private static final Path BOARD_SERIAL = Path.of("/sys/class/dmi/id/board_serial");

    /** Upper-case hex in groups of 8-4-4-4-12; another salt gives another UUID on the same machine. */
    static String uuid(String salt) {
        String labels = String.join(
                "\n", processor(), macAddress(), readable(MACHINE_ID), readable(BOARD_SERIAL), salt);
        String hex = HexFormat.of().withUpperCase().formatHex(sha256(labels), 0, 16);
        return hex.replaceFirst("(.{8})(.{4})(.{4})(.{4})(.{12})", "$1-$2-$3-$4-$5");
    }

    private static byte[] sha256(String text) {
        try {
            return MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }

    /** What names the first processor; its clock rate and flags change without the machine changing. */
    private static String processor() {
        try (Stream<String> lines = Files.lines(CPUINFO)) {
            return lines.takeWhile(line -> !line.isBlank())
                    .filter(line -> line.matches("(vendor_id|cpu family|model|model name|stepping)\\s*:.*"))
                    .collect(Collectors.joining("\n"));
        } catch (IOException e) {
            return System.getenv().getOrDefault("PROCESSOR_IDENTIFIER", "");
        }
    }

    /** The first interface with a device behind it; in a container, where none has one, the first but loopback. */
    private static String macAddress() {
        String physical = firstMac(card -> Files.exists(card.resolve("device")));
        return physical.isEmpty() ? firstMac(card -> !card.endsWith("lo")) : physical;
    }

    private static String firstMac(Predicate<Path> wanted) {
        try (Stream<Path> cards = Files.list(INTERFACES)) {
            return cards.sorted()
                    .filter(wanted)
                    .map(card -> readable(card.resolve("address")))
                    .filter(mac -> !mac.isEmpty())
                    .findFirst()
                    .orElse("");
        } catch (IOException e) {
            return "";
        }
    }

    private static String readable(Path path) {
        try {
            boolean forAll = Files.getPosixFilePermissions(path).contains(PosixFilePermission.OTHERS_READ);
            return forAll ? Files.readString(path).strip().toLowerCase(Locale.ROOT) : "";
        } catch (IOException | UnsupportedOperationException e) {
            return "";
        }
    }
}
