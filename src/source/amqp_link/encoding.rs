//! PURE. As much of the AMQP 1.0 encoding (OASIS AMQP 1.0, part 1) as the stream guard needs: where values end, the
//! scalar fields of a performative, and a walk that bounds what the stock decoder will be given.
//!
//! Nothing recursive; every length is checked against the bytes that are there.

/// Deepest nesting of lists, maps and described types that is handed to the stock decoder, which recurses without a
/// limit of its own: a few hundred levels overflow its stack, real performatives have five.
const MAX_DEPTH: usize = 32;

/// Most values in one frame that is handed to the stock decoder, whose in-memory form is many times the encoded one.
/// An event hub with 1,024 partitions has about 1,100 in its properties.
const MAX_VALUES: usize = 16_384;

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
    /// Binary, string, symbol: width of the size field.
    Variable(usize),
    /// List or map: width of size and count.
    Compound {
        width: usize,
        map: bool,
    },
    Array(usize),
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
        0xa0..=0xaf => Layout::Variable(1),
        0xb0..=0xbf => Layout::Variable(4),
        0xc0..=0xcf => Layout::Compound {
            width: 1,
            map: code == 0xc1,
        },
        0xd0..=0xdf => Layout::Compound {
            width: 4,
            map: code == 0xd1,
        },
        0xe0..=0xef => Layout::Array(1),
        0xf0..=0xff => Layout::Array(4),
        0x01..=0x3f => return Err(Malformed("unknown type code")),
    })
}

