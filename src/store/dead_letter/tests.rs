use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use super::*;
use crate::alert::Message;
use crate::alert::body::Status;
use crate::engine::Timestamp;
use crate::metrics::{DEAD_LETTERS_REMOVED, prometheus};
use crate::wire::{Amqp091Message, HeaderValue, RawMessage, Reject, RejectReason};

const ROOMY: u64 = 1024 * 1024;

fn letter(sequence: i64, original: &[u8]) -> DeadLetter {
    DeadLetter {
        at: Timestamp::from_ms(1_767_225_661_187),
        source: "hub".into(),
        partition: "0".into(),
        sequence,
        reason: "malformed".into(),
        detail: "bad\n\"thing\"".into(),
        form: OriginalForm::Line,
        original: Bytes::copy_from_slice(original),
        original_bytes: original.len() as u64,
    }
}

fn open(store: &Path, max_bytes: u64) -> DeadLetters {
    DeadLetters::open(store, max_bytes, Counter::noop()).expect("the folder is writable")
}

async fn sequences(letters: &DeadLetters, limit: usize) -> Vec<i64> {
    let listed = letters.list(limit).await.expect("readable");
    listed.iter().map(|letter| letter.sequence).collect()
}

fn files(store: &Path) -> Vec<PathBuf> {
    let folder = store.join("dead-letters/ingest");
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|e| e.expect("readable").path()).collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_kept_letter_reads_back_byte_for_byte_also_in_the_next_process() {
    let store = tempfile::tempdir().expect("a folder");
    let kept = letter(7, &[0, 255, b'\n', b'"']);
    open(store.path(), ROOMY).put(&kept).await.expect("kept");
    let next = open(store.path(), ROOMY);
    next.put(&letter(8, b"x")).await.expect("kept");
    assert_eq!(next.list(1).await.expect("readable"), [letter(8, b"x")]);
    assert_eq!(next.list(9).await.expect("readable")[0], kept);
}

#[tokio::test]
async fn files_and_folders_are_for_this_user_only() {
    let store = tempfile::tempdir().expect("a folder");
    let letters = open(store.path(), ROOMY);
    letters.put(&letter(1, b"x")).await.expect("kept");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&store.path().join("dead-letters/ingest")), 0o700);
    assert_eq!(mode(&files(store.path())[0]), 0o600);
}

#[tokio::test]
async fn a_refused_message_keeps_its_first_256_kib_and_its_true_size() {
    let raw = RawMessage::Amqp10(vec![7; MAX_ORIGINAL_BYTES + 5].into());
    let reject = Reject { reason: RejectReason::TooLarge, detail: "why".into() };
    let letter = DeadLetter::of(&raw, &reject, "hub", "3", 9, Timestamp::from_ms(1));
    assert_eq!(letter.original.len(), MAX_ORIGINAL_BYTES);
    assert_eq!(letter.original_bytes, MAX_ORIGINAL_BYTES as u64 + 5);
    assert_eq!((letter.reason.as_str(), letter.sequence), ("too_large", 9));
}

