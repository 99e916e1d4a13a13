use proptest::prelude::*;

use super::*;

fn frame(channel: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len() + 8).unwrap().to_be_bytes().to_vec();
    frame.extend([2, 0]);
    frame.extend(channel.to_be_bytes());
    frame.extend(body);
    frame
}

fn performative(code: u8, fields: &[&[u8]]) -> Vec<u8> {
    let content: Vec<u8> = fields.concat();
    let mut body = vec![0x00, 0x53, code, 0xc0];
    body.push(u8::try_from(content.len() + 1).unwrap());
    body.push(u8::try_from(fields.len()).unwrap());
    body.extend(content);
    body
}

fn attach(name: &str, handle: u8) -> Vec<u8> {
    let mut text = vec![0xa1, u8::try_from(name.len()).unwrap()];
    text.extend(name.bytes());
    let mut fields: Vec<&[u8]> = vec![&text];
    let handle = [0x52, handle];
    fields.extend([&handle[..], &[0x42]]);
    fields.extend([&[0x40_u8][..]; 6]);
    fields.push(&[0x43]);
    frame(0, &performative(0x12, &fields))
}

fn transfer(handle: u8, more: bool, payload: &[u8]) -> Vec<u8> {
    let handle = [0x52, handle];
    let more: &[u8] = if more { &[0x41] } else { &[0x42] };
    let mut body = performative(0x14, &[&handle, &[0x43], &[0xa0, 1, 7], &[0x43], &[0x41], more]);
    body.extend(payload);
    frame(0, &body)
}

/// What the client would see: the payloads of the transfers on handle 1, and the number of frames.
fn seen(mut bytes: &[u8]) -> (Vec<u8>, usize) {
    let (mut payloads, mut transfers) = (Vec::new(), 0);
    while !bytes.is_empty() {
        let size = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        let performative = Performative::parse(&bytes[8..size]).unwrap();
        if performative.code == 0x14 {
            payloads.extend(performative.payload);
            transfers += 1;
        }
        bytes = &bytes[size..];
    }
    (payloads, transfers)
}

fn data_section(payload: &[u8]) -> Vec<u8> {
    let mut section = DATA_SECTION.to_vec();
    section.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
    section.extend(payload);
    section
}

#[test]
fn a_message_of_a_data_link_becomes_one_opaque_data_section_even_if_it_is_hostile() {
    let hostile = vec![0_u8; 60_000];
    let mut inbound = Inbound::default();
    inbound.push(&attach("lastseen-data-0", 1)).unwrap();
    inbound.ready().clear();
    inbound.push(&transfer(1, false, &hostile)).unwrap();
    assert_eq!(seen(inbound.ready()), (data_section(&hostile), 1));
}

#[test]
fn the_same_message_on_any_other_link_ends_the_connection() {
    let mut inbound = Inbound::default();
    inbound.push(&attach("management", 1)).unwrap();
    let refused = inbound.push(&transfer(1, false, &vec![0_u8; 60_000]));
    assert!(refused.unwrap_err().0.contains("nested too deep"));
}

#[test]
fn the_parts_of_a_message_are_held_until_the_last_and_come_as_as_many_frames() {
    let mut inbound = Inbound::default();
    inbound.push(&attach("lastseen-data-0", 1)).unwrap();
    inbound.push(&attach("lastseen-data-1", 2)).unwrap();
    inbound.ready().clear();
    inbound.push(&transfer(1, true, b"one ")).unwrap();
    inbound.push(&transfer(1, true, b"two ")).unwrap();
    assert!(inbound.ready().is_empty());
    inbound.push(&transfer(2, false, b"")).unwrap();
    assert_eq!(seen(&inbound.ready().split()), (data_section(b""), 1));
    inbound.push(&transfer(1, false, b"three")).unwrap();
    assert_eq!(seen(inbound.ready()), (data_section(b"one two three"), 3));
    assert_eq!(inbound.held_bytes, 0);
}

#[test]
fn a_message_beyond_the_limit_is_cut_off_and_the_next_one_is_whole() {
    let mut inbound = Inbound::default();
    inbound.push(&attach("lastseen-data-0", 1)).unwrap();
    inbound.ready().clear();
    let part = vec![7_u8; 900_000];
    inbound.push(&transfer(1, true, &part)).unwrap();
    inbound.push(&transfer(1, true, &part)).unwrap();
    inbound.push(&transfer(1, false, &part)).unwrap();
    let (payload, frames) = seen(&inbound.ready().split());
    assert_eq!((payload.len(), frames), (MAX_MESSAGE_BYTES + 8, 3));
    inbound.push(&transfer(1, false, b"next")).unwrap();
    assert_eq!(seen(inbound.ready()), (data_section(b"next"), 1));
}

