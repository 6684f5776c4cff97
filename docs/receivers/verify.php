<?php

const TOLERANCE_SECONDS = 5 * 60;

/**
 * Whether $body, the bytes as received, was signed with $secret ("whsec_...") less than five minutes ago.
 * The other arguments are the headers webhook-id, webhook-timestamp and webhook-signature.
 */
function verify(string $secret, string $webhookId, string $timestamp, string $signatures, string $body): bool
{
    if (!preg_match('/^[0-9]{1,12}$/D', $timestamp) || abs(time() - (int) $timestamp) > TOLERANCE_SECONDS) {
        return false;
    }
    $key = base64_decode(preg_replace('/^whsec_/', '', $secret));
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$webhookId.$timestamp.$body", $key, true));
    // While a secret is being replaced, there is a signature for the old one and one for the new one.
    foreach (explode(' ', $signatures) as $signature) {
        if (hash_equals($expected, $signature)) {
            return true;
        }
    }
    return false;
}
