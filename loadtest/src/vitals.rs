//! What the kernel says about a process: `/proc/PID`.

use anyhow::Context;

/// The kernel tells processor time in hundredths of a second on every Linux (`USER_HZ`, time(7)).
const TICK_NS: u64 = 10_000_000;

/// Memory and processor time at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vitals {
    pub(crate) resident_bytes: u64,
    /// User and system, of all threads.
    pub(crate) cpu_ns: u64,
}

impl Vitals {
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            std::fs::read_to_string(&path).with_context(|| format!("can't read {path}"))
        };
        Ok(Self {
            resident_bytes: resident_bytes(&read("status")?).context("no VmRSS")?,
            cpu_ns: cpu_ns(&read("stat")?).context("no processor time")?,
        })
    }
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1_024)
}

/// Fields are counted behind the name of the program, which may hold anything (proc(5)).
fn cpu_ns(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) * TICK_NS)
}

/// What the machine is.
pub(crate) fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{cores} cores, {}", model.map_or("unknown", |(_, name)| name.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_processor_time_are_read_whatever_the_program_is_called() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 25 0 0 20 0 8 0 1 1 1";
        assert_eq!(cpu_ns(stat), Some(1_750_000_000));
        let own = Vitals::of(std::process::id()).unwrap();
        assert!(own.resident_bytes > 0);
    }
}
