//! The sections of a message in their order: OASIS AMQP 1.0, part 3, section 3.2.

use crate::wire::amqp10::encoded::Reader;
use crate::wire::amqp10::fault::{Fault, MAX_ENTRIES};

/// The sections, in the order in which they have to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    Header,
    DeliveryAnnotations,
    MessageAnnotations,
    Properties,
    ApplicationProperties,
    Data,
    Sequence,
    Value,
    Footer,
}

impl Section {
    fn of(descriptor: u64) -> Option<Self> {
        Some(match descriptor {
            0x70 => Self::Header,
            0x71 => Self::DeliveryAnnotations,
            0x72 => Self::MessageAnnotations,
            0x73 => Self::Properties,
            0x74 => Self::ApplicationProperties,
            0x75 => Self::Data,
            0x76 => Self::Sequence,
            0x77 => Self::Value,
            0x78 => Self::Footer,
            _ => return None,
        })
    }

    fn named(symbol: &[u8]) -> Option<Self> {
        Some(match symbol {
            b"amqp:header:list" => Self::Header,
            b"amqp:delivery-annotations:map" => Self::DeliveryAnnotations,
            b"amqp:message-annotations:map" => Self::MessageAnnotations,
            b"amqp:properties:list" => Self::Properties,
            b"amqp:application-properties:map" => Self::ApplicationProperties,
            b"amqp:data:binary" => Self::Data,
            b"amqp:amqp-sequence:list" => Self::Sequence,
            b"amqp:amqp-value:*" => Self::Value,
            b"amqp:footer:map" => Self::Footer,
            _ => return None,
        })
    }

    /// Only these may come more than once.
    fn repeats(self) -> bool {
        matches!(self, Self::Data | Self::Sequence)
    }
}

/// Goes through the sections of a message. The caller takes each section's value from [`Self::values`].
///
/// The order is enforced: a second annotations section could contradict the first.
#[derive(Debug)]
pub(super) struct Sections<'a> {
    reader: Reader<'a>,
    last: Option<Section>,
    count: usize,
}

impl<'a> Sections<'a> {
    #[inline]
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { reader: Reader::new(message), last: None, count: 0 }
    }

    /// The next section; its value is what the reader stands at.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<Section>, Fault> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        if self.reader.byte()? != 0 {
            return Err(Fault::NotASection);
        }
        let descriptor = self.reader.value()?;
        let section = match descriptor.unsigned() {
            Some(code) => Section::of(code),
            None => descriptor.content().and_then(Section::named),
        }
        .ok_or(Fault::NotASection)?;
        let in_order =
            (self.last).is_none_or(|last| last < section || (last == section && section.repeats()));
        if !in_order {
            return Err(Fault::SectionOrder);
        }
        self.last = Some(section);
        self.count += 1;
        if self.count > MAX_ENTRIES {
            return Err(Fault::TooMany);
        }
        Ok(Some(section))
    }

    pub(super) fn values(&mut self) -> &mut Reader<'a> {
        &mut self.reader
    }
}
