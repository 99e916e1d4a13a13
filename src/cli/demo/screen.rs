//! Where a scene is shown: the whole terminal, or a line now and then.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::DefaultTerminal;

use super::report::grouped;
use super::scene::Scene;
use super::view;
use crate::engine::Millis;

/// Time between two lines of progress.
const LINE_EVERY_MS: Millis = 2_000;

/// A place to show scenes. Dropping it gives the terminal back as it was.
pub(super) enum Screen {
    /// The alternate screen of a terminal.
    Full(Box<DefaultTerminal>),
    /// Lines of progress.
    Lines {
        /// Standard error: standard output belongs to the JSON object.
        to_stderr: bool,
        /// When the next line is due.
        next_ms: Millis,
    },
}

impl Screen {
    /// The terminal, if standard output is one; else, and where `json` wants standard output for itself, lines.
    pub(super) fn open(json: bool) -> Self {
        let full =
            (!json && io::stdout().is_terminal()).then(ratatui::try_init).and_then(Result::ok);
        match full {
            Some(terminal) => Self::Full(Box::new(terminal)),
            None => Self::Lines { to_stderr: json, next_ms: 0 },
        }
    }

    /// Shows it.
    pub(super) fn show(&mut self, scene: &Scene) -> io::Result<()> {
        match self {
            Self::Full(terminal) => terminal.draw(|frame| view::draw(frame, scene)).map(|_| ()),
            Self::Lines { to_stderr, next_ms } => {
                if scene.elapsed_ms < *next_ms {
                    return Ok(());
                }
                *next_ms = scene.elapsed_ms.saturating_add(LINE_EVERY_MS);
                if *to_stderr {
                    writeln!(io::stderr(), "{}", line(scene))
                } else {
                    writeln!(io::stdout(), "{}", line(scene))
                }
            }
        }
    }

    /// Whether somebody pressed `q`, Esc or Ctrl-C, which is a key like any other while the whole terminal is ours.
    pub(super) fn end_requested(&self) -> io::Result<bool> {
        match self {
            Self::Full(_) => {
                while event::poll(Duration::ZERO)? {
                    if ends(&event::read()?) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Lines { .. } => Ok(false),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        match self {
            Self::Full(_) => ratatui::restore(),
            Self::Lines { .. } => {}
        }
    }
}

fn ends(event: &Event) -> bool {
    match event {
        Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) => {
            matches!(code, KeyCode::Esc | KeyCode::Char('q'))
                || (*code == KeyCode::Char('c') && modifiers.contains(KeyModifiers::CONTROL))
        }
        Event::Key(_)
        | Event::FocusGained
        | Event::FocusLost
        | Event::Mouse(_)
        | Event::Paste(_)
        | Event::Resize(..) => false,
    }
}

fn line(scene: &Scene) -> String {
    format!(
        "{:>3} s left: {} messages, {} a second; {} alerts, {} resolved",
        scene.seconds_left(),
        grouped(scene.messages),
        grouped(scene.messages_per_s),
        grouped(scene.firing as u64),
        grouped(scene.resolved as u64),
    )
}
