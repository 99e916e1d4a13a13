//! PURE. Shared access signatures (Microsoft: "Control access to IoT Hub using shared access signatures" and "Authenticate
//! access to Event Hubs resources using shared access signatures").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// All but the unreserved characters of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How a policy's key is turned into the bytes of the HMAC key. The same key of an IoT Hub policy is used in both ways,
/// depending on the host that is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// Event Hubs and Service Bus: the text itself.
    Text,
    /// IoT Hub: the base64-decoded bytes.
    Base64,
}

/// A token for `resource` that expires at `expires_s` (seconds since the epoch). `None` if the key is not base64 where it has
/// to be.
pub fn token(
    resource: &str,
    key_name: &str,
    key: &SecretString,
    form: KeyForm,
    expires_s: i64,
) -> Option<SecretString> {
    let resource = utf8_percent_encode(resource, ESCAPED);
    let signature = sign(&format!("{resource}\n{expires_s}"), key, form)?;
    Some(SecretString::from(format!(
        "SharedAccessSignature sr={resource}&sig={}&se={expires_s}&skn={}",
        utf8_percent_encode(&signature, ESCAPED),
        utf8_percent_encode(key_name, ESCAPED),
    )))
}

fn sign(text: &str, key: &SecretString, form: KeyForm) -> Option<String> {
    let key = match form {
        KeyForm::Text => key.expose_secret().as_bytes().to_vec(),
        KeyForm::Base64 => decode_key(key.expose_secret())?,
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(text.as_bytes());
    Some(STANDARD.encode(mac.finalize().into_bytes()))
}

/// The bytes of a base64 key; `None` if it is none, or empty.
pub fn decode_key(key: &str) -> Option<Vec<u8>> {
    STANDARD.decode(key).ok().filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "c2VjcmV0LWtleS1mb3ItdGVzdHMtb25seS0wMDAwMQ==";

    fn signature(token: &SecretString) -> String {
        let text = token.expose_secret();
        text.split('&').find_map(|part| part.strip_prefix("sig=")).unwrap().to_owned()
    }

    #[test]
    fn signs_as_the_vendors_client_does() {
        // The vendor's vector has the resource escaped in lower case; what is signed is the escaped text.
        let text = "amqps%3a%2f%2fexample.servicebus.windows.net%2fmyhub\n1700000000";
        let signed = sign(text, &SecretString::from("mykey"), KeyForm::Text).unwrap();
        assert_eq!(signed, "SgJoMn7K6nWDCF6e1+fsxrmJLsorqPeZ3B8N1uQ31dc=");
    }

    #[test]
    fn iot_hub_tokens_use_the_decoded_key() {
        let token = token(
            "example-hub.azure-devices.net",
            "service",
            &SecretString::from(KEY),
            KeyForm::Base64,
            1_767_225_600,
        )
        .unwrap();
        assert_eq!(signature(&token), "VUyfeGOcGKypX8Ro%2FcwsMrjXlGStbCUSXA7Pe0iFxoQ%3D");
    }

    #[test]
    fn event_hubs_tokens_use_the_keys_text() {
        let token = token(
            "sb://example-ns.servicebus.windows.net/example-hub",
            "service",
            &SecretString::from(KEY),
            KeyForm::Text,
            1_767_225_600,
        )
        .unwrap();
        assert_eq!(
            token.expose_secret(),
            "SharedAccessSignature sr=sb%3A%2F%2Fexample-ns.servicebus.windows.net%2Fexample-hub\
             &sig=nTGpb3LnN3i%2BiB5HcAX2FPdayA%2F6VTNI4FYd76K%2FPFU%3D&se=1767225600&skn=service"
        );
    }

    #[test]
    fn a_key_that_is_no_base64_gives_no_iot_hub_token() {
        let key = SecretString::from("not base64");
        assert!(token("h", "p", &key, KeyForm::Base64, 0).is_none());
    }
}
