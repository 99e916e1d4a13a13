//! The walk delimits values exactly: what it accepts it accepts again beside itself, and never without its last byte.
//! And what it accepts does not end the stock codec, nor is it longer or shorter for it.

#![no_main]

use lastseen::wire::amqp10::check_nesting;
use libfuzzer_sys::fuzz_target;
use serde_amqp::Value;

fuzz_target!(|bytes: &[u8]| {
    if check_nesting(bytes).is_ok() {
        assert!(check_nesting(&bytes.repeat(2)).is_ok());
        let _ = serde_amqp::from_slice::<Value>(bytes);
        let behind = [bytes, &[0xa1, 6], b"behind"].concat();
        if check_nesting(&list(1, bytes)).is_ok()
            && let Ok(Value::List(values)) = serde_amqp::from_slice(&list(2, &behind))
        {
            assert_eq!(values.last(), Some(&Value::String("behind".into())));
        }
    }
    if let Some((_, cut)) = bytes.split_last() {
        assert!(!(check_nesting(&list(1, bytes)).is_ok() && check_nesting(&list(1, cut)).is_ok()));
    }
});

fn list(count: u32, content: &[u8]) -> Vec<u8> {
    let size = u32::try_from(content.len() + 4).unwrap_or(u32::MAX).to_be_bytes();
    [&[0xd0][..], &size, &count.to_be_bytes(), content].concat()
}
