//! Lists of actions, made ready once and executed on many packets.

use std::sync::Arc;

use flow::packet::ReadyRewrite;
use flow::{Action, Actions};

/// A list of actions, ready to be executed.
#[derive(Debug)]
pub(crate) struct Program {
    actions: Actions,
    /// For each action what is made ready of it.
    ready: Vec<Ready>,
}

#[derive(Debug)]
enum Ready {
    /// Nothing: the action is executed as it is.
    Plain,
    Rewrite(ReadyRewrite),
    /// The list in a `sample`.
    Nested(Arc<Program>),
}

/// An action of a program.
pub(crate) enum Step<'a> {
    Rewrite(&'a ReadyRewrite),
    /// A share of the packets, out of `u32::MAX`, gets other actions on copies.
    Sample(u32, &'a Arc<Program>),
    /// Another action.
    Plain(&'a Action),
}

impl Program {
    pub(crate) fn new(actions: Actions) -> Program {
        let ready = |action: &Action| match action {
            Action::Set(fields) => ReadyRewrite::of(fields).map_or(Ready::Plain, Ready::Rewrite),
            Action::Sample { actions, .. } => {
                Ready::Nested(Arc::new(Program::new(actions.clone())))
            }
            _ => Ready::Plain,
        };
        Program { ready: actions.iter().map(ready).collect(), actions }
    }

    /// The list that it was made of.
    pub(crate) fn actions(&self) -> &Actions {
        &self.actions
    }

    /// The action at a place, and whether it is the last one.
    pub(crate) fn step(&self, place: usize) -> Option<(Step<'_>, bool)> {
        let (action, ready) = (self.actions.get(place)?, self.ready.get(place)?);
        let step = match (action, ready) {
            (_, Ready::Rewrite(rewrite)) => Step::Rewrite(rewrite),
            (Action::Sample { probability, .. }, Ready::Nested(program)) => {
                Step::Sample(*probability, program)
            }
            _ => Step::Plain(action),
        };
        Some((step, place + 1 == self.actions.len()))
    }
}
