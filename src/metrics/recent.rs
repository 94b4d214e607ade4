//! Ring of the latest events: keeps a bounded number, and forgets the oldest first.

use std::collections::VecDeque;

use parking_lot::Mutex;

/// The latest events, up to a fixed number.
#[derive(Debug)]
pub struct Recent<T> {
    most: usize,
    events: Mutex<VecDeque<T>>,
}

impl<T: Clone> Recent<T> {
    /// An empty ring for at most `most` events.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            events: Mutex::default(),
        }
    }

    /// Adds an event.
    pub fn push(&self, event: T) {
        self.replace(|_| false, Some(event));
    }

    /// Removes the events for which `is_outdated` is true, and adds `event`, if there is one.
    pub fn replace(&self, is_outdated: impl Fn(&T) -> bool, event: Option<T>) {
        let mut events = self.events.lock();
        events.retain(|event| !is_outdated(event));
        let Some(event) = event else { return };
        if events.len() >= self.most {
            events.pop_front();
        }
        events.push_back(event);
    }

    /// The latest event for which `is_meant` is true.
    pub fn last(&self, is_meant: impl Fn(&T) -> bool) -> Option<T> {
        let events = self.events.lock();
        events.iter().rev().find(|event| is_meant(event)).cloned()
    }

    /// All events, the oldest first.
    pub fn all(&self) -> Vec<T> {
        self.events.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered_and_no_more() {
        let recent = Recent::new(3);
        for event in 0..5 {
            recent.push(event);
        }
        assert_eq!(recent.all(), [2, 3, 4]);
        assert_eq!(recent.last(|event| event % 2 == 0), Some(4));
        assert_eq!(recent.last(|&event| event < 2), None, "it is forgotten");
    }

    #[test]
    fn what_is_outdated_makes_room() {
        let recent = Recent::new(3);
        for event in 0..3 {
            recent.push(event);
        }
        recent.replace(|&event| event == 1, Some(3));
        assert_eq!(recent.all(), [0, 2, 3]);
        recent.replace(|&event| event == 2, None);
        assert_eq!(recent.all(), [0, 3]);
    }
}
