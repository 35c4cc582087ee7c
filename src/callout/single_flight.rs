//! One task for all who want the same thing at the same time.
//!
//! Keyed, with waiters that are bounded and named when the task ends, however it ends. What is to be remembered
//! as well goes through [`super::Answers`].

use super::tasks::{Callouts, Full, Outbox, StreamId};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

/// The task ended without an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// Flights by what they fetch. `T` is what everybody who waits gets a clone of.
pub struct SingleFlight<K, T> {
    flights: Rc<RefCell<BTreeMap<K, Rc<Flight<T>>>>>,
}

struct Flight<T> {
    outcome: RefCell<Option<Result<T, Lost>>>,
    waiters: RefCell<BTreeSet<StreamId>>,
}

/// The wait for a flight's outcome; dropped, it waits no more.
pub struct Wait<T> {
    flight: Rc<Flight<T>>,
    stream: Option<StreamId>,
}

impl<T> Drop for Wait<T> {
    fn drop(&mut self) {
        if let Some(stream) = self.stream {
            self.flight.waiters.borrow_mut().remove(&stream);
        }
    }
}

impl<T: Clone> Future for Wait<T> {
    type Output = Result<T, Lost>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.flight.outcome.borrow().clone().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<K, T> Default for SingleFlight<K, T> {
    fn default() -> Self {
        Self { flights: Rc::default() }
    }
}

impl<K: Ord + Clone + 'static, T: Clone + 'static> SingleFlight<K, T> {
    /// Joins the flight for `key`, starting it with `start` if there is none, and waits for its
    /// outcome. `stream` is woken when it lands; `None` starts it for nobody. `room` is how many streams may
    /// wait for it, this one among them.
    ///
    /// # Errors
    /// [`Full`] where a bound is reached; the future answers [`Lost`] where the task went wrong.
    pub fn join<F>(
        &self,
        callouts: &Callouts,
        key: K,
        stream: Option<StreamId>,
        room: usize,
        start: impl FnOnce(Outbox) -> F,
    ) -> Result<Wait<T>, Full>
    where
        F: Future<Output = T> + 'static,
    {
        let known = self.flights.borrow().get(&key).map(Rc::clone);
        let flight = match known {
            Some(flight) => flight,
            None => self.start(callouts, key, start)?,
        };
        if let Some(stream) = stream {
            let mut waiters = flight.waiters.borrow_mut();
            if waiters.len() >= room {
                return Err(Full);
            }
            waiters.insert(stream);
        }
        Ok(Wait { flight, stream })
    }

    /// Whether there is a flight for `key`.
    #[must_use]
    pub fn is_under_way(&self, key: &K) -> bool {
        self.flights.borrow().contains_key(key)
    }

    /// How many flights there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flights.borrow().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flights.borrow().is_empty()
    }

    fn start<F>(
        &self,
        callouts: &Callouts,
        key: K,
        start: impl FnOnce(Outbox) -> F,
    ) -> Result<Rc<Flight<T>>, Full>
    where
        F: Future<Output = T> + 'static,
    {
        let flight = Rc::new(Flight { outcome: RefCell::new(None), waiters: RefCell::default() });
        let landing = Landing {
            key: key.clone(),
            flights: Rc::clone(&self.flights),
            flight: Rc::clone(&flight),
            woken: callouts.woken(),
        };
        callouts.spawn(|outbox| {
            let work = start(outbox);
            async move {
                let outcome = work.await;
                landing.flight.outcome.replace(Some(Ok(outcome)));
            }
        })?;
        self.flights.borrow_mut().insert(key, Rc::clone(&flight));
        Ok(flight)
    }
}

/// Ends a flight however its task ends: waiters are woken, and the next caller starts anew.
struct Landing<K: Ord, T> {
    key: K,
    flights: Rc<RefCell<BTreeMap<K, Rc<Flight<T>>>>>,
    flight: Rc<Flight<T>>,
    woken: Rc<RefCell<Vec<StreamId>>>,
}

