//! The walk delimits values exactly: what it accepts it accepts again beside itself, and never without its last byte.
//! And what it accepts does not end the stock codec.

#![no_main]

use lastseen::wire::amqp10::check_nesting;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if check_nesting(bytes).is_ok() {
        assert!(check_nesting(&bytes.repeat(2)).is_ok());
        let _ = serde_amqp::from_slice::<serde_amqp::Value>(bytes);
    }
    if let Some((_, cut)) = bytes.split_last() {
        let list = |content: &[u8]| {
            let size = u32::try_from(content.len() + 4).unwrap_or(u32::MAX).to_be_bytes();
            [&[0xd0][..], &size, &1_u32.to_be_bytes(), content].concat()
        };
        assert!(!(check_nesting(&list(bytes)).is_ok() && check_nesting(&list(cut)).is_ok()));
    }
});
