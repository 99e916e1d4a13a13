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

/// Dies here if a test wants it.
pub(crate) fn fail_point(name: &str) {
    #[cfg(debug_assertions)]
    armed::pass(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}