/// Takes values off the front of a slice.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self
            .0
            .split_at_checked(length)
            .ok_or(Malformed("a length reaches past the end"))?;
        self.0 = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1).map(|byte| byte[0])
    }

    /// A size or count of one or four bytes.
    fn number(&mut self, width: usize) -> Result<usize, Malformed> {
        let value = self
            .take(width)?
            .iter()
            .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        usize::try_from(value).map_err(|_| Malformed("a length reaches past the end"))
    }

    /// The encoded bytes of the next value.
    fn value(&mut self) -> Result<&'a [u8], Malformed> {
        let start = self.0;
        let mut values = 1_usize;
        while values > 0 {
            values -= 1;
            match layout(self.byte()?)? {
                Layout::Described if values < MAX_DEPTH => values += 2,
                Layout::Described => return Err(Malformed("nested too deep")),
                Layout::Fixed(width) => drop(self.take(width)?),
                Layout::Variable(width) | Layout::Compound { width, .. } | Layout::Array(width) => {
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
        Ok(Self {
            code,
            encoded,
            payload,
            fields,
        })
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
        for field in fields
            .get_mut(..count)
            .ok_or(Malformed("a performative with too many fields"))?
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

/// An open list, map or described value of the walk.
#[derive(Clone, Copy, Default)]
struct Open {
    /// How many values are still to come.
    left: usize,
    /// Bytes that remain in the whole input when it ends.
    rest: usize,
    /// Whether it has to end exactly there; a described value has no length of its own.
    exact: bool,
}

/// Walks a run of values and refuses what the stock decoder could not survive: nesting deeper than 32, sizes and counts
/// that lie, arrays of compound values, more than 16,384 values.
pub(super) fn check_values(bytes: &[u8]) -> Result<(), Malformed> {
    let mut open = [Open::default(); MAX_DEPTH];
    let mut depth = 0;
    let mut cursor = Cursor(bytes);
    for _ in 0..MAX_VALUES {
        while depth > 0 && open[depth - 1].left == 0 {
            depth -= 1;
            if open[depth].exact && cursor.0.len() != open[depth].rest {
                return Err(Malformed("a size that is not that of its values"));
            }
        }
        if depth == 0 && cursor.0.is_empty() {
            return Ok(());
        }
        let floor = if depth == 0 { 0 } else { open[depth - 1].rest };
        if depth > 0 {
            open[depth - 1].left -= 1;
        }
        let nested = step(&mut cursor, floor)?;
        if cursor.0.len() < nested.map_or(floor, |container| container.rest) {
            return Err(Malformed("a value that reaches past its container"));
        }
        if let Some(container) = nested {
            *open.get_mut(depth).ok_or(Malformed("nested too deep"))? = container;
            depth += 1;
        }
    }
    Err(Malformed("too many values"))
}

/// Steps over a scalar, or into a container, which is returned. `floor`: bytes that belong to what comes after the
/// enclosing container.
fn step(cursor: &mut Cursor<'_>, floor: usize) -> Result<Option<Open>, Malformed> {
    let code = cursor.byte()?;
    match layout(code)? {
        Layout::Described => Ok(Some(Open {
            left: 2,
            rest: floor,
            exact: false,
        })),
        Layout::Fixed(width) => cursor.take(width).map(|_| None),
        Layout::Variable(width) => {
            let size = cursor.number(width)?;
            cursor.take(size).map(|_| None)
        }
        Layout::Compound { width, map } => {
            let size = cursor.number(width)?;
            let rest = cursor
                .0
                .len()
                .checked_sub(size)
                .filter(|rest| *rest >= floor && size >= width)
                .ok_or(Malformed("a container whose size is a lie"))?;
            let left = cursor.number(width)?;
            if left > size || (map && left % 2 == 1) {
                return Err(Malformed("a container whose count is a lie"));
            }
            Ok(Some(Open {
                left,
                rest,
                exact: true,
            }))
        }
        Layout::Array(width) => {
            let size = cursor.number(width)?;
            check_array(cursor.take(size)?, width).map(|()| None)
        }
    }
}

/// The elements of an array; only scalars, which is all that brokers send (symbols, strings).
fn check_array(content: &[u8], width: usize) -> Result<(), Malformed> {
    let mut cursor = Cursor(content);
    let count = cursor.number(width)?;
    if count > content.len().min(MAX_VALUES) {
        return Err(Malformed("an array whose count is a lie"));
    }
    if count == 0 {
        return Ok(());
    }
    match layout(cursor.byte()?)? {
        Layout::Fixed(size) => {
            cursor.take(size.saturating_mul(count))?;
        }
        Layout::Variable(width) => {
            for _ in 0..count {
                let size = cursor.number(width)?;
                cursor.take(size)?;
            }
        }
        Layout::Described | Layout::Compound { .. } | Layout::Array(_) => {
            return Err(Malformed("an array of compound values"));
        }
    }
    if cursor.0.is_empty() {
        Ok(())
    } else {
        Err(Malformed("an array whose size is a lie"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nested_lists(levels: usize) -> Vec<u8> {
        let mut value = vec![0x45];
        for _ in 0..levels {
            let size = u32::try_from(value.len() + 4).unwrap();
            let mut outer = vec![0xd0];
            outer.extend(size.to_be_bytes());
            outer.extend(1_u32.to_be_bytes());
            outer.append(&mut value);
            value = outer;
        }
        value
    }

    #[test]
    fn nesting_up_to_the_limit_passes_and_beyond_it_is_refused() {
        assert_eq!(check_values(&nested_lists(MAX_DEPTH)), Ok(()));
        for levels in [MAX_DEPTH + 1, 4_000, 50_000] {
            assert_eq!(
                check_values(&nested_lists(levels)),
                Err(Malformed("nested too deep"))
            );
        }
        let described = vec![0_u8; 100_000];
        assert_eq!(check_values(&described), Err(Malformed("nested too deep")));
        assert!(Cursor(&described).value().is_err());
    }

    #[test]
    fn sizes_and_counts_that_lie_are_refused() {
        for lie in [
            &[0xd0, 0, 0, 0, 0, 0, 0, 0, 0][..],
            &[0xc0, 0, 0],
            &[0xd1, 0, 0, 0, 2, 0, 0, 0, 0],
            &[0xc0, 2, 1, 0xa1, 200],
            &[0xc1, 2, 1, 0x40],
            &[0xc0, 3, 1, 0x40, 0x40],
            &[0xf0, 0, 0, 0, 5, 0xff, 0xff, 0xff, 0xff, 0x40],
            &[0xe0, 3, 1, 0x45, 0x45],
            &[0xe0, 3, 1, 0xc0, 0],
            &[0x00, 0x53],
            &[0x01],
        ] {
            assert!(check_values(lie).is_err(), "{lie:02x?}");
        }
        assert_eq!(check_values(&[0xe0, 6, 2, 0xa3, 1, b'a', 1, b'b']), Ok(()));
        assert_eq!(
            check_values(&[0xc1, 5, 2, 0xa1, 1, b'k', 0x41, 0x40]),
            Ok(())
        );
    }

    #[test]
    fn a_performative_gives_its_fields_and_its_payload() {
        let body = [
            0x00, 0x53, 0x14, 0xc0, 6, 3, 0x52, 7, 0x40, 0x41, 0x42, b'x',
        ];
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

        #[test]
        fn what_passes_is_no_deeper_and_no_longer_than_said(levels in 0_usize..40, cut in 0_usize..400) {
            let whole = nested_lists(levels);
            let cut = cut.min(whole.len());
            let passes = check_values(&whole[..cut]).is_ok();
            prop_assert_eq!(passes, cut == 0 || (cut == whole.len() && levels <= MAX_DEPTH));
        }
    }
}
