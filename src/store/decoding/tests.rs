use super::record::MAX_QUARANTINED;
use super::*;

struct Disk {
    _folder: tempfile::TempDir,
    decodings: Decodings,
    has_places: bool,
}

impl Disk {
    fn new(has_places: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let decodings = Decodings::open(folder.path()).unwrap();
        Self { _folder: folder, decodings, has_places }
    }

    /// The file as the next process finds it.
    fn start(&self) -> Decoding {
        self.decodings.of("hub-0", self.has_places)
    }
}

fn line(text: &str) -> RawMessage {
    RawMessage::Line(text.to_owned().into())
}

#[test]
fn a_death_while_nothing_is_decoded_makes_nobody_suspect() {
    for has_places in [true, false] {
        let disk = Disk::new(has_places);
        let mut decoding = disk.start();
        decoding.begin(1, 512);
        decoding.end();
        assert!(disk.start().is_calm());
    }
}

#[test]
fn what_of_a_log_was_decoded_at_a_death_is_decoded_alone_until_all_of_it_has_passed() {
    let disk = Disk::new(true);
    disk.start().begin(100, 103);
    for _ in 0..2 {
        // A death for another reason forgets nothing.
        let decoding = disk.start();
        let treated = (99..=104).map(|sequence| decoding.treatment(&line("m"), sequence));
        use Treatment::{Alone, Together};
        let expected = [Together, Alone, Alone, Alone, Alone, Together];
        assert_eq!(treated.collect::<Vec<_>>(), expected);
    }
    let mut decoding = disk.start();
    decoding.passed(102);
    assert!(!decoding.is_calm());
    decoding.passed(103);
    assert!(decoding.is_calm() && disk.start().is_calm());
}

#[test]
fn the_message_that_was_alone_at_a_second_death_is_refused_from_then_on_and_no_other() {
    for has_places in [true, false] {
        let disk = Disk::new(has_places);
        disk.start().begin(1, 3);
        let mut decoding = disk.start();
        assert_eq!(decoding.treatment(&line("good"), 1), Treatment::Alone);
        decoding.begin_alone(&line("good"));
        decoding.end();
        decoding.passed(1);
        decoding.begin_alone(&line("poison"));
        for _ in 0..2 {
            let mut decoding = disk.start();
            assert_eq!(decoding.treatment(&line("poison"), 2), Treatment::Refused);
            assert_eq!(decoding.treatment(&line("next"), 3), Treatment::Alone, "still suspected");
            decoding.begin(7, 8);
            decoding.end();
        }
        let mut decoding = disk.start();
        (1..=i64::from(QUEUE_SUSPECTS)).for_each(|sequence| decoding.passed(sequence));
        assert_eq!(decoding.treatment(&line("next"), 3), Treatment::Together);
        assert_eq!(decoding.treatment(&line("poison"), 9_999), Treatment::Refused);
    }
}

#[test]
fn after_a_death_a_queue_decodes_alone_as_many_messages_as_it_can_be_given_again() {
    let disk = Disk::new(false);
    disk.start().begin(1, 3);
    let mut decoding = disk.start();
    for sequence in 1..i64::from(QUEUE_SUSPECTS) {
        assert_eq!(decoding.treatment(&line("m"), sequence), Treatment::Alone);
        decoding.passed(sequence);
    }
    decoding.passed(i64::from(QUEUE_SUSPECTS));
    assert!(decoding.is_calm() && disk.start().is_calm());
}

#[test]
fn a_second_death_in_a_batch_widens_what_is_suspected() {
    let disk = Disk::new(true);
    disk.start().begin(10, 20);
    disk.start().begin(30, 40);
    let decoding = disk.start();
    assert_eq!(decoding.record.suspects, Some(Suspects::Places { first: 10, last: 40 }));
}

#[test]
fn the_newest_poison_is_remembered_and_the_record_keeps_within_its_room() {
    let disk = Disk::new(true);
    for number in 0..=MAX_QUARANTINED {
        disk.start().begin_alone(&line(&number.to_string()));
    }
    let decoding = disk.start();
    assert_eq!(decoding.treatment(&line("0"), 0), Treatment::Together, "forgotten");
    for number in 1..=MAX_QUARANTINED {
        assert_eq!(decoding.treatment(&line(&number.to_string()), 0), Treatment::Refused);
    }
    let record = Record {
        noted: decoding.record.quarantined.first().map_or(Noted::Nothing, |one| Noted::One(*one)),
        suspects: Some(Suspects::Places { first: i64::MIN, last: i64::MAX }),
        quarantined: decoding.record.quarantined.clone(),
    };
    let mut buffer = [0; MAX_RECORD_BYTES];
    let bytes = record.encode(&mut buffer).expect("it fits").to_vec();
    assert_eq!(Record::decode(&bytes), Some(record));
    for length in 0..bytes.len() {
        assert_eq!(Record::decode(&bytes[..length]), None, "cut");
    }
}

#[test]
fn a_file_that_is_damaged_or_cannot_be_written_makes_nobody_suspect() {
    let disk = Disk::new(true);
    std::fs::write(disk.decodings.folder.join("hub-0"), [7; 100]).unwrap();
    assert!(disk.start().is_calm());
    std::fs::create_dir(disk.decodings.folder.join("a-folder")).unwrap();
    let mut decoding = disk.decodings.of("a-folder", true);
    decoding.begin(1, 2);
    decoding.end();
    assert!(decoding.is_calm());
}