#[test]
fn what_was_held_for_a_link_that_detaches_is_handed_over_so_that_no_frame_is_lost_to_the_window() {
    let mut inbound = Inbound::default();
    inbound.push(&attach("lastseen-data-0", 1)).unwrap();
    inbound.ready().clear();
    inbound.push(&transfer(1, true, b"half")).unwrap();
    inbound.push(&frame(0, &performative(0x16, &[&[0x52, 1], &[0x41]]))).unwrap();
    assert_eq!(seen(inbound.ready()), (b"half".to_vec(), 1));
    assert_eq!(inbound.held_bytes, 0);
    assert!(inbound.links.is_empty());
}

#[test]
fn the_peers_idle_time_out_is_halved_in_place() {
    for (field, halved) in [
        (&[0x70, 0, 3, 0xa9, 0x80][..], 30_000),
        (&[0x70, 0, 0, 0x07, 0xd0], 1_000),
        (&[0x52, 100], 50),
        (&[0x52, 1], 1),
        (&[0x43], 0),
    ] {
        let open = performative(0x10, &[&[0xa1, 1, b'p'], &[0x40], &[0x40], &[0x40], field]);
        let mut inbound = Inbound::default();
        inbound.push(&frame(0, &open)).unwrap();
        let passed = Performative::parse(&inbound.ready()[8..]).unwrap().uint(4).unwrap();
        assert_eq!(passed, Some(halved));
    }
}

#[test]
fn a_flow_of_a_data_link_reaches_the_client_as_its_sessions_only_and_a_drain_is_noted() {
    let mut inbound = Inbound::default();
    inbound.push(&attach("lastseen-data-q", 1)).unwrap();
    inbound.push(&transfer(1, false, b"m")).unwrap();
    inbound.ready().clear();
    inbound.take_changed();
    let fields: [&[u8]; 9] = [
        &[0x43],
        &[0x52, 9],
        &[0x43],
        &[0x52, 8],
        &[0x52, 1],
        &[0x52, 51],
        &[0x43],
        &[0x43],
        &[0x41],
    ];
    inbound.push(&frame(0, &performative(0x13, &fields))).unwrap();
    let passed = inbound.ready().split();
    let flow = Performative::parse(&passed[8..]).unwrap();
    assert_eq!((flow.uint(1), flow.uint(4)), (Ok(Some(9)), Ok(None)));
    let counts = LinkCounts { deliveries: 1, drains: 1, drained_at: 1, skipped: 50 };
    assert_eq!(inbound.take_changed(), [("lastseen-data-q".to_owned(), counts)]);
}

#[test]
fn frames_that_lie_about_their_size_are_refused() {
    for lie in [
        [0, 0, 0, 7, 2, 0, 0, 0],
        [0, 0x20, 0, 0, 2, 0, 0, 0],
        [0, 0, 0, 8, 1, 0, 0, 0],
        [0, 0, 0, 8, 3, 0, 0, 0],
    ] {
        assert!(Inbound::default().push(&lie).is_err());
    }
    assert!(Inbound::default().push(&transfer(1, false, b"x")).is_err());
}

#[test]
fn an_extended_header_is_stripped() {
    let mut inbound = Inbound::default();
    inbound.push(&[0, 0, 0, 12, 3, 0, 0, 0, 1, 2, 3, 4]).unwrap();
    assert_eq!(inbound.ready()[..], [0, 0, 0, 8, 2, 0, 0, 0]);
}

proptest! {
    #[test]
    fn garbage_never_panics_and_never_grows_what_is_held(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..8)
    ) {
        let mut inbound = Inbound::default();
        inbound.push(&attach("lastseen-data-0", 1)).unwrap();
        for chunk in chunks {
            if inbound.push(&chunk).is_err() {
                break;
            }
        }
        prop_assert!(inbound.raw.len() < 3_000);
    }

    #[test]
    fn any_split_of_the_bytes_gives_the_same_frames(
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 1..6),
        step in 1_usize..40,
    ) {
        let mut bytes = b"AMQP\0\x01\0\0".to_vec();
        bytes.extend(attach("lastseen-data-0", 1));
        let last = parts.len() - 1;
        for (index, part) in parts.iter().enumerate() {
            bytes.extend(transfer(1, index != last, part));
        }
        let (mut whole, mut split) = (Inbound::default(), Inbound::default());
        whole.push(&bytes).unwrap();
        for chunk in bytes.chunks(step) {
            split.push(chunk).unwrap();
        }
        prop_assert_eq!(whole.ready(), split.ready());
        let (payload, frames) = seen(&whole.ready()[8..]);
        prop_assert_eq!(payload, data_section(&parts.concat()));
        prop_assert_eq!(frames, parts.len());
    }

    #[test]
    fn a_cut_or_changed_byte_is_an_error_or_a_wait_but_never_a_panic(
        at in 0_usize..200, value in any::<u8>(), cut in 0_usize..200,
    ) {
        let mut bytes = attach("lastseen-data-0", 1);
        bytes.extend(transfer(1, true, &[9; 40]));
        bytes.extend(transfer(1, false, &[9; 40]));
        let at = at % bytes.len();
        bytes[at] = value;
        bytes.truncate(cut.max(1));
        let _ = Inbound::default().push(&bytes);
    }
}
