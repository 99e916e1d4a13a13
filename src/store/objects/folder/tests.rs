use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use super::super::backend::Backend;
use super::*;
use crate::store::StoreError;
use crate::store::journal::{CreateError, Journal};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

fn temporary_folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn open(root: &Path) -> Folder {
    Folder::open(root.to_owned()).expect("the folder opens")
}

fn content(folder: &Folder, name: &str) -> Option<Vec<u8>> {
    match folder.read(name, 1 << 20).expect("it reads") {
        Found::Missing => None,
        Found::Content(content) => Some(content),
        Found::Larger(size) => panic!("{name} has {size} bytes"),
    }
}

/// The files that have no name yet.
fn unfinished(root: &Path) -> usize {
    fs::read_dir(root.join(TEMPORARY)).expect("the folder for them").count()
}

#[test]
fn files_and_folders_are_for_this_user_only() {
    let place = temporary_folder();
    let root = place.path().join("new/data");
    let folder = open(&root);
    assert_eq!(folder.create("a/b/c", b"x").expect("created"), Created::New);
    for (path, mode) in [
        ("new", 0o700),
        ("new/data", 0o700),
        ("new/data/.tmp", 0o700),
        ("new/data/a", 0o700),
        ("new/data/a/b", 0o700),
        ("new/data/a/b/c", 0o600),
    ] {
        let metadata = fs::metadata(place.path().join(path)).expect("it is there");
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{path}");
    }
    assert_eq!(unfinished(&root), 0);
}

#[test]
fn a_create_never_changes_what_is_there_and_a_replace_does() {
    let place = temporary_folder();
    let folder = open(place.path());
    assert_eq!(folder.create("a/n", b"first").expect("created"), Created::New);
    assert_eq!(folder.create("a/n", b"second").expect("asked"), Created::Exists);
    assert_eq!(content(&folder, "a/n").as_deref(), Some(&b"first"[..]));
    folder.replace("a/n", b"third").expect("replaced");
    assert_eq!(content(&folder, "a/n").as_deref(), Some(&b"third"[..]));
    assert_eq!(folder.read("a/n", 4).expect("looked at"), Found::Larger(5));
    assert_eq!(unfinished(place.path()), 0);
}

#[test]
fn what_a_crash_left_unfinished_is_no_object_and_is_removed_but_not_what_is_being_written() {
    let place = temporary_folder();
    let folder = open(place.path());
    let left = place.path().join(TEMPORARY).join("left");
    fs::write(&left, "half of an entr").expect("a leftover");
    let being_written = folder.write_temporary(b"x").expect("a file without a name");
    let names = folder.names("", 10).expect("listed").expect("few");
    assert!(names.folders.is_empty() && names.objects.is_empty());

    let second = open(place.path());
    assert!(!left.exists());
    assert!(being_written.path.exists());
    drop(being_written);
    assert_eq!(unfinished(place.path()), 0);
    assert_eq!(second.create("n", b"x").expect("created"), Created::New);
}

/// A disk of which the `n`th sync from now fails, if `n` is not 0.
fn failing(root: &Path) -> (Folder, Arc<AtomicU32>) {
    let countdown = Arc::new(AtomicU32::new(0));
    let armed = countdown.clone();
    let sync = move |file: &File| {
        let was = armed.load(Ordering::SeqCst);
        armed.store(was.saturating_sub(1), Ordering::SeqCst);
        if was == 1 { Err(io::Error::from_raw_os_error(5)) } else { file.sync_all() }
    };
    let folder = Folder::open_with(root.to_owned(), Box::new(sync)).expect("the folder opens");
    (folder, countdown)
}

