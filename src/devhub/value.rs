//! AMQP 1.0 values (OASIS AMQP 1.0, part 1, section 1.6).

use bytes::{Buf, Bytes};

mod decode;
mod encode;

pub(super) use decode::{DecodeError, decode_described};
pub(super) use encode::{put_described, put_descriptor, put_map};

/// A value of the AMQP type system. Types that the hub only passes on are kept as their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Ubyte(u8),
    Ushort(u16),
    Uint(u32),
    Ulong(u64),
    Int(i32),
    Long(i64),
    Timestamp(i64),
    Uuid([u8; 16]),
    Binary(Bytes),
    String(String),
    Symbol(String),
    List(Vec<Value>),
    Map(Vec<(Value, Value)>),
    /// Encoded only for symbols and strings.
    Array(Vec<Value>),
    Described(Box<Value>, Box<Value>),
    /// byte, short, float, double, decimals, char: format code and content.
    Fixed(u8, Bytes),
}

impl Value {
    pub(super) fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    pub(super) fn symbol(text: impl Into<String>) -> Self {
        Self::Symbol(text.into())
    }

    /// The text of a string or symbol.
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::String(text) | Self::Symbol(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// An integer of any width, or a timestamp.
    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Ubyte(n) => Some(i64::from(*n)),
            Self::Ushort(n) => Some(i64::from(*n)),
            Self::Uint(n) => Some(i64::from(*n)),
            Self::Ulong(n) => i64::try_from(*n).ok(),
            Self::Int(n) => Some(i64::from(*n)),
            Self::Long(n) | Self::Timestamp(n) => Some(*n),
            Self::Fixed(0x51 | 0x54 | 0x55, bytes) => {
                bytes.first().map(|b| i64::from(b.cast_signed()))
            }
            Self::Fixed(0x61, bytes) if bytes.len() == 2 => Some(i64::from((&bytes[..]).get_i16())),
            Self::Null
            | Self::Bool(_)
            | Self::Uuid(_)
            | Self::Binary(_)
            | Self::String(_)
            | Self::Symbol(_)
            | Self::List(_)
            | Self::Map(_)
            | Self::Array(_)
            | Self::Described(..)
            | Self::Fixed(..) => None,
        }
    }

    /// The entries of a map; none of anything else.
    pub(super) fn entries(&self) -> &[(Value, Value)] {
        if let Self::Map(entries) = self {
            entries
        } else {
            &[]
        }
    }

    /// The value under a string or symbol key of a map.
    pub(super) fn entry(&self, name: &str) -> Option<&Value> {
        self.entries()
            .iter()
            .find(|(key, _)| key.text() == Some(name))
            .map(|(_, value)| value)
    }

    /// Field `index` of a list; [`Value::Null`] where the list is shorter (trailing nulls may be left out).
    pub(super) fn field(&self, index: usize) -> &Value {
        if let Self::List(fields) = self {
            fields.get(index).unwrap_or(&Self::Null)
        } else {
            &Self::Null
        }
    }

    /// Whether a capability is listed: a symbol, or an array of them.
    pub(super) fn lists_symbol(&self, name: &str) -> bool {
        if let Self::Array(items) | Self::List(items) = self {
            items.iter().any(|item| item.text() == Some(name))
        } else {
            self.text() == Some(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;

    fn simple() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<u8>().prop_map(Value::Ubyte),
            any::<u16>().prop_map(Value::Ushort),
            any::<u32>().prop_map(Value::Uint),
            any::<u64>().prop_map(Value::Ulong),
            any::<i32>().prop_map(Value::Int),
            any::<i64>().prop_map(Value::Long),
            any::<i64>().prop_map(Value::Timestamp),
            any::<[u8; 16]>().prop_map(Value::Uuid),
            proptest::collection::vec(any::<u8>(), 0..300)
                .prop_map(|bytes| Value::Binary(bytes.into())),
            ".{0,90}".prop_map(Value::String),
            "[a-z:.-]{0,300}".prop_map(Value::Symbol),
            proptest::collection::vec("[a-z]{0,9}".prop_map(Value::Symbol), 1..4)
                .prop_map(Value::Array),
            any::<[u8; 8]>().prop_map(|b| Value::Fixed(0x82, Bytes::copy_from_slice(&b))),
        ]
    }

    fn nested() -> impl Strategy<Value = Value> {
        simple().prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
                proptest::collection::vec((inner.clone(), inner.clone()), 0..4)
                    .prop_map(Value::Map),
                inner.prop_map(|content| {
                    Value::Described(Box::new(Value::Ulong(0x77)), Box::new(content))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded_to_the_last_byte(value in nested()) {
            let mut out = BytesMut::new();
            put_described(&mut out, 0x77, &value);
            let mut input = out.freeze();
            prop_assert_eq!(decode_described(&mut input), Ok((0x77, value)));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn a_truncated_value_is_an_error(value in nested(), cut in any::<prop::sample::Index>()) {
            let mut out = BytesMut::new();
            put_described(&mut out, 0x77, &value);
            let mut input = out.freeze();
            input.truncate(cut.index(input.len()));
            prop_assert!(decode_described(&mut input).is_err());
        }

        #[test]
        fn garbage_neither_panics_nor_hangs(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut front = vec![0x00, 0x53, 0x77];
            front.extend(bytes);
            let _ = decode_described(&mut Bytes::from(front));
        }
    }

    #[test]
    fn deep_nesting_and_claimed_counts_are_refused() {
        let mut deep = vec![0x00, 0x53, 0x77];
        deep.extend([0x00, 0x53, 0x01].repeat(10_000));
        assert_eq!(
            decode_described(&mut Bytes::from(deep)),
            Err(DecodeError::TooDeep)
        );
        // An array of four billion nulls, and a list of four billion items that are not there.
        let array = [
            0x00, 0x53, 0x77, 0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40,
        ];
        let list = [0x00, 0x53, 0x77, 0xd0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff];
        for claimed in [&array[..], &list[..]] {
            assert_eq!(
                decode_described(&mut Bytes::copy_from_slice(claimed)),
                Err(DecodeError::Truncated)
            );
        }
    }
}
