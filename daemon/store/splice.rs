//! Pages that were asked for at once, joined into one listing: which of their keys come next, and whether any may be
//! missing between them.
//!
//! No listing of a bucket is a snapshot: it is made of pages, each seen at its own moment. What it gives is that every key
//! that is there all the while is seen once, because each page goes on where the one before ended. That stays so here: a
//! page that was asked for ahead, after a key that was there last time, is joined only where it starts at or before the
//! last key that was passed on. Nothing can lie between the two then, and what both show is cut. Where it starts later,
//! the page before goes on by its own token until they meet.
//!
//! Promise: keys are passed on in ascending order, each once; none that was there from the first request to the last is
//! left out; a store that does not do what it was asked for is found out.
//! Not here: requests (`lanes`), the order within a page (`listing`).

use super::Page;

/// Bytes of keys that are remembered to list by: of 30 million objects with keys of usual length. What comes after them
/// is listed page after page.
const MARKS_MAX_BYTES: usize = 4 << 20;

/// Fewer are not worth it; and of so many at least one is beyond the page of another, so that a store that ends its
/// listings too early when it is asked for keys after a key contradicts itself.
const MARKS_MIN: usize = 3;

/// What was passed on so far.
#[derive(Debug, Default)]
pub(super) struct Joined {
    last: Option<String>,
    /// The page that was joined last said that nothing comes after it.
    ended: bool,
    marking: Marking,
}

/// What a page that was asked for ahead is worth.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fit {
    /// Its keys from this one on (the first is 0) come next.
    Joins(usize),
    /// It shows nothing that comes after what was passed on.
    Nothing,
    /// There may be keys between: the page before goes on first.
    Apart,
    /// It starts before the key after which it was asked for.
    Ignored,
    /// It shows keys after one that is beyond the end of the listing.
    Contradicts,
}

impl Joined {
    /// Of a page in order; `after`: it was asked for after this key, `None`: from the start.
    pub fn fit(&self, after: Option<&str>, page: &Page) -> Fit {
        let Some(after) = after else { return Fit::Joins(0) };
        let (Some(first), Some(page_last)) = (page.objects.first(), page.objects.last()) else { return Fit::Nothing };
        if first.key < after {
            return Fit::Ignored;
        }
        let Some(last) = self.last.as_deref() else { return if self.ended { Fit::Contradicts } else { Fit::Apart } };
        if self.ended {
            // Beside the end there may be what has come since.
            return if after < last { Fit::Nothing } else { Fit::Contradicts };
        }
        if first.key > last {
            return Fit::Apart;
        }
        if page_last.key <= last { Fit::Nothing } else { Fit::Joins(page.objects.first_after(0, last)) }
    }

    /// The keys of this page from this one on were passed on.
    pub fn took(&mut self, page: &Page, from: usize) {
        self.marking.took(page, from);
        self.ended = page.next.is_none();
        if let Some(last) = page.objects.last() {
            self.last = Some(last.key.to_owned());
        }
    }

    /// The last key that was passed on.
    pub fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// The page that was joined last said that nothing comes after it.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Keys after which the same listing can be asked for at once, next time.
    pub fn into_marks(self) -> Vec<String> {
        self.marking.finish()
    }
}

/// Chooses keys so far apart that a page that starts after one reaches one key beyond the next.
#[derive(Debug, Default)]
struct Marking {
    marks: Vec<String>,
    bytes: usize,
    /// Objects since the last one.
    since: usize,
    /// Of a page that was not the last: the most and the fewest.
    page_objects: Option<(usize, usize)>,
    /// No more are chosen.
    is_full: bool,
}

impl Marking {
    fn took(&mut self, page: &Page, from: usize) {
        let objects = &page.objects;
        if page.next.is_some() {
            let (most, fewest) = self.page_objects.unwrap_or((objects.len(), objects.len()));
            self.page_objects = Some((most.max(objects.len()), fewest.min(objects.len())));
        }
        let Some(apart) = self.apart().filter(|_| !self.is_full) else { return };
        let mut at = from;
        loop {
            let next = at + apart.saturating_sub(self.since).max(1);
            let Some(mark) = objects.get(next - 1) else { break };
            self.bytes += mark.key.len();
            self.is_full = self.bytes > MARKS_MAX_BYTES;
            self.marks.push(mark.key.to_owned());
            (self.since, at) = (0, next);
        }
        self.since += objects.len() - at;
    }

    /// Objects from one to the next; `None` where pages hold so different numbers of objects (common prefixes count as keys)
    /// that no distance is right.
    fn apart(&self) -> Option<usize> {
        let (most, fewest) = self.page_objects?;
        (fewest > 1 && fewest * 2 > most).then(|| fewest - 1)
    }

    fn finish(mut self) -> Vec<String> {
        // The page before it reaches as far.
        if self.since <= 1 && !self.is_full {
            self.marks.pop();
        }
        if self.apart().is_none() || self.marks.len() < MARKS_MIN { Vec::new() } else { self.marks }
    }
}
