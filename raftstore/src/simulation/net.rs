//! The network between members: what one stream of a connection carries, in order, with delays, and not always.
//!
//! It is a network of connections, as TCP and HTTP/2 make it: a lost packet shows as a delay and everything of its stream
//! behind it waits, too; whoever hears nothing of the other end soon sends no more; a connection that carries nothing for
//! as long as a keep-alive takes is broken, and then both ends know. Messages are never doubled by a connection; requests
//! are repeated whole, on a later one.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use keelson_wire::raft as wire;
use keelson_wire::raft::raft_server::RaftServer;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::trace::Trace;
use crate::raft::PeerDoor;

pub type Id = u64;

/// A connection that cannot be made is given up after this time, and one that is silent after that: as in the dialer.
pub const CONNECT_MILLIS: u64 = 2_000;
pub const KEEP_ALIVE_MILLIS: u64 = 4_000;
/// How often a message that is held up by a cut tries to get through.
const HELD_MILLIS: u64 = 5;
/// A connection hears so late that a cut has ended, at most: it tries ever more seldom.
const LATE_MILLIS: u64 = 200;
/// What was held up comes in one by one, with pauses up to this, as it is sent again.
const AGAIN_MILLIS: u64 = 3;
/// So long after the other way is cut, what is sent still comes through: then it fills the window, unacknowledged.
const WINDOW_MILLIS: u64 = 250;

/// What the network does by chance.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Milliseconds, from and to.
    pub delay: (u64, u64),
    /// Chances of a message.
    pub loss: f64,
    pub breaks: f64,
    /// Chance of a request.
    pub repeats: f64,
    /// Chance of a snapshot: its stream breaks on the way.
    pub tears: f64,
}

pub const FAIR: Weather = Weather { delay: (1, 2), loss: 0.0, breaks: 0.0, repeats: 0.0, tears: 0.0 };
/// How a run begins.
const CALM: Weather = Weather { tears: 0.4, ..FAIR };

/// A member that answers.
#[derive(Clone)]
pub struct Door {
    pub runtime: tokio::runtime::Handle,
    pub service: RaftServer<PeerDoor>,
}

#[derive(Clone)]
pub struct Net(Arc<Mutex<State>>);

/// Who dialed a connection, and from whom to whom one of its ways leads.
type Way = (Id, Id, Id);

type Event = Box<dyn FnOnce(&Net) + Send>;

struct State {
    now: u64,
    sequence: u64,
    random: StdRng,
    events: BTreeMap<(u64, u64), Event>,
    /// Ways that are cut, and since when.
    cut: BTreeMap<(Id, Id), u64>,
    /// Ways that were cut, by who dialed, and until when nothing comes through yet.
    late: BTreeMap<Way, u64>,
    doors: BTreeMap<Id, Door>,
    /// Their power is off: nothing that they still do leaves them.
    dark: BTreeSet<Id>,
    /// Streams of dark members that wait to be broken, by their numbers.
    severed: BTreeMap<u64, (Id, Event)>,
    pipes: u64,
    weather: Weather,
    trace: Trace,
    promises: BTreeMap<Id, wire::Vote>,
    broken_promise: Option<String>,
    resumed: u64,
    /// Members that are to end in the middle of a snapshot that they receive.
    doomed: BTreeSet<Id>,
    /// Members that ended so, and have not gone on with it.
    cut_short: BTreeSet<Id>,
    outlived: u64,
}

