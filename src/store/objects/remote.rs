//! Objects in an object store. What it has confirmed is durable and seen by everybody: Azure Blob, S3 and Google Cloud
//! Storage are strongly consistent, and each has a put that fails if the name is taken.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    PutPayload, RetryConfig, WriteMultipart,
};
use secrecy::{ExposeSecret, SecretString};

use super::folder::{Created, Names};
use crate::config::{Provider, RemoteStoreConfig};
use crate::store::StoreError;
use crate::store::error::shown;

/// The largest object that goes in one request; half a minute at 4 Mbit/s.
const MAX_SINGLE_PUT_BYTES: usize = 16 * 1024 * 1024;
/// S3 takes parts of 5 MiB and more, 10,000 of them: 80 GB.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Fills a link without taking the connections of the entries.
const PARTS_IN_FLIGHT: usize = 4;
/// Longest request; a snapshot is read in one. Entries have a time-out of their own.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// A connection that gives nothing for so long is dead.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Repeats of one request, within the time-out of an entry: what lasts longer is for the caller to see.
const MAX_RETRIES: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
/// A shorter value of an option is a word like `true`, which is no secret.
const MIN_SECRET_BYTES: usize = 4;

/// The objects below a prefix of a store.
#[derive(Clone)]
pub(in crate::store) struct Remote {
    store: Arc<dyn ObjectStore>,
    prefix: String,
}

/// What was being done, for errors.
#[derive(Clone, Copy)]
pub(super) struct Doing<'a> {
    pub(super) doing: &'static str,
    pub(super) object: &'a str,
}

impl Doing<'_> {
    pub(super) fn unavailable(self, reason: &str) -> StoreError {
        StoreError::Unavailable {
            doing: self.doing,
            object: self.object.to_owned(),
            reason: shown(reason),
        }
    }

    pub(super) fn refused(self, reason: &str) -> StoreError {
        StoreError::Refused {
            doing: self.doing,
            object: self.object.to_owned(),
            reason: shown(reason),
        }
    }

    fn failed(self, error: &Error) -> StoreError {
        // The library's own words only repeat the object.
        let reason = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        if matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) {
            self.refused(&reason)
        } else {
            self.unavailable(&reason)
        }
    }

    /// Of a put, which needs nothing but the container.
    fn put_failed(self, error: &Error) -> StoreError {
        if matches!(error, Error::NotFound { .. }) {
            return self.unavailable("the container or bucket is not there: create it");
        }
        self.failed(error)
    }
}

impl Remote {
    /// A client of the store; asks nothing yet.
    pub(super) fn open(config: &RemoteStoreConfig) -> Result<Self, StoreError> {
        let store = build(config).map_err(|error| settings_error(&error, &config.options))?;
        Ok(Self { store, prefix: config.prefix.clone() })
    }

