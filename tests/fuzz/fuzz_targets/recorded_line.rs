#![no_main]

mod profiles;

use lastseen::wire::RawMessage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    profiles::decode(&RawMessage::Line(bytes.to_vec().into()));
});