#[test]
fn no_create_succeeds_whose_sync_failed_and_the_next_try_writes_a_new_file() {
    use std::os::unix::fs::MetadataExt;

    // Into new folders: the three above the entry, each from below to the root, its file, its own folder.
    let syncs = [false, false, false, false, true];
    for (nth, has_name) in (1..).zip(syncs) {
        let place = temporary_folder();
        let (folder, countdown) = failing(place.path());
        let journal = Journal::new(Arc::new(Backend::folder(folder)), "p".to_owned());
        let entry = Bytes::from_static(b"x");
        countdown.store(nth, Ordering::SeqCst);
        let failed = block_on(journal.create(7, entry.clone()));
        let is_unavailable =
            matches!(failed, Err(CreateError::Store(StoreError::Unavailable { .. })));
        assert!(is_unavailable, "{nth}: {failed:?}");
        assert_eq!(unfinished(place.path()), 0);
        let path = place.path().join("p/entries/00000000000000000/00000000000000000007");
        let inode = || fs::metadata(&path).ok().map(|metadata| metadata.ino());
        let seen = inode();
        assert_eq!(seen.is_some(), has_name, "{nth}: only the last sync comes after the name");

        assert_eq!(block_on(journal.create(7, entry)), Ok(()));
        assert!(inode().is_some() && inode() != seen, "{nth}");
        assert_eq!(countdown.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn folders_that_are_empty_go_with_the_last_object_and_come_back() {
    let place = temporary_folder();
    let folder = open(place.path());
    for name in ["g/1", "g/2"] {
        folder.create(name, b"x").expect("created");
    }
    let remove = |names: &[&str]| {
        folder.remove(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(remove(&["g/1", "g/7", "h/1"]).expect("removed"), 1);
    assert!(place.path().join("g").exists());
    assert_eq!(remove(&["g/2"]).expect("removed"), 1);
    assert!(!place.path().join("g").exists());
    assert_eq!(folder.create("g/3", b"x").expect("created"), Created::New);
}

#[test]
fn everything_removed_under_a_running_service_is_created_again() {
    let place = temporary_folder();
    let root = place.path().join("data");
    let folder = open(&root);
    folder.create("g/1", b"x").expect("created");
    fs::remove_dir_all(&root).expect("removed by somebody");
    assert_eq!(content(&folder, "g/1"), None);
    assert_eq!(folder.create("g/1", b"y").expect("created"), Created::New);
    assert_eq!(content(&folder, "g/1").as_deref(), Some(&b"y"[..]));
}

/// A file system of a megabyte; unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// None if this user may not mount.
    fn mount() -> Option<Self> {
        let place = temporary_folder();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "lastseen-test"])
            .arg(place.path())
            .output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(place))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_takes_nothing_loses_nothing_and_works_again_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("not tested: this user may not mount a tmpfs");
        return;
    };
    let root = disk.0.path().join("data");
    let folder = open(&root);
    let entry = vec![7; 100 * 1024];
    let name = |number: u32| format!("g/{number}");
    let mut kept = 0;
    let error = loop {
        match folder.create(&name(kept), &entry) {
            Ok(created) => assert_eq!(created, Created::New),
            Err(error) => break error,
        }
        kept += 1;
        assert!(kept < 20, "the disk is larger than it was made");
    };
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    assert_eq!(content(&folder, &name(kept)), None);
    assert_eq!(unfinished(&root), 0);
    let journal = Journal::new(Arc::new(Backend::folder(open(&root))), "p".to_owned());
    let full = block_on(journal.create(0, entry.clone().into()));
    let is_unavailable = matches!(full, Err(CreateError::Store(StoreError::Unavailable { .. })));
    assert!(is_unavailable, "{full:?}");
    for number in 0..kept {
        assert_eq!(content(&folder, &name(number)).as_ref(), Some(&entry));
    }
    assert_eq!(folder.remove(&[name(0)]).expect("removed on a full disk"), 1);
    assert_eq!(block_on(journal.create(0, entry.clone().into())), Ok(()));
    assert_eq!(block_on(journal.entry(0)), Ok(Some(entry.into())));
}
