//! Colour for text that ends up in a terminal, and none anywhere else.

use crossterm::style::{StyledContent, Stylize};

/// Colours text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ink {
    /// For a terminal.
    Colour,
    /// For files, pipes and people who set `NO_COLOR` (no-color.org).
    Plain,
}

impl Ink {
    /// What the other end of standard output deserves.
    pub(super) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if std::io::IsTerminal::is_terminal(&std::io::stdout()) && !unwanted {
            Self::Colour
        } else {
            Self::Plain
        }
    }

    /// As it should be.
    pub(super) fn good(self, text: &str) -> String {
        self.apply(text, Stylize::green)
    }

    /// A fault.
    pub(super) fn bad(self, text: &str) -> String {
        self.apply(text, |text| text.red().bold())
    }

    /// To be read first.
    pub(super) fn strong(self, text: &str) -> String {
        self.apply(text, Stylize::bold)
    }

    /// To be read last.
    pub(super) fn faint(self, text: &str) -> String {
        self.apply(text, Stylize::dim)
    }

    fn apply<'a>(
        self,
        text: &'a str,
        style: impl FnOnce(&'a str) -> StyledContent<&'a str>,
    ) -> String {
        match self {
            Self::Colour => style(text).to_string(),
            Self::Plain => text.to_owned(),
        }
    }
}
