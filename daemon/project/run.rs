//! THE LOOP of each direction: look, plan, apply, record; then wait for the next wake.
//!
//! Promise: one cycle at a time in each direction; settings change between cycles, never within; a failure is told
//! once, then counted, and tried again with growing waits; stopping finishes what is in hand.
//! Not here: what a cycle does (`source::road`, `target::road`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::board::Direction;
use super::error::CycleError;
use super::shared::Shared;
use super::source::look::SourceSide;
use super::source::road::SourceRoad;
use super::target::road::{Look, TargetRoad, TargetSide};
use super::wakes::{SourceWake, TargetWake, Wakes};
use super::watch::Rescan;
use crate::clock::UnixMillis;
use crate::control::api::{Poll, ProjectStatus};
use crate::events::{Happened, Level};
use crate::pulse::Lifetime;
use crate::sync::pace::{next_poll, second_poll};
use crate::sync::repeats::{Repeats, Say};

/// How long a cycle in hand may go on after the stop: longer ones are looks, which change nothing.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What is in force for a project, fixed for one cycle.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    /// By `lsctl pause`.
    pub paused: bool,
    /// Blobs to tasks.
    pub source: Option<SourceSide>,
    /// Completions.
    pub target: Option<TargetSide>,
}

/// A walk over all completions only finds what no event told of, and what is saved meanwhile waits for it: it is made
/// at most for this part of the time.
const WALK_SHARE: u32 = 20;

/// And no more seldom than this: a file system may lose events.
const WALK_WAIT_MAX: Duration = Duration::from_secs(60);

/// Between two looks at a project directory while a look fails; a file that changes is looked at at once.
const NEAR_RETRY: Duration = Duration::from_millis(250);

/// What both loops are given.
#[derive(Clone, Debug)]
pub struct Loop {
    /// The project.
    pub shared: Shared,
    /// The settings, replaced between cycles.
    pub in_force: watch::Receiver<Arc<InForce>>,
    /// What wakes it.
    pub wakes: Arc<Wakes>,
    /// The end.
    pub stop: CancellationToken,
}

/// Runs blobs to tasks until the stop, or until a person must act.
pub async fn run_source(mut this: Loop) -> Result<(), CycleError> {
    let mut road = SourceRoad::new(this.shared.clone());
    let mut pacing = Pacing::new(Direction::Source, this.shared.clone());
    let pulse = this.shared.board.pulse(Direction::Source).clone();
    let _runs = Lifetime(&pulse);
    let mut far = true;
    loop {
        let force = this.in_force.borrow_and_update().clone();
        if !force.paused {
            let begun = pacing.begin(far);
            road.expect_target(force.target.as_ref().map(TargetSide::place));
            let cycle = road.cycle(force.source.as_ref(), far);
            let Some(result) = finish(cycle, &this.stop).await else { return Ok(()) };
            let interval = force.source.as_ref().map(|side| road.poll_interval(side));
            pacing.end(begun, far, interval, result.map(|()| road.take_changes()))?;
        }
        if force.paused {
            pulse.rest(None);
            let Some(()) = changed(&mut this).await else { return Ok(()) };
            far = true;
            continue;
        }
        let next_near = Instant::now() + this.shared.pace.rescan;
        let mut near_at = road.wake_at().unwrap_or(next_near).min(next_near);
        if pacing.failures > 0 {
            // What is due stays due while `tasks.json` cannot be read: not looked at without a pause.
            near_at = near_at.max(Instant::now() + NEAR_RETRY);
        }
        let wake_at = pacing.due_at(force.source.is_some()).min(near_at);
        pulse.rest(Some(wake_at));
        far = tokio::select! {
            () = this.stop.cancelled() => return Ok(()),
            wake = this.wakes.source() => wake == SourceWake::Far,
            changed = this.in_force.changed() => { if changed.is_err() { return Ok(()) } true }
            () = tokio::time::sleep_until(wake_at.into()) => pacing.is_due(),
        };
    }
}

/// Runs completions until the stop, or until a person must act.
pub async fn run_target(this: Loop) -> Result<(), CycleError> {
    let mut road = TargetRoad::new(this.shared.clone());
    let ended = target_loop(this, &mut road).await;
    road.end().await;
    ended
}

