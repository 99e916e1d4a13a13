//! Whatever stands in a snapshot: it is read or refused, and takes no more memory than its bytes can fill.
#![no_main]

#[path = "framing.rs"]
mod framing;

use lastseen::journal::Snapshot;
use lastseen::journal::frame::Kind;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    framing::check(Kind::Snapshot, bytes, |framed| {
        if let Ok(snapshot) = Snapshot::decode(framed) {
            let again = snapshot.encode().and_then(|bytes| Snapshot::decode(&bytes));
            assert!(again == Ok(snapshot), "what was read is written as something else");
        }
    });
});
