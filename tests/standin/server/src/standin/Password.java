package standin;

import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.util.Base64;
import java.util.Map;
import javax.crypto.SecretKeyFactory;
import javax.crypto.spec.PBEKeySpec;

/** The admin password as it is kept: salt and PBKDF2 hash, both in Base64. */
record Password(String salt, String hash) {
    private static final int ROUNDS = 20_000;
    private static final int BITS = 256;

    static Password of(String clear) {
        byte[] salt = new byte[16];
        new SecureRandom().nextBytes(salt);
        String text = Base64.getEncoder().encodeToString(salt);
        return new Password(text, hash(clear, text));
    }

    static Password from(Map<String, Object> record) {
        return new Password((String) record.get("salt"), (String) record.get("hash"));
    }

    Map<String, Object> record() {
        return Map.of("salt", salt, "hash", hash);
    }

    boolean matches(String clear) {
        return MessageDigest.isEqual(
                hash.getBytes(StandardCharsets.UTF_8), hash(clear, salt).getBytes(StandardCharsets.UTF_8));
    }

    private static String hash(String clear, String salt) {
        try {
            PBEKeySpec spec = new PBEKeySpec(clear.toCharArray(), Base64.getDecoder().decode(salt), ROUNDS, BITS);
            byte[] hash = SecretKeyFactory.getInstance("PBKDF2WithHmacSHA256").generateSecret(spec).getEncoded();
            return Base64.getEncoder().encodeToString(hash);
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException(e);
        }
    }
}
