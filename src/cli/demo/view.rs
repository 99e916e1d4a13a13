//! Draws a scene in a terminal.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph};

use super::report::grouped;
use super::scene::Scene;
use crate::config::format_duration;
use crate::devhub::fleet::{Notice, NoticeStatus};
use crate::engine::Timestamp;

/// Room for a state's name and count beside its bar.
const STATE_TEXT: u16 = 22;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, scene: &Scene) {
    let panels = scene.live.states.len().max(scene.live.partitions.len()).max(4);
    let height = u16::try_from(panels).unwrap_or(u16::MAX).saturating_add(2);
    let [head, middle, alerts, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(height),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let [fleet, clocks] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(38)]).areas(middle);
    draw_head(frame, head, scene);
    draw_fleet(frame, fleet, scene);
    draw_clocks(frame, clocks, scene);
    draw_alerts(frame, alerts, scene);
    draw_progress(frame, foot, scene);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, scene: &Scene) {
    let options = &scene.options;
    let title = Line::from(vec![
        " lastseen demo ".bold().reversed(),
        Span::raw(format!(
            "  {} devices, a heartbeat every {}; silent after {} + {}",
            grouped(u64::from(options.roster.devices)),
            format_duration(options.interval_ms),
            format_duration(options.window_ms),
            format_duration(options.grace_ms),
        )),
    ]);
    let traffic = Line::from(format!(
        "  {} messages, {} a second; seed {}",
        grouped(scene.messages),
        grouped(scene.messages_per_s),
        options.seed
    ));
    frame.render_widget(Paragraph::new(vec![title, traffic]), area);
}

fn draw_fleet(frame: &mut Frame<'_>, area: Rect, scene: &Scene) {
    let total: u64 = scene.live.states.iter().map(|(_, count)| count).sum();
    let room = u64::from(area.width.saturating_sub(STATE_TEXT + 2));
    let lines: Vec<Line<'_>> = scene
        .live
        .states
        .iter()
        .map(|&(name, count)| {
            let filled = (count * room).div_ceil(total.max(1));
            let bar = "\u{2588}".repeat(usize::try_from(filled).unwrap_or(0));
            Line::from(vec![
                Span::raw(format!(" {name:<9}{:>9}  ", grouped(count))),
                Span::styled(bar, state_colour(name)),
            ])
        })
        .collect();
    frame.render_widget(Paragraph::new(lines).block(panel("Fleet")), area);
}

fn draw_clocks(frame: &mut Frame<'_>, area: Rect, scene: &Scene) {
    let lines: Vec<Line<'_>> = scene
        .live
        .partitions
        .iter()
        .map(|partition| {
            Line::from(format!(
                " {:<6} {}  {:>6} ms behind",
                partition.name,
                time_of_day(partition.clock),
                grouped(u64::try_from(partition.lag_ms).unwrap_or(0))
            ))
        })
        .collect();
    frame.render_widget(Paragraph::new(lines).block(panel("Partition clocks")), area);
}

fn draw_alerts(frame: &mut Frame<'_>, area: Rect, scene: &Scene) {
    let title = format!(
        "Alerts received: {} silent, {} back",
        grouped(scene.firing as u64),
        grouped(scene.resolved as u64)
    );
    let lines: Vec<Line<'_>> = scene.alerts.iter().map(alert_line).collect();
    frame.render_widget(Paragraph::new(lines).block(panel(&title)), area);
}

fn alert_line(notice: &Notice) -> Line<'static> {
    let (word, colour) = match notice.status {
        NoticeStatus::Firing => ("silent", Color::Red),
        NoticeStatus::Resolved => ("back", Color::Green),
        NoticeStatus::Retracted => ("retracted", Color::Yellow),
        NoticeStatus::Amended => ("amended", Color::Yellow),
    };
    let module = notice.module_id.as_deref().map(|id| format!("/{id}"));
    let late_ms = notice.received_at.since(notice.first_missed_at);
    Line::from(vec![
        Span::raw(format!(" {}  ", time_of_day(notice.received_at))),
        Span::styled(format!("{word:<10}"), colour),
        Span::raw(format!(
            "{}{}, {} ms after its deadline",
            notice.device_id,
            module.unwrap_or_default(),
            grouped(u64::try_from(late_ms).unwrap_or(0))
        )),
    ])
}

fn draw_progress(frame: &mut Frame<'_>, area: Rect, scene: &Scene) {
    let label = match scene.seconds_left() {
        0 => "waiting for the last alerts; q ends".to_owned(),
        left => format!("{left} s left; q ends"),
    };
    let gauge = Gauge::default()
        .ratio(scene.progress())
        .label(label)
        .gauge_style(Style::new().fg(Color::Blue).bg(Color::Black))
        .use_unicode(true);
    frame.render_widget(gauge, area);
}

fn panel(title: &str) -> Block<'_> {
    Block::bordered().title(format!(" {title} ")).border_style(Style::new().dim())
}

fn state_colour(name: &str) -> Color {
    match name {
        "online" => Color::Green,
        "late" => Color::Yellow,
        "offline" => Color::Red,
        _ => Color::Blue,
    }
}

/// `12:34:56.7`, in UTC. A clock that has not begun is a dash.
fn time_of_day(at: Timestamp) -> String {
    match at.to_string().get(11..21) {
        Some(text) if at > Timestamp::from_ms(0) => text.to_owned(),
        Some(_) | None => format!("{:<10}", "-"),
    }
}
