//! PURE. Takes secrets out of text that is about to be shown.

use std::borrow::Cow;

/// What stands in place of a secret.
const REDACTED: &str = "***";

/// Marks behind which a secret follows at once, in lower case.
const MARKS: [&str; 8] = [
    "sharedaccesskey=",
    "sharedaccesskey%3d",
    "sig=",
    "sig%3d",
    "whsec_",
    "password=",
    "bearer ",
    "authorization: ",
];

/// Replaces what follows `SharedAccessKey=`, `sig=`, `whsec_`, `password=`, `Bearer ` or `Authorization: ` (in any
/// case, the `=` of the first two also percent-encoded), and user and password of URLs. Linear in the text.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let mut copied = 0;
    let mut at = 0;
    while at < text.len() {
        match secret_at(text, at) {
            Some((from, until)) if from < until => {
                clean.push_str(&text[copied..from]);
                clean.push_str(REDACTED);
                (copied, at) = (until, until);
            }
            Some(_) | None => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    clean.push_str(&text[copied..]);
    Cow::Owned(clean)
}

/// The bounds of the secret whose mark begins at `at`. Marks are ASCII, so both are character boundaries.
fn secret_at(text: &str, at: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    for mark in MARKS {
        let from = at + mark.len();
        let found =
            bytes.get(at..from).is_some_and(|head| head.eq_ignore_ascii_case(mark.as_bytes()));
        if found {
            return Some((from, from + length_until(&bytes[from..], ends_secret)));
        }
    }
    if !bytes[at..].starts_with(b"://") {
        return None;
    }
    let from = at + 3;
    let authority = &bytes[from..from + length_until(&bytes[from..], ends_authority)];
    let user_info = authority.iter().rposition(|&byte| byte == b'@')?;
    Some((from, from + user_info))
}

fn length_until(bytes: &[u8], ends: fn(u8) -> bool) -> usize {
    bytes.iter().position(|&byte| ends(byte)).unwrap_or(bytes.len())
}

fn ends_secret(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"\"'\\;,&<>()[]{}|`".contains(&byte)
}

fn ends_authority(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"\"'\\/?#<>".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_signatures_tokens_and_url_passwords_are_taken_out_and_the_rest_stays() {
        let cases = [
            (
                "Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=abc+/=;EntityPath=e",
                "Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=***;EntityPath=e",
            ),
            ("sr=h&SIG=a%2Fb%3D&se=1", "sr=h&SIG=***&se=1"),
            ("sharedaccesskey%3Dabc%3D;", "sharedaccesskey%3D***;"),
            ("key whsec_MfKQ9r8G done", "key whsec_*** done"),
            ("amqps://me:p@ss@host:5671/v?x", "amqps://***@host:5671/v?x"),
            ("{\"a\":\"Bearer e.y.J\"}", "{\"a\":\"Bearer ***\"}"),
            ("https://host/path@home", "https://host/path@home"),
            ("caf\u{e9} sig=\u{e9} x", "caf\u{e9} sig=*** x"),
            ("sig=", "sig="),
        ];
        for (text, clean) in cases {
            assert_eq!(redact(text), clean);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail_and_text_without_marks_is_left_alone(text in "\\PC*") {
            let clean = redact(&text);
            if !text.contains("://") && !text.contains(['=', '_', ' ']) {
                prop_assert_eq!(clean.as_ref(), text.as_str());
            }
        }

        #[test]
        fn a_secret_behind_any_mark_is_gone(
            secret in "[A-Za-z0-9+/=%.-]{8,40}", before in "[ -~]{0,20}", mark in 0..MARKS.len()
        ) {
            let text = format!("{before} {}{secret} after", MARKS[mark].to_uppercase());
            prop_assert!(!redact(&text).contains(&secret));
        }
    }
}
