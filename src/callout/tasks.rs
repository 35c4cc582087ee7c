//! Tasks that make callouts, owned by the root and polled by its callbacks.
//!
//! A task is a future that asks for one callout at a time through its [`Outbox`], or waits for the owner's next
//! tick. Whoever owns [`Callouts`] polls what is ready ([`Callouts::run`]), brings the replies
//! ([`Callouts::deliver`]) and ticks ([`Callouts::tick`]); there is no executor beside that, and no waker:
//! streams that wait are named and polled by the owner.

use super::{Callout, CalloutError, Reply};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// How many tasks may be under way in one worker.
const MAX_TASKS: usize = 1_024;

/// A stream (one request) by the number that the host gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// A bound is reached: nothing was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// All tasks of one root.
#[derive(Default)]
pub struct Callouts {
    ready: RefCell<VecDeque<Task>>,
    in_flight: RefCell<BTreeMap<u32, (Task, usize)>>,
    waiting: RefCell<VecDeque<Task>>,
    woken: Rc<RefCell<Vec<StreamId>>>,
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    mailbox: Rc<Mailbox>,
}

#[derive(Default)]
struct Mailbox {
    outgoing: RefCell<Option<Callout>>,
    reply: RefCell<Option<Result<Reply, CalloutError>>>,
    waits_for_tick: Cell<bool>,
}

/// Where a task posts its callouts.
#[derive(Clone)]
pub struct Outbox(Rc<Mailbox>);

impl Outbox {
    /// Sends `callout` and waits for the reply.
    ///
    /// # Errors
    /// Why it could not be sent or read. Every status is a reply; see [`Reply::body_of`].
    pub async fn call(&self, callout: Callout) -> Result<Reply, CalloutError> {
        self.0.outgoing.replace(Some(callout));
        poll_fn(|_| match self.0.reply.take() {
            Some(reply) => Poll::Ready(reply),
            None => Poll::Pending,
        })
        .await
    }

    /// Waits for the owner's next tick.
    pub async fn tick(&self) {
        self.0.waits_for_tick.set(true);
        poll_fn(|_| if self.0.waits_for_tick.get() { Poll::Pending } else { Poll::Ready(()) }).await;
    }
}

impl Callouts {
    /// Adds a task. It starts with the next [`Self::run`].
    ///
    /// # Errors
    /// [`Full`]
    pub fn spawn<F>(&self, task: impl FnOnce(Outbox) -> F) -> Result<(), Full>
    where
        F: Future<Output = ()> + 'static,
    {
        let lengths = [self.ready.borrow().len(), self.in_flight.borrow().len(), self.waiting.borrow().len()];
        if lengths.into_iter().fold(0, usize::saturating_add) >= MAX_TASKS {
            return Err(Full);
        }
        let mailbox = Rc::new(Mailbox::default());
        let future = Box::pin(task(Outbox(Rc::clone(&mailbox))));
        self.ready.borrow_mut().push_back(Task { future, mailbox });
        Ok(())
    }

    /// Whether [`Self::run`] has something to do.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    /// Whether a task waits for the next tick.
    #[must_use]
    pub fn waits_for_tick(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// The owner ticks: who waited for it is ready.
    pub fn tick(&self) {
        for task in self.waiting.take() {
            task.mailbox.waits_for_tick.set(false);
            self.ready.borrow_mut().push_back(task);
        }
    }

    /// Polls all tasks that are ready, sending what they ask for with `dispatch`, which answers the
    /// number by which the reply will come.
    pub fn run(&self, mut dispatch: impl FnMut(&Callout) -> Result<u32, CalloutError>) {
        loop {
            let Some(mut task) = self.ready.borrow_mut().pop_front() else { return };
            let mut context = Context::from_waker(Waker::noop());
            if task.future.as_mut().poll(&mut context).is_ready() {
                continue;
            }
            if task.mailbox.waits_for_tick.get() {
                self.waiting.borrow_mut().push_back(task);
                continue;
            }
            // A task that waits for nothing is a defect; dropped, it fails those who wait for it.
            let Some(callout) = task.mailbox.outgoing.take() else { continue };
            match dispatch(&callout) {
                Ok(token) => {
                    self.in_flight.borrow_mut().insert(token, (task, callout.max_reply));
                }
                Err(error) => {
                    task.mailbox.reply.replace(Some(Err(error)));
                    self.ready.borrow_mut().push_back(task);
                }
            }
        }
    }

    /// The largest body that is read of the reply to the callout `token`, in bytes.
    #[must_use]
    pub fn max_reply(&self, token: u32) -> usize {
        self.in_flight.borrow().get(&token).map_or(0, |(_, max_reply)| *max_reply)
    }

    /// Brings the reply to the callout `token`; one that nobody waits for is dropped.
    pub fn deliver(&self, token: u32, reply: Result<Reply, CalloutError>) {
        if let Some((task, _)) = self.in_flight.borrow_mut().remove(&token) {
            task.mailbox.reply.replace(Some(reply));
            self.ready.borrow_mut().push_back(task);
        }
    }

    /// Whether [`Self::take_woken`] has streams: of tasks that ended at once, in a stream's callback.
    #[must_use]
    pub fn has_woken(&self) -> bool {
        !self.woken.borrow().is_empty()
    }

    /// The streams whose wait has ended since the last call: the owner polls them.
    #[must_use]
    pub fn take_woken(&self) -> Vec<StreamId> {
        self.woken.take()
    }

    pub(super) fn woken(&self) -> Rc<RefCell<Vec<StreamId>>> {
        Rc::clone(&self.woken)
    }
}
