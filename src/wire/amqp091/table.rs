//! Field tables: AMQP 0-9-1, section 4.2.5.5, with the type letters that RabbitMQ uses ("AMQP 0-9-1 Errata", section 3).

use crate::wire::{Reject, RejectReason};

/// How deep tables and arrays may be nested. RabbitMQ's own headers (`x-death`) need 3; decoders that recurse end the
/// process at a few hundred levels.
pub const MAX_DEPTH: usize = 32;

/// What an open table or array holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    /// Names and values.
    Fields,
    /// Values.
    Elements,
}

/// An open table or array.
#[derive(Clone, Copy, Debug)]
struct Frame {
    end: usize,
    holds: Holds,
}

/// Checks one encoded field table, its length field included, that fills `table` exactly: every length is that of the
/// bytes that are there, every type is known, nothing is nested deeper than [`MAX_DEPTH`]. For guards in front of a
/// decoder that recurses. Linear in the number of bytes.
pub fn check_table(table: &[u8]) -> Result<(), Reject> {
    let mut cursor = Cursor { bytes: table, at: 0 };
    let outermost = Frame { end: cursor.nested_end(table.len())?, holds: Holds::Fields };
    if outermost.end != table.len() {
        return Err(malformed("the table does not fill its bytes"));
    }
    let mut frames = [outermost; MAX_DEPTH];
    let mut depth = 1_usize;
    while let Some(top) = depth.checked_sub(1).and_then(|top| frames.get(top)).copied() {
        if cursor.at == top.end {
            depth -= 1;
            continue;
        }
        if let Some(frame) = cursor.entry(top)? {
            *frames.get_mut(depth).ok_or_else(too_deep)? = frame;
            depth += 1;
        }
    }
    Ok(())
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    /// Reads one entry of `top`; gives the table or array that it opens, if it does.
    fn entry(&mut self, top: Frame) -> Result<Option<Frame>, Reject> {
        if top.holds == Holds::Fields {
            let name_bytes = usize::from(self.byte(top.end)?);
            let from = self.at;
            self.skip(name_bytes, top.end)?;
            str::from_utf8(&self.bytes[from..self.at])
                .map_err(|_| malformed("the name of a field is not UTF-8"))?;
        }
        let holds = match self.byte(top.end)? {
            b'F' => Holds::Fields,
            b'A' => Holds::Elements,
            b'S' | b'x' => {
                self.at = self.nested_end(top.end)?;
                return Ok(None);
            }
            letter => {
                let width = fixed_width(letter)
                    .ok_or_else(|| malformed(format!("0x{letter:02x} is no field type")))?;
                self.skip(width, top.end)?;
                return Ok(None);
            }
        };
        let end = self.nested_end(top.end)?;
        Ok(Some(Frame { end, holds }))
    }

    fn byte(&mut self, end: usize) -> Result<u8, Reject> {
        let at = self.at;
        self.skip(1, end)?;
        self.bytes.get(at).copied().ok_or_else(overrun)
    }

    fn skip(&mut self, bytes: usize, end: usize) -> Result<(), Reject> {
        self.at = (self.at.checked_add(bytes)).filter(|after| *after <= end).ok_or_else(overrun)?;
        Ok(())
    }

    /// Reads a length of four bytes; gives the place where what it announces ends.
    fn nested_end(&mut self, end: usize) -> Result<usize, Reject> {
        let from = self.at;
        self.skip(4, end)?;
        let length = (self.bytes[from..].first_chunk::<4>())
            .and_then(|length| usize::try_from(u32::from_be_bytes(*length)).ok())
            .ok_or_else(overrun)?;
        (self.at.checked_add(length)).filter(|after| *after <= end).ok_or_else(overrun)
    }
}

/// The width of a value that has always the same.
fn fixed_width(letter: u8) -> Option<usize> {
    Some(match letter {
        b'V' => 0,
        b't' | b'b' | b'B' => 1,
        b's' | b'u' | b'U' => 2,
        b'I' | b'i' | b'f' => 4,
        b'D' => 5,
        b'L' | b'l' | b'd' | b'T' => 8,
        _ => return None,
    })
}

fn malformed(detail: impl Into<String>) -> Reject {
    Reject::new(RejectReason::Malformed, detail)
}

fn overrun() -> Reject {
    malformed("a field is longer than its table")
}

fn too_deep() -> Reject {
    Reject::new(
        RejectReason::TooLarge,
        format!("tables and arrays are nested deeper than {MAX_DEPTH}"),
    )
}
