//! What a service answers to a question, remembered while it counts, and asked for once for all who want it.
//!
//! For every question that is put to a service on behalf of a request: a token exchange, a TokenReview, an
//! introspection. One [`Answers`] for each kind, in the root's state. A request calls [`Answers::find`] with the
//! digest of all that the answer depends on and with the task that asks; the task makes its callouts through the
//! [`Outbox`] and says how long what it brings counts, a "no" as well as a "yes", and zero for what is to be
//! asked anew. Time counts from before the question was sent.

use super::{Callouts, Full, Outbox, SingleFlight, StreamId};
use crate::cache::{Digest, ResultCache, Room};
use crate::time::Timestamp;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// How many questions of one kind may be under way in one worker.
const MAX_FLIGHTS: usize = 256;
/// How many requests may wait for one answer: each holds its head and its body.
const MAX_WAITING: usize = 2_000;

/// What a task brings.
#[derive(Clone, Debug)]
pub struct Fresh<T> {
    /// The answer.
    pub answer: T,
    /// How long it counts from when it was asked for; zero: for those who wait, and nobody after them.
    pub counts_for: Duration,
    /// What it weighs in memory, in bytes.
    pub bytes: usize,
}

/// An answer, and how it was come by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// The answer.
    pub answer: T,
    /// Whether it was remembered.
    pub is_cached: bool,
    /// When it was asked for: names it to [`Answers::forget`].
    pub asked_at: Timestamp,
}

/// There is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// A bound is reached: nobody was asked.
    Full,
    /// The task went wrong.
    Lost,
}

/// The answers of one kind, of one root. `T` is cheap to clone: an `Rc`, or plain data.
pub struct Answers<T> {
    clock: Rc<Cell<Timestamp>>,
    cache: RefCell<ResultCache<T>>,
    flights: SingleFlight<Digest, (T, Timestamp)>,
}

