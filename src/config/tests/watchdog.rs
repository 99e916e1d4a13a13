use super::*;

fn sinks(more: &str) -> String {
    let sink = |name: &str| {
        format!("{{ name: {name}, type: webhook, url: 'https://h', secret_file: ops.whsec }}")
    };
    with(&format!("sinks: [{}, {}]\n{more}", sink("ops"), sink("audit")))
}

#[test]
fn a_watchdog_is_none_unless_it_is_asked_for_and_goes_to_all_sinks_unless_some_are_named() {
    let folder = Folder::new();
    assert_eq!(folder.config(&sinks("")).watchdog, None);
    let all = WatchdogConfig { interval_ms: 60_000, sinks: Vec::new() };
    assert_eq!(folder.config(&sinks("watchdog: {}")).watchdog, Some(all));
    let named = folder.config(&sinks("watchdog: { interval: 10s, sinks: [audit] }")).watchdog;
    let audit = WatchdogConfig { interval_ms: 10_000, sinks: vec!["audit".into()] };
    assert_eq!(named, Some(audit));
}

#[test]
fn an_interval_out_of_range_and_a_sink_that_is_not_there_are_refused() {
    let folder = Folder::new();
    for (yaml, expected) in [
        ("{ interval: 9s }", "watchdog.interval: value '9s': is too short: write 10s to 1d"),
        ("{ interval: 2d }", "watchdog.interval: value '2d': is too long"),
        ("{ interval: 60 }", "watchdog.interval: value '60': a duration needs a unit"),
        (
            "{ sinks: [ops, opps] }",
            "watchdog.sinks: value 'opps': is no list of names of sinks: write for example [ops, audit]",
        ),
        ("{ sinks: [] }", "watchdog.sinks: is no list of names of sinks"),
        ("{ sinks: ops }", "watchdog.sinks: is no list of names of sinks"),
        ("{ every: 1m }", "watchdog.every: unknown key"),
    ] {
        let mistakes = folder.mistakes(&sinks(&format!("watchdog: {yaml}")));
        assert_eq!(mistakes.len(), 1, "{yaml}: {mistakes:?}");
        assert!(mistakes[0].contains(expected), "{yaml}: {mistakes:?}");
    }
}