#[test]
fn a_delivery_of_amqp_0_9_1_keeps_its_headers_and_body() {
    let raw = RawMessage::Amqp091(Box::new(Amqp091Message {
        routing_key: "a.b".into(),
        headers: vec![("id".into(), HeaderValue::Text("d".into()))],
        body: Bytes::from_static(&[255]),
        ..Amqp091Message::default()
    }));
    let (form, original) = ingest::original(&raw);
    assert_eq!(form, OriginalForm::Amqp091Json);
    let text = String::from_utf8(original.to_vec()).expect("JSON");
    assert!(text.contains(r#""headers":[["id","d"]]"#), "{text}");
    assert!(text.contains(r#""body_base64":"/w==""#), "{text}");
}

#[tokio::test]
async fn the_oldest_go_first_when_room_is_needed_and_are_counted() {
    let store = tempfile::tempdir().expect("a folder");
    let (metrics, handle) = prometheus().expect("sound");
    let removed = metrics.counter(DEAD_LETTERS_REMOVED, &[]);
    let letters = DeadLetters::open(store.path(), 16 * 1024, removed).expect("writable");
    for sequence in 0..100 {
        letters.put(&letter(sequence, &[b'x'; 600])).await.expect("kept");
        let bytes: u64 =
            files(store.path()).iter().map(|file| fs::metadata(file).expect("there").len()).sum();
        assert!(bytes <= 16 * 1024, "{bytes} bytes after {sequence}");
    }
    let left = sequences(&letters, 1_000).await;
    assert!(left.len() >= 8, "{left:?}");
    let first = 100 - i64::try_from(left.len()).expect("few");
    assert_eq!(left, (first..100).collect::<Vec<_>>());
    let counted = format!("lastseen_dead_letters_removed_total {first}");
    assert!(handle.render().contains(&counted), "{}", handle.render());
}

#[tokio::test]
async fn letters_that_wait_together_are_all_kept() {
    let store = tempfile::tempdir().expect("a folder");
    let letters = Arc::new(open(store.path(), ROOMY));
    let puts: Vec<_> = (0..200)
        .map(|sequence| {
            let letters = Arc::clone(&letters);
            tokio::spawn(async move { letters.put(&letter(sequence, b"x")).await })
        })
        .collect();
    for put in puts {
        put.await.expect("no panic").expect("kept");
    }
    let mut kept = sequences(&letters, 1_000).await;
    kept.sort_unstable();
    assert_eq!(kept, (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_line_cut_by_a_crash_costs_only_itself() {
    let store = tempfile::tempdir().expect("a folder");
    open(store.path(), ROOMY).put(&letter(1, b"x")).await.expect("kept");
    let file = files(store.path()).remove(0);
    let mut torn = OpenOptions::new().append(true).open(file).expect("there");
    torn.write_all(b"{\"time_ms\":1,\"sour").expect("written");
    let letters = open(store.path(), ROOMY);
    letters.put(&letter(2, b"x")).await.expect("kept");
    assert_eq!(sequences(&letters, 9).await, [1, 2]);
}

#[tokio::test]
async fn a_folder_that_vanishes_costs_the_letter_in_hand_and_is_made_again() {
    let store = tempfile::tempdir().expect("a folder");
    let letters = open(store.path(), ROOMY);
    let folder = store.path().join("dead-letters/ingest");
    fs::remove_dir(&folder).expect("it is empty");
    let error = letters.put(&letter(1, b"x")).await.expect_err("no folder");
    assert!(error.to_string().contains("creating a file"), "{error}");
    letters.put(&letter(2, b"x")).await.expect("kept");
    assert_eq!(sequences(&letters, 9).await, [2]);
}

#[tokio::test]
async fn a_store_that_can_not_be_created_is_refused_at_the_start() {
    let store = tempfile::tempdir().expect("a folder");
    let occupied = store.path().join("file");
    fs::write(&occupied, "").expect("writable");
    let error = DeadLetters::open(&occupied, ROOMY, Counter::noop()).expect_err("not a folder");
    assert!(error.to_string().contains("creating the folder"), "{error}");
}

fn undelivered(number: u64, body: &'static [u8]) -> DeliveryLetter {
    DeliveryLetter {
        at: Timestamp::from_ms(1_767_225_661_187),
        sink: "ops".into(),
        message: Message {
            message_id: format!("msg_{number}"),
            alert_id: "a".into(),
            lane: u64::MAX - number,
            status: Status::Amended,
            body: Bytes::from_static(body),
        },
        reason: UndeliveredReason::Rejected,
        detail: "it answered\n404".into(),
        failures: 5,
    }
}

fn open_delivery(store: &Path) -> DeliveryLetters {
    DeliveryLetters::open(store, ROOMY, Counter::noop()).expect("the folder is writable")
}

#[tokio::test]
async fn a_message_that_was_not_delivered_reads_back_byte_for_byte_by_its_id() {
    let store = tempfile::tempdir().expect("a folder");
    let kept = [undelivered(1, b"{\"a\": \"\\n\"}"), undelivered(2, &[0, 255, b'\n'])];
    for letter in &kept {
        open_delivery(store.path()).put(letter).await.expect("kept");
    }
    let letters = open_delivery(store.path());
    for letter in &kept {
        let id = &letter.message.message_id;
        assert_eq!(letters.get(id).await.expect("readable").as_ref(), Some(letter));
    }
    assert_eq!(letters.get("msg_3").await.expect("readable"), None);
    assert_eq!(letters.list(9).await.expect("readable"), kept);
    assert_eq!(files(store.path()), Vec::<PathBuf>::new(), "the other kind is apart");
}

#[tokio::test]
async fn of_two_letters_of_one_message_the_newest_counts() {
    let store = tempfile::tempdir().expect("a folder");
    let letters = open_delivery(store.path());
    letters.put(&undelivered(1, b"{}")).await.expect("kept");
    letters.put(&undelivered(2, b"{}")).await.expect("kept");
    let again = DeliveryLetter { failures: 6, ..undelivered(1, b"{}") };
    letters.put(&again).await.expect("kept");
    assert_eq!(letters.get("msg_1").await.expect("readable"), Some(again));
}

#[test]
fn every_status_and_reason_has_a_name_that_reads_back() {
    for status in Status::ALL {
        let mut letter = undelivered(1, b"{}");
        letter.message.status = status;
        for reason in
            [UndeliveredReason::Failed, UndeliveredReason::Rejected, UndeliveredReason::Disabled]
        {
            letter.reason = reason;
            let line = letter.to_line();
            let line = std::str::from_utf8(&line).expect("JSON").trim_end();
            assert!(line.contains(&format!(r#""reason":"{}""#, reason.as_str())), "{line}");
            assert_eq!(DeliveryLetter::from_line(line).as_ref(), Some(&letter));
        }
    }
}
