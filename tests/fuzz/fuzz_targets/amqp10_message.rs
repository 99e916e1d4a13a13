#![no_main]

mod profiles;

use lastseen::wire::{RawMessage, amqp10};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = amqp10::log_position(bytes);
    profiles::decode(&RawMessage::Amqp10(bytes.to_vec().into()));
});
