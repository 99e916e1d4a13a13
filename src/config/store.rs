//! `store`: what is kept, and where.

use std::path::PathBuf;
use std::str::FromStr;

use object_store::ClientConfigKey;
use object_store::aws::AmazonS3ConfigKey;
use object_store::azure::AzureConfigKey;
use object_store::gcp::GoogleConfigKey;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::section::Section;
use crate::engine::Millis;

/// Beside the configuration file.
const DEFAULT_PATH: &str = "data";
/// About 100,000 rejected messages of an ordinary size.
const DEFAULT_DEAD_LETTER_BYTES: u64 = 64 * 1024 * 1024;
/// Room for two segments with the largest letter in each.
const MIN_DEAD_LETTER_BYTES: i64 = 1024 * 1024;
/// A tebibyte: a larger number is a slip.
const MAX_DEAD_LETTER_BYTES: i64 = 1024 * 1024 * 1024 * 1024;
/// What is read again after a crash then takes well under a second.
const DEFAULT_SNAPSHOT_MS: Millis = 30_000;
/// A million identities take a tenth of a second.
const MIN_SNAPSHOT_MS: Millis = 1_000;
/// Beyond, entries pile up.
const MAX_SNAPSHOT_MS: Millis = 3_600_000;
/// Leaves room for the names of journals in the 1,024 bytes that every provider allows.
const MAX_PREFIX_BYTES: usize = 256;

/// `store`.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Folder: dead letters, and everything else unless [`Self::remote`] is set.
    pub path: PathBuf,
    /// Most bytes of the ingest dead letters, and of the delivery dead letters; the oldest go first.
    pub dead_letter_bytes: u64,
    /// From one snapshot of a partition to the next, ms.
    pub snapshot_interval_ms: Millis,
    /// Where journals and snapshots are kept instead of in the folder (`store.url`, `store.options_file`).
    pub remote: Option<RemoteStoreConfig>,
}

/// An object store.
#[derive(Clone, Debug)]
pub struct RemoteStoreConfig {
    /// Whose.
    pub provider: Provider,
    /// Container or bucket. It has to exist.
    pub container: String,
    /// Folders in it, with `/` between them; empty is its top.
    pub prefix: String,
    /// Options of the provider as `object_store` names them, in lower case. Values may be secrets.
    pub options: Vec<(String, SecretString)>,
}

/// A provider of object stores, or whoever speaks its protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Azure Blob Storage: `az://container/prefix`.
    Azure,
    /// S3: `s3://bucket/prefix`.
    S3,
    /// Google Cloud Storage: `gs://bucket/prefix`.
    Gcs,
}

/// What an option is to the checks here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OptionKind {
    /// Where the store answers.
    Endpoint,
    /// Whether it may be asked without TLS.
    AllowHttp,
    /// The account, or an emulator that has one of its own.
    Account,
    Other,
}

impl Provider {
    fn of_scheme(scheme: &str) -> Option<Self> {
        match scheme {
            "az" => Some(Self::Azure),
            "s3" => Some(Self::S3),
            "gs" => Some(Self::Gcs),
            _ => None,
        }
    }

    /// What the option is; none if there is no such option.
    fn option(self, name: &str) -> Option<OptionKind> {
        let (is_endpoint, is_account, is_allow_http) = match self {
            Self::Azure => {
                let key = AzureConfigKey::from_str(name).ok()?;
                let account = [AzureConfigKey::AccountName, AzureConfigKey::UseEmulator];
                (
                    key == AzureConfigKey::Endpoint,
                    account.contains(&key),
                    key == AzureConfigKey::Client(ClientConfigKey::AllowHttp),
                )
            }
            Self::S3 => {
                let key = AmazonS3ConfigKey::from_str(name).ok()?;
                let endpoints = [
                    AmazonS3ConfigKey::Endpoint,
                    AmazonS3ConfigKey::S3Endpoint,
                    AmazonS3ConfigKey::StsEndpoint,
                ];
                let allow_http = AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp);
                (endpoints.contains(&key), false, key == allow_http)
            }
            Self::Gcs => {
                let key = GoogleConfigKey::from_str(name).ok()?;
                let allow_http = GoogleConfigKey::Client(ClientConfigKey::AllowHttp);
                (key == GoogleConfigKey::BaseUrl, false, key == allow_http)
            }
        };
        Some(match (is_endpoint, is_account, is_allow_http) {
            (true, _, _) => OptionKind::Endpoint,
            (_, true, _) => OptionKind::Account,
            (_, _, true) => OptionKind::AllowHttp,
            (false, false, false) => OptionKind::Other,
        })
    }
}

