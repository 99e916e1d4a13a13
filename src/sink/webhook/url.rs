//! Which URLs a webhook may have.

use ::url::Url;

/// The longest URL, in bytes: longer ones are refused by common servers.
pub const MAX_URL_BYTES: usize = 2_048;

/// Why a URL is refused. Never shows it: its path may hold a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlRefusal {
    /// Plain HTTP.
    #[error(
        "the URL is plain `http`, which anyone on the way can read; use `https`, or set `allow_http: true`"
    )]
    PlainHttp,
    /// Neither `https` nor `http`.
    #[error("the URL begins with `{0}:`; use `https`")]
    Scheme(String),
    /// User or password in it.
    #[error(
        "the URL holds a user or a password; remove them: messages are signed, and a token may stand in the path"
    )]
    UserInfo,
    /// Longer than [`MAX_URL_BYTES`].
    #[error("the URL has {0} bytes, more than {MAX_URL_BYTES}")]
    TooLong(usize),
}

/// Checks a webhook's URL: `https` (`http` only where it is allowed), no user or password, at most
/// [`MAX_URL_BYTES`]. Addresses are checked later, each time one is dialled.
pub fn check_url(url: &Url, allow_http: bool) -> Result<(), UrlRefusal> {
    match (url.scheme(), allow_http) {
        ("https", _) | ("http", true) => {}
        ("http", false) => return Err(UrlRefusal::PlainHttp),
        (scheme, _) => return Err(UrlRefusal::Scheme(scheme.to_owned())),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlRefusal::UserInfo);
    }
    match url.as_str().len() {
        0..=MAX_URL_BYTES => Ok(()),
        bytes => Err(UrlRefusal::TooLong(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, allow_http: bool) -> Result<(), UrlRefusal> {
        check_url(&Url::parse(url).unwrap(), allow_http)
    }

    #[test]
    fn only_https_passes_unless_http_is_allowed() {
        assert_eq!(check("https://ops.example/hook?x=1", false), Ok(()));
        assert_eq!(check("HTTPS://ops.example:8443/", false), Ok(()));
        assert_eq!(check("http://127.0.0.1:9000/hook", true), Ok(()));
        assert_eq!(check("http://127.0.0.1:9000/hook", false), Err(UrlRefusal::PlainHttp));
        for scheme in ["ftp", "file", "ws", "gopher", "data"] {
            let refused = check(&format!("{scheme}://host/x"), true);
            assert_eq!(refused, Err(UrlRefusal::Scheme(scheme.to_owned())));
        }
    }

    #[test]
    fn user_password_and_excess_length_are_refused_without_being_shown() {
        for url in ["https://user@h/", "https://user:hunter2@h/", "https://:hunter2@h/"] {
            let refused = check(url, true).unwrap_err();
            assert_eq!(refused, UrlRefusal::UserInfo);
            assert!(!refused.to_string().contains("hunter2"));
        }
        let longest = format!("https://h/{}", "x".repeat(MAX_URL_BYTES - 10));
        assert_eq!(check(&longest, false), Ok(()));
        assert_eq!(check(&format!("{longest}x"), false), Err(UrlRefusal::TooLong(2_049)));
    }
}
