//! Shared access signatures ("Authorize access to Event Hubs resources using Shared Access Signatures").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

use crate::devhub::hub::HubOptions;
use crate::engine::Timestamp;

/// What a valid token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// The resource, decoded, lower-case, without scheme and trailing slash.
    pub(super) resource: String,
    /// Until when.
    pub(super) expires: Timestamp,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("MalformedToken: the token is no SharedAccessSignature with sr, sig, se and skn")]
    Malformed,
    #[error("InvalidSignature: the token has an invalid signature")]
    Signature,
    #[error("ExpiredToken: the token has expired")]
    Expired,
}

/// Checks name of the key, signature and expiry. The signature may be made with the text of the key (Event Hubs) or
/// with the bytes that it encodes (IoT Hub, "Control access to IoT Hub by using shared access signatures").
pub(super) fn check(
    token: &str,
    options: &HubOptions,
    now: Timestamp,
) -> Result<Grant, TokenError> {
    let fields = token.strip_prefix("SharedAccessSignature ").ok_or(TokenError::Malformed)?;
    let field = |name: &str| {
        fields
            .split('&')
            .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
            .ok_or(TokenError::Malformed)
    };
    let (resource, signature) = (field("sr")?, field("sig")?);
    let (expiry, key_name) = (field("se")?, field("skn")?);
    let expires_s: i64 = expiry.parse().map_err(|_| TokenError::Malformed)?;
    let signature = STANDARD.decode(decoded(signature)?).map_err(|_| TokenError::Malformed)?;
    let signed = format!("{resource}\n{expiry}");
    let raw_key = STANDARD.decode(&options.key).unwrap_or_default();
    let genuine = [options.key.as_bytes(), &raw_key]
        .into_iter()
        .any(|key| verifies(key, signed.as_bytes(), &signature));
    if !genuine || decoded(key_name)? != options.key_name {
        return Err(TokenError::Signature);
    }
    let expires = Timestamp::from_ms(expires_s.saturating_mul(1_000));
    if expires <= now {
        return Err(TokenError::Expired);
    }
    Ok(Grant { resource: bare(&decoded(resource)?), expires })
}

fn decoded(text: &str) -> Result<String, TokenError> {
    percent_decode_str(text).decode_utf8().map(String::from).map_err(|_| TokenError::Malformed)
}

fn verifies(key: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return false;
    };
    mac.update(signed);
    mac.verify_slice(signature).is_ok()
}

/// A resource for comparing: lower-case, without scheme and trailing slash.
pub(super) fn bare(resource: &str) -> String {
    let lower = resource.to_ascii_lowercase();
    let rest = lower.split_once("://").map_or(&*lower, |(_, rest)| rest);
    rest.trim_end_matches('/').to_owned()
}

/// Whether `outer` is `inner` or a path above it.
pub(super) fn covers(outer: &str, inner: &str) -> bool {
    inner
        .strip_prefix(outer)
        .is_some_and(|rest| rest.is_empty() || outer.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(key_name: &str, key: &str) -> HubOptions {
        HubOptions {
            name: "h".into(),
            entity: "e".into(),
            partitions: 1,
            retention_messages: 1,
            key_name: key_name.into(),
            key: key.into(),
        }
    }

    const TOKEN: &str = "SharedAccessSignature sr=amqps%3a%2f%2fexample.servicebus.windows.net%2fmyhub&sig=SgJoMn7K6nWDCF6e1%2BfsxrmJLsorqPeZ3B8N1uQ31dc%3D&se=1700000000&skn=RootManageSharedAccessKey";

    #[test]
    fn a_published_signature_verifies_until_it_expires() {
        let options = options("RootManageSharedAccessKey", "mykey");
        let at = |s: i64| Timestamp::from_ms(s * 1_000);
        let grant = check(TOKEN, &options, at(1_699_999_999)).unwrap();
        assert_eq!(grant.resource, "example.servicebus.windows.net/myhub");
        assert_eq!(check(TOKEN, &options, at(1_700_000_000)), Err(TokenError::Expired));
    }

    #[test]
    fn another_key_name_or_resource_is_refused() {
        let now = Timestamp::from_ms(0);
        let wrong = [
            check(TOKEN, &options("RootManageSharedAccessKey", "other"), now),
            check(TOKEN, &options("other", "mykey"), now),
            check(
                &TOKEN.replace("myhub", "yourhub"),
                &options("RootManageSharedAccessKey", "mykey"),
                now,
            ),
        ];
        assert!(wrong.iter().all(|w| *w == Err(TokenError::Signature)));
        let none = check("Bearer x", &options("a", "b"), now);
        assert_eq!(none, Err(TokenError::Malformed));
    }

    #[test]
    fn the_decoded_key_of_an_iot_hub_verifies_too() {
        let options = options("service", "c2VjcmV0LWtleS1mb3ItdGVzdHMtb25seS0wMDAwMQ==");
        let token = "SharedAccessSignature sr=example-hub.azure-devices.net&sig=VUyfeGOcGKypX8Ro%2FcwsMrjXlGStbCUSXA7Pe0iFxoQ%3D&se=1767225600&skn=service";
        let grant = check(token, &options, Timestamp::from_ms(0)).unwrap();
        assert_eq!(grant.resource, "example-hub.azure-devices.net");
    }

    #[test]
    fn a_resource_covers_itself_and_what_is_below_it() {
        assert!(covers("h/eh1", "h/eh1"));
        assert!(covers("h/eh1", "h/eh1/consumergroups/a"));
        assert!(!covers("h/eh1", "h/eh10"));
        assert!(covers("", "eh1"));
    }
}
