//! Credentials of an event hub or IoT Hub, and tokens put at `$cbs` ahead of their expiry (Microsoft: "AMQP 1.0 in Azure
//! Service Bus and Event Hubs protocol guide", claims-based authorization).

use std::path::PathBuf;

use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::primitives::Value;
use secrecy::{ExposeSecret, SecretString};

use super::sas::{self, KeyForm};
use crate::clock;
use crate::config::EventHubsAuth;
use crate::engine::Millis;
use crate::source::amqp_link::connection::Sasl;
use crate::source::amqp_link::dial::sleep_ms;
use crate::source::amqp_link::link_error::LinkError;
use crate::source::amqp_link::request::Requester;

const NODE: &str = "$cbs";
/// Largest token file that is read.
const MAX_TOKEN_BYTES: u64 = 64 << 10;
/// A token of someone else's making ends when it likes, and its file is replaced well before: it is put again this often.
const JWT_RENEWAL_MS: Millis = 300_000;

/// How long tokens live and when they are renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenTiming {
    /// Life of a SAS token.
    pub lifetime_ms: Millis,
    /// A token is renewed this long before its end, up to a tenth of it earlier, so that replicas don't come together.
    pub renew_ahead_ms: Millis,
    /// After a refused renewal. The old token still holds meanwhile.
    pub retry_ms: Millis,
}

impl Default for TokenTiming {
    fn default() -> Self {
        Self { lifetime_ms: 3_600_000, renew_ahead_ms: 420_000, retry_ms: 30_000 }
    }
}

impl TokenTiming {
    /// How long to wait for the renewal. `random` is any number from 0 to 1.
    fn wait_ms(&self, random: f64) -> Millis {
        #[expect(clippy::cast_possible_truncation, reason = "a tenth of some minutes in ms")]
        let jitter = (self.renew_ahead_ms as f64 / 10.0 * random.clamp(0.0, 1.0)) as Millis;
        (self.lifetime_ms - self.renew_ahead_ms - jitter).max(100)
    }
}

/// What to authenticate with at one host.
#[derive(Clone)]
pub(super) struct Credential {
    pub(super) method: EventHubsAuth,
    pub(super) key_name: String,
    pub(super) key: SecretString,
    pub(super) form: KeyForm,
    /// The resource that a token is for.
    pub(super) audience: String,
    /// First label of the host: the hub's name.
    pub(super) hub: String,
    pub(super) timing: TokenTiming,
}

impl Credential {
    /// What the connection itself authenticates with.
    pub(super) fn sasl(&self) -> Result<Sasl, LinkError> {
        match (&self.method, self.form) {
            (EventHubsAuth::CbsSas | EventHubsAuth::CbsJwt { .. }, _) => Ok(Sasl::Anonymous),
            (EventHubsAuth::Plain, KeyForm::Text) => {
                Ok(Sasl::Plain { user: self.key_name.clone(), password: self.key.clone() })
            }
            (EventHubsAuth::Plain, KeyForm::Base64) => Ok(Sasl::Plain {
                user: format!("{}@sas.root.{}", self.key_name, self.hub),
                password: self.sas_token()?,
            }),
        }
    }

    fn sas_token(&self) -> Result<SecretString, LinkError> {
        let expires_s = (clock::wall().as_ms() + self.timing.lifetime_ms) / 1_000;
        sas::token(&self.audience, &self.key_name, &self.key, self.form, expires_s)
            .ok_or_else(|| LinkError::Token("the shared access key is not base64".to_owned()))
    }

    async fn token(&self) -> Result<Option<(&'static str, SecretString)>, LinkError> {
        match &self.method {
            EventHubsAuth::Plain => Ok(None),
            EventHubsAuth::CbsSas => {
                Ok(Some(("servicebus.windows.net:sastoken", self.sas_token()?)))
            }
            EventHubsAuth::CbsJwt { token_file } => {
                Ok(Some(("jwt", read_token(token_file.clone()).await?)))
            }
        }
    }
}

/// Reads the file again each time: it is replaced while we run.
async fn read_token(path: PathBuf) -> Result<SecretString, LinkError> {
    let failed = |error: String| {
        LinkError::Token(format!(
            "can't read the token file {}: {error}; it is tried again",
            path.display()
        ))
    };
    let metadata = tokio::fs::metadata(&path).await.map_err(|error| failed(error.to_string()))?;
    if metadata.len() > MAX_TOKEN_BYTES {
        return Err(failed("it is larger than 64 KiB".to_owned()));
    }
    let text = tokio::fs::read_to_string(&path).await.map_err(|error| failed(error.to_string()))?;
    Ok(SecretString::from(text.trim().to_owned()))
}

/// Puts tokens.
pub(super) struct Cbs {
    requester: Requester,
    credential: Credential,
}

impl Cbs {
    /// Attaches to `$cbs` and puts the first token. `None` where the connection itself was authenticated.
    pub(super) async fn begin(
        session: &mut SessionHandle<()>,
        credential: Credential,
    ) -> Result<Option<Self>, LinkError> {
        if credential.method == EventHubsAuth::Plain {
            return Ok(None);
        }
        let requester = Requester::attach(session, NODE, NODE).await?;
        let cbs = Self { requester, credential };
        cbs.put().await?;
        Ok(Some(cbs))
    }

    async fn put(&self) -> Result<(), LinkError> {
        let Some((kind, token)) = self.credential.token().await? else {
            return Ok(());
        };
        let properties = vec![
            ("operation", "put-token".to_owned()),
            ("type", kind.to_owned()),
            ("name", self.credential.audience.clone()),
        ];
        let body = Value::String(token.expose_secret().to_owned());
        self.requester.ask(properties, body).await.map(drop)
    }

    /// Renews for ever. A refusal is logged and tried again: when the old token ends, the broker ends the links.
    pub(super) async fn keep_renewed(self, source: &str) {
        let timing = self.credential.timing;
        let longest = match self.credential.method {
            EventHubsAuth::CbsJwt { .. } => JWT_RENEWAL_MS,
            EventHubsAuth::CbsSas | EventHubsAuth::Plain => Millis::MAX,
        };
        let next = || timing.wait_ms(rand::random()).min(longest);
        let mut wait_ms = next();
        loop {
            sleep_ms(wait_ms).await;
            wait_ms = match self.put().await {
                Ok(()) => next(),
                Err(error) => {
                    tracing::warn!(source, %error, "token was not renewed; the old one still holds");
                    timing.retry_ms
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_an_hour_are_renewed_at_least_six_minutes_ahead() {
        let timing = TokenTiming::default();
        for random in [0.0, 0.5, 1.0] {
            let ahead = timing.lifetime_ms - timing.wait_ms(random);
            assert!((360_000..=480_000).contains(&ahead), "{ahead}");
        }
    }

    #[tokio::test]
    async fn the_token_file_is_read_again_and_its_absence_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let missing = read_token(path.clone()).await.unwrap_err().to_string();
        assert!(missing.contains("token file") && missing.contains("tried again"));
        for token in ["one", "two"] {
            std::fs::write(&path, format!("{token}\n")).unwrap();
            let read = read_token(path.clone()).await.unwrap();
            assert_eq!(read.expose_secret(), token);
        }
    }
}
