//! AMQP 0-9-1 field tables.

use proptest::prelude::*;

use super::*;

fn sized(content: &[u8]) -> Vec<u8> {
    let length = u32::try_from(content.len()).unwrap().to_be_bytes();
    [&length[..], content].concat()
}

/// A table with one field `x` of this letter and value.
fn table(letter: u8, value: &[u8]) -> Vec<u8> {
    sized(&[&[1, b'x', letter][..], value].concat())
}

#[test]
fn every_type_of_rabbitmq_has_its_width() {
    for (letter, width) in [
        (b'V', 0),
        (b't', 1),
        (b'b', 1),
        (b'B', 1),
        (b's', 2),
        (b'u', 2),
        (b'U', 2),
        (b'I', 4),
        (b'i', 4),
        (b'f', 4),
        (b'D', 5),
        (b'L', 8),
        (b'l', 8),
        (b'd', 8),
        (b'T', 8),
    ] {
        let exact = table(letter, &vec![0; width]);
        assert_eq!(amqp091::check_table(&exact), Ok(()), "{}", char::from(letter));
        let longer = table(letter, &vec![0; width + 1]);
        assert!(amqp091::check_table(&longer).is_err(), "{}", char::from(letter));
    }
    for letter in [b'S', b'x', b'A', b'F'] {
        assert_eq!(amqp091::check_table(&table(letter, &sized(b""))), Ok(()));
        assert!(amqp091::check_table(&table(letter, &[0xff; 4])).is_err());
        assert!(amqp091::check_table(&table(letter, &[0, 0, 0])).is_err());
    }
    assert!(amqp091::check_table(&table(b'z', b"")).is_err());
    let unnamed = sized(&[0, b'V']);
    assert_eq!(amqp091::check_table(&unnamed), Ok(()));
    let not_utf8 = sized(&[1, 0xff, b'V']);
    assert!(amqp091::check_table(&not_utf8).is_err());
}

#[test]
fn the_table_fills_its_bytes_exactly() {
    assert_eq!(amqp091::check_table(&sized(b"")), Ok(()));
    let good = table(b'S', &sized(b"text"));
    assert_eq!(amqp091::check_table(&good), Ok(()));
    for end in 0..good.len() {
        assert!(amqp091::check_table(&good[..end]).is_err());
    }
    assert!(amqp091::check_table(&[good, vec![0]].concat()).is_err());
}

#[test]
fn a_nested_value_may_not_reach_beyond_what_encloses_it() {
    let inner = [&[b'A'][..], &8_u32.to_be_bytes(), &[b't', 1]].concat();
    let outer = table(b'A', &sized(&inner));
    let padded = sized(&[&outer[4..], &[1, b'y', b't', 1, 1, b'z', b't', 1]].concat());
    assert_eq!(amqp091::check_table(&padded).unwrap_err().reason, RejectReason::Malformed);
}

/// `depth` tables or arrays in each other, the outermost included.
fn nested(depth: usize, letter: u8) -> Vec<u8> {
    let name: &[u8] = if letter == b'F' { &[1, b'x'] } else { &[] };
    let step = name.len() + 5;
    let mut bytes = Vec::new();
    for level in 0..depth {
        let head = if level < 2 { &[1, b'x'][..] } else { name };
        if level > 0 {
            bytes.extend(head);
            bytes.push(letter);
        }
        let inside =
            (depth - 1 - level) * step + if level == 0 && depth > 1 { 2 - name.len() } else { 0 };
        bytes.extend(u32::try_from(inside).unwrap().to_be_bytes());
    }
    bytes
}

#[test]
fn nesting_is_rejected_beyond_the_limit_at_any_depth() {
    let deepest = amqp091::MAX_DEPTH;
    for letter in [b'F', b'A'] {
        for depth in [1, 2, 10, deepest] {
            assert_eq!(amqp091::check_table(&nested(depth, letter)), Ok(()), "{depth}");
        }
        for depth in [deepest + 1, 100, 1_700, 100_000, 1_000_000] {
            let rejected = amqp091::check_table(&nested(depth, letter)).unwrap_err();
            assert_eq!(rejected.reason, RejectReason::TooLarge, "{depth}");
        }
    }
}

/// An encoded value with its letter.
fn any_value() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    let fixed = proptest::sample::select(b"VtbBsuUIifDLldT".to_vec()).prop_map(|letter| {
        let width = match letter {
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'u' | b'U' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            _ => 8,
        };
        [vec![letter], vec![0; width]].concat()
    });
    let text = proptest::collection::vec(any::<u8>(), 0..20)
        .prop_map(|bytes| [&b"S"[..], &sized(&bytes)].concat());
    prop_oneof![fixed, text].prop_recursive(5, 24, 4, |inner| {
        let elements = proptest::collection::vec(inner.clone(), 0..4);
        prop_oneof![
            elements.prop_map(|elements| [&b"A"[..], &sized(&elements.concat())].concat()),
            any_table(inner).prop_map(|table| [&b"F"[..], &table].concat()),
        ]
    })
}

fn any_table(
    value: impl proptest::strategy::Strategy<Value = Vec<u8>>,
) -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    proptest::collection::vec((0_u8..9, value), 0..4).prop_map(|fields| {
        let fields: Vec<_> = fields
            .into_iter()
            .flat_map(|(name, value)| [vec![name], vec![b'x'; name.into()], value])
            .collect();
        sized(&fields.concat())
    })
}

proptest! {
    /// The guard and the stock client agree on every table that is not nested too deep, also on broken ones.
    #[test]
    fn what_passes_is_what_the_stock_client_can_read(
        mut table in any_table(any_value()),
        change in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        if let Some((at, byte)) = change {
            let at = at.index(table.len());
            table[at] = byte;
        } else {
            prop_assert_eq!(amqp091::check_table(&table), Ok(()));
        }
        let stock = lapin::types::parsing::parse_field_table(&table[..]);
        let readable = stock.is_ok_and(|(rest, _)| rest.is_empty());
        prop_assert_eq!(amqp091::check_table(&table).is_ok(), readable);
    }
}
