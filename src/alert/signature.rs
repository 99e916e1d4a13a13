//! The symmetric signature of Standard Webhooks 1.0.0 ("Signature scheme"): `v1`, HMAC-SHA256.

use std::fmt;
use std::ops::RangeInclusive;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Random bytes of a secret: "at least 24 bytes (192 bits, 512 maximum)".
const SECRET_BYTES: RangeInclusive<usize> = 24..=64;
/// Secrets of one endpoint: the current one and those of rotations under way. More would only grow the header.
pub const MAX_SECRETS: usize = 4;

/// Signs messages with one or several secrets.
#[derive(Clone)]
pub struct Signer {
    /// Keyed, one for each secret.
    keys: Vec<Hmac<Sha256>>,
}

/// Why a secret can't be used. Never shows any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// No secret at all.
    #[error(
        "there is no secret to sign with; give one as `whsec_` and the base64 of 24 to 64 random bytes"
    )]
    Missing,
    /// More than [`MAX_SECRETS`].
    #[error(
        "there are {0} secrets, more than {MAX_SECRETS}; keep the current one and the one it replaces"
    )]
    TooMany(usize),
    /// The prefix is not there.
    #[error(
        "the secret does not begin with `whsec_`; give `whsec_` and the base64 of 24 to 64 random bytes"
    )]
    NoPrefix,
    /// What follows the prefix is not base64.
    #[error("the secret is not base64 after `whsec_`; copy it again, with its padding")]
    NotBase64,
    /// Too short or too long.
    #[error("the secret has {0} bytes after decoding; it must have 24 to 64")]
    Length(usize),
}

impl Signer {
    /// Takes the secrets, newest first. White space around a secret (the end of line of its file) is ignored.
    pub fn new(secrets: &[SecretString]) -> Result<Self, SecretError> {
        match secrets.len() {
            0 => Err(SecretError::Missing),
            1..=MAX_SECRETS => {
                Ok(Self { keys: secrets.iter().map(key).collect::<Result<_, _>>()? })
            }
            count => Err(SecretError::TooMany(count)),
        }
    }

    /// The value of `webhook-signature`: one signature for each secret, separated by spaces.
    /// `timestamp_s` is the time of the attempt in seconds since the epoch, as in `webhook-timestamp`.
    pub fn sign(&self, message_id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let head = format!("{message_id}.{timestamp_s}.");
        let signatures = self.keys.iter().map(|key| {
            let mac = key.clone().chain_update(&head).chain_update(body).finalize();
            format!("v1,{}", BASE64.encode(mac.into_bytes()))
        });
        signatures.collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({} secrets)", self.keys.len())
    }
}

fn key(secret: &SecretString) -> Result<Hmac<Sha256>, SecretError> {
    let encoded =
        secret.expose_secret().trim().strip_prefix(PREFIX).ok_or(SecretError::NoPrefix)?;
    let bytes = BASE64.decode(encoded).map_err(|_| SecretError::NotBase64)?;
    if !SECRET_BYTES.contains(&bytes.len()) {
        return Err(SecretError::Length(bytes.len()));
    }
    Hmac::new_from_slice(&bytes).map_err(|_| SecretError::Length(bytes.len()))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn secret(bytes: &[u8]) -> SecretString {
        format!("whsec_{}", BASE64.encode(bytes)).into()
    }

    #[test]
    fn the_vector_of_the_standards_own_libraries_is_met() {
        let signer = Signer::new(&["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into()]).unwrap();
        assert_eq!(
            signer.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn a_secret_of_the_wrong_form_is_refused_without_being_shown() {
        let refused = |text: &str| Signer::new(&[text.into()]).unwrap_err();
        assert_eq!(Signer::new(&[]).unwrap_err(), SecretError::Missing);
        assert_eq!(refused("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), SecretError::NoPrefix);
        assert_eq!(refused("whsec_hunter2!"), SecretError::NotBase64);
        assert_eq!(Signer::new(&[secret(&[7; 23])]).unwrap_err(), SecretError::Length(23));
        assert_eq!(Signer::new(&[secret(&[7; 65])]).unwrap_err(), SecretError::Length(65));
        let five = vec![secret(&[7; 24]); 5];
        assert_eq!(Signer::new(&five).unwrap_err(), SecretError::TooMany(5));
        assert!(!refused("whsec_hunter2!").to_string().contains("hunter2"));
        let signer = Signer::new(&["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n".into()]).unwrap();
        assert_eq!(format!("{signer:?}"), "Signer(1 secrets)");
    }

    proptest! {
        #[test]
        fn an_independent_implementation_verifies_with_each_of_the_secrets(
            old in prop::collection::vec(any::<u8>(), 24..=64),
            new in prop::collection::vec(any::<u8>(), 24..=64),
            body in "\\PC{0,200}",
        ) {
            // The verifier compares the timestamp with its own clock.
            let timestamp_s = crate::clock::wall().as_ms() / 1_000;
            let signer = Signer::new(&[secret(&new), secret(&old)]).unwrap();
            let header = |text: &str| HeaderValue::from_str(text).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert("webhook-id", header("msg_1"));
            headers.insert("webhook-timestamp", header(&timestamp_s.to_string()));
            headers.insert("webhook-signature", header(&signer.sign("msg_1", timestamp_s, body.as_bytes())));
            for bytes in [&old, &new] {
                let verifier = standardwebhooks::Webhook::from_bytes(bytes.clone()).unwrap();
                prop_assert!(verifier.verify(body.as_bytes(), &headers).is_ok());
                let other = format!("{body}x");
                prop_assert!(verifier.verify(other.as_bytes(), &headers).is_err());
            }
        }
    }
}
