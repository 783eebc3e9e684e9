//! What can happen in a history, and random histories from seeds.
//!
//! Promise: an operation is small numbers only, meant "modulo what there is": any list of operations is a history,
//! and a failing one can be made shorter by leaving operations out.

use crate::label_studio::{Act, Anew, When};
use crate::mortal::Side;
use crate::tear::Kind;

/// One thing that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// An object is written to the source: which key, which body (9 to 11: no task in JSON mode).
    Put(u8, u8),
    Remove(u8),
    /// Label Studio lists its tasks.
    List,
    Import,
    /// The import is of an object of the source.
    ImportUrl(u8),
    /// The import has the data of an object's task.
    ImportTwin(u8),
    /// Label Studio's files are made anew.
    Anew(Anew),
    /// The daemon hears that `source.json` was written.
    Event,
    Delete(u8),
    DeleteAll,
    Label(u8, u8),
    /// Deletes completions: true, with their file.
    Unlabel(u8, bool),
    /// Somebody else writes (0: junk, 1: a completion, 2: the same otherwise written) or deletes (3) a target object.
    Other(u8, u8),
    /// The operator.
    Regex(u8),
    Prefix(u8),
    Hide(bool),
    Keep(bool),
    DeleteObjects(bool),
    LocalCopy(bool),
    Accept,
    Resolve(u8, bool),
    /// A cycle; of the source: also looks at the bucket; of the target: 0 every file, else everything.
    Source(bool),
    Target(u8),
    /// The daemon dies in the nth gap from now.
    Crash(Side, u8),
    Restart,
    /// A second daemon is started on the project; another project's daemon, on the target.
    Second,
    Rival,
    /// Faults of the buckets.
    SourcePageFails(u8),
    SourceReadFails(u8),
    TargetPageFails(u8),
    TargetReadFails(u8),
    /// It happens and the answer is lost.
    PutLost(u8),
    PutFails(u8),
    /// In the middle of the next replacement of `tasks.json`.
    Meanwhile(When, Act),
    /// In the middle of the next bringing in: the task is labelled.
    MeanwhileLabel(When),
    /// Label Studio's next write of that kind stops after so many 256ths; what follows comes before its next act.
    Tear(Kind, u8),
    /// The rest of what is torn is written now.
    Mend,
}

