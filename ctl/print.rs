//! How things look on a terminal, in a pipe and as JSON.
//!
//! Promise: colours and cursor control only on a terminal (or `--color always`); no text of others is printed raw.
//! Not here: what is printed; each verb knows that.

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::time::Duration;

use clap::ValueEnum;
use labelsync::clock::UnixMillis;
use labelsync::control::api::{Hold, Reason, State};
pub use labelsync::names::json_line;
use labelsync::names::printable;
use labelsync::settings::Problem;
use rustix::event::{PollFd, PollFlags, Timespec};

/// How often it is looked whether somebody still reads; a person does not notice, and a look costs a microsecond.
const READER_EVERY: Duration = Duration::from_millis(200);

/// `--color`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Also in a pipe.
    Always,
    /// Never.
    Never,
}

/// What a text means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ink {
    /// All is well.
    Good,
    /// Somebody should look some time.
    Warn,
    /// Somebody should look now.
    Bad,
    /// A heading.
    Strong,
    /// Beside the point.
    Faint,
}

/// Standard output.
#[derive(Debug)]
pub struct Out {
    to: BufWriter<Stdout>,
    colored: bool,
    terminal: bool,
}

impl Out {
    /// Looks whether it is a terminal.
    pub fn new(when: ColorWhen) -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let colored = match when {
            ColorWhen::Auto => terminal && wanted,
            ColorWhen::Always => true,
            ColorWhen::Never => false,
        };
        Self { to: BufWriter::new(stdout), colored, terminal }
    }

    /// Whether a person sees it at once.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// One line. What comes from elsewhere must have gone through [`printable`].
    pub fn line(&mut self, line: impl Display) -> io::Result<()> {
        writeln!(self.to, "{line}")
    }

    /// A piece of JSON from the daemon, without a line end.
    pub fn json_piece(&mut self, json: &str) -> io::Result<()> {
        write!(self.to, "{}", json_line(json))
    }

    /// The API's JSON as it is.
    pub fn json(&mut self, json: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(json);
        writeln!(self.to, "{}", json_line(text.trim_end()))
    }

    /// An empty screen.
    pub fn clear(&mut self) -> io::Result<()> {
        write!(self.to, "\x1b[H\x1b[2J")
    }

    /// Shows what was printed so far.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// Returns when nobody reads the pipe any more: without this, that is noticed by the next write only.
    pub async fn reader_gone(&self) {
        loop {
            tokio::time::sleep(READER_EVERY).await;
            let mut pipe = [PollFd::new(self.to.get_ref(), PollFlags::empty())];
            // What cannot be asked has a reader.
            let asked = rustix::event::poll(&mut pipe, Some(&Timespec::default()));
            if asked.is_ok() && pipe[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                return;
            }
        }
    }

    /// `text` in the colour of its meaning.
    pub fn paint(&self, ink: Ink, text: impl Display) -> String {
        if !self.colored {
            return text.to_string();
        }
        let code = match ink {
            Ink::Good => "32",
            Ink::Warn => "33",
            Ink::Bad => "31",
            Ink::Strong => "1",
            Ink::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// A state's name in the colour of the state.
    pub fn state(&self, state: State, name: &str) -> String {
        let ink = match state {
            State::Ok => Ink::Good,
            State::Starting | State::Degraded | State::Paused => Ink::Warn,
            State::Held | State::Failed => Ink::Bad,
        };
        self.paint(ink, printable(name))
    }

    /// A reason and what to do about it.
    pub fn reason(&mut self, indent: &str, reason: &Reason) -> io::Result<()> {
        self.line(format_args!("{indent}{}: {}", printable(&reason.code), printable(&reason.message)))?;
        if !reason.hint.is_empty() {
            let arrow = self.paint(Ink::Strong, "->");
            self.line(format_args!("{indent}  {arrow} {}", printable(&reason.hint)))?;
        }
        Ok(())
    }

    /// What is wrong with a setting, and what to do about it.
    pub fn problem(&mut self, indent: &str, problem: &Problem) -> io::Result<()> {
        let message = lines(&problem.message, &format!("{indent}  "));
        self.line(format_args!("{indent}{}: {message}", printable(&problem.path)))?;
        if !problem.remedy.is_empty() {
            let arrow = self.paint(Ink::Strong, "->");
            self.line(format_args!("{indent}  {arrow} {}", printable(&problem.remedy)))?;
        }
        Ok(())
    }

    /// A hold, what `accept` would do, and the command.
    pub fn hold(&mut self, indent: &str, project: &str, hold: &Hold) -> io::Result<()> {
        let (code, message) = (printable(&hold.code), printable(&hold.message));
        let held = self.paint(Ink::Bad, "held");
        self.line(format_args!("{indent}{held} {code}: {message}"))?;
        let arrow = self.paint(Ink::Strong, "->");
        self.line(format_args!("{indent}  {arrow} {}", printable(&hold.next(project))))
    }
}

/// Text of several lines (a pattern and the place where it is wrong), those after the first indented.
pub fn lines(text: &str, indent: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join(&format!("\n{indent}"))
}

/// `2026-01-02T03:04:05Z (3 min ago)`: what a log says, and what a person asks.
pub fn when(at: UnixMillis, now: UnixMillis) -> String {
    format!("{} ({})", absolute(at), relative(at, now))
}

/// `2026-01-02T03:04:05Z`.
pub fn absolute(at: UnixMillis) -> String {
    let rfc3339 = at.to_rfc3339();
    // Milliseconds are for `--json`.
    rfc3339.split_once('.').map_or(rfc3339.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// `3 min ago`, `in 18 s`, `now`.
pub fn relative(at: UnixMillis, now: UnixMillis) -> String {
    let seconds = (now.0.saturating_sub(at.0)) / 1000;
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("{} ago", span(seconds.unsigned_abs())),
        ..0 => format!("in {}", span(seconds.unsigned_abs())),
    }
}

/// `18 s`, `3 min`, `5 h`, `12 d`.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        172_800.. => format!("{} d", seconds / 86_400),
    }
}

/// A JSON value on one line.
pub fn value(value: &serde_json::Value) -> String {
    printable(&value.to_string()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_twice() {
        let now = UnixMillis(1_767_323_045_678);
        assert_eq!(when(UnixMillis(now.0 - 180_000), now), "2026-01-02T03:01:05Z (3 min ago)");
        assert_eq!(relative(UnixMillis(now.0 + 18_000), now), "in 18 s");
        assert_eq!(relative(now, now), "now");
        assert_eq!(relative(UnixMillis(now.0 - 3 * 86_400_000), now), "3 d ago");
        assert_eq!(relative(UnixMillis(i64::MIN), UnixMillis(i64::MAX)), "106751991167 d ago");
    }

    #[test]
    fn l71_json_stays_the_same_json_and_cannot_reorder_text() {
        let json = r#"{"key":"a\n\u001bb"#.to_owned() + "\u{202e}\u{9b}\u{feff}é\u{7f}\"}";
        let safe = json_line(&json);
        assert_eq!(safe, r#"{"key":"a\n\u001bb\u202e\u009b\ufeffé\u007f"}"#);
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parse(&safe), parse(&json));
    }
}
