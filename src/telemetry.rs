//! Logs: lines for people or JSON, to standard error, with secrets taken out of everything, also of what other
//! crates write and of panics.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogConfig, LogFormat};

mod redact;

pub use redact::redact;

/// The environment variable that overrides `log.level`.
pub const FILTER_VARIABLE: &str = "LASTSEEN_LOG";

/// Logging could not be set up: nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter can't be read.
    #[error(
        "{FILTER_VARIABLE}: value '{value}': is no log filter: write for example debug, or lastseen=debug,warn"
    )]
    Filter {
        /// The value, redacted.
        value: String,
    },
    /// Somebody else has set up logging in this process.
    #[error(
        "logging was set up twice in one process: this is a mistake of the program, please report it"
    )]
    SetTwice,
}

/// Sets up logs for the process. `filter_override` is the value of [`FILTER_VARIABLE`], if it is set.
pub fn init(config: &LogConfig, filter_override: Option<&str>) -> Result<(), TelemetryError> {
    let filter = filter_override.unwrap_or(&config.level);
    let subscriber = subscriber(filter, config.format, Redacting(io::stderr))?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| TelemetryError::SetTwice)?;
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("panic: {panic}");
    }));
    Ok(())
}

fn subscriber<W>(
    filter: &str,
    format: LogFormat,
    writer: Redacting<W>,
) -> Result<Box<dyn tracing::Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(filter)
        .map_err(|_| TelemetryError::Filter { value: redact(filter).escape_debug().to_string() })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    Ok(match format {
        LogFormat::Text => Box::new(lines.with_ansi(false).finish()),
        LogFormat::Json => Box::new(lines.json().finish()),
    })
}

/// Makes writers that redact. The formatter writes each event with one call, so no secret is cut in two.
struct Redacting<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Redacting<W> {
    type Writer = RedactingWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        RedactingWriter(self.0.make_writer())
    }
}

struct RedactingWriter<W>(W);

impl<W: Write> Write for RedactingWriter<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.0.write_all(redact(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics here").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let subscriber = subscriber("info", format, Redacting(move || writer.clone()))
            .expect("the filter is sound");
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(uri = "amqp://user:hunter2@host/", "connect SharedAccessKey=s3cr3t;");
            tracing::debug!("below the level");
        });
        let bytes = captured.0.lock().expect("no test panics here").clone();
        String::from_utf8(bytes).expect("logs are UTF-8")
    }

    #[test]
    fn secrets_in_messages_and_fields_never_reach_the_log() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let log = logged(format);
            assert!(log.contains("SharedAccessKey=***"), "{log}");
            assert!(log.contains("amqp://***@host/"), "{log}");
            assert!(!log.contains("hunter2") && !log.contains("s3cr3t"), "{log}");
            assert_eq!(log.lines().count(), 1);
        }
    }

    #[test]
    fn a_json_line_is_json_after_redaction() {
        let line: serde_json::Value =
            serde_json::from_str(&logged(LogFormat::Json)).expect("one JSON object");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn a_filter_that_can_not_be_read_names_its_variable() {
        let error = subscriber("lastseen=loud", LogFormat::Text, Redacting(io::sink))
            .err()
            .map(|error| error.to_string());
        assert!(error.is_some_and(|text| text.contains(FILTER_VARIABLE)));
    }
}
