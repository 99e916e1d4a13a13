//! PURE. As much of the AMQP 1.0 encoding (OASIS AMQP 1.0, part 1) as the stream guard needs: where values end, and the
//! scalar fields of a performative.
//!
//! Nothing recursive; every length is checked against the bytes that are there.

use crate::wire::amqp10;

/// Most descriptors of descriptors; none of AMQP's types has any.
const MAX_DESCRIBED: usize = 8;

/// Most bytes of a frame that are decoded by the stock decoder, whose values are up to a hundred times as large in memory.
/// The properties of an event hub with 1,024 partitions have about 8 KiB.
const MAX_DECODED_BYTES: usize = 256 << 10;

/// Most fields of a performative: `attach` has 14.
const MAX_FIELDS: usize = 16;

/// The encoding is broken, or larger or deeper than anything we want to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed AMQP frame from the peer: {0}")]
pub(super) struct Malformed(pub(super) &'static str);

/// What a type code says about the bytes that follow (part 1, section 1.2).
enum Layout {
    Described,
    Fixed(usize),
    /// Everything with a size in front, which has this width.
    Sized(usize),
}

fn layout(code: u8) -> Result<Layout, Malformed> {
    Ok(match code {
        0x00 => Layout::Described,
        0x40..=0x4f => Layout::Fixed(0),
        0x50..=0x5f => Layout::Fixed(1),
        0x60..=0x6f => Layout::Fixed(2),
        0x70..=0x7f => Layout::Fixed(4),
        0x80..=0x8f => Layout::Fixed(8),
        0x90..=0x9f => Layout::Fixed(16),
        0xa0..=0xaf | 0xc0..=0xcf | 0xe0..=0xef => Layout::Sized(1),
        0xb0..=0xbf | 0xd0..=0xdf | 0xf0..=0xff => Layout::Sized(4),
        0x01..=0x3f => return Err(Malformed("unknown type code")),
    })
}

/// Takes values off the front of a slice.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) =
            self.0.split_at_checked(length).ok_or(Malformed("a length reaches past the end"))?;
        self.0 = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1).map(|byte| byte[0])
    }

    /// A size or count of one or four bytes.
    fn number(&mut self, width: usize) -> Result<usize, Malformed> {
        let value =
            self.take(width)?.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        usize::try_from(value).map_err(|_| Malformed("a length reaches past the end"))
    }

    /// The encoded bytes of the next value.
    fn value(&mut self) -> Result<&'a [u8], Malformed> {
        let start = self.0;
        let mut values = 1_usize;
        while values > 0 {
            values -= 1;
            match layout(self.byte()?)? {
                Layout::Described if values < MAX_DESCRIBED => values += 2,
                Layout::Described => return Err(Malformed("nested too deep")),
                Layout::Fixed(width) => drop(self.take(width)?),
                Layout::Sized(width) => {
                    let size = self.number(width)?;
                    self.take(size)?;
                }
            }
        }
        Ok(&start[..start.len() - self.0.len()])
    }
}

/// A frame's performative, its fields still encoded, and the payload behind it (part 2, section 2.7).
pub(super) struct Performative<'a> {
    /// The low byte of the descriptor: `0x10` open to `0x18` close, `0x40` to `0x44` SASL.
    pub(super) code: u64,
    /// The whole performative, encoded.
    pub(super) encoded: &'a [u8],
    /// What follows it.
    pub(super) payload: &'a [u8],
    fields: [&'a [u8]; MAX_FIELDS],
}