/// Small, the same on every machine (splitmix64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn byte(&mut self, n: u64) -> u8 {
        u8::try_from(self.below(n)).unwrap()
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }

    fn when(&mut self) -> When {
        [When::Before, When::Into, When::After, When::Listing][self.below(4) as usize]
    }

    fn act(&mut self) -> Act {
        match self.below(8) {
            0 | 1 => Act::List,
            2..5 => Act::Import,
            5 => Act::Lose,
            _ => Act::Delete(self.byte(6)),
        }
    }

    fn side(&mut self) -> Side {
        [Side::Near, Side::Near, Side::Source, Side::Target, Side::Target][self.below(5) as usize]
    }

    /// Mostly followed by what writes such a file.
    fn tear(&mut self) -> Vec<Op> {
        let kind = [Kind::Tasks, Kind::Map, Kind::Completion][self.below(3) as usize];
        let tear = Op::Tear(kind, self.byte(256));
        let write = match (kind, self.below(4)) {
            (_, 0) => return vec![tear],
            (Kind::Completion, _) => Op::Label(self.byte(6), self.byte(4)),
            (_, 1) => Op::Meanwhile(self.when(), self.act()),
            (Kind::Tasks | Kind::Map, _) => Op::Import,
        };
        let cycle = if self.coin() { Op::Source(self.coin()) } else { Op::Target(self.byte(3)) };
        vec![tear, write, cycle]
    }

    /// Often while the daemon is down, and with a death soon after its start.
    fn anew(&mut self) -> Vec<Op> {
        let what = match self.below(6) {
            0 => Op::Anew(Anew::Both),
            1 => Op::Anew(Anew::Tasks),
            2 => Op::Anew(Anew::Map),
            3 => Op::Anew(Anew::MapCopied),
            _ => Op::ImportTwin(self.byte(6)),
        };
        let then = match self.below(6) {
            0 => Op::Import,
            1 => Op::Delete(self.byte(6)),
            2 => Op::Event,
            3 => Op::List,
            _ => Op::Label(self.byte(6), self.byte(4)),
        };
        let cycle = Op::Source(self.coin());
        let dies = Op::Crash(Side::Near, 1 + self.byte(24));
        match self.below(5) {
            0 => vec![what, then],
            1 => vec![Op::Event, what, Op::Event, then, cycle],
            2 => vec![dies, cycle, what, then, Op::Restart, cycle],
            3 => vec![what, then, dies, Op::Restart, cycle],
            _ => {
                vec![dies, cycle, what, then, Op::Crash(Side::Near, 1 + self.byte(8)), Op::Restart, Op::Restart, cycle]
            }
        }
    }

    fn op(&mut self) -> Op {
        match self.below(102) {
            0..12 => Op::Put(self.byte(6), self.byte(12)),
            12..16 => Op::Remove(self.byte(6)),
            16..23 => Op::List,
            23..28 => Op::Import,
            28 => Op::ImportUrl(self.byte(6)),
            29..33 => Op::Delete(self.byte(6)),
            33 => Op::DeleteAll,
            34..43 => Op::Label(self.byte(6), self.byte(4)),
            43..46 => Op::Unlabel(self.byte(6), self.coin()),
            46..51 => Op::Other(self.byte(6), self.byte(4)),
            51..53 => Op::Regex(self.byte(4)),
            53 => Op::Prefix(self.byte(3)),
            54 => Op::Hide(self.coin()),
            55 => Op::Keep(self.coin()),
            56 => Op::DeleteObjects(self.coin()),
            57 => Op::LocalCopy(self.coin()),
            58 => Op::Accept,
            59 => Op::Resolve(self.byte(6), self.coin()),
            60..70 => Op::Source(self.below(5) > 0),
            70..80 => Op::Target(self.byte(3)),
            80..86 => Op::Crash(self.side(), 1 + self.byte(24)),
            86..90 => Op::Restart,
            90 => Op::SourcePageFails(1 + self.byte(4)),
            91 => Op::SourceReadFails(1 + self.byte(4)),
            92 => Op::TargetPageFails(1 + self.byte(3)),
            93 => Op::TargetReadFails(1 + self.byte(3)),
            94 | 95 => Op::PutLost(1 + self.byte(3)),
            96 => Op::PutFails(1 + self.byte(3)),
            97 | 98 => Op::Meanwhile(self.when(), self.act()),
            99 => Op::MeanwhileLabel(self.when()),
            100 => Op::Second,
            _ => Op::Rival,
        }
    }
}

/// Of so many seeds one has torn writes in its history, and one files made anew, from a stream of its own: the other things
/// are what they were before there were any.
const STREAMS: u64 = 4;

/// Which has torn writes; the seeds in `regressions` are others.
const TORN: u64 = 2;

/// Which has files made anew.
const ANEW: u64 = 3;

/// Makes a seed's second stream.
const SECOND: u64 = 0x7465_6172_7320_6974;

/// The history of a seed: half of all begin with a project that is under way.
pub fn history(seed: u64) -> (bool, Vec<Op>) {
    let (blobs, mut ops) = whole_history(seed);
    if seed % STREAMS == TORN {
        let mut random = Random::new(seed ^ SECOND);
        for _ in 0..=random.below(4) {
            let at = random.below(ops.len() as u64 + 1) as usize;
            ops.splice(at..at, random.tear());
            if random.coin() {
                let at = at + random.below((ops.len() - at) as u64) as usize;
                ops.insert(at, Op::Mend);
            }
        }
    }
    if seed % STREAMS == ANEW {
        let mut random = Random::new(seed ^ SECOND);
        let mut at = 0;
        for _ in 0..2 + random.below(6) {
            at += random.below((ops.len() - at) as u64 + 1) as usize;
            let more = random.anew();
            let count = more.len();
            ops.splice(at..at, more);
            at += count;
        }
    }
    (blobs, ops)
}

fn whole_history(seed: u64) -> (bool, Vec<Op>) {
    let mut random = Random::new(seed);
    let blobs = random.coin();
    let mut ops = Vec::new();
    if random.coin() {
        ops.extend([Op::Put(0, 0), Op::Put(1, 0), Op::Put(3, 1), Op::Source(true), Op::List]);
        ops.extend([Op::Label(0, 0), Op::Label(1, 1), Op::Target(1)]);
    }
    let count = 8 + random.below(24);
    ops.extend((0..count).map(|_| random.op()));
    (blobs, ops)
}
