//! Which window, grace and proof of life hold for an identity. First match wins, then the default.

use std::sync::Arc;

use super::identity::IdentityRef;
use super::time::Millis;

/// The shortest window.
pub const MIN_WINDOW_MS: Millis = 1_000;
/// The longest window: 366 days.
pub const MAX_WINDOW_MS: Millis = 366 * 86_400_000;
/// The most conditions a policy can name: one bit each in [`super::signal::Signal::conditions`].
pub const MAX_CONDITIONS: usize = 32;

/// What an identity is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The longest silence that is normal.
    pub window_ms: Millis,
    /// The margin on top.
    pub grace_ms: Millis,
    /// How long a created identity may take to its first heartbeat.
    pub first_window_ms: Millis,
    /// What proves life.
    pub proof_of_life: ProofOfLife,
}

/// What proves life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofOfLife {
    /// Any telemetry.
    Any,
    /// Telemetry that meets this condition (index into [`Policy::conditions`]).
    Condition(u8),
}

/// A message property that a rule names as the mark of a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Name of the application property (header).
    pub property: String,
    /// Value it must have; `None`: any.
    pub value: Option<String>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Only identities of this hub (lower-case).
    pub hub: Option<String>,
    /// Which devices.
    pub device: Pattern,
    /// Which modules; `None`: the devices themselves. Modules are judged only where a rule names them.
    pub module: Option<Pattern>,
    /// What holds for them.
    pub terms: Terms,
}

/// A text or a glob: `*` any run of characters, `?` one character, `\` takes the next one literally.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Exactly this id.
    Exact(String),
    /// This glob.
    Glob(String),
}

impl Pattern {
    /// Whether `id` matches. Linear in `pattern * id` at worst, without recursion.
    pub fn matches(&self, id: &str) -> bool {
        match self {
            Self::Exact(text) => text == id,
            Self::Glob(glob) => glob_matches(glob.as_bytes(), id.as_bytes()),
        }
    }
}

/// Rules in the order of the configuration, and what they refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Where no rule matches. It never applies to modules.
    pub default: Terms,
    /// First match wins.
    pub rules: Vec<Rule>,
    /// The conditions the rules refer to; at most [`MAX_CONDITIONS`].
    pub conditions: Vec<Condition>,
}

impl Policy {
    /// The terms of `identity` and the index of the rule that set them (`rules.len()` is the default);
    /// `None` for a module that no rule names.
    pub fn terms(&self, identity: IdentityRef<'_>) -> Option<(u16, Terms)> {
        let found = self.rules.iter().position(|rule| rule.matches(identity));
        match (found, identity.module) {
            (Some(index), _) => {
                Some((u16::try_from(index).unwrap_or(u16::MAX), self.rules[index].terms))
            }
            (None, None) => {
                Some((u16::try_from(self.rules.len()).unwrap_or(u16::MAX), self.default))
            }
            (None, Some(_)) => None,
        }
    }

    /// The terms behind an index that [`Policy::terms`] gave.
    pub fn terms_at(&self, index: u16) -> Terms {
        self.rules.get(usize::from(index)).map_or(self.default, |rule| rule.terms)
    }

    /// What people call the rule behind an index: `default`, or its position and pattern.
    pub fn rule_name(&self, index: u16) -> Arc<str> {
        let Some(rule) = self.rules.get(usize::from(index)) else { return "default".into() };
        let text = |pattern: &Pattern| match pattern {
            Pattern::Exact(text) | Pattern::Glob(text) => text.clone(),
        };
        let module = rule.module.as_ref().map(|module| format!("/{}", text(module)));
        format!("match[{index}] {}{}", text(&rule.device), module.unwrap_or_default()).into()
    }

    /// The smallest window and grace of any rule: when the clock is further behind than that, somebody may be overdue.
    pub fn smallest_due_ms(&self) -> Millis {
        let due_ms = |terms: &Terms| terms.window_ms + terms.grace_ms;
        self.rules.iter().map(|rule| due_ms(&rule.terms)).fold(due_ms(&self.default), Millis::min)
    }

    /// The smallest grace of any rule: the default of `clock.bridge`.
    pub fn smallest_grace_ms(&self) -> Millis {
        self.rules.iter().map(|rule| rule.terms.grace_ms).fold(self.default.grace_ms, Millis::min)
    }
}

impl Rule {
    fn matches(&self, identity: IdentityRef<'_>) -> bool {
        self.hub.as_deref().is_none_or(|hub| hub == identity.hub)
            && self.device.matches(identity.device)
            && match (&self.module, identity.module) {
                (None, None) => true,
                (Some(pattern), Some(module)) => pattern.matches(module),
                (None, Some(_)) | (Some(_), None) => false,
            }
    }
}

/// Matches with one level of backtracking: only the last `*` can have to give back.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut g, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match glob.get(g) {
            Some(b'*') => {
                star = Some((g + 1, t));
                g += 1;
                continue;
            }
            Some(b'?') => Some(1),
            Some(b'\\') if g + 1 < glob.len() => (glob[g + 1] == text[t]).then_some(2),
            Some(&byte) => (byte == text[t]).then_some(1),
            None => None,
        };
        match (step, star) {
            (Some(width), _) => {
                g += width;
                t += 1;
            }
            (None, Some((after, from))) => {
                g = after;
                t = from + 1;
                star = Some((after, from + 1));
            }
            (None, None) => return false,
        }
    }
    glob[g..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(window_ms: Millis) -> Terms {
        Terms { window_ms, grace_ms: 10, first_window_ms: 100, proof_of_life: ProofOfLife::Any }
    }

    fn device(device: &str) -> IdentityRef<'_> {
        IdentityRef { hub: "h", device, module: None }
    }

    #[test]
    fn globs_match_with_stars_questions_and_escapes() {
        for (glob, id, expected) in [
            ("pump-*", "pump-7", true),
            ("pump-*", "Pump-7", false),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-c-d", false),
            ("gw-?", "gw-1", true),
            ("gw-?", "gw-", false),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            (r"a\\b", r"a\b", true),
            (r"\", r"\", true),
        ] {
            assert_eq!(
                glob_matches(glob.as_bytes(), id.as_bytes()),
                expected,
                "{glob} against {id}"
            );
        }
    }

    #[test]
    fn the_first_matching_rule_wins_and_the_default_never_judges_a_module() {
        let rule = |device: &str, module: Option<&str>, window| Rule {
            hub: None,
            device: Pattern::Glob(device.into()),
            module: module.map(|text| Pattern::Exact(text.into())),
            terms: terms(window),
        };
        let policy = Policy {
            default: terms(1),
            rules: vec![
                rule("pump-*", None, 2),
                rule("*", None, 3),
                rule("gw-*", Some("sensor"), 4),
            ],
            conditions: Vec::new(),
        };
        assert_eq!(policy.terms(device("pump-1")), Some((0, terms(2))));
        assert_eq!(policy.terms(device("other")), Some((1, terms(3))));
        let module = IdentityRef { module: Some("sensor"), ..device("gw-1") };
        assert_eq!(policy.terms(module), Some((2, terms(4))));
        assert_eq!(policy.terms(IdentityRef { module: Some("camera"), ..device("gw-1") }), None);
        assert_eq!(policy.terms_at(3), terms(1));
    }
}