impl<'a> Performative<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut cursor = Cursor(body);
        if cursor.byte()? != 0 {
            return Err(Malformed("a frame body that is no performative"));
        }
        let code = match cursor.byte()? {
            0x53 => u64::from(cursor.byte()?),
            0x80 => cursor.number(8)? as u64,
            _ => return Err(Malformed("a performative without a numeric descriptor")),
        };
        let fields = Self::fields(cursor.value()?)?;
        let (encoded, payload) = body.split_at(body.len() - cursor.0.len());
        Ok(Self { code, encoded, payload, fields })
    }

    fn fields(list: &'a [u8]) -> Result<[&'a [u8]; MAX_FIELDS], Malformed> {
        let mut fields: [&[u8]; MAX_FIELDS] = [&[0x40]; MAX_FIELDS];
        let mut cursor = Cursor(list);
        let width = match cursor.byte()? {
            0x45 => return Ok(fields),
            0xc0 => 1,
            0xd0 => 4,
            _ => return Err(Malformed("a performative that is no list")),
        };
        cursor.number(width)?;
        let count = cursor.number(width)?;
        for field in
            fields.get_mut(..count).ok_or(Malformed("a performative with too many fields"))?
        {
            *field = cursor.value()?;
        }
        Ok(fields)
    }

    /// Field `index`, encoded; null where it was left off.
    pub(super) fn field(&self, index: usize) -> &'a [u8] {
        self.fields.get(index).copied().unwrap_or(&[0x40])
    }

    /// Field `index` as an unsigned integer.
    pub(super) fn uint(&self, index: usize) -> Result<Option<u32>, Malformed> {
        match *self.field(index) {
            [0x40] => Ok(None),
            [0x43] => Ok(Some(0)),
            [0x52, small] => Ok(Some(u32::from(small))),
            [0x70, a, b, c, d] => Ok(Some(u32::from_be_bytes([a, b, c, d]))),
            _ => Err(Malformed("a field that should be an unsigned integer")),
        }
    }

    /// Field `index` as a boolean; null is false.
    pub(super) fn flag(&self, index: usize) -> Result<bool, Malformed> {
        match *self.field(index) {
            [0x40 | 0x42] | [0x56, 0] => Ok(false),
            [0x41] | [0x56, 1] => Ok(true),
            _ => Err(Malformed("a field that should be a boolean")),
        }
    }

    /// Field `index` as the bytes of a string.
    pub(super) fn text(&self, index: usize) -> Result<&'a [u8], Malformed> {
        match self.field(index) {
            [0xa1, _, text @ ..] | [0xb1, _, _, _, _, text @ ..] => Ok(text),
            _ => Err(Malformed("a field that should be a string")),
        }
    }

    /// Where field `index` begins within [`Self::encoded`].
    pub(super) fn offset_of(&self, index: usize) -> Option<usize> {
        let field = self.field(index);
        let offset = (field.as_ptr() as usize).checked_sub(self.encoded.as_ptr() as usize)?;
        (offset < self.encoded.len()).then_some(offset)
    }
}

/// Refuses values that the stock decoder, which recurses and trusts lengths, might not survive.
pub(super) fn check_values(bytes: &[u8]) -> Result<(), Malformed> {
    if bytes.len() > MAX_DECODED_BYTES {
        return Err(Malformed("more values than a broker has reason to send"));
    }
    amqp10::check_nesting(bytes)
        .map_err(|_| Malformed("values nested too deep, or a length that is a lie"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_nests_without_end_is_refused_and_so_is_more_than_a_broker_has_reason_to_send() {
        let described = vec![0_u8; 100_000];
        assert!(check_values(&described).is_err());
        assert!(Cursor(&described).value().is_err());
        let nulls = vec![0x40_u8; MAX_DECODED_BYTES];
        assert_eq!(check_values(&nulls), Ok(()));
        assert!(check_values(&[nulls, vec![0x40]].concat()).is_err());
    }

    #[test]
    fn a_performative_gives_its_fields_and_its_payload() {
        let body = [0x00, 0x53, 0x14, 0xc0, 6, 3, 0x52, 7, 0x40, 0x41, 0x42, b'x'];
        let performative = Performative::parse(&body[..11]).unwrap();
        assert_eq!(performative.code, 0x14);
        assert_eq!(performative.uint(0), Ok(Some(7)));
        assert_eq!(performative.uint(1), Ok(None));
        assert_eq!(performative.flag(2), Ok(true));
        assert_eq!(performative.uint(9), Ok(None));
        assert!(performative.uint(2).is_err());
        assert_eq!(performative.offset_of(0), Some(6));
        assert_eq!(performative.offset_of(9), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_hang(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = check_values(&bytes);
            let _ = Performative::parse(&bytes).map(|p| (p.uint(0).is_ok(), p.text(0).is_ok(), p.flag(4).is_ok()));
        }
    }
}