impl Net {
    pub fn new(seed: u64, loud: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            now: 0,
            sequence: 0,
            random: StdRng::seed_from_u64(seed),
            events: BTreeMap::new(),
            cut: BTreeMap::new(),
            late: BTreeMap::new(),
            doors: BTreeMap::new(),
            dark: BTreeSet::new(),
            severed: BTreeMap::new(),
            pipes: 0,
            weather: CALM,
            trace: Trace::new(loud),
            promises: BTreeMap::new(),
            broken_promise: None,
            resumed: 0,
            doomed: BTreeSet::new(),
            cut_short: BTreeSet::new(),
            outlived: 0,
        })))
    }

    pub fn now(&self) -> u64 {
        self.0.lock().now
    }

    pub fn say(&self, line: &str) {
        let mut state = self.0.lock();
        let now = state.now;
        state.trace.say(now, line);
    }

    pub fn trace<T>(&self, look: impl FnOnce(&Trace) -> T) -> T {
        look(&self.0.lock().trace)
    }

    pub fn set_weather(&self, weather: Weather) {
        self.0.lock().weather = weather;
    }

    pub fn set_cut(&self, cut: BTreeSet<(Id, Id)>) {
        let mut guard = self.0.lock();
        let state = &mut *guard;
        let now = state.now;
        state.late.retain(|_, until| *until > now);
        for (from, to) in state.cut.keys().copied().filter(|way| !cut.contains(way)) {
            for dialed in [from, to] {
                state.late.insert((dialed, from, to), now + state.random.random_range(0..=LATE_MILLIS));
            }
        }
        let since = |way| (way, state.cut.get(&way).copied().unwrap_or(now));
        state.cut = cut.into_iter().map(since).collect();
    }

    pub fn open_door(&self, id: Id, door: Door) {
        self.0.lock().doors.insert(id, door);
    }

    /// The member has ended, and its streams break: in the order of their making, for a runtime drops its tasks in an
    /// order that depends on how many tasks there were before in this process.
    pub fn close_door(&self, id: Id) {
        let door = self.0.lock().doors.remove(&id);
        // What it holds may have something to say when it goes.
        drop(door);
        let severed = {
            let mut state = self.0.lock();
            state.dark.remove(&id);
            let all = std::mem::take(&mut state.severed);
            let (severed, others) = all.into_iter().partition(|(_, (from, _))| *from == id);
            state.severed = others;
            let severed: BTreeMap<u64, (Id, Event)> = severed;
            severed
        };
        severed.into_values().for_each(|(_, sever)| sever(self));
    }

    pub fn door(&self, id: Id) -> Option<Door> {
        self.0.lock().doors.get(&id).cloned()
    }

    pub fn darken(&self, id: Id) {
        self.0.lock().dark.insert(id);
    }

    pub fn is_dark(&self, id: Id) -> bool {
        self.0.lock().dark.contains(&id)
    }

    /// The member has told another that this is its vote.
    pub fn promised(&self, id: Id, vote: wire::Vote) {
        let mut guard = self.0.lock();
        let state = &mut *guard;
        let known = state.promises.entry(id).or_insert(vote);
        // A leader that was started again leads no more, and says so.
        if follows(&vote, known) {
            *known = vote;
        } else if (vote.term, vote.node) != (known.term, known.node) {
            state.broken_promise.get_or_insert(format!("member {id} told {vote:?} after {known:?}"));
        }
    }

    /// A member told an older vote than it had told before, or voted for two of a term.
    pub fn broken_promise(&self) -> Option<String> {
        self.0.lock().broken_promise.take()
    }

    /// A snapshot to this member goes on behind what came of it over another stream.
    pub fn has_resumed(&self, id: Id) {
        let mut state = self.0.lock();
        state.resumed += 1;
        if state.cut_short.remove(&id) {
            state.outlived += 1;
        }
    }

    /// The member ends before it receives any more of a snapshot.
    pub fn doom(&self, id: Id) {
        self.0.lock().doomed.insert(id);
    }

    /// Whether it is to end now.
    pub fn take_doom(&self, id: Id) -> bool {
        let mut state = self.0.lock();
        let is_doomed = state.doomed.remove(&id);
        if is_doomed {
            state.cut_short.insert(id);
        }
        is_doomed
    }

    /// Snapshots that went on after their receivers' end.
    pub fn outlived(&self) -> u64 {
        self.0.lock().outlived
    }

    pub fn resumed(&self) -> u64 {
        self.0.lock().resumed
    }

    pub fn promise(&self, id: Id) -> Option<wire::Vote> {
        self.0.lock().promises.get(&id).copied()
    }

    pub fn chance(&self, chance: impl Fn(&Weather) -> f64) -> bool {
        let mut state = self.0.lock();
        let chance = chance(&state.weather);
        chance > 0.0 && state.random.random_bool(chance)
    }

    pub fn draw(&self, from: u64, to: u64) -> u64 {
        self.0.lock().random.random_range(from..=to)
    }

    pub fn later(&self, millis: u64, event: impl FnOnce(&Net) + Send + 'static) {
        let mut state = self.0.lock();
        let at = state.now + millis;
        state.schedule(at, Box::new(event));
    }

    /// One millisecond goes by, and what is due happens.
    pub fn tick(&self) {
        self.0.lock().now += 1;
        loop {
            let event = {
                let mut state = self.0.lock();
                let now = state.now;
                match state.events.first_entry() {
                    Some(first) if first.key().0 <= now => first.remove(),
                    _ => return,
                }
            };
            event(self);
        }
    }
}

/// Whether a member may have this vote after the other: it votes for one member of a term, and goes over to whom a quorum
/// has voted for.
pub fn follows(vote: &wire::Vote, before: &wire::Vote) -> bool {
    match (vote.term, vote.committed).cmp(&(before.term, before.committed)) {
        Ordering::Less => false,
        Ordering::Equal => vote.node == before.node,
        Ordering::Greater => true,
    }
}

impl State {
    fn schedule(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    /// Whether what was sent then is held up now.
    fn holds_up(&self, way: Way, sent: u64) -> bool {
        let (_, from, to) = way;
        let is_unacknowledged = self.cut.get(&(to, from)).is_some_and(|since| sent > since + WINDOW_MILLIS);
        self.cut.contains_key(&(from, to)) || is_unacknowledged || self.late.get(&way).is_some_and(|at| *at > self.now)
    }
}

/// What is carried. `digest` stands for it in the trace.
pub struct Parcel<T> {
    pub what: T,
    pub digest: u64,
}

pub enum Arrival<T> {
    Parcel(T),
    Broken,
}

type Sink<T> = Box<dyn FnMut(&Net, Arrival<T>) + Send>;

struct Pipe<T> {
    number: u64,
    way: Way,
    /// When it is due, when it was sent, and what.
    parcels: VecDeque<(u64, u64, Arrival<Parcel<T>>)>,
    last: u64,
    /// What waits here was held up.
    is_held: bool,
    patience: u64,
    sink: Option<Sink<T>>,
}

/// The end of a stream into which is sent. Dropped before [`Inlet::finish`] it breaks the stream.
pub struct Inlet<T: Send + 'static> {
    net: Net,
    pipe: Arc<Mutex<Pipe<T>>>,
    finished: bool,
}