impl<K: Ord, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        self.flight.outcome.borrow_mut().get_or_insert(Err(Lost));
        self.flights.borrow_mut().remove(&self.key);
        self.woken.borrow_mut().extend(self.flight.waiters.take());
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Callout, CalloutError, Endpoint, Reply};
    use super::*;
    use crate::head::Head;
    use std::pin::pin;
    use std::task::Waker;
    use std::time::Duration;

    const ROOM: usize = 100;

    fn callout() -> Callout {
        let endpoint =
            Endpoint { cluster: "c".into(), scheme: "https", authority: "a".into(), path: "/".into() };
        endpoint.get(Duration::from_secs(1))
    }

    fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
        pin!(future).poll(&mut Context::from_waker(Waker::noop()))
    }

    async fn fetch(outbox: Outbox) -> Result<Vec<u8>, CalloutError> {
        outbox.call(callout()).await?.body_of(200)
    }

    #[test]
    fn many_waiters_make_one_callout() {
        let (callouts, flights) = (Callouts::default(), SingleFlight::default());
        let waits: Vec<_> = (0..50)
            .map(|id| flights.join(&callouts, "k", Some(StreamId(id)), ROOM, fetch).unwrap())
            .collect();
        let mut sent = 0;
        callouts.run(|_| {
            sent += 1;
            Ok(7)
        });
        assert_eq!(sent, 1);
        assert!(callouts.take_woken().is_empty());
        let reply = Reply { head: Head::from_pairs([(":status", "200")]), body: b"x".to_vec() };
        callouts.deliver(8, Ok(reply.clone()));
        assert!(!callouts.is_ready(), "a reply to nobody's callout is dropped");
        callouts.deliver(7, Ok(reply));
        callouts.run(|_| panic!("nothing more to send"));
        assert_eq!(callouts.take_woken().len(), 50);
        for wait in waits {
            assert_eq!(poll(wait), Poll::Ready(Ok(Ok(b"x".to_vec()))));
        }
        let _again = flights.join(&callouts, "k", None, ROOM, fetch).unwrap();
        assert!(callouts.is_ready(), "a landed flight is gone");
    }

    #[test]
    fn an_error_page_is_no_answer() {
        let (callouts, flights) = (Callouts::default(), SingleFlight::default());
        let wait = flights.join(&callouts, (), None, ROOM, fetch).unwrap();
        callouts.run(|_| Ok(1));
        let page =
            Reply { head: Head::from_pairs([(":status", "503")]), body: b"upstream connect error".to_vec() };
        callouts.deliver(1, Ok(page));
        callouts.run(|_| Ok(2));
        assert_eq!(poll(wait), Poll::Ready(Ok(Err(CalloutError::Status(503)))));
    }

    #[test]
    fn a_callout_that_can_not_be_sent_fails_at_once() {
        let (callouts, flights) = (Callouts::default(), SingleFlight::default());
        let wait = flights.join(&callouts, (), Some(StreamId(1)), ROOM, fetch).unwrap();
        callouts.run(|_| Err(CalloutError::UnknownCluster));
        assert_eq!(callouts.take_woken(), [StreamId(1)]);
        assert_eq!(poll(wait), Poll::Ready(Ok(Err(CalloutError::UnknownCluster))));
    }

    #[test]
    fn a_task_that_goes_wrong_loses_its_waiters_not_the_key() {
        let (callouts, flights) = (Callouts::default(), SingleFlight::default());
        let wait =
            flights.join(&callouts, (), Some(StreamId(1)), ROOM, |_| std::future::pending::<u8>()).unwrap();
        callouts.run(|_| Ok(1));
        assert_eq!(callouts.take_woken(), [StreamId(1)]);
        assert_eq!(poll(wait), Poll::Ready(Err(Lost)));
        assert!(flights.is_empty());
    }

    #[test]
    fn a_task_may_wait_for_ticks() {
        let (callouts, flights) = (Callouts::default(), SingleFlight::default());
        let patient = |outbox: Outbox| async move {
            outbox.tick().await;
            outbox.tick().await;
            7
        };
        let wait = flights.join(&callouts, (), Some(StreamId(1)), ROOM, patient).unwrap();
        for _ in 0..2 {
            callouts.run(|_| panic!("nothing to send"));
            assert!(callouts.waits_for_tick() && !callouts.is_ready() && callouts.take_woken().is_empty());
            callouts.tick();
        }
        callouts.run(|_| panic!("nothing to send"));
        assert!(!callouts.waits_for_tick());
        assert_eq!(callouts.take_woken(), [StreamId(1)]);
        assert_eq!(poll(wait), Poll::Ready(Ok(7)));
    }

    #[test]
    fn flights_and_waiters_are_bounded() {
        let (callouts, flights) = (Callouts::default(), SingleFlight::default());
        let mut started = 0;
        while flights.join(&callouts, started, None, ROOM, fetch).is_ok() {
            started += 1;
        }
        assert_eq!(started, 1_024);
        let (callouts, patient) = (Callouts::default(), SingleFlight::default());
        let mut waiting = 0;
        let join =
            |key| patient.join(&callouts, key, None, ROOM, |outbox| async move { outbox.tick().await });
        while waiting < 2_000 && join(waiting).is_ok() {
            callouts.run(|_| Ok(1));
            waiting += 1;
        }
        assert_eq!(waiting, 1_024);
        let (callouts, flights) = (Callouts::default(), SingleFlight::default());
        let mut waiting = Vec::new();
        while let Ok(wait) = flights.join(&callouts, (), Some(StreamId(waiting.len() as u32)), ROOM, fetch) {
            waiting.push(wait);
        }
        assert_eq!(waiting.len(), ROOM);
        waiting.pop();
        assert!(
            flights.join(&callouts, (), Some(StreamId(77_777)), ROOM, fetch).is_ok(),
            "who left makes room"
        );
    }
}
