import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.Base64;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** Verifies the signatures of webhooks (Standard Webhooks, HMAC-SHA256). */
public final class Webhook {
    private static final long TOLERANCE_SECONDS = 5 * 60;

    /**
     * Whether body, the bytes as received, was signed with secret ("whsec_...") less than five minutes ago. The other
     * arguments are the headers webhook-id, webhook-timestamp and webhook-signature.
     */
    public static boolean verify(
            String secret, String webhookId, String timestamp, String signatures, byte[] body)
            throws GeneralSecurityException {
        if (!timestamp.matches("[0-9]{1,12}")
                || Math.abs(Instant.now().getEpochSecond() - Long.parseLong(timestamp)) > TOLERANCE_SECONDS) {
            return false;
        }
        byte[] key = Base64.getDecoder().decode(secret.replaceFirst("^whsec_", ""));
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        mac.update((webhookId + "." + timestamp + ".").getBytes(StandardCharsets.UTF_8));
        String expected = "v1," + Base64.getEncoder().encodeToString(mac.doFinal(body));
        // While a secret is being replaced, there is a signature for the old one and one for the new one.
        for (String signature : signatures.split(" ")) {
            if (MessageDigest.isEqual(
                    signature.getBytes(StandardCharsets.UTF_8), expected.getBytes(StandardCharsets.UTF_8))) {
                return true;
            }
        }
        return false;
    }
}