impl<T: Send + 'static> Inlet<T> {
    pub fn new(net: &Net, way: Way, patience: u64, sink: impl FnMut(&Net, Arrival<T>) + Send + 'static) -> Self {
        let number = {
            let mut state = net.0.lock();
            state.pipes += 1;
            state.pipes
        };
        let sink: Option<Sink<T>> = Some(Box::new(sink));
        let pipe = Pipe { number, way, parcels: VecDeque::new(), last: 0, is_held: false, patience, sink };
        Self { net: net.clone(), pipe: Arc::new(Mutex::new(pipe)), finished: false }
    }

    pub fn send(&self, what: T, digest: u64) {
        self.put(Arrival::Parcel(Parcel { what, digest }));
    }

    /// Whose power is off does not end a stream well: its last words are lost as all else is, and the other end sees a
    /// broken connection.
    pub fn finish(mut self) {
        let (_, from, _) = self.pipe.lock().way;
        self.finished = !self.net.is_dark(from);
    }

    fn put(&self, arrival: Arrival<Parcel<T>>) {
        put(&self.net, &self.pipe, arrival);
    }
}

fn put<T: Send + 'static>(net: &Net, shared: &Arc<Mutex<Pipe<T>>>, arrival: Arrival<Parcel<T>>) {
    let mut pipe = shared.lock();
    let mut guard = net.0.lock();
    let state = &mut *guard;
    let (_, from, _) = pipe.way;
    if state.dark.contains(&from) {
        if matches!(arrival, Arrival::Broken) {
            let severed = shared.clone();
            let sever: Event = Box::new(move |net| put(net, &severed, Arrival::Broken));
            state.severed.insert(pipe.number, (from, sever));
        }
        return;
    }
    let weather = state.weather;
    let mut delay = state.random.random_range(weather.delay.0..=weather.delay.1);
    if weather.loss > 0.0 && state.random.random_bool(weather.loss) {
        delay += state.random.random_range(200..=1_000);
    }
    let breaks = weather.breaks > 0.0 && state.random.random_bool(weather.breaks);
    let at = pipe.last.max(state.now + delay);
    pipe.last = at;
    let sent = state.now;
    pipe.parcels.push_back((at, sent, if breaks { Arrival::Broken } else { arrival }));
    let pumped = shared.clone();
    state.schedule(at, Box::new(move |net| pump(net, &pumped)));
}

impl<T: Send + 'static> Drop for Inlet<T> {
    fn drop(&mut self) {
        if !self.finished {
            self.put(Arrival::Broken);
        }
    }
}

fn pump<T: Send + 'static>(net: &Net, pipe: &Arc<Mutex<Pipe<T>>>) {
    loop {
        let (mut sink, arrival) = {
            let mut pipe_guard = pipe.lock();
            let this = &mut *pipe_guard;
            let Some((at, sent, _)) = this.parcels.front() else { return };
            let (at, sent) = (*at, *sent);
            let mut state = net.0.lock();
            let now = state.now;
            if at > now {
                return;
            }
            let mut arrival = None;
            if state.holds_up(this.way, sent) {
                this.is_held = true;
                if now - sent < this.patience {
                    let held = pipe.clone();
                    state.schedule(now + HELD_MILLIS, Box::new(move |net| pump(net, &held)));
                    return;
                }
                arrival = Some(Arrival::Broken);
            }
            let arrival = arrival.or_else(|| this.parcels.pop_front().map(|(_, _, arrival)| arrival));
            this.is_held &= !this.parcels.is_empty();
            if this.is_held
                && let Some(next) = this.parcels.front_mut()
            {
                next.0 = now + state.random.random_range(1..=AGAIN_MILLIS);
                let (at, again) = (next.0, pipe.clone());
                state.schedule(at, Box::new(move |net| pump(net, &again)));
            }
            let Some(sink) = this.sink.take() else { return };
            let Some(arrival) = arrival else { return };
            let (_, from, to) = this.way;
            let mut seen = [now, from, to, 0];
            if let Arrival::Parcel(parcel) = &arrival {
                seen[3] = parcel.digest;
            } else {
                this.parcels.clear();
            }
            seen.iter().for_each(|number| state.trace.mix(&number.to_le_bytes()));
            state.trace.events += 1;
            (sink, arrival)
        };
        match arrival {
            Arrival::Parcel(parcel) => {
                sink(net, Arrival::Parcel(parcel.what));
                pipe.lock().sink = Some(sink);
            }
            Arrival::Broken => {
                sink(net, Arrival::Broken);
                return;
            }
        }
    }
}