async fn target_loop(mut this: Loop, road: &mut TargetRoad) -> Result<(), CycleError> {
    let mut pacing = Pacing::new(Direction::Target, this.shared.clone());
    let pulse = this.shared.board.pulse(Direction::Target).clone();
    let _runs = Lifetime(&pulse);
    let mut look = Look::Full;
    let mut walked = (Instant::now(), Duration::ZERO);
    loop {
        let force = this.in_force.borrow_and_update().clone();
        if let (false, Some(side)) = (force.paused, &force.target) {
            // After a failure everything is looked at again, when its time has come.
            if pacing.failures > 0 {
                look = Look::Full;
            }
            let full = look == Look::Full;
            let walks = !matches!(look, Look::Some(_));
            let begun = pacing.begin(full);
            let began = begun.instant;
            let Some(result) = finish(road.cycle(side, look), &this.stop).await else { return Ok(()) };
            if walks {
                walked = (Instant::now(), began.elapsed());
            }
            let result = result.map(|()| road.take_changes());
            pacing.end(begun, full, Some(side.settings.poll_interval), result)?;
        } else {
            walked = (Instant::now(), Duration::ZERO);
        }
        if force.paused {
            pulse.rest(None);
            let Some(()) = changed(&mut this).await else { return Ok(()) };
            look = Look::Full;
            continue;
        }
        // From the last walk on: completions that are saved all the time do not put it off.
        let (walked_at, walk_took) = walked;
        let next_local = walked_at + this.shared.pace.rescan.max((walk_took * WALK_SHARE).min(WALK_WAIT_MAX));
        let local_at = road.wake_at().unwrap_or(next_local).min(next_local);
        let due_at = pacing.due_at(force.target.is_some());
        let wake_at = if pacing.failures > 0 { due_at } else { due_at.min(local_at) };
        pulse.rest(Some(wake_at));
        look = loop {
            let next = tokio::select! {
                () = this.stop.cancelled() => return Ok(()),
                wake = this.wakes.target() => as_look(wake),
                changed = this.in_force.changed() => { if changed.is_err() { return Ok(()) } Look::Full }
                () = tokio::time::sleep_until(wake_at.into()) => {
                    if pacing.is_due() {
                        Look::Full
                    } else if Instant::now() >= next_local {
                        this.shared.events.meters().rescan(Rescan::Periodic.code());
                        Look::Local
                    } else {
                        Look::Some(road.due())
                    }
                }
            };
            // While the bucket fails, files that change wait for the next try, which looks at all of them.
            if pacing.failures == 0 || next == Look::Full {
                break next;
            }
        };
    }
}

/// Waits while nothing may be done; `None`: the end.
async fn changed(this: &mut Loop) -> Option<()> {
    tokio::select! {
        () = this.stop.cancelled() => None,
        changed = this.in_force.changed() => changed.ok(),
    }
}

fn as_look(wake: TargetWake) -> Look {
    match wake {
        TargetWake::Some(ids) => Look::Some(ids),
        TargetWake::Local => Look::Local,
        TargetWake::Full => Look::Full,
    }
}

/// The cycle's result; `None`: stopped before it came.
async fn finish<T>(cycle: impl Future<Output = T>, stop: &CancellationToken) -> Option<T> {
    let grace = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_GRACE).await;
    };
    tokio::select! {
        result = cycle => Some(result),
        () = grace => None,
    }
}

/// When the next far look is due, and what the status says about the last ones.
struct Pacing {
    direction: Direction,
    shared: Shared,
    due: Instant,
    failures: u64,
    /// The last look at the project directory alone failed.
    near_failed: bool,
    repeats: Repeats,
    /// The share of the first wait after a success; taken by it.
    spread: Option<f64>,
}

struct Begun {
    at: UnixMillis,
    instant: Instant,
}

impl Pacing {
    fn new(direction: Direction, shared: Shared) -> Self {
        let spread = Some(second_poll(&format!("{} {direction:?}", shared.name)));
        Self {
            direction,
            shared,
            due: Instant::now(),
            failures: 0,
            near_failed: false,
            repeats: Repeats::default(),
            spread,
        }
    }

    fn is_due(&self) -> bool {
        Instant::now() >= self.due
    }

    /// Without a bucket there is nothing far to look at.
    fn due_at(&self, has_side: bool) -> Instant {
        if has_side { self.due } else { Instant::now() + self.shared.pace.rescan }
    }

    fn begin(&self, far: bool) -> Begun {
        self.shared.board.pulse(self.direction).begin();
        let at = self.shared.now();
        if far {
            let direction = self.direction;
            self.shared.board.update(at, |status| {
                match direction {
                    Direction::Source => status.cycles.source_begun += 1,
                    Direction::Target => status.cycles.target_begun += 1,
                }
                if let Some(poll) = poll(status, direction) {
                    poll.last_started_at = Some(at);
                }
            });
        }
        Begun { at, instant: Instant::now() }
    }