    pub(super) fn over(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, prefix: String::new() }
    }

    fn path(&self, name: &str) -> Path {
        // Names and prefix are of characters that stand for themselves.
        Path::from_iter(
            self.prefix.split('/').chain(name.split('/')).filter(|part| !part.is_empty()),
        )
    }

    /// Gives the bytes this name, if nothing has it.
    pub(super) async fn create(
        &self,
        name: &str,
        bytes: Bytes,
        doing: Doing<'_>,
    ) -> Result<Created, StoreError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let payload = PutPayload::from_bytes(bytes);
        match self.store.put_opts(&self.path(name), payload, options).await {
            Ok(_) => Ok(Created::New),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Created::Exists),
            Err(error) => Err(doing.put_failed(&error)),
        }
    }

    /// Gives the bytes this name, instead of whatever has it.
    pub(super) async fn replace(
        &self,
        name: &str,
        bytes: Bytes,
        doing: Doing<'_>,
    ) -> Result<(), StoreError> {
        let path = self.path(name);
        let put = async {
            if bytes.len() <= MAX_SINGLE_PUT_BYTES {
                return self.store.put(&path, PutPayload::from_bytes(bytes)).await.map(|_| ());
            }
            let upload = self.store.put_multipart(&path).await?;
            put_parts(WriteMultipart::new_with_chunk_size(upload, PART_BYTES), bytes).await
        };
        put.await.map_err(|error| doing.put_failed(&error))
    }

    /// The content under this name, if it is at most `most` bytes long.
    pub(super) async fn read(
        &self,
        name: &str,
        most: u64,
        doing: Doing<'_>,
    ) -> Result<Option<Bytes>, StoreError> {
        let found = match self.store.get(&self.path(name)).await {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(doing.failed(&error)),
        };
        let bytes = found.meta.size;
        if bytes > most {
            return Err(StoreError::TooLarge { object: doing.object.to_owned(), bytes, most });
        }
        found.bytes().await.map(Some).map_err(|error| doing.failed(&error))
    }

    /// What is in the folder of this name, at most `most` names; none if there are more.
    pub(super) async fn names(
        &self,
        name: &str,
        most: usize,
        doing: Doing<'_>,
    ) -> Result<Option<Names>, StoreError> {
        let path = self.path(name);
        let listed = self.store.list_with_delimiter(Some(&path)).await;
        let listed = listed.map_err(|error| doing.failed(&error))?;
        let last = |path: &Path| path.filename().map(str::to_owned);
        let names = Names {
            folders: listed.common_prefixes.iter().filter_map(last).collect(),
            objects: listed.objects.iter().filter_map(|object| last(&object.location)).collect(),
        };
        Ok((names.folders.len() + names.objects.len() <= most).then_some(names))
    }

    /// Removes these; how many there were, as far as the store says.
    pub(super) async fn remove(
        &self,
        names: &[String],
        doing: Doing<'_>,
    ) -> Result<usize, StoreError> {
        let paths: Vec<_> = names.iter().map(|name| Ok(self.path(name))).collect();
        let mut removals = self.store.delete_stream(stream::iter(paths).boxed());
        let mut removed = 0;
        while let Some(removal) = removals.next().await {
            match removal {
                Ok(_) => removed += 1,
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(doing.failed(&error)),
            }
        }
        Ok(removed)
    }
}

/// A failed upload leaves nothing that anybody sees; its parts are dropped if the store still answers.
async fn put_parts(mut upload: WriteMultipart, mut bytes: Bytes) -> object_store::Result<()> {
    while !bytes.is_empty() {
        if let Err(error) = upload.wait_for_capacity(PARTS_IN_FLIGHT).await {
            upload.abort().await?;
            return Err(error);
        }
        upload.put(bytes.split_to(bytes.len().min(PART_BYTES)));
    }
    upload.finish().await.map(|_| ())
}

fn build(config: &RemoteStoreConfig) -> object_store::Result<Arc<dyn ObjectStore>> {
    let retry = RetryConfig {
        backoff: BackoffConfig {
            init_backoff: FIRST_BACKOFF,
            max_backoff: LONGEST_BACKOFF,
            ..BackoffConfig::default()
        },
        max_retries: MAX_RETRIES,
        retry_timeout: RETRY_TIMEOUT,
    };
    let client = ClientOptions::new()
        .with_timeout(REQUEST_TIMEOUT)
        .with_read_timeout(READ_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT);
    let options = config.options.iter().map(|(key, value)| (key.as_str(), value.expose_secret()));
    match config.provider {
        Provider::Azure => {
            let mut builder =
                MicrosoftAzureBuilder::new().with_client_options(client).with_retry(retry);
            for (key, value) in options {
                builder = builder.with_config(key.parse::<AzureConfigKey>()?, value);
            }
            Ok(Arc::new(builder.with_container_name(&config.container).build()?))
        }
        Provider::S3 => {
            let mut builder = AmazonS3Builder::new().with_client_options(client).with_retry(retry);
            for (key, value) in options {
                builder = builder.with_config(key.parse::<AmazonS3ConfigKey>()?, value);
            }
            Ok(Arc::new(builder.with_bucket_name(&config.container).build()?))
        }
        Provider::Gcs => {
            let mut builder =
                GoogleCloudStorageBuilder::new().with_client_options(client).with_retry(retry);
            for (key, value) in options {
                builder = builder.with_config(key.parse::<GoogleConfigKey>()?, value);
            }
            Ok(Arc::new(builder.with_bucket_name(&config.container).build()?))
        }
    }
}

/// The library repeats values that it can't use: they are taken out, whichever they are.
fn settings_error(error: &Error, options: &[(String, SecretString)]) -> StoreError {
    let mut reason = error.to_string();
    for (_, value) in options {
        let value = value.expose_secret();
        if value.len() >= MIN_SECRET_BYTES {
            reason = reason.replace(value, "***");
        }
    }
    StoreError::Settings { reason: shown(&reason) }
}
