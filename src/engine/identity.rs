//! Who a signal is about: `(hub, device, module?)`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// The longest device or module id, in bytes ("Identity registry": up to 128 characters of 7-bit ASCII).
pub const MAX_ID_BYTES: usize = 128;

/// A borrowed identity, as a decoder hands it over. The hub name is already lower-case (hub names
/// compare without case); device and module ids are opaque and case-sensitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityRef<'a> {
    /// Name of the IoT Hub, lower-case.
    pub hub: &'a str,
    /// Device id.
    pub device: &'a str,
    /// Module id; `None` for the device itself.
    pub module: Option<&'a str>,
}

impl IdentityRef<'_> {
    /// Owns it.
    pub fn to_owned(self) -> Identity {
        let Self { hub, device, module } = self;
        Identity { hub: hub.into(), device: device.into(), module: module.map(Into::into) }
    }
}

/// An owned identity, as a transition carries it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the IoT Hub, lower-case.
    pub hub: Arc<str>,
    /// Device id.
    pub device: Box<str>,
    /// Module id; `None` for the device itself.
    pub module: Option<Box<str>>,
}

impl Identity {
    /// Borrows it.
    pub fn as_ref(&self) -> IdentityRef<'_> {
        IdentityRef { hub: &self.hub, device: &self.device, module: self.module.as_deref() }
    }
}

/// `hub/device` or `hub/device/module`, with everything outside printable ASCII escaped, so that an id
/// can't forge a line of a log.
impl fmt::Display for IdentityRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.hub.escape_debug(), self.device.escape_debug())?;
        match self.module {
            Some(module) => write!(f, "/{}", module.escape_debug()),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// Why a text can't be a device or module id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// No character at all.
    #[error("the id is empty")]
    Empty,
    /// More than [`MAX_ID_BYTES`].
    #[error("the id has {0} bytes, more than {MAX_ID_BYTES}")]
    TooLong(usize),
    /// A byte that is not printable 7-bit ASCII, at this offset.
    #[error("the id has a byte at {0} that is not printable ASCII")]
    NotAscii(usize),
}

/// Checks a device or module id: 1 to 128 bytes of printable ASCII. Nothing is normalised, so two ids that
/// differ in one byte are two identities.
pub fn check_id(id: &str) -> Result<(), IdError> {
    if id.is_empty() {
        return Err(IdError::Empty);
    }
    if id.len() > MAX_ID_BYTES {
        return Err(IdError::TooLong(id.len()));
    }
    let is_printable = |byte: u8| (0x20..=0x7e).contains(&byte);
    // Without a way out in between, all bytes are looked at together.
    if id.bytes().fold(true, |all, byte| all & is_printable(byte)) {
        return Ok(());
    }
    let at = id.bytes().position(|byte| !is_printable(byte));
    Err(IdError::NotAscii(at.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_128_odd_characters_is_kept_and_one_of_129_is_refused() {
        let odd: String = "-:.+%_#*?!(),=@;$'{}~/ ".chars().cycle().take(128).collect();
        assert_eq!(check_id(&odd), Ok(()));
        assert_eq!(check_id(&format!("{odd}x")), Err(IdError::TooLong(129)));
        assert_eq!(check_id(""), Err(IdError::Empty));
        assert_eq!(check_id("a\nb"), Err(IdError::NotAscii(1)));
        assert_eq!(check_id("caf\u{e9}"), Err(IdError::NotAscii(3)));
    }

    #[test]
    fn a_displayed_identity_can_not_break_a_line() {
        let id = IdentityRef { hub: "h", device: "a\n\u{202e}b", module: Some("m\"") };
        assert_eq!(id.to_string(), "h/a\\n\\u{202e}b/m\\\"");
    }
}
