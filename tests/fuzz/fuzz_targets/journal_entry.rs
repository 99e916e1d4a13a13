//! Whatever stands in a file of a journal: it is read or refused, and takes no more memory than its bytes can fill.
#![no_main]

#[path = "framing.rs"]
mod framing;

use lastseen::journal::Entry;
use lastseen::journal::frame::Kind;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    framing::check(Kind::Entry, bytes, |framed| {
        if let Ok(entry) = Entry::decode(framed) {
            let again = entry.encode().and_then(|bytes| Entry::decode(&bytes));
            assert!(again == Ok(entry), "what was read is written as something else");
        }
    });
});
