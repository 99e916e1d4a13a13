#![no_main]

use lastseen::wire::amqp091::check_table;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if check_table(bytes).is_ok() {
        let (length, fields) = bytes.split_at(4);
        assert_eq!(length, u32::try_from(fields.len()).unwrap_or(u32::MAX).to_be_bytes());
        assert!(check_table(&[bytes, &[0]].concat()).is_err());
    }
});
