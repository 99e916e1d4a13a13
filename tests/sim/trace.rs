//! What happened in a world, in words or as a hash of them.

/// Where the words go.
#[derive(Debug, Default)]
pub struct Trace {
    mode: Mode,
    now_ms: i64,
    pub hash: u64,
    pub lines: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Off,
    Hash,
    Words,
}

impl Trace {
    pub fn new(mode: Mode) -> Self {
        Self { mode, hash: 0xcbf2_9ce4_8422_2325, ..Self::default() }
    }

    pub fn is_on(&self) -> bool {
        self.mode != Mode::Off
    }

    pub fn at(&mut self, now_ms: i64) {
        self.now_ms = now_ms;
    }

    pub fn note(&mut self, words: impl FnOnce() -> String) {
        match self.mode {
            Mode::Off => {}
            Mode::Hash => {
                for byte in words().bytes().chain(self.now_ms.to_be_bytes()) {
                    self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
                }
            }
            Mode::Words => self.lines.push(format!("{:>7} {}", self.now_ms, words())),
        }
    }
}
