//! PURE. Encoded field tables (AMQP 0-9-1, section 4.2.5.5, with the types of RabbitMQ's errata), read without recursion.
//!
//! Whatever passes is decoded by the client library without an error and without deep recursion. One message that the
//! library can't decode closes the connection, is delivered again, and closes it again: for ever.

use crate::wire::{RejectReason, amqp091};

/// Reads from the front of a slice; `None` once it is too short.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn octet(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.take(2)?.first_chunk()?))
    }

    pub(super) fn long(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(*self.take(4)?.first_chunk()?))
    }

    pub(super) fn long_long(&mut self) -> Option<u64> {
        Some(u64::from_be_bytes(*self.take(8)?.first_chunk()?))
    }

    /// A short string's bytes.
    pub(super) fn short_bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.octet()?;
        self.take(usize::from(length))
    }

    /// A short string, which has to be UTF-8.
    pub(super) fn short_text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.short_bytes()?).ok()
    }

    /// A length of four octets with what it announces.
    pub(super) fn long_bytes_with_length(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(Reader(self.0).long()?).ok()?;
        self.take(length.checked_add(4)?)
    }

    /// What a length of four octets announces: long strings, arrays, tables.
    pub(super) fn long_bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.long()?).ok()?;
        self.take(length)
    }
}

/// Checks a table, its length included.
pub(super) fn check(table: &[u8]) -> Result<(), RejectReason> {
    amqp091::check_table(table).map_err(|reject| {
        if reject.reason == RejectReason::TooLarge { RejectReason::Hostile } else { reject.reason }
    })
}

fn skip_flat(kind: u8, left: &mut Reader<'_>) -> Option<()> {
    let width = match kind {
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        b's' | b'U' | b'u' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'L' | b'l' | b'd' | b'T' => 8,
        b'S' | b'x' => return left.long_bytes().map(|_| ()),
        _ => return None,
    };
    left.take(width).map(|_| ())
}

/// The last integer (type `l`) of this name at the top of a table, whatever else is in it, nested values skipped by
/// their length. The last, because that is the one the broker adds.
pub(super) fn find_integer(content: &[u8], wanted: &str) -> Option<i64> {
    let mut left = Reader(content);
    let mut found = None;
    while let (Some(name), Some(kind)) = (left.short_bytes(), left.octet()) {
        if kind == b'l' && name == wanted.as_bytes() {
            found = left.long_long().map(u64::cast_signed);
            continue;
        }
        let skipped = match kind {
            b'F' | b'A' => left.long_bytes().map(|_| ()),
            _ => skip_flat(kind, &mut left),
        };
        if skipped.is_none() {
            break;
        }
    }
    found
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use lapin::types::parsing::parse_field_table;
    use proptest::prelude::*;

    /// The content of a table with one value of `levels` nested arrays.
    pub(in super::super) fn nested(levels: usize) -> Vec<u8> {
        let mut value = vec![b'V'];
        for _ in 0..levels {
            let length = u32::try_from(value.len()).expect("a small value");
            let mut outer = vec![b'A'];
            outer.extend(length.to_be_bytes());
            outer.extend(value);
            value = outer;
        }
        [b"\x01n".as_slice(), &value].concat()
    }

    fn with_length(content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).expect("a small table");
        [&length.to_be_bytes(), content].concat()
    }

    #[test]
    fn too_deep_is_hostile_and_broken_is_malformed() {
        assert_eq!(check(&with_length(&nested(3))), Ok(()));
        assert_eq!(check(&with_length(&nested(1_700))), Err(RejectReason::Hostile));
        for broken in [
            b"\x01nS\x00\x00\x00\x02x".as_slice(), // longer than the table
            b"\x01nZ\x00",                         // no such type
            b"\x01\xffV",                          // a name that is no UTF-8
        ] {
            assert_eq!(check(&with_length(broken)), Err(RejectReason::Malformed), "{broken:?}");
        }
    }

    #[test]
    fn the_last_integer_of_a_name_is_found_behind_hostile_values() {
        let mut content = b"\x01ol\x00\x00\x00\x00\x00\x00\x00\x07".to_vec();
        content.extend(nested(1_700));
        content.extend(b"\x01ol\x00\x00\x00\x00\x00\x00\x00\x09");
        assert_eq!(find_integer(&content, "o"), Some(9));
        assert_eq!(find_integer(&content, "p"), None);
    }

    /// Bytes that are close to a table: entries of every kind, some of them broken.
    fn near_tables() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            Just(b"V".to_vec()),
            any::<u8>().prop_map(|octet| vec![b't', octet]),
            any::<[u8; 8]>().prop_map(|octets| [b"T".as_slice(), &octets].concat()),
            "[a-z]{0,4}".prop_map(|text| [b"S".as_slice(), &with_length(text.as_bytes())].concat()),
            proptest::collection::vec(any::<u8>(), 0..6),
        ];
        let value = leaf.prop_recursive(4, 24, 4, |inner| {
            (any::<bool>(), proptest::collection::vec(inner, 0..4)).prop_map(|(table, values)| {
                let content: Vec<u8> = values
                    .into_iter()
                    .flat_map(
                        |value| {
                            if table { [b"\x01k".to_vec(), value].concat() } else { value }
                        },
                    )
                    .collect();
                [if table { b"F" } else { b"A" }.as_slice(), &with_length(&content)].concat()
            })
        });
        proptest::collection::vec(("[a-z]{0,3}", value), 0..4).prop_map(|entries| {
            entries
                .into_iter()
                .flat_map(|(name, value)| {
                    let length = u8::try_from(name.len()).expect("a short name");
                    [&[length], name.as_bytes(), &value].concat()
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn what_passes_the_client_library_decodes_and_what_is_refused_for_its_form_it_does_not(
            content in near_tables()
        ) {
            let table = with_length(&content);
            let decoded = parse_field_table(table.as_slice()).is_ok();
            match check(&table) {
                Ok(()) => prop_assert!(decoded),
                Err(RejectReason::Malformed) => prop_assert!(!decoded),
                Err(_) => {}
            }
        }
    }
}
