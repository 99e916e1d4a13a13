//! PURE. Names of journals as parts of a path, and back.
//!
//! A part is one name of a folder on every file system and object store: letters, digits, `-`, `_` and inner dots stand
//! for themselves, every other byte is `=` and two hexadecimal digits. A long name takes several parts, each but the
//! last ending in a lone `=`. So no part is `.`, `..`, hidden, reserved, or longer than file systems allow.

/// File systems allow 255 bytes, some less.
const MAX_PART_BYTES: usize = 200;
/// `=` and two digits.
const LONGEST_PIECE_BYTES: usize = 3;
/// Stands for the empty name.
const EMPTY: &str = "==";
/// Names that journals use inside their own folder.
const RESERVED: [&str; 2] = [ENTRIES, SNAPSHOTS];
/// Folder of the entries of a journal.
pub(in crate::store) const ENTRIES: &str = "entries";
/// Folder of the snapshots of a journal.
pub(in crate::store) const SNAPSHOTS: &str = "snapshots";

/// The path that stands for these names, with `/` between its parts.
pub(super) fn path_of(names: &[&str]) -> String {
    let mut parts = Vec::new();
    for name in names {
        push_parts(name, &mut parts);
    }
    parts.join("/")
}

/// The names of a path; none if it is not one of [`path_of`].
pub(super) fn names_of(path: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut bytes = Vec::new();
    let mut is_open = false;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let (text, is_continued) = match part {
            EMPTY => ("", false),
            _ => part.strip_suffix('=').map_or((part, false), |text| (text, true)),
        };
        push_bytes(text, &mut bytes)?;
        is_open = is_continued;
        if !is_continued {
            names.push(String::from_utf8(std::mem::take(&mut bytes)).ok()?);
        }
    }
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    (!is_open && path_of(&known) == path).then_some(names)
}

fn push_parts(name: &str, parts: &mut Vec<String>) {
    if name.is_empty() {
        parts.push(EMPTY.to_owned());
        return;
    }
    let is_reserved = RESERVED.contains(&name);
    let mut part = String::new();
    for (at, byte) in name.bytes().enumerate() {
        if part.len() + LONGEST_PIECE_BYTES >= MAX_PART_BYTES {
            part.push('=');
            parts.push(std::mem::take(&mut part));
        }
        let is_edge = part.is_empty() || at + 1 == name.len();
        let is_plain = match byte {
            b'-' | b'_' => true,
            b'.' => !is_edge,
            _ => byte.is_ascii_alphanumeric() && !(is_reserved && at == 0),
        };
        if is_plain {
            part.push(char::from(byte));
        } else {
            part.push_str(&format!("={byte:02X}"));
        }
    }
    parts.push(part);
}

fn push_bytes(part: &str, bytes: &mut Vec<u8>) -> Option<()> {
    let mut rest = part.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'=' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_names_become_parts_that_every_file_system_takes_and_come_back(
            names in proptest::collection::vec(
                prop_oneof!["\\PC{0,40}", any::<String>(), "[./%=\\\\~]{0,8}", "[a-z.]{190,420}"], 1..5)
        ) {
            let known: Vec<&str> = names.iter().map(String::as_str).collect();
            let path = path_of(&known);
            for part in path.split('/') {
                let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.=".contains(&b);
                prop_assert!(!part.is_empty() && part.len() <= MAX_PART_BYTES && part.bytes().all(is_plain));
                prop_assert!(!part.starts_with('.') && !part.ends_with('.') && !RESERVED.contains(&part), "{}", part);
            }
            prop_assert_eq!(names_of(&path), Some(names));
        }

        #[test]
        fn a_foreign_path_is_no_name_or_the_one_that_is_written_so(path in "[a-zA-Z0-9./=%]{0,40}") {
            if let Some(names) = names_of(&path) {
                let known: Vec<&str> = names.iter().map(String::as_str).collect();
                prop_assert_eq!(path_of(&known), path);
            }
        }
    }

    #[test]
    fn names_stand_apart_from_what_journals_keep_inside() {
        assert_eq!(path_of(&["partitions", "hub-1.eu", "0"]), "partitions/hub-1.eu/0");
        assert_eq!(path_of(&["entries", "..", "a/b", ""]), "=65ntries/=2E=2E/a=2Fb/==");
        assert_eq!(path_of(&[".tmp"]), "=2Etmp");
        assert_eq!(names_of("partitions/hub/entries"), None);
    }
}
