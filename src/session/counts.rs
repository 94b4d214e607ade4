//! Counts of sessions by front and state, as their records say.

use serde::{Serialize, Serializer, ser::SerializeMap as _};

use super::{Front, Record, State};

/// How many sessions there are, by front and state.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    numbers: [[usize; State::ALL.len()]; Front::ALL.len()],
    /// Those that have been given a roster, and get pushes.
    pub interested: usize,
}

impl Counts {
    /// Adds a session.
    pub fn count(&mut self, record: &Record) {
        self.numbers[record.front() as usize][record.state() as usize] += 1;
        self.interested += usize::from(record.is_interested());
    }

    /// The numbers alone, in an order that holds for this version.
    pub fn numbers(&self) -> Vec<usize> {
        let numbers = self.by_front_and_state().map(|(.., count)| count);
        numbers.chain([self.interested]).collect()
    }

    /// Adds the numbers of other sessions.
    pub fn add(&mut self, numbers: &[usize]) {
        let mine = self.numbers.iter_mut().flatten();
        for (mine, more) in mine.chain([&mut self.interested]).zip(numbers) {
            *mine = mine.saturating_add(*more);
        }
    }

    /// All of them.
    pub fn total(&self) -> usize {
        self.by_front_and_state().map(|(.., count)| count).sum()
    }

    /// How many of each front are in each state.
    pub fn by_front_and_state(&self) -> impl Iterator<Item = (Front, State, usize)> {
        Front::ALL.into_iter().flat_map(|front| {
            let numbers = self.numbers[front as usize];
            State::ALL
                .into_iter()
                .map(move |state| (front, state, numbers[state as usize]))
        })
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sum = |which: &dyn Fn(Front, State) -> bool| -> usize {
            let counts = self.by_front_and_state();
            let counts = counts.filter(|&(front, state, _)| which(front, state));
            counts.map(|(.., count)| count).sum()
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("total", &self.total())?;
        for state in State::ALL {
            map.serialize_entry(state.as_str(), &sum(&|_, of| of == state))?;
        }
        for front in Front::ALL {
            map.serialize_entry(front.as_str(), &sum(&|of, _| of == front))?;
        }
        map.serialize_entry("interested", &self.interested)?;
        map.end()
    }
}
