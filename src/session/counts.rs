//! Counts of sessions by state, as their records say.

use serde::Serialize;

use super::{Record, State};

/// How many sessions there are, in each state.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// All of them.
    pub total: usize,
    connecting: usize,
    negotiating: usize,
    bound: usize,
    ending: usize,
    /// Those that have been given a roster, and get pushes.
    pub interested: usize,
}

impl Counts {
    /// Adds a session.
    pub fn count(&mut self, record: &Record) {
        self.total += 1;
        self.interested += usize::from(record.is_interested());
        *match record.state() {
            State::Connecting => &mut self.connecting,
            State::Negotiating => &mut self.negotiating,
            State::Bound => &mut self.bound,
            State::Ending => &mut self.ending,
        } += 1;
    }

    /// How many are in each state.
    pub fn by_state(&self) -> [(State, usize); 4] {
        [
            (State::Connecting, self.connecting),
            (State::Negotiating, self.negotiating),
            (State::Bound, self.bound),
            (State::Ending, self.ending),
        ]
    }
}
