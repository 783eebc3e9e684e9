//! `lsctl list`.
//!
//! Promise: all pages; on a terminal an aligned table, in a pipe one line each (`id key state reason detail`, separated
//! by tabs, `-` where there is none, no heading), with `--json` one document.
//! Not here: keeping all items: a page is printed before the next one is read.

use std::io;

use comfy_table::{Table, presets};
use labelsync::control::api::{Item, ItemState, Items};
use labelsync::names::printable;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Session, words};
use crate::client::{Patience, parse, quoted};
use crate::failure::{Exit, Failure};
use crate::print::Out;

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The project; may be left out where there is only one
    project: Option<String>,
    /// Which items
    #[arg(long, value_enum, default_value_t = ItemState::Tasks)]
    state: ItemState,
}

/// A page whose items are printed as they came.
#[derive(Deserialize)]
struct RawItems {
    items: Vec<Box<RawValue>>,
}

/// Does it.
pub async fn run(session: &mut Session, args: Args) -> Result<Exit, Failure> {
    let state = clap::ValueEnum::to_possible_value(&args.state);
    let state = state.as_ref().map_or("tasks", |value| value.get_name());
    let first = words::path(args.project.as_deref(), &format!("/items?state={state}"))?;
    let mut after: Option<String> = None;
    let mut items_printed = 0_u64;
    loop {
        let path = after.as_ref().map_or(first.clone(), |after| format!("{first}&after={}", quoted(after)));
        let answer = session.client.get(&path, Patience::Long).await?;
        let page: Items = parse(&answer)?;
        if session.json {
            json_page(&mut session.out, &parse(&answer)?, items_printed == 0)?;
        } else if session.out.is_terminal() {
            table_page(&mut session.out, &page.items)?;
        } else {
            piped_page(&mut session.out, &page.items)?;
        }
        items_printed += page.items.len() as u64;
        if page.next.is_none() {
            break;
        }
        if page.next == after {
            return Err(Failure::failed("the daemon gives one page again and again", "report it as a defect"));
        }
        after = page.next;
    }
    if session.json {
        let start = if items_printed == 0 { "{\"items\":[" } else { "" };
        session.out.line(format_args!("{start}],\"next\":null}}"))?;
    } else if items_printed == 0 && session.out.is_terminal() {
        session.out.line(format_args!("no items ({state})"))?;
    }
    Ok(Exit::Ok)
}

fn json_page(out: &mut Out, page: &RawItems, first: bool) -> io::Result<()> {
    let mut separator = if first { "{\"items\":[" } else { "," };
    for item in &page.items {
        out.json_piece(separator)?;
        out.json_piece(item.get())?;
        separator = ",";
    }
    Ok(())
}

fn piped_page(out: &mut Out, items: &[Item]) -> io::Result<()> {
    items.iter().try_for_each(|item| out.line(cells(item).join("\t")))
}

/// Each page is aligned on its own, so that the first one is there at once.
fn table_page(out: &mut Out, items: &[Item]) -> io::Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).force_no_tty().set_header(["ID", "KEY", "STATE", "REASON", "DETAIL"]);
    items.iter().for_each(|item| {
        table.add_row(cells(item));
    });
    out.line(table.trim_fmt())
}

fn cells(item: &Item) -> [String; 5] {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { printable(text).into_owned() };
    [
        item.id.map_or("-".to_owned(), |id| id.to_string()),
        item.key.as_deref().map_or("-".to_owned(), or_dash),
        or_dash(&item.state),
        or_dash(&item.reason),
        or_dash(&item.detail),
    ]
}

/// How an item is called in a sentence.
pub fn name(item: &Item) -> String {
    match (&item.key, item.id) {
        (Some(key), Some(id)) => format!("{} (id {id})", printable(key)),
        (Some(key), None) => printable(key).into_owned(),
        (None, Some(id)) => format!("id {id}"),
        (None, None) => "?".to_owned(),
    }
}
