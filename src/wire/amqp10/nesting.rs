//! Walks nested values with a stack of its own, of fixed size.

use crate::wire::amqp10::encoded::{Layout, Reader};
use crate::wire::amqp10::fault::{Fault, MAX_DEPTH, MAX_ENTRIES};

/// How an array without elements may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EmptyArrays {
    /// With its constructor, as the protocol has it (part 1, section 1.2.4), or without, as some peers write it.
    Either,
    /// Without: behind a constructor that no element follows the stock codec takes the constructor for the next value.
    Bare,
}

/// An open list, map, array or described value.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    /// How many values are still to come.
    left: usize,
    /// How many bytes of the input have to be left when it closes; a described value has no length of its own.
    closes_at: Option<usize>,
}

/// How many bytes the first value of `input` takes.
pub(super) fn value_bytes(input: &[u8], empty: EmptyArrays) -> Result<usize, Fault> {
    match flat_list_bytes(input) {
        Some(bytes) => Ok(bytes),
        None => walk(input, empty),
    }
}

/// The same for the usual case, a list of values that are not nested; `None` for anything else, and for whatever is wrong.
fn flat_list_bytes(input: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(input);
    let Layout::List(width) = Layout::of(reader.byte().ok()?).ok()? else { return None };
    let size = reader.number(width).ok()?;
    let after = reader.len().checked_sub(size)?;
    let mut values = Reader::new(reader.take(size).ok()?);
    let count = values.number(width).ok()?;
    if count > values.len() {
        return None;
    }
    for _ in 0..count {
        match Layout::of(values.byte().ok()?).ok()? {
            Layout::Fixed(width) => values.take(width).ok()?,
            Layout::Variable(width) => {
                let size = values.number(width).ok()?;
                values.take(size).ok()?
            }
            Layout::Described | Layout::List(_) | Layout::Map(_) | Layout::Array(_) => return None,
        };
    }
    values.is_empty().then_some(input.len() - after)
}

fn walk(input: &[u8], empty: EmptyArrays) -> Result<usize, Fault> {
    let mut reader = Reader::new(input);
    let mut frames = [Frame::default(); MAX_DEPTH];
    let mut depth = 0;
    loop {
        // What an enclosing value has to leave over is no part of the innermost one.
        let floor = floor(&frames[..depth]);
        if let Some(frame) = step(&mut reader, floor, empty)? {
            *frames.get_mut(depth).ok_or(Fault::TooDeep)? = frame;
            depth += 1;
        }
        depth = close(&reader, &frames, depth)?;
        match depth.checked_sub(1).and_then(|top| frames.get_mut(top)) {
            None => return Ok(input.len() - reader.len()),
            Some(top) => top.left -= 1,
        }
    }
}

/// Where the innermost value with a length ends.
fn floor(open: &[Frame]) -> usize {
    (open.iter().rev()).find_map(|frame| frame.closes_at).unwrap_or(0)
}

/// Closes what is complete; gives the new depth.
fn close(reader: &Reader<'_>, frames: &[Frame], mut depth: usize) -> Result<usize, Fault> {
    while let Some(top) = depth.checked_sub(1).and_then(|top| frames.get(top)) {
        if top.left > 0 {
            break;
        }
        if top.closes_at.is_some_and(|end| end != reader.len()) {
            return Err(Fault::Size);
        }
        depth -= 1;
    }
    Ok(depth)
}

/// Reads one value; of a nested one only its beginning, and gives the frame to open.
fn step(reader: &mut Reader<'_>, floor: usize, empty: EmptyArrays) -> Result<Option<Frame>, Fault> {
    let frame = match Layout::of(reader.byte()?)? {
        Layout::Fixed(width) => {
            reader.take(width)?;
            None
        }
        Layout::Variable(width) => {
            let size = reader.number(width)?;
            reader.take(size)?;
            None
        }
        Layout::Described => Some(Frame { left: 2, closes_at: None }),
        Layout::List(width) => Some(open(reader, width)?),
        Layout::Map(width) => {
            let frame = open(reader, width)?;
            if frame.left % 2 == 1 {
                return Err(Fault::Count);
            }
            Some(frame)
        }
        Layout::Array(width) => Some(open_array(reader, width, empty)?),
    };
    let ends_at = frame.and_then(|frame| frame.closes_at);
    if ends_at.unwrap_or(reader.len()) < floor {
        return Err(Fault::Size);
    }
    Ok(frame)
}

fn open(reader: &mut Reader<'_>, width: usize) -> Result<Frame, Fault> {
    let frame = open_sized(reader, width)?;
    let bytes = reader.len() - frame.closes_at.unwrap_or(0);
    if frame.left > bytes {
        return Err(Fault::Count);
    }
    Ok(frame)
}

/// Reads size and count. The count is not yet checked.
fn open_sized(reader: &mut Reader<'_>, width: usize) -> Result<Frame, Fault> {
    let size = reader.number(width)?;
    let end = reader.len().checked_sub(size).ok_or(Fault::Truncated)?;
    let left = reader.number(width)?;
    if reader.len() < end {
        return Err(Fault::Size);
    }
    Ok(Frame { left, closes_at: Some(end) })
}

/// Reads an array, all of it: size, count, the one constructor and the elements. They have to be flat: no part of the
/// protocol has arrays of anything else, and the stock codec loses its step in them. Elements of a fixed width are passed
/// over at once, so that a count of elements without bytes costs nothing.
fn open_array(reader: &mut Reader<'_>, width: usize, empty: EmptyArrays) -> Result<Frame, Fault> {
    let frame = open_sized(reader, width)?;
    let end = frame.closes_at.unwrap_or(0);
    let closed = Frame { left: 0, ..frame };
    if frame.left == 0 && reader.len() == end {
        return Ok(closed);
    }
    if frame.left == 0 && empty == EmptyArrays::Bare {
        return Err(Fault::EmptyArray);
    }
    let code = reader.byte()?;
    let bytes = reader.len().checked_sub(end).ok_or(Fault::Size)?;
    match Layout::of(code)? {
        Layout::Fixed(0) if frame.left > MAX_ENTRIES => return Err(Fault::TooMany),
        Layout::Fixed(width) => {
            if frame.left.checked_mul(width) != Some(bytes) {
                return Err(Fault::Count);
            }
            reader.take(bytes)?;
        }
        Layout::Variable(width) => {
            if frame.left > bytes {
                return Err(Fault::Count);
            }
            for _ in 0..frame.left {
                let size = reader.number(width)?;
                reader.take(size)?;
            }
        }
        Layout::Described | Layout::List(_) | Layout::Map(_) | Layout::Array(_) => {
            return Err(Fault::NestedArray);
        }
    }
    Ok(closed)
}
