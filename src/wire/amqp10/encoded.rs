//! Single values: OASIS AMQP 1.0, part 1, sections 1.2 (encodings) and 1.6 (types).

use crate::engine::Timestamp;
use crate::wire::amqp10::fault::{Fault, MAX_ENTRIES};
use crate::wire::amqp10::nesting::{self, EmptyArrays};
use crate::wire::scalar::Scalar;

/// How the bytes behind a format code are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// A descriptor and a value.
    Described,
    /// This many bytes.
    Fixed(usize),
    /// A size of this many bytes, then the content.
    Variable(usize),
    /// A size and a count of this many bytes each, then the entries.
    List(usize),
    /// The same; keys and values alternate.
    Map(usize),
    /// A size and a count of this many bytes each, then one constructor and the elements.
    Array(usize),
}

impl Layout {
    #[inline]
    pub(super) fn of(code: u8) -> Result<Self, Fault> {
        Ok(match code {
            0x00 => Self::Described,
            0x40..=0x45 => Self::Fixed(0),
            0x50..=0x56 => Self::Fixed(1),
            0x60 | 0x61 => Self::Fixed(2),
            0x70..=0x74 => Self::Fixed(4),
            0x80..=0x84 => Self::Fixed(8),
            0x94 | 0x98 => Self::Fixed(16),
            0xa0 | 0xa1 | 0xa3 => Self::Variable(1),
            0xb0 | 0xb1 | 0xb3 => Self::Variable(4),
            0xc0 => Self::List(1),
            0xd0 => Self::List(4),
            0xc1 => Self::Map(1),
            0xd1 => Self::Map(4),
            0xe0 => Self::Array(1),
            0xf0 => Self::Array(4),
            _ => return Err(Fault::FormatCode(code)),
        })
    }
}

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        let (first, rest) = self.rest.split_first().ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    #[inline]
    pub(super) fn take(&mut self, bytes: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A size or count of one or four bytes.
    #[inline]
    pub(super) fn number(&mut self, width: usize) -> Result<usize, Fault> {
        match self.take(width)? {
            [byte] => Ok(usize::from(*byte)),
            &[a, b, c, d] => {
                usize::try_from(u32::from_be_bytes([a, b, c, d])).map_err(|_| Fault::Size)
            }
            _ => Err(Fault::Size),
        }
    }

    /// The next value, whatever it is. What can be nested is walked.
    #[inline(always)]
    pub(super) fn value(&mut self) -> Result<Encoded<'a>, Fault> {
        // Texts of less than 256 bytes are most of what there is.
        if let [code @ (0xa1 | 0xa3), size, rest @ ..] = self.rest
            && let Some((content, rest)) = rest.split_at_checked(usize::from(*size))
        {
            self.rest = rest;
            return Ok(Encoded { code: usize::from(*code), content });
        }
        if let [code @ (0x81 | 0x83), rest @ ..] = self.rest
            && let Some((content, rest)) = rest.split_at_checked(8)
        {
            self.rest = rest;
            return Ok(Encoded { code: usize::from(*code), content });
        }
        self.any_value()
    }

    #[inline(never)]
    fn any_value(&mut self) -> Result<Encoded<'a>, Fault> {
        let start = self.rest;
        let code = self.byte()?;
        let content = match Layout::of(code)? {
            Layout::Fixed(width) => self.take(width)?,
            Layout::Variable(width) => {
                let size = self.number(width)?;
                self.take(size)?
            }
            Layout::Described | Layout::List(_) | Layout::Map(_) | Layout::Array(_) => {
                let (value, rest) =
                    start.split_at(nesting::value_bytes(start, EmptyArrays::Either)?);
                self.rest = rest;
                value
            }
        };
        Ok(Encoded { code: usize::from(code), content })
    }

    /// A binary: the value of a data section.
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Fault> {
        let value = self.value()?;
        match value.code {
            0xa0 | 0xb0 => Ok(value.content),
            _ => Err(Fault::SectionType),
        }
    }

    /// A map, entry by entry; entries whose key is neither symbol nor string are passed over. Null is an empty map.
    #[inline(always)]
    pub(super) fn map(
        &mut self,
        mut visit: impl FnMut(&'a [u8], Encoded<'a>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let width = match self.byte()? {
            0x40 => return Ok(()),
            0xc1 => 1,
            0xd1 => 4,
            _ => return Err(Fault::SectionType),
        };
        let size = self.number(width)?;
        let mut entries = Reader::new(self.take(size)?);
        let count = entries.number(width)?;
        if count % 2 == 1 || count > entries.len() {
            return Err(Fault::Count);
        }
        if count / 2 > MAX_ENTRIES {
            return Err(Fault::TooMany);
        }
        for _ in 0..count / 2 {
            let key = entries.value()?;
            let value = entries.value()?;
            if let Some(key) = key.text() {
                visit(key, value)?;
            }
        }
        if entries.is_empty() { Ok(()) } else { Err(Fault::Size) }
    }
}

/// A value that was delimited but not yet decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoded<'a> {
    /// As wide as a pointer: it is copied with one load.
    code: usize,
    /// The bytes of a fixed or variable value; for anything nested the whole encoding.
    content: &'a [u8],
}

impl<'a> Encoded<'a> {
    /// The bytes of a symbol or string.
    #[inline(always)]
    fn text(self) -> Option<&'a [u8]> {
        matches!(self.code, 0xa1 | 0xa3 | 0xb1 | 0xb3).then_some(self.content)
    }

    /// The bytes of a binary, symbol or string.
    pub(super) fn content(self) -> Option<&'a [u8]> {
        match self.code {
            0xa0 | 0xb0 => Some(self.content),
            _ => self.text(),
        }
    }

    /// An unsigned integer of any width (the code of a descriptor).
    pub(super) fn unsigned(self) -> Option<u64> {
        match self.code {
            0x43 | 0x44 | 0x50 | 0x52 | 0x53 | 0x60 | 0x70 | 0x80 => Some(self.big_endian()),
            _ => None,
        }
    }

    fn big_endian(self) -> u64 {
        (self.content.iter()).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Two's complement of the content's width.
    fn signed(self) -> i64 {
        let unused = 64_u32.saturating_sub(u32::try_from(self.content.len() * 8).unwrap_or(64));
        (self.big_endian() << unused).cast_signed() >> unused
    }

    #[inline(always)]
    pub(super) fn scalar(self) -> Result<Scalar<'a>, Fault> {
        Ok(match self.code {
            0xa1 | 0xa3 | 0xb1 | 0xb3 => {
                Scalar::Text(str::from_utf8(self.content).map_err(|_| Fault::NotUtf8)?)
            }
            0x83 => Scalar::Time(Timestamp::from_ms(self.signed())),
            0x51 | 0x54 | 0x55 | 0x61 | 0x71 | 0x81 => Scalar::Integer(self.signed()),
            0x41 => Scalar::Boolean(true),
            0x42 => Scalar::Boolean(false),
            0x56 => match self.content {
                [0] => Scalar::Boolean(false),
                [1] => Scalar::Boolean(true),
                _ => return Err(Fault::Boolean),
            },
            _ => (self.unsigned())
                .and_then(|number| i64::try_from(number).ok())
                .map_or(Scalar::Other, Scalar::Integer),
        })
    }
}
