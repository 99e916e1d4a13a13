//! Secrets come from files only. What is read never appears in an error.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::section::Section;

/// The largest secret or certificate file: a bundle of every public root is a quarter of that.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

impl Section<'_> {
    /// The secret in the file that `key` names; the key has to be there.
    pub(super) fn required_secret(&self, key: &'static str, remedy: &str) -> Option<SecretString> {
        let name = self.required_text(key, remedy)?;
        self.secret_in(key, name)
    }

    /// The secret in the file `name`, which stands under `key`.
    pub(super) fn secret_in(&self, key: &'static str, name: &str) -> Option<SecretString> {
        let path = self.file_path(key, name)?;
        let content = self.content_of(key, name, &path)?;
        self.warn_if_open(key, &path);
        let secret = content.trim_end_matches(['\r', '\n', ' ', '\t']);
        if secret.is_empty() {
            self.problem(key, Some(name), "the file is empty", "write the secret into it");
            return None;
        }
        Some(SecretString::from(secret))
    }

    /// The path of a file with certificates, if `key` is there.
    pub(super) fn ca_file(&self) -> Option<PathBuf> {
        let key = "ca_file";
        let name = self.text(key)?;
        let path = self.file_path(key, name)?;
        let content = self.content_of(key, name, &path)?;
        if !content.contains("-----BEGIN CERTIFICATE-----") {
            self.problem(
                key,
                Some(name),
                "the file holds no certificate",
                "give a file with PEM certificates",
            );
            return None;
        }
        Some(path)
    }

    /// The path of a file whose content is read later and again, such as a token that somebody renews.
    pub(super) fn later_file(&self, key: &'static str, remedy: &str) -> Option<PathBuf> {
        let name = self.required_text(key, remedy)?;
        let path = self.file_path(key, name)?;
        self.content_of(key, name, &path)?;
        self.warn_if_open(key, &path);
        Some(path)
    }

    /// Refuses a secret that was written where a file name belongs, without repeating it.
    fn file_path(&self, key: &'static str, name: &str) -> Option<PathBuf> {
        let is_secret =
            [";", "=", "whsec_", "://", "\n", "@"].iter().any(|mark| name.contains(mark));
        if is_secret {
            self.problem(
                key,
                None,
                "looks like the secret itself, not like a file name",
                "write the secret into a file and its name here",
            );
            return None;
        }
        Some(self.resolve(name))
    }

    fn content_of(&self, key: &'static str, name: &str, path: &Path) -> Option<String> {
        let mut content = String::new();
        let read = File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut content));
        match read {
            Ok(bytes) if bytes as u64 > MAX_FILE_BYTES => {
                self.problem(
                    key,
                    Some(name),
                    "the file is larger than 1 MiB",
                    "name the file with the secret or the certificates",
                );
                None
            }
            Ok(_) => Some(content),
            Err(error) => {
                self.problem(
                    key,
                    Some(name),
                    format!("the file can't be read ({})", error.kind()),
                    format!(
                        "create it as UTF-8 text and let this user read it; looked for {}",
                        path.display()
                    ),
                );
                None
            }
        }
    }

    fn warn_if_open(&self, key: &'static str, path: &Path) {
        let Ok(metadata) = std::fs::metadata(path) else {
            return;
        };
        let mode = metadata.permissions().mode() & 0o777;
        if mode & more_than_needed(metadata.uid()) != 0 {
            self.warn(
                key,
                &format!("{} can be read by others (mode {mode:o}): chmod 600 it", path.display()),
            );
        }
    }
}

/// The bits of a mode that open a secret to more than its reader. What root keeps for a service is read through its group:
/// so Kubernetes mounts a Secret ("Configure a Security Context for a Pod", `fsGroup`).
const fn more_than_needed(owner: u32) -> u32 {
    const ROOT: u32 = 0;
    if owner == ROOT { 0o037 } else { 0o077 }
}

#[cfg(test)]
mod tests {
    use super::more_than_needed;

    #[test]
    fn a_group_may_read_what_root_keeps_for_it_and_nothing_of_anybody_else() {
        for (owner, mode, is_open) in [
            (0, 0o440, false),
            (0, 0o640, false),
            (0, 0o660, true),
            (0, 0o444, true),
            (1000, 0o600, false),
            (1000, 0o640, true),
        ] {
            assert_eq!(mode & more_than_needed(owner) != 0, is_open, "{owner} {mode:o}");
        }
    }
}
