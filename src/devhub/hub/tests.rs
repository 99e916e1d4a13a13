//! Promises of the hub without a socket.

use std::time::Duration;

use super::*;
use crate::devhub::value::{Value, decode_described};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_ms(1_767_225_600_000 + ms)
}

fn hub(partitions: usize, retention: usize) -> Hub {
    Hub::new(
        HubOptions {
            name: "example-hub".into(),
            entity: "eh1".into(),
            partitions,
            retention_messages: retention,
            key_name: "reader".into(),
            key: "a2V5".into(),
        },
        at(0),
    )
}

fn heartbeat(device: &str) -> DeviceMessage {
    DeviceMessage { device: device.into(), ..DeviceMessage::default() }
}

fn read_all(hub: &Hub, partition: usize, from: i64) -> Vec<Record> {
    let mut records = Vec::new();
    hub.read(partition, from, usize::MAX, &mut records).unwrap();
    records
}

/// The sections of a message by descriptor.
fn sections(record: &Record) -> Vec<(u64, Value)> {
    let mut rest = record.encoded.clone();
    let mut sections = Vec::new();
    while !rest.is_empty() {
        sections.push(decode_described(&mut rest).unwrap());
    }
    sections
}

fn section(record: &Record, code: u64) -> Value {
    let found = sections(record).into_iter().find(|(c, _)| *c == code);
    found.unwrap().1
}

fn text<'a>(map: &'a Value, key: &str) -> &'a str {
    map.entry(key).and_then(Value::text).unwrap()
}

#[test]
fn a_heartbeat_is_stamped_with_identity_generation_and_both_times() {
    let hub = hub(4, 100);
    let mut message = heartbeat("pump-07");
    message.module = Some("sensor".into());
    message.created = Some(at(-5));
    message.properties = vec![("kind".into(), "heartbeat".into())];
    let (partition, sequence) = hub.device_to_cloud(message, at(7)).unwrap();
    assert_eq!((partition, sequence), (hub.partition_of("pump-07"), 0));
    let record = read_all(&hub, partition, 0).remove(0);
    let stamps = section(&record, 0x72);
    assert_eq!(text(&stamps, "iothub-connection-device-id"), "pump-07");
    assert_eq!(text(&stamps, "iothub-connection-module-id"), "sensor");
    assert_eq!(text(&stamps, "iothub-message-source"), "Telemetry");
    assert_eq!(text(&stamps, "iothub-connection-auth-generation-id").len(), 18);
    let ingress = Value::Timestamp(at(7).as_ms());
    assert_eq!(stamps.entry("iothub-enqueuedtime"), Some(&ingress));
    assert_eq!(stamps.entry("x-opt-enqueued-time"), Some(&ingress));
    assert_eq!(stamps.entry("x-opt-sequence-number"), Some(&Value::Long(0)));
    let properties = section(&record, 0x74);
    assert_eq!(text(&properties, "kind"), "heartbeat");
    assert_eq!(text(&properties, "iothub-creation-time-utc"), at(-5).to_string());
    assert_eq!(section(&record, 0x75), Value::Binary(Bytes::new()));
}

#[test]
fn sequence_numbers_are_contiguous_and_retention_moves_only_the_begin() {
    let hub = hub(1, 3);
    for n in 0..5 {
        let sent = hub.device_to_cloud(heartbeat("a"), at(n)).unwrap();
        assert_eq!(sent, (0, n));
    }
    let info = hub.partition_info(0).unwrap();
    assert_eq!((info.begin_sequence, info.last_sequence), (2, 4));
    let seen: Vec<i64> = read_all(&hub, 0, 0).iter().map(|r| r.sequence).collect();
    assert_eq!(seen, [2, 3, 4]);
    hub.expire(0, 100).unwrap();
    let info = hub.partition_info(0).unwrap();
    assert!(info.is_empty);
    assert_eq!((info.begin_sequence, info.last_sequence), (5, 4));
    assert_eq!(info.last_appended, at(4));
}

