//! `sinks`: where alerts go.

use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::section::Section;
use crate::alert::signature::Signer;
use crate::engine::Millis;
use crate::sink::webhook::{UrlRefusal, check_url};

/// Long enough for a receiver that wakes up, short enough that one that hangs costs little.
const DEFAULT_TIMEOUT_MS: Millis = 10_000;
/// A receiver that needs longer should answer first and work afterwards.
const MAX_TIMEOUT_MS: Millis = 60_000;
/// The new secret and the old one, while receivers change over.
const MAX_SECRETS: usize = 2;

/// A webhook.
#[derive(Clone, Debug)]
pub struct WebhookConfig {
    /// Unique.
    pub name: Arc<str>,
    /// Where to post. Its path may hold a token: only scheme and host are ever shown.
    pub url: RedactedUrl,
    /// Signing secrets (`whsec_...`), newest first: two during a rotation.
    pub secrets: Vec<SecretString>,
    /// Allow `http:`.
    pub allow_http: bool,
    /// Address ranges that are allowed although they are private.
    pub allow_cidrs: Vec<IpNet>,
    /// Total time-out of one attempt.
    pub timeout_ms: Millis,
    /// Additional root certificates (PEM).
    pub ca_file: Option<PathBuf>,
}

/// A URL whose `Debug` and `Display` show only scheme, host and port.
#[derive(Clone, PartialEq, Eq)]
pub struct RedactedUrl(pub Url);

impl std::fmt::Display for RedactedUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}", self.0.scheme(), self.0.host_str().unwrap_or("?"))?;
        self.0.port().map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl std::fmt::Debug for RedactedUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl WebhookConfig {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        section.require("type", "write type: webhook");
        section.choice("type", &[("webhook", ())]);
        let name = section.required_text("name", "give the sink a name that no other has");
        let allow_http = section.flag("allow_http");
        let url = read_url(section, allow_http);
        let secrets = read_secrets(section);
        let allow_cidrs = read_cidrs(section);
        let timeout = section.duration("timeout", 1_000..=MAX_TIMEOUT_MS);
        let ca_file = section.ca_file();
        Some(Self {
            name: name?.into(),
            url: RedactedUrl(url?),
            secrets,
            allow_http,
            allow_cidrs,
            timeout_ms: timeout.unwrap_or(DEFAULT_TIMEOUT_MS),
            ca_file,
        })
    }
}

fn read_url(section: &Section<'_>, allow_http: bool) -> Option<Url> {
    let text =
        section.required_text("url", "write where to post, for example https://host/path")?;
    let Ok(url) = Url::parse(text) else {
        section.problem(
            "url",
            None,
            "is no URL",
            "write where to post, for example https://host/path",
        );
        return None;
    };
    let fault = url_fault(&url, allow_http);
    if let Some((wrong, remedy)) = fault {
        let shown = RedactedUrl(url).to_string();
        section.problem("url", Some(&shown), wrong, remedy);
        return None;
    }
    Some(url)
}

/// What is wrong with the address of a webhook, and what to do.
fn url_fault(url: &Url, allow_http: bool) -> Option<(&'static str, &'static str)> {
    match check_url(url, allow_http) {
        Ok(()) if url.fragment().is_some() => {
            Some(("has a fragment, which is never sent", "remove what follows #"))
        }
        Ok(()) => None,
        Err(UrlRefusal::PlainHttp) => {
            Some(("sends alerts unencrypted", "use https, or set allow_http: true for this sink"))
        }
        Err(UrlRefusal::Scheme(_)) => Some(("is neither https nor http", "use https")),
        Err(UrlRefusal::UserInfo) => {
            Some(("has a user or a password in it", "remove them; receivers check the signature"))
        }
        Err(UrlRefusal::TooLong(_)) => Some(("is too long", "write at most 2048 bytes")),
    }
}

fn read_secrets(section: &Section<'_>) -> Vec<SecretString> {
    const KEY: &str = "secret_file";
    let remedy = "name a file with whsec_ and the base64 of 24 to 64 random bytes";
    if !section.require(KEY, remedy) {
        return Vec::new();
    }
    let names: Vec<&str> = match section.value(KEY) {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(_) | None => section.text(KEY).into_iter().collect(),
    };
    let listed = section.value(KEY).and_then(Value::as_array).map(Vec::len);
    if listed.is_some_and(|count| count != names.len() || count == 0 || count > MAX_SECRETS) {
        section.problem(
            KEY,
            None,
            "is no list of one or two file names",
            "name the file of the new secret first, then that of the old one",
        );
    }
    names
        .into_iter()
        .take(MAX_SECRETS)
        .filter_map(|name| {
            let secret = section.secret_in(KEY, name)?;
            if let Err(error) = Signer::new(std::slice::from_ref(&secret)) {
                section.problem(KEY, Some(name), error.to_string(), "correct the file");
            }
            Some(secret)
        })
        .collect()
}

fn read_cidrs(section: &Section<'_>) -> Vec<IpNet> {
    const KEY: &str = "allow_cidrs";
    let items = match section.value(KEY) {
        None => return Vec::new(),
        Some(Value::Array(items)) => items.as_slice(),
        Some(_) => &[Value::Null],
    };
    items
        .iter()
        .filter_map(|item| {
            let range = item.as_str().and_then(|text| text.parse().ok());
            if range.is_none() {
                section.problem(
                    KEY,
                    item.as_str(),
                    "is no list of address ranges",
                    "write for example [10.0.0.0/8, fd00::/8]",
                );
            }
            range
        })
        .collect()
}
