//! Where the answer to a command goes.

use crossbeam_channel::Sender;

/// A function that takes an answer in parts; `true` comes with the last one, which may be empty.
/// The worker calls it on its own thread; it must not block.
pub struct ReplyParts<T>(Box<dyn FnMut(Vec<T>, bool) + Send>);

impl<T: Send + 'static> ReplyParts<T> {
    /// Calls a function with each part.
    #[must_use]
    pub fn with(function: impl FnMut(Vec<T>, bool) + Send + 'static) -> ReplyParts<T> {
        ReplyParts(Box::new(function))
    }

    pub(super) fn send(&mut self, part: Vec<T>, is_last: bool) {
        (self.0)(part, is_last);
    }
}

/// A function that takes an answer. The worker calls it on its own thread; it must not block.
pub struct Reply<T>(Box<dyn FnOnce(T) + Send>);

impl<T: Send + 'static> Reply<T> {
    /// Into a channel; use an unbounded one, or one with room.
    #[must_use]
    pub fn to(channel: Sender<T>) -> Reply<T> {
        Reply::with(move |answer| {
            let _ = channel.try_send(answer);
        })
    }

    /// Calls a function with the answer, for example one that wraps the answer and sends it on.
    #[must_use]
    pub fn with(function: impl FnOnce(T) + Send + 'static) -> Reply<T> {
        Reply(Box::new(function))
    }

    /// To nobody.
    #[must_use]
    pub fn ignored() -> Reply<T> {
        Reply::with(drop)
    }

    pub(super) fn send(self, answer: T) {
        (self.0)(answer);
    }
}
