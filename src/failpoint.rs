//! Named points at which a test lets the process die, as if the machine had lost power there.
//!
//! `LASTSEEN_FAILPOINT=name:n` aborts at the n-th passing of that point. Only in builds with debug assertions: a release has
//! none of it.

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Armed {
        name: String,
        left: AtomicU64,
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    fn parse() -> Option<Armed> {
        let text = std::env::var("LASTSEEN_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':')?;
        Some(Armed { name: name.to_owned(), left: AtomicU64::new(count.parse().ok()?) })
    }

    pub(super) fn pass(name: &str) {
        let Some(armed) = ARMED.get_or_init(parse) else { return };
        if armed.name == name && armed.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            std::process::abort();
        }
    }
}

#[cfg(debug_assertions)]
mod message {
    use std::sync::OnceLock;

    use crate::wire::RawMessage;

    static ARMED: OnceLock<Option<String>> = OnceLock::new();

    pub(super) fn pass(raw: &RawMessage) {
        let armed = ARMED.get_or_init(|| std::env::var("LASTSEEN_FAILMESSAGE").ok());
        let Some(armed) = armed.as_deref().filter(|text| !text.is_empty()) else { return };
        let bytes = match raw {
            RawMessage::Amqp10(bytes) | RawMessage::Line(bytes) => bytes,
            RawMessage::Amqp091(message) => &message.body,
        };
        if bytes.windows(armed.len()).any(|part| part == armed.as_bytes()) {
            std::process::abort();
        }
    }
}

/// Dies here if a test wants a message with these bytes to end the process: `LASTSEEN_FAILMESSAGE=text` stands for a fault in
/// a decoder.
pub(crate) fn fail_message(raw: &crate::wire::RawMessage) {
    #[cfg(debug_assertions)]
    message::pass(raw);
    #[cfg(not(debug_assertions))]
    let _ = raw;
}

/// Dies here if a test wants it.
pub(crate) fn fail_point(name: &str) {
    #[cfg(debug_assertions)]
    armed::pass(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}
