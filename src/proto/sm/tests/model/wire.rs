//! A connection: what is on its way, in both directions.

use std::collections::VecDeque;

/// Elements as text. `up` is towards the server.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) up: VecDeque<String>,
    pub(super) down: VecDeque<String>,
    /// It carries nothing any more. Who has not noticed goes on writing.
    is_cut: bool,
}

impl Wire {
    /// A connection that was never made.
    pub(super) fn none() -> Self {
        Self {
            is_cut: true,
            ..Self::default()
        }
    }

    pub(super) fn cut(&mut self) {
        *self = Self::none();
    }

    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Nothing is on its way.
    pub(super) fn is_quiet(&self) -> bool {
        self.up.is_empty() && self.down.is_empty()
    }

    pub(super) fn write_up(&mut self, text: String) {
        if !self.is_cut {
            self.up.push_back(text);
        }
    }

    pub(super) fn write_down(&mut self, text: String) {
        if !self.is_cut {
            self.down.push_back(text);
        }
    }
}