    /// What a cycle came to, with how much it had to do. An error only where the project must stop.
    fn end(
        &mut self,
        begun: Begun,
        far: bool,
        interval: Option<Duration>,
        result: Result<u64, CycleError>,
    ) -> Result<(), CycleError> {
        let reason = result.as_ref().err().map(CycleError::reason);
        let fatal = result.as_ref().is_err_and(CycleError::is_fatal);
        match (&result, &reason) {
            (Err(error), Some(reason)) => {
                // Looks at the directory alone come many a second: the wait is for the bucket's failures.
                self.failures = (self.failures + u64::from(far)).max(1);
                self.shared.count_failure(error);
                // What stops the project is told by its host.
                let say = if fatal { Say::Nothing } else { self.repeats.failed(&reason.code) };
                match say.text(&format!("{}; {}", reason.message, reason.hint)) {
                    Some(text) => {
                        self.tell(&begun, Happened::new(Level::Warning, "cycle_failed", text).error(&reason.code))
                    }
                    // What is told is counted where it is told.
                    None => self.shared.events.meters().error(&reason.code),
                }
            }
            (Ok(changes), _) if far => {
                if self.repeats.over() {
                    let text = format!("{} goes on; it failed {} times", self.name(), self.failures);
                    self.tell(&begun, Happened::new(Level::Notice, "cycle_recovered", text));
                }
                if *changes > 0 {
                    let text = format!("{} was looked at completely: {changes} to do, all done", self.name());
                    self.tell(&begun, Happened::new(Level::Info, "cycle_done", text));
                }
                self.failures = 0;
            }
            (Ok(_) | Err(_), _) => {}
        }
        let mended = !far && reason.is_none() && self.near_failed;
        self.near_failed = !far && reason.is_some();
        if mended {
            self.due = Instant::now();
        } else if far || reason.is_some() {
            let wait = match (&reason, interval) {
                (Some(_), _) => self.shared.pace.retry(self.failures, jitter(begun.at)),
                (None, Some(interval)) => {
                    next_poll(interval, begun.instant.elapsed()).mul_f64(self.spread.take().unwrap_or(1.0))
                }
                (None, None) => self.shared.pace.rescan,
            };
            let due = Instant::now() + wait;
            self.due = if far { due } else { self.due.min(due) };
        }
        self.count(&begun, far, reason.is_some());
        self.publish(&begun, far, reason);
        match result {
            Err(error) if fatal => Err(error),
            Err(_) | Ok(_) => Ok(()),
        }
    }

    /// Says something of this cycle.
    fn tell(&self, begun: &Begun, happened: Happened) {
        self.shared.tell(happened.bucket(self.bucket().as_deref()).took(begun.instant.elapsed()));
    }

    fn count(&self, begun: &Begun, far: bool, failed: bool) {
        if !far && !failed {
            return;
        }
        let direction = match self.direction {
            Direction::Source => "source",
            Direction::Target => "target",
        };
        let result = match (failed, self.shared.board.status().holds.is_empty()) {
            (true, _) => "error",
            (false, false) => "held",
            (false, true) => "ok",
        };
        let took = begun.instant.elapsed();
        self.shared.events.meters().poll(self.shared.name.as_str(), direction, result, took);
    }

    fn publish(&self, begun: &Begun, far: bool, reason: Option<crate::control::api::Reason>) {
        let now = self.shared.now();
        let wait = self.due.saturating_duration_since(Instant::now());
        let next = UnixMillis(now.0 + i64::try_from(wait.as_millis()).unwrap_or(0));
        let (direction, failures, told) = (self.direction, self.failures, self.repeats.stands());
        let took = u64::try_from(begun.instant.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.shared.board.progress(direction, None);
        if direction == Direction::Source {
            self.shared.board.set_tasks_failed(now, reason.clone());
        }
        self.shared.board.update(now, |status| {
            if far {
                match direction {
                    Direction::Source => status.cycles.source_ended += 1,
                    Direction::Target => status.cycles.target_ended += 1,
                }
            }
            let Some(poll) = poll(status, direction) else { return };
            poll.next_at = Some(next);
            poll.failures = failures;
            match reason {
                Some(reason) => poll.error = Some(reason),
                None if far => {
                    poll.error = None;
                    poll.last_success_at = Some(now);
                    poll.last_duration_ms = Some(took);
                }
                None if !told => poll.error = None,
                None => {}
            }
        });
    }

    /// Where this side is, as the status says it.
    fn bucket(&self) -> Option<String> {
        let status = self.shared.board.status();
        match self.direction {
            Direction::Source => status.source.map(|source| source.url),
            Direction::Target => status.target.map(|target| target.url),
        }
    }

    fn name(&self) -> &'static str {
        match self.direction {
            Direction::Source => "the source",
            Direction::Target => "the target",
        }
    }
}

fn poll(status: &mut ProjectStatus, direction: Direction) -> Option<&mut Poll> {
    match direction {
        Direction::Source => status.source.as_mut().map(|source| &mut source.poll),
        Direction::Target => status.target.as_mut().map(|target| &mut target.poll),
    }
}

/// Spreads retries of many projects; any number between 0 and 1 does.
fn jitter(at: UnixMillis) -> f64 {
    f64::from(u32::try_from(at.0.rem_euclid(1_000)).unwrap_or(0)) / 1_000.0
}