impl StoreConfig {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let bytes =
            section.number("dead_letter_bytes", MIN_DEAD_LETTER_BYTES..=MAX_DEAD_LETTER_BYTES);
        Self {
            path: section.resolve(section.text("path").unwrap_or(DEFAULT_PATH)),
            dead_letter_bytes: bytes
                .and_then(|bytes| u64::try_from(bytes).ok())
                .unwrap_or(DEFAULT_DEAD_LETTER_BYTES),
            snapshot_interval_ms: section
                .duration("snapshot_interval", MIN_SNAPSHOT_MS..=MAX_SNAPSHOT_MS)
                .unwrap_or(DEFAULT_SNAPSHOT_MS),
            remote: read_remote(section),
        }
    }
}

fn read_remote(section: &Section<'_>) -> Option<RemoteStoreConfig> {
    let options_file = section.text("options_file");
    if !section.has("url") {
        if options_file.is_some() {
            let remedy = "set store.url too, or remove it";
            section.problem("options_file", options_file, "stands without url", remedy);
        }
        return None;
    }
    let (provider, container, prefix) = read_url(section)?;
    let options = match options_file {
        Some(name) => read_options(section, provider, name)?,
        None => Vec::new(),
    };
    check_options(section, provider, &options);
    Some(RemoteStoreConfig { provider, container, prefix, options })
}

/// Provider, container and prefix.
fn read_url(section: &Section<'_>) -> Option<(Provider, String, String)> {
    let text = section.text("url")?;
    let remedy = "write az://container/prefix, s3://bucket/prefix or gs://bucket/prefix";
    let wrong = |wrong: &str| section.problem("url", Some(text), wrong, remedy);
    let Ok(url) = Url::parse(text) else {
        wrong("is no URL of an object store");
        return None;
    };
    let Some(provider) = Provider::of_scheme(url.scheme()) else {
        wrong("has a scheme that is not known");
        return None;
    };
    let container = url.host_str().unwrap_or_default();
    let has_more = url.port().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some();
    if has_more {
        let remedy =
            "leave the container and the prefix here; all else belongs into store.options_file";
        section.problem("url", Some(text), "says more than where", remedy);
        return None;
    }
    let prefix = url.path().trim_matches('/');
    let is_plain = |part: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        !part.is_empty() && part.bytes().all(plain) && part != "." && part != ".."
    };
    if !is_plain(container) {
        wrong("names no container or bucket");
        return None;
    }
    let is_prefix = prefix.is_empty() || prefix.split('/').all(is_plain);
    if !is_prefix || prefix.len() > MAX_PREFIX_BYTES {
        let remedy = "use up to 256 letters, digits, - _ . and single / in it";
        section.problem("url", Some(text), "has a prefix that can't be used", remedy);
        return None;
    }
    Some((provider, container.to_owned(), prefix.to_owned()))
}

/// Lines of `KEY=VALUE`. Neither is ever repeated: a key that is not known may be a part of a secret.
fn read_options(
    section: &Section<'_>,
    provider: Provider,
    name: &str,
) -> Option<Vec<(String, SecretString)>> {
    let content = section.secret_in("options_file", name)?;
    let mut options = Vec::new();
    let mut is_sound = true;
    for (index, line) in content.expose_secret().lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let option = line.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
        let option = option.map(|(key, value)| (key.to_ascii_lowercase(), value));
        match option {
            Some((key, value)) if provider.option(&key).is_some() => {
                options.push((key, SecretString::from(value)));
            }
            Some(_) | None => {
                is_sound = false;
                section.problem(
                    "options_file",
                    Some(name),
                    format!("line {} is no option of this provider", index + 1),
                    "write KEY=VALUE, with a key that object_store documents for it",
                );
            }
        }
    }
    is_sound.then_some(options)
}

fn check_options(section: &Section<'_>, provider: Provider, options: &[(String, SecretString)]) {
    let of_kind = |kind: OptionKind| {
        let values = options.iter().filter(move |(key, _)| provider.option(key) == Some(kind));
        values.map(|(_, value)| value.expose_secret())
    };
    let is_true =
        |value: &str| ["1", "true", "on", "yes", "y"].contains(&&*value.to_ascii_lowercase());
    let allows_http = of_kind(OptionKind::AllowHttp).next_back().is_some_and(is_true);
    let is_plaintext = |url: &str| url.to_ascii_lowercase().starts_with("http://");
    if !allows_http && of_kind(OptionKind::Endpoint).any(is_plaintext) {
        section.problem(
            "options_file",
            section.text("options_file"),
            "has an endpoint that would be sent state unencrypted",
            "use https, or add allow_http=true on a network that is trusted",
        );
    }
    if provider == Provider::Azure && of_kind(OptionKind::Account).next().is_none() {
        section.problem(
            "options_file",
            section.text("options_file"),
            "names no storage account",
            "write account_name=... into the file",
        );
    }
}
