//! Just enough XML for the answers to a listing, read in place.
//!
//! Promise: what ends early, nests deeper than [`DEPTH_MAX`], or closes what is not open is an error; nothing is
//! expanded but the five named entities and characters by number; nothing is copied that holds no entity.
//! Not here: what the elements mean (`page`).
//!
//! The SDK's own reader takes an allocation for every name and text and three CPU seconds for a million keys; this one
//! takes a twentieth of that (BENCHMARKS.md).

use memchr::{memchr, memmem};

/// Elements inside of each other: a listing has four levels.
const DEPTH_MAX: usize = 16;

/// Why a text cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NoXml;

/// Where the reader came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Piece<'a> {
    /// An element begins.
    Open(&'a str),
    /// The innermost element ends.
    Close,
    /// The root has ended, and nothing follows it.
    End,
}

/// Reads a text from its start.
#[derive(Debug)]
pub(super) struct Xml<'a> {
    rest: &'a str,
    open: Vec<&'a str>,
    /// The last element was `<a/>`.
    empty: bool,
    ended: bool,
}

impl<'a> Xml<'a> {
    /// At the start.
    pub fn new(text: &'a str) -> Self {
        Self { rest: text, open: Vec::with_capacity(DEPTH_MAX), empty: false, ended: false }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a str {
        self.rest
    }

    /// Passes over whole elements, up to `rest`, which is the end of what has not been read.
    pub fn go_to(&mut self, rest: &'a str) {
        self.rest = rest;
    }

    /// The next begin or end of an element; text between them is passed over.
    pub fn next(&mut self) -> Result<Piece<'a>, NoXml> {
        if std::mem::take(&mut self.empty) {
            return Ok(self.pop());
        }
        loop {
            let Some(at) = memchr(b'<', self.rest.as_bytes()) else { return self.end() };
            if self.open.is_empty() && !self.rest[..at].trim_ascii().is_empty() {
                return Err(NoXml);
            }
            self.rest = &self.rest[at + 1..];
            match self.rest.as_bytes().first() {
                Some(b'/') => return self.close(),
                Some(b'?') => self.pass(b"?>")?,
                // Comments only: no document type is read, so no entity can be declared.
                Some(b'!') if self.rest.starts_with("!--") => self.pass(b"-->")?,
                Some(b'!') | None => return Err(NoXml),
                Some(_) => return self.begin(),
            }
        }
    }

    /// After [`Piece::Open`]: the element's text as it stands there, its entities with it; the element has ended then.
    pub fn text(&mut self) -> Result<&'a str, NoXml> {
        if std::mem::take(&mut self.empty) {
            self.pop();
            return Ok("");
        }
        let at = memchr(b'<', self.rest.as_bytes()).ok_or(NoXml)?;
        let (text, rest) = self.rest.split_at(at);
        self.rest = &rest[1..];
        if !self.rest.starts_with('/') {
            return Err(NoXml);
        }
        self.close().map(|_| text)
    }

    /// After [`Piece::Open`]: passes over the element and all in it.
    pub fn skip(&mut self) -> Result<(), NoXml> {
        let outside = self.open.len() - 1;
        while self.open.len() > outside {
            self.next()?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<Piece<'a>, NoXml> {
        if self.ended || self.open.len() == DEPTH_MAX {
            return Err(NoXml);
        }
        let end = tag_end(self.rest.as_bytes()).ok_or(NoXml)?;
        let tag = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        let (tag, empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let name = tag.split(|c: char| c.is_ascii_whitespace()).next().unwrap_or_default();
        if name.is_empty() {
            return Err(NoXml);
        }
        self.open.push(name);
        self.empty = empty;
        Ok(Piece::Open(name))
    }

    /// At the `/` of `</name>`.
    fn close(&mut self) -> Result<Piece<'a>, NoXml> {
        let name = self.open.last().ok_or(NoXml)?;
        let rest = self.rest[1..].strip_prefix(name).ok_or(NoXml)?;
        self.rest = rest.trim_ascii_start().strip_prefix('>').ok_or(NoXml)?;
        Ok(self.pop())
    }

    fn pop(&mut self) -> Piece<'a> {
        self.open.pop();
        self.ended = self.open.is_empty();
        Piece::Close
    }

    fn pass(&mut self, end: &[u8]) -> Result<(), NoXml> {
        let at = memmem::find(self.rest.as_bytes(), end).ok_or(NoXml)?;
        self.rest = &self.rest[at + end.len()..];
        Ok(())
    }

    fn end(&self) -> Result<Piece<'a>, NoXml> {
        if self.ended && self.rest.trim_ascii().is_empty() { Ok(Piece::End) } else { Err(NoXml) }
    }
}