impl<T: Clone + 'static> Answers<T> {
    /// None yet, with room for so many; `clock` is set before anything is polled.
    #[must_use]
    pub fn new(clock: Rc<Cell<Timestamp>>, room: Room) -> Self {
        Self { clock, cache: RefCell::new(ResultCache::new(room)), flights: SingleFlight::default() }
    }

    /// The remembered answer to the question `key`.
    #[must_use]
    pub fn known(&self, key: &Digest) -> Option<Found<T>> {
        let (answer, asked_at) = self.cache.borrow_mut().get(key, self.clock.get())?;
        Some(Found { answer, is_cached: true, asked_at })
    }

    /// The answer to the question `key`, for the request of `stream`: the remembered one, else what the task
    /// under way brings, else what `ask` does.
    ///
    /// # Errors
    /// [`Unanswered`]; what the service itself says is for `T`.
    pub async fn find<F>(
        self: &Rc<Self>,
        callouts: &Callouts,
        key: Digest,
        stream: StreamId,
        ask: impl FnOnce(Outbox) -> F,
    ) -> Result<Found<T>, Unanswered>
    where
        F: Future<Output = Fresh<T>> + 'static,
    {
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        if self.flights.len() >= MAX_FLIGHTS && !self.flights.is_under_way(&key) {
            return Err(Unanswered::Full);
        }
        let answers = Rc::clone(self);
        let wait = self.flights.join(callouts, key, Some(stream), MAX_WAITING, |outbox| {
            let asking = ask(outbox);
            async move {
                let asked_at = answers.clock.get();
                let Fresh { answer, counts_for, bytes } = asking.await;
                if !counts_for.is_zero() {
                    let until = asked_at.plus(counts_for);
                    answers.cache.borrow_mut().insert(key, answer.clone(), bytes, asked_at, until);
                }
                (answer, asked_at)
            }
        });
        match wait.map_err(|Full| Unanswered::Full)?.await {
            Ok((answer, asked_at)) => Ok(Found { answer, is_cached: false, asked_at }),
            Err(_) => Err(Unanswered::Lost),
        }
    }

    /// Forgets the answer to `key` that was asked for at `asked_at`; one that was asked for since stays.
    pub fn forget(&self, key: &Digest, asked_at: Timestamp) {
        if self.is_of(key, asked_at) {
            self.cache.borrow_mut().remove(key);
        }
    }

    /// Puts another answer in the place of the one that was asked for at `asked_at`; it counts from now.
    pub fn replace(&self, key: &Digest, asked_at: Timestamp, fresh: Fresh<T>) {
        if self.is_of(key, asked_at) {
            let (Fresh { answer, counts_for, bytes }, now) = (fresh, self.clock.get());
            self.cache.borrow_mut().insert(*key, answer, bytes, now, now.plus(counts_for));
        }
    }

    fn is_of(&self, key: &Digest, asked_at: Timestamp) -> bool {
        self.known(key).is_some_and(|known| known.asked_at == asked_at)
    }

    /// How many answers are remembered, and what they weigh.
    #[must_use]
    pub fn size(&self) -> Room {
        self.cache.borrow().size()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CalloutError, Endpoint, Reply};
    use super::*;
    use crate::cache::digest;
    use crate::head::Head;
    use crate::secret::Secret;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    type Answer = Result<String, CalloutError>;
    type Flow = Pin<Box<dyn Future<Output = Result<Found<Answer>, Unanswered>>>>;

    const START: Timestamp = Timestamp(1_000_000);

    struct World {
        callouts: Rc<Callouts>,
        clock: Rc<Cell<Timestamp>>,
        answers: Rc<Answers<Answer>>,
    }

    fn world() -> World {
        let clock = Rc::new(Cell::new(START));
        let room = Room { entries: 100, bytes: 10_000 };
        let answers = Rc::new(Answers::new(Rc::clone(&clock), room));
        World { callouts: Rc::default(), clock, answers }
    }

    impl World {
        /// Asks for `question`; a yes counts for 10 s, a no for 2 s, and a 503 not at all.
        fn ask(&self, question: &str, stream: u32) -> Flow {
            let (callouts, answers) = (Rc::clone(&self.callouts), Rc::clone(&self.answers));
            let question = question.to_owned();
            Box::pin(async move {
                let key = digest([question.as_bytes()]);
                let task = |outbox: Outbox| async move {
                    let endpoint = Endpoint {
                        cluster: "c".into(),
                        scheme: "https",
                        authority: "a".into(),
                        path: "/ask".into(),
                    };
                    let body = Secret::new(question.into_bytes());
                    let callout = endpoint.post("text/plain", body, Duration::from_secs(1));
                    let reply = outbox.call(callout).await.and_then(|reply| reply.body_of(200));
                    let answer = reply.map(|body| String::from_utf8(body).unwrap());
                    let seconds = match &answer {
                        Ok(_) => 10,
                        Err(CalloutError::Status(503)) => 0,
                        Err(_) => 2,
                    };
                    Fresh { bytes: 100, counts_for: Duration::from_secs(seconds), answer }
                };
                answers.find(&callouts, key, StreamId(stream), task).await
            })
        }

        /// Polls tasks and answers what they ask with `status` and the question itself; how many were asked.
        fn reply(&self, status: &str) -> usize {
            let mut asked = Vec::new();
            self.callouts.run(|callout| {
                asked.push(callout.content.as_ref().unwrap().body.expose().to_vec());
                Ok(asked.len() as u32)
            });
            for (token, body) in (1..).zip(&asked) {
                let head = Head::from_pairs([(":status", status)]);
                self.callouts.deliver(token, Ok(Reply { head, body: body.clone() }));
            }
            self.callouts.run(|_| panic!("nothing more to send"));
            asked.len()
        }
    }

    fn poll(flow: &mut Flow) -> Poll<Result<Found<Answer>, Unanswered>> {
        flow.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    fn found(flow: &mut Flow) -> (Answer, bool) {
        match poll(flow) {
            Poll::Ready(Ok(Found { answer, is_cached, .. })) => (answer, is_cached),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn many_ask_once_and_what_is_remembered_is_not_asked_for() {
        let world = world();
        let mut flows: Vec<_> = (0..100).map(|stream| world.ask("q", stream)).collect();
        assert!(flows.iter_mut().all(|flow| poll(flow).is_pending()));
        assert_eq!(world.reply("200"), 1);
        assert_eq!(world.callouts.take_woken().len(), 100);
        for flow in &mut flows {
            assert_eq!(found(flow), (Ok("q".into()), false));
        }
        assert_eq!(found(&mut world.ask("q", 1)), (Ok("q".into()), true));
        assert!(poll(&mut world.ask("other", 1)).is_pending(), "another question has another answer");
    }

    #[test]
    fn time_counts_from_before_the_question_was_sent() {
        let world = world();
        let mut flow = world.ask("q", 1);
        assert!(poll(&mut flow).is_pending());
        let mut sent = 0;
        world.callouts.run(|_| {
            sent += 1;
            Ok(7)
        });
        world.clock.set(START.plus(Duration::from_secs(9)));
        let head = Head::from_pairs([(":status", "200")]);
        world.callouts.deliver(7, Ok(Reply { head, body: b"late".to_vec() }));
        world.callouts.run(|_| panic!("nothing more to send"));
        assert_eq!((sent, found(&mut flow)), (1, (Ok("late".into()), false)));
        assert_eq!(found(&mut world.ask("q", 1)), (Ok("late".into()), true));
        world.clock.set(START.plus(Duration::from_secs(10)));
        assert!(poll(&mut world.ask("q", 1)).is_pending());
    }

    #[test]
    fn a_no_counts_shortly_and_a_failure_not_at_all() {
        let world = world();
        let mut flow = world.ask("q", 1);
        assert!(poll(&mut flow).is_pending());
        world.reply("403");
        let no = Err(CalloutError::Status(403));
        assert_eq!(found(&mut flow), (no.clone(), false));
        assert_eq!(found(&mut world.ask("q", 1)), (no, true));
        world.clock.set(START.plus(Duration::from_secs(2)));
        let mut flow = world.ask("q", 1);
        assert!(poll(&mut flow).is_pending());
        world.reply("503");
        assert_eq!(found(&mut flow), (Err(CalloutError::Status(503)), false));
        assert!(poll(&mut world.ask("q", 1)).is_pending(), "a failure is asked about anew");
    }

    #[test]
    fn who_leaves_takes_nobodys_answer_with_him() {
        let world = world();
        let (mut first, mut second) = (world.ask("q", 1), world.ask("q", 2));
        assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
        drop(first);
        assert_eq!(world.reply("200"), 1);
        assert_eq!(world.callouts.take_woken(), [StreamId(2)]);
        assert_eq!(found(&mut second), (Ok("q".into()), false));
    }

    #[test]
    fn what_is_forgotten_is_the_one_that_was_seen() {
        let world = world();
        let key = digest([&b"q"[..]]);
        let mut flow = world.ask("q", 1);
        assert!(poll(&mut flow).is_pending());
        world.reply("200");
        world.answers.forget(&key, Timestamp(1));
        assert_eq!(found(&mut world.ask("q", 1)), (Ok("q".into()), true));
        let other = || Fresh { answer: Ok("other".into()), counts_for: Duration::from_secs(1), bytes: 1 };
        world.answers.replace(&key, Timestamp(1), other());
        assert_eq!(found(&mut world.ask("q", 1)), (Ok("q".into()), true));
        world.clock.set(START.plus(Duration::from_millis(100)));
        world.answers.replace(&key, START, other());
        assert_eq!(found(&mut world.ask("q", 1)), (Ok("other".into()), true));
        world.answers.forget(&key, START);
        assert_eq!(found(&mut world.ask("q", 1)), (Ok("other".into()), true));
        world.answers.forget(&key, world.clock.get());
        assert!(poll(&mut world.ask("q", 1)).is_pending());
    }

    #[test]
    fn questions_under_way_are_bounded() {
        let world = world();
        let mut flows: Vec<_> = (0..MAX_FLIGHTS).map(|n| world.ask(&n.to_string(), 1)).collect();
        assert!(flows.iter_mut().all(|flow| poll(flow).is_pending()));
        assert_eq!(poll(&mut world.ask("one more", 2)), Poll::Ready(Err(Unanswered::Full)));
        assert!(poll(&mut world.ask("0", 2)).is_pending(), "one that is under way may be waited for");
        world.callouts.run(|_| Err(CalloutError::NotSent));
        assert_eq!(found(&mut flows[0]), (Err(CalloutError::NotSent), false));
        assert!(poll(&mut world.ask("one more", 2)).is_pending());
        assert!(world.answers.size().entries <= 200);
    }

    #[test]
    fn a_task_that_goes_wrong_is_no_answer() {
        let world = world();
        let (callouts, answers) = (Rc::clone(&world.callouts), Rc::clone(&world.answers));
        let mut flow: Flow = Box::pin(async move {
            answers.find(&callouts, [0; 32], StreamId(1), |_| std::future::pending()).await
        });
        assert!(poll(&mut flow).is_pending());
        world.callouts.run(|_| panic!("nothing to send"));
        assert_eq!(poll(&mut flow), Poll::Ready(Err(Unanswered::Lost)));
    }
}
