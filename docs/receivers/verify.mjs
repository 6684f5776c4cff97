import { createHmac, timingSafeEqual } from "node:crypto";

const TOLERANCE_SECONDS = 5 * 60;

/**
 * Whether body, a Buffer with the bytes as received, was signed with secret ("whsec_...") less than five minutes ago.
 * The other arguments are the headers webhook-id, webhook-timestamp and webhook-signature.
 */
export function verify(secret, webhookId, timestamp, signatures, body) {
  if (!/^[0-9]{1,12}$/.test(timestamp) || Math.abs(Date.now() / 1000 - Number(timestamp)) > TOLERANCE_SECONDS) {
    return false;
  }
  const key = Buffer.from(secret.replace(/^whsec_/, ""), "base64");
  const mac = createHmac("sha256", key).update(`${webhookId}.${timestamp}.`).update(body).digest("base64");
  const expected = Buffer.from(`v1,${mac}`);
  // While a secret is being replaced, there is a signature for the old one and one for the new one.
  return signatures.split(" ").some((signature) => {
    const given = Buffer.from(signature);
    return given.length === expected.length && timingSafeEqual(given, expected);
  });
}
