//! Pages of a listing that are asked for ahead, a few at once, after keys that were there last time.
//!
//! Promise: at most [`AT_ONCE`] pages are asked for or held; they come in order; who shows nothing that can be used, or
//! asks for fewer requests, is asked page after page again. A page that cannot be had so fails no listing, unless it is the
//! witness of its end.
//! Not here: which of their keys come next (`splice`), the listing (`listing`).

use std::collections::VecDeque;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;

use super::splice::Joined;
use super::{ListRequest, Page, PageToken, Store, StoreError};

/// Pages that are asked for at once. Beside a bucket a long way off the wait is divided by it; a page takes a hundred
/// kilobytes, so that memory stays flat, and no bucket minds four requests.
const AT_ONCE: usize = 4;

/// Pages in a row that could not be joined at once. So many keys are new then that following tokens is as quick, and
/// costs half the requests.
const APART_MAX: u32 = 8;

/// What is known of how a bucket lists, from one listing to the next of whoever keeps it.
///
/// Only a listing that was complete leaves something; one that fails is made page after page the next time.
#[derive(Debug, Default)]
pub struct Marks {
    /// The bucket and the part of it that they are of.
    place: Option<(String, ListRequest)>,
    keys: Vec<String>,
    /// The store cannot be asked so, or was seen not to do as it is asked.
    never: bool,
}

impl Marks {
    /// What is known of this listing; it is forgotten until it is kept again.
    fn take(&mut self, store: &dyn Store, request: &ListRequest) -> Vec<String> {
        let is_same = self.place.as_ref().is_some_and(|(root, of)| root == store.root() && of == request);
        if !is_same {
            let place = Some((store.root().to_owned(), request.clone()));
            *self = Self { place, keys: Vec::new(), never: !store.lists_after() };
        }
        std::mem::take(&mut self.keys)
    }

    /// From now on this bucket is listed page after page. Said once.
    fn never(&mut self, why: &str) {
        let root = self.place.as_ref().map_or("", |(root, _)| root.as_str());
        tracing::warn!(root, why, "the bucket is listed one page after the other from now on, not several at once");
        (self.never, self.keys) = (true, Vec::new());
    }
}

/// A page that was asked for ahead.
#[derive(Debug)]
pub(super) struct Lane {
    /// After this key; `None`: from the start.
    pub after: Option<String>,
    pub page: Page,
    /// It was seen not to meet what was passed on.
    was_apart: bool,
}

/// The key after which a page was asked for, and what came.
type Answer = (Option<String>, Result<Page, StoreError>);

/// Requests under way, and the pages that came.
pub(super) struct Lanes<'a> {
    store: &'a dyn Store,
    request: &'a ListRequest,
    marks: &'a mut Marks,
    /// To be asked for, in order; the first one from the start. None where nothing is known of this listing.
    waiting: VecDeque<Option<String>>,
    asked: FuturesOrdered<BoxFuture<'a, Answer>>,
    /// The first one of those that were asked for, when it has come.
    front: Option<Lane>,
    /// The last one of them.
    newest: Option<String>,
    /// The listing has ended, and what is asked for now is its witness.
    has_ended: bool,
    /// How many in a row could not be joined at once.
    apart: u32,
    /// Why the bucket will not be asked so again, if this listing is complete without.
    refused: Option<StoreError>,
}

impl<'a> Lanes<'a> {
    pub fn new(store: &'a dyn Store, request: &'a ListRequest, marks: &'a mut Marks) -> Self {
        let keys = marks.take(store, request);
        let start = (!keys.is_empty()).then_some(None);
        let waiting = start.into_iter().chain(keys.into_iter().map(Some)).collect();
        Self {
            store,
            request,
            marks,
            waiting,
            asked: FuturesOrdered::new(),
            front: None,
            newest: None,
            has_ended: false,
            apart: 0,
            refused: None,
        }
    }

    /// The first page of those that were asked for and not taken; `None`: there are none, or no more can be had so.
    /// Without the first page of all there is no listing, nor without the witness of its end.
    pub async fn front(&mut self) -> Result<Option<&Lane>, StoreError> {
        if self.front.is_none() {
            self.ask();
            let Some((after, answer)) = self.asked.next().await else { return Ok(None) };
            match answer {
                Ok(page) => self.front = Some(Lane { after, page, was_apart: false }),
                Err(error) if after.is_none() || self.has_ended => return Err(error),
                Err(error) => self.give_up(error),
            }
        }
        Ok(self.front.as_ref())
    }

    fn ask(&mut self) {
        while self.asked.len() < AT_ONCE
            && let Some(after) = self.waiting.pop_front()
        {
            self.newest.clone_from(&after);
            self.asked.push_back(Box::pin(page_after(self.store, self.request, after)));
        }
    }

    /// A page after a key cannot be had: whether the bucket fails, the next page by its token shows.
    fn give_up(&mut self, error: StoreError) {
        tracing::debug!(%error, "a page that was asked for ahead did not come");
        self.stop();
        self.refused = Some(error).filter(|error| !error.kind.is_transient());
    }

    /// The front page has been used, or is of no use.
    pub fn take_front(&mut self) -> Option<Page> {
        let lane = self.front.take()?;
        if !lane.was_apart {
            self.apart = 0;
        }
        Some(lane.page)
    }

    /// The front page does not meet what was passed on.
    pub fn front_is_apart(&mut self) {
        let Some(lane) = &mut self.front else { return };
        if !std::mem::replace(&mut lane.was_apart, true) {
            self.apart += 1;
        }
        if self.apart >= APART_MAX {
            self.stop();
        }
    }

    /// No more are asked for; what was, is used.
    pub fn ask_no_more(&mut self) {
        self.waiting.clear();
    }

    /// The listing ends at this key. One page after a later key is looked at all the same, where there was one: it must be empty.
    pub fn end_at(&mut self, last: Option<&str>) {
        let is_beyond = |mark: &Option<String>| mark.as_deref() >= last;
        self.has_ended = true;
        let witness = self.waiting.drain(..).find(is_beyond);
        if !is_beyond(&self.newest) {
            self.waiting.extend(witness);
        }
    }

    /// The bucket does not do as it is asked.
    pub fn distrust(&mut self, why: &str) {
        self.stop();
        self.marks.never(why);
    }

    /// The listing is complete: what the next one goes by.
    pub fn finish(self, joined: Joined) {
        match self.refused {
            Some(error) => self.marks.never(&error.to_string()),
            None if self.marks.never => {}
            None => self.marks.keys = joined.into_marks(),
        }
    }

    fn stop(&mut self) {
        self.ask_no_more();
        (self.asked, self.front) = (FuturesOrdered::new(), None);
    }
}

async fn page_after(store: &dyn Store, request: &ListRequest, after: Option<String>) -> Answer {
    let token = after.clone().map(PageToken::After);
    let answer = store.list_page(request, token.as_ref()).await;
    (after, answer)
}

#[cfg(test)]
#[path = "lanes_tests.rs"]
mod tests;
