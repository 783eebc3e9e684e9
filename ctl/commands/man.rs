//! `lsctl man`.
//!
//! Promise: needs no daemon; lsctl(1) is made of the command line itself, labelsyncd.toml(5) of the example settings, so
//! that neither can say something else.
//! Not here: showing it; `lsctl man | man -l -` does.

use clap::{Arg, CommandFactory, ValueEnum};

use super::Session;
use crate::Cli;
use crate::failure::{Exit, Failure};

/// labelsyncd(8), written by hand.
const LABELSYNCD: &str = include_str!("../../docs/man/labelsyncd.8");

/// Every setting with its meaning.
const SETTINGS: &str = include_str!("../../config/labelsyncd.toml");

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The page
    #[arg(value_enum, default_value_t = Page::Lsctl)]
    page: Page,
}

/// A page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Page {
    /// lsctl(1)
    Lsctl,
    /// labelsyncd(8)
    Labelsyncd,
    /// labelsyncd.toml(5)
    #[value(name = "labelsyncd.toml")]
    Settings,
}

/// Does it.
pub fn run(session: &mut Session, args: &Args) -> Result<Exit, Failure> {
    let page = match args.page {
        Page::Lsctl => lsctl(),
        Page::Labelsyncd => LABELSYNCD.to_owned(),
        Page::Settings => settings(SETTINGS),
    };
    session.out.line(page.trim_end())?;
    Ok(Exit::Ok)
}

/// Text as roff takes it.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    let lines =
        escaped.lines().map(|line| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.into() });
    lines.collect::<Vec<String>>().join("\n")
}

fn lsctl() -> String {
    let mut command = Cli::command();
    command.build();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut page = format!(
        ".TH LSCTL 1 \"\" \"labelsync {}\" \"User Commands\"\n.SH NAME\nlsctl \\- {}\n.SH SYNOPSIS\n.B lsctl\n\
         .RI [ OPTION ]...\n.I VERB\n.RI [ ARGUMENT ]...\n.SH OPTIONS\n",
        env!("CARGO_PKG_VERSION"),
        roff(about.trim_end_matches('.'))
    );
    let shown = |arg: &&Arg| !arg.is_hide_set() && arg.get_id() != "help" && arg.get_id() != "version";
    command.get_arguments().filter(shown).for_each(|arg| page += &option(arg));
    page += ".SH VERBS\n";
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        page += &format!(".SS lsctl {}\n{}\n", roff(verb.get_name()), roff(&about));
        let own = verb.get_arguments().filter(shown).filter(|arg| !arg.is_global_set());
        own.for_each(|arg| page += &option(arg));
    }
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    page += &format!(".SH EXIT STATUS\n.nf\n{}\n.fi\n", roff(after.trim_start_matches("Exit codes:\n")));
    page += ".SH FILES\n.TP\n.I /run/labelsyncd/control.sock\nThe control socket, for root and the group\n.BR labelsync .\n\
             .SH SEE ALSO\n.BR labelsyncd (8),\n.BR labelsyncd.toml (5)\n";
    page
}

/// One option or argument, with its values.
fn option(arg: &Arg) -> String {
    let value = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
    let value = value.unwrap_or_else(|| arg.get_id().as_str().to_uppercase());
    let takes = arg.get_num_args().is_some_and(|count| count.takes_values());
    let mut names: Vec<String> = arg.get_short().map(|short| format!("-{short}")).into_iter().collect();
    names.extend(arg.get_long().map(|long| format!("--{long}")));
    let head = match (names.is_empty(), takes) {
        (true, _) => format!("\\fI{}\\fR", roff(&value)),
        (false, false) => format!("\\fB{}\\fR", roff(&names.join(", "))),
        (false, true) => format!("\\fB{}\\fR \\fI{}\\fR", roff(&names.join(", ")), roff(&value)),
    };
    let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<String> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if takes && !values.is_empty() {
        help += &format!(" ({})", values.join(", "));
    }
    format!(".TP\n{head}\n{}\n", roff(&help))
}

/// Of the example settings: `# ` is text, `#key = value` and `[table]` are settings.
fn settings(example: &str) -> String {
    let mut page = String::from(
        ".TH LABELSYNCD.TOML 5 \"\" \"labelsync\" \"File Formats\"\n.SH NAME\nlabelsyncd.toml \\- settings of labelsyncd\n\
         .SH DESCRIPTION\n",
    );
    // What is said stands before what it is said of.
    let mut said: Vec<&str> = Vec::new();
    for line in example.lines() {
        let setting = line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') && !rest.is_empty()).unwrap_or(line);
        if let Some(text) = line.strip_prefix("# ") {
            said.push(text);
        } else if line.is_empty() || line == "#" {
            page += &paragraph(&mut said);
        } else if setting.starts_with('[') {
            let before = paragraph(&mut said);
            page += &format!(".SH {}\n{before}", roff(setting));
        } else {
            page += &format!(".TP\n\\fB{}\\fR\n{}", roff(setting), text(&mut said));
        }
    }
    page += &paragraph(&mut said);
    // What follows a heading is a paragraph without being told so.
    let page = headed(&page);
    page + ".SH SEE ALSO\n.BR labelsyncd (8),\n.BR lsctl (1)\n"
}

/// The page without paragraphs that are begun right after a heading.
fn headed(page: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in page.lines() {
        let after_heading = lines.last().is_some_and(|last| last.starts_with(".SH "));
        if !(line == ".PP" && after_heading) {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}

fn paragraph(said: &mut Vec<&str>) -> String {
    if said.is_empty() { String::new() } else { format!(".PP\n{}", text(said)) }
}

fn text(said: &mut Vec<&str>) -> String {
    let text = std::mem::take(said).join("\n");
    if text.is_empty() { "\\&\n".to_owned() } else { roff(&text) + "\n" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_and_option_is_in_the_page() {
        let page = lsctl();
        let mut command = Cli::command();
        command.build();
        for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
            assert!(page.contains(&format!(".SS lsctl {}\n", roff(verb.get_name()))), "{}", verb.get_name());
            for long in verb.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(Arg::get_long) {
                assert!(long == "help" || page.contains(&roff(&format!("--{long}"))), "{} --{long}", verb.get_name());
            }
        }
        for code in ["0  ok", "7  needs an operator"] {
            assert!(page.contains(code), "{code}");
        }
    }

    #[test]
    fn every_setting_is_in_the_page() {
        let page = settings(SETTINGS);
        let mut count = 0;
        for line in SETTINGS.lines() {
            let setting = line.strip_prefix('#').unwrap_or(line);
            if setting.starts_with(' ') || !setting.contains(" = ") {
                continue;
            }
            let (key, _) = setting.split_once(" = ").unwrap();
            let key = key.trim();
            assert!(page.contains(&format!("\\fB{}", roff(key))), "{key}");
            count += 1;
        }
        assert!(count > 20, "{count}");
    }

    #[test]
    fn a_line_of_text_is_no_request() {
        assert_eq!(roff(".SH x\n'y\na-b \\d"), "\\&.SH x\n\\&'y\na\\-b \\ed");
    }
}