#[test]
fn a_deleted_device_and_its_module_can_not_send_until_re_created_in_a_new_generation() {
    let hub = hub(1, 100);
    let generation = |record: &Record| {
        text(&section(record, 0x72), "iothub-connection-auth-generation-id").to_owned()
    };
    hub.registry("d", None, RegistryChange::Create, at(0)).unwrap();
    hub.registry("d", Some("m"), RegistryChange::Create, at(0)).unwrap();
    hub.device_to_cloud(heartbeat("d"), at(1)).unwrap();
    hub.registry("d", None, RegistryChange::Delete, at(2)).unwrap();
    let mut from_module = heartbeat("d");
    from_module.module = Some("m".into());
    let gone = Err(HubError::UnknownIdentity("d".into()));
    assert_eq!(hub.device_to_cloud(heartbeat("d"), at(3)), gone);
    assert_eq!(hub.device_to_cloud(from_module.clone(), at(3)), gone);
    hub.registry("d", None, RegistryChange::Create, at(4)).unwrap();
    assert_eq!(hub.device_to_cloud(from_module, at(5)), gone);
    hub.device_to_cloud(heartbeat("d"), at(6)).unwrap();
    let records = read_all(&hub, 0, 0);
    assert_eq!(records.len(), 6);
    assert!(generation(&records[5]) > generation(&records[2]));
}

#[test]
fn a_lifecycle_notification_has_the_documented_envelope_and_body() {
    let hub = hub(1, 100);
    hub.registry("gw", None, RegistryChange::Create, at(0)).unwrap();
    hub.registry("gw", Some("m"), RegistryChange::Create, at(1)).unwrap();
    let record = read_all(&hub, 0, 0).remove(1);
    let stamps = section(&record, 0x72);
    assert_eq!(text(&stamps, "iothub-message-source"), "deviceLifecycleEvents");
    assert_eq!(text(&stamps, "iothub-connection-module-id"), "m");
    let properties = section(&record, 0x74);
    assert_eq!(text(&properties, "opType"), "createDeviceIdentity");
    assert_eq!(text(&properties, "operationTimestamp"), "2026-01-01T00:00:00.0010000Z");
    assert_eq!(section(&record, 0x73).field(6), &Value::symbol("application/json"));
    let Value::Binary(body) = section(&record, 0x75) else {
        panic!("the body is one data section");
    };
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["deviceId"], &body["moduleId"]), (&"gw".into(), &"m".into()));
}