/// Where the tag's `>` is: not in a quoted value.
fn tag_end(text: &[u8]) -> Option<usize> {
    let end = memchr(b'>', text)?;
    if !text[..end].contains(&b'"') && !text[..end].contains(&b'\'') {
        return Some(end);
    }
    let mut quote = None;
    for (at, byte) in text.iter().enumerate() {
        match (quote, byte) {
            (Some(open), byte) if open == byte => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'>') => return Some(at),
            _ => {}
        }
    }
    None
}

/// A text with its entities as the characters that they stand for; in `scratch` where it has any.
pub(super) fn unescape<'t>(text: &'t str, scratch: &'t mut String) -> Result<&'t str, NoXml> {
    let Some(first) = memchr(b'&', text.as_bytes()) else { return Ok(text) };
    scratch.clear();
    let mut rest = text;
    let mut next = Some(first);
    while let Some(at) = next {
        scratch.push_str(&rest[..at]);
        let (name, after) = rest[at + 1..].split_once(';').ok_or(NoXml)?;
        scratch.push(entity(name).ok_or(NoXml)?);
        rest = after;
        next = memchr(b'&', rest.as_bytes());
    }
    scratch.push_str(rest);
    Ok(scratch)
}

fn entity(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) if hex.bytes().all(|b| b.is_ascii_hexdigit()) => u32::from_str_radix(hex, 16),
                None if number.bytes().all(|b| b.is_ascii_digit()) => number.parse(),
                Some(_) | None => return None,
            };
            char::from_u32(code.ok()?)?
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name` begins, `/` ends; whole or an error.
    fn walk(text: &str) -> Result<String, NoXml> {
        let mut xml = Xml::new(text);
        let mut seen = String::new();
        loop {
            match xml.next()? {
                Piece::Open(name) => seen.push_str(name),
                Piece::Close => seen.push('/'),
                Piece::End => return Ok(seen),
            }
        }
    }

    #[test]
    fn l5_what_is_not_whole_or_not_nested_is_an_error() {
        let whole = "<?xml version=\"1.0\"?>\n<!-- > -->\n<a x='>' y=\"/>\">t<b/><c >u</c\n></a>\n<!-- -- -->\n";
        assert_eq!(walk(whole).as_deref(), Ok("ab/c//"));
        let end = whole.find("</a>").expect("its end") + 3;
        for cut in (0..=end).filter(|cut| whole.is_char_boundary(*cut)) {
            assert_eq!(walk(&whole[..cut]), Err(NoXml), "cut at {cut}");
        }
        let doctype = "<!DOCTYPE a [<!ENTITY b \"c\">]><a/>";
        for bad in ["", " ", "a", "x<a/>", "<a/>x", "<a/><b/>", "<a></b>", "<a></ab>", "</a>", "<>", "< a/>", doctype] {
            assert_eq!(walk(bad), Err(NoXml), "{bad:?}");
        }
        assert_eq!(walk("<a><![CDATA[x]]></a>"), Err(NoXml));
    }

    #[test]
    fn l5_depth_has_a_limit() {
        let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
        assert!(walk(&nested(DEPTH_MAX)).is_ok());
        assert_eq!(walk(&nested(DEPTH_MAX + 1)), Err(NoXml));
    }

    #[test]
    fn a_text_is_what_stands_between_its_tags() {
        let mut xml = Xml::new("<a><b>x&amp;y</b><c/><d><e>1</e>2</d><f>3</f><g>4<h/></g></a>");
        assert_eq!((xml.next(), xml.next()), (Ok(Piece::Open("a")), Ok(Piece::Open("b"))));
        assert_eq!(xml.text(), Ok("x&amp;y"));
        assert_eq!((xml.next(), xml.text()), (Ok(Piece::Open("c")), Ok("")));
        assert_eq!((xml.next(), xml.skip()), (Ok(Piece::Open("d")), Ok(())));
        assert_eq!((xml.next(), xml.text()), (Ok(Piece::Open("f")), Ok("3")));
        assert_eq!((xml.next(), xml.text()), (Ok(Piece::Open("g")), Err(NoXml)));
    }

    #[test]
    fn l70_only_what_every_xml_knows_is_expanded() {
        let text = |text| unescape(text, &mut String::new()).map(str::to_owned);
        assert_eq!(text("&quot;a&amp;quot;&lt;&gt;&apos;&#233;&#x1F600;&#10;").as_deref(), Ok("\"a&quot;<>'é😀\n"));
        for bad in ["&", "&amp", "&b;", "&#;", "&#x;", "&#xD800;", "&#1114112;", "&#+1;", "&#99999999999;"] {
            assert_eq!(text(bad), Err(NoXml), "{bad}");
        }
    }
}