#[test]
fn connection_sequence_numbers_have_64_digits_and_grow_even_if_time_does_not() {
    let hub = hub(1, 100);
    for now in [5, 5, 1] {
        hub.connection_event("d", None, true, at(now)).unwrap();
    }
    let numbers: Vec<String> = read_all(&hub, 0, 0)
        .iter()
        .map(|record| {
            let Value::Binary(body) = section(record, 0x75) else {
                panic!("the body is one data section");
            };
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            body["sequenceNumber"].as_str().unwrap().to_owned()
        })
        .collect();
    assert!(numbers.iter().all(|number| number.len() == 64));
    assert!(numbers[0] < numbers[1] && numbers[1] < numbers[2]);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_route_shows_messages_later_and_in_order() {
    let hub = hub(1, 100);
    hub.faults().update(|f| f.route_delay_ms = 200);
    hub.device_to_cloud(heartbeat("a"), at(0)).unwrap();
    hub.faults().update(|f| f.route_delay_ms = 0);
    hub.device_to_cloud(heartbeat("a"), at(0)).unwrap();
    assert!(read_all(&hub, 0, 0).is_empty());
    assert_eq!(hub.partition_info(0).unwrap().last_sequence, -1);
    let mut none = Vec::new();
    let due = hub.read(0, 0, 10, &mut none).unwrap().unwrap();
    assert_eq!(due.duration_since(tokio::time::Instant::now()), Duration::from_millis(200));
    tokio::time::advance(Duration::from_millis(200)).await;
    let records = read_all(&hub, 0, 0);
    assert_eq!(records.len(), 2);
    for record in &records {
        let stamps = section(record, 0x72);
        let time = |name| stamps.entry(name).and_then(Value::integer);
        assert_eq!(time("iothub-enqueuedtime"), Some(at(0).as_ms()));
        assert_eq!(time("x-opt-enqueued-time"), Some(at(200).as_ms()));
    }
}

#[test]
fn a_reset_starts_at_zero_with_a_new_creation_time_and_cuts_connections() {
    let hub = hub(2, 100);
    let (partition, _) = hub.device_to_cloud(heartbeat("a"), at(1)).unwrap();
    let start = StartFrom::Sequence { sequence: 0, inclusive: false };
    assert_eq!(hub.resolve(partition, &start).unwrap(), Ok(1));
    hub.reset_stream(at(9));
    assert_eq!(hub.created(), at(9));
    assert_eq!(hub.faults().state().cuts, 1);
    assert!(read_all(&hub, partition, 0).is_empty());
    assert_eq!(
        hub.resolve(partition, &start).unwrap(),
        Err(PositionError::Sequence { supplied: 0, last: -1 })
    );
    let sent = hub.device_to_cloud(heartbeat("a"), at(10)).unwrap();
    assert_eq!(sent, (partition, 0));
}

#[test]
fn a_hub_that_is_down_or_strict_takes_nothing_and_counts_it() {
    let hub = hub(1, 100);
    hub.faults().update(|f| f.refuse_devices = true);
    let refused = hub.device_to_cloud(heartbeat("a"), at(0));
    assert_eq!(refused, Err(HubError::Unavailable));
    hub.faults().update(|f| {
        f.refuse_devices = false;
        f.refuse_unknown_devices = true;
    });
    let refused = hub.device_to_cloud(heartbeat("a"), at(0));
    assert_eq!(refused, Err(HubError::UnknownIdentity("a".into())));
    let counts = hub.counts();
    assert_eq!((counts.accepted, counts.refused), (0, 2));
    assert!(read_all(&hub, 0, 0).is_empty());
}

#[test]
fn raw_bytes_are_kept_as_they_are() {
    let hub = hub(1, 100);
    let odd = Bytes::from_static(&[0x00, 0x53, 0x75, 0xff, 0x01]);
    assert_eq!(hub.send_raw(0, odd.clone(), at(0)), Ok(0));
    assert_eq!(read_all(&hub, 0, 0)[0].encoded, odd);
    assert_eq!(hub.send_raw(3, odd, at(0)), Err(HubError::NoPartition(3)));
}

#[test]
fn devices_spread_over_the_partitions() {
    let hub = hub(4, 100);
    let mut devices = vec![0_u32; hub.partition_count()];
    for n in 0..1_000 {
        devices[hub.partition_of(&format!("sensor-{n:05}"))] += 1;
    }
    let even = 1_000 / u32::try_from(devices.len()).unwrap();
    assert!(devices.iter().all(|&count| count > even / 2), "{devices:?}");
}

#[test]
fn a_heartbeat_of_a_stencil_reads_as_one_that_was_encoded_for_its_device() {
    let hub = hub(1, 100);
    let stencil = Stencil::new("pump-");
    let device = stencil.device_id(7);
    assert_eq!(device, "pump-0000000007");
    let beats = [Beat { number: 6, at: at(1) }, Beat { number: 7, at: at(2) }];
    hub.heartbeats(0, &stencil, &beats).unwrap();
    hub.device_to_cloud(heartbeat(&device), at(3)).unwrap();
    let [_, printed, encoded] = <[Record; 3]>::try_from(read_all(&hub, 0, 0)).unwrap();
    assert_eq!((printed.sequence, encoded.sequence), (1, 2));
    let annotations = |record: &Record| section(record, 0x72);
    let (printed_stamps, encoded_stamps) = (annotations(&printed), annotations(&encoded));
    assert_eq!(printed_stamps.entry("x-opt-sequence-number"), Some(&Value::Long(1)));
    for name in ["x-opt-enqueued-time", "iothub-enqueuedtime"] {
        assert_eq!(printed_stamps.entry(name), Some(&Value::Timestamp(at(2).as_ms())), "{name}");
    }
    let offset = |stamps: &Value| text(stamps, "x-opt-offset").parse::<usize>().unwrap();
    assert_eq!(offset(&encoded_stamps), 2 * offset(&printed_stamps));
    for name in ["iothub-connection-device-id", "x-opt-partition-key", "iothub-message-source"] {
        assert_eq!(printed_stamps.entry(name), encoded_stamps.entry(name), "{name}");
    }
    assert_eq!(section(&printed, 0x75), section(&encoded, 0x75));
    assert_eq!(hub.counts().accepted, 3);
}

#[test]
fn a_stencil_knows_its_devices_by_their_ids() {
    let stencil = Stencil::new("pump-");
    assert_eq!(stencil.number(&stencil.device_id(u32::MAX)), Some(u32::MAX));
    for stranger in ["pump-7", "pump-00000000070", "fan-0000000007", "pump-000000000x"] {
        assert_eq!(stencil.number(stranger), None, "{stranger}");
    }
}

#[test]
fn a_hub_that_refuses_devices_takes_no_heartbeats_of_a_stencil() {
    let hub = hub(1, 100);
    hub.faults().update(|state| state.refuse_devices = true);
    let beat = Beat { number: 0, at: at(1) };
    let refused = hub.heartbeats(0, &Stencil::new("pump-"), &[beat]);
    assert_eq!(refused, Err(HubError::Unavailable));
    assert!(read_all(&hub, 0, 0).is_empty());
}
