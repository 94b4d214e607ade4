//! The last hour, minute by minute, for the curves of the status page. It is given the time and what has been counted,
//! and reads neither.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Most minutes that are remembered, beside the one that runs.
const MINUTES: usize = 60;
const MINUTE: Duration = Duration::from_secs(60);

/// What has been counted since the start, and how many sessions there are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) sessions: usize,
    pub(super) messages: u64,
    pub(super) refreshed: u64,
    pub(super) failures: u64,
    /// Answers of backends, and how many microseconds they have taken in all.
    pub(super) answers: u64,
    pub(super) answers_took: u64,
}

/// What happened in a minute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Minute {
    /// Sessions at its end.
    pub sessions: usize,
    /// Messages that were taken from clients or given to them.
    pub messages: u64,
    /// Users whose lists the backend said have changed.
    pub refreshed: u64,
    /// Failures of all kinds that the status page tells of.
    pub failures: u64,
    /// How long an answer of a backend took, on average; `None` without any.
    pub answer: Option<Duration>,
}

/// The minutes, the oldest first.
#[derive(Debug)]
pub(super) struct History {
    minutes: VecDeque<Minute>,
    /// When the minute that runs began, and what had been counted by then.
    since: Instant,
    before: Totals,
}

impl History {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            minutes: VecDeque::new(),
            since: now,
            before: Totals::default(),
        }
    }

    /// Closes the minutes that are over. If nobody has asked for longer than a minute, the first of them gets all that
    /// was counted.
    pub(super) fn advance(&mut self, now: Instant, totals: Totals) {
        let over = now.saturating_duration_since(self.since).as_secs() / MINUTE.as_secs();
        for _ in 0..over.min(MINUTES as u64) {
            if self.minutes.len() >= MINUTES {
                self.minutes.pop_front();
            }
            self.minutes.push_back(self.running(totals));
            self.before = totals;
        }
        self.since += Duration::from_secs(over * MINUTE.as_secs());
    }

    /// All that is remembered; the last is the minute that runs.
    pub(super) fn all(&self, totals: Totals) -> Vec<Minute> {
        let running = self.running(totals);
        self.minutes.iter().cloned().chain([running]).collect()
    }

    fn running(&self, now: Totals) -> Minute {
        let before = self.before;
        let took = Duration::from_micros(now.answers_took.saturating_sub(before.answers_took));
        let answers = now.answers.saturating_sub(before.answers);
        let answers = u32::try_from(answers).unwrap_or(u32::MAX);
        Minute {
            sessions: now.sessions,
            messages: now.messages.saturating_sub(before.messages),
            refreshed: now.refreshed.saturating_sub(before.refreshed),
            failures: now.failures.saturating_sub(before.failures),
            answer: took.checked_div(answers),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(messages: u64) -> Totals {
        Totals {
            messages,
            ..Totals::default()
        }
    }

    fn told(history: &History, totals: Totals) -> Vec<u64> {
        let minutes = history.all(totals).into_iter();
        minutes.map(|minute| minute.messages).collect()
    }

    #[test]
    fn each_minute_has_what_was_counted_in_it() {
        let start = Instant::now();
        let mut history = History::new(start);
        let after = |seconds| start + Duration::from_secs(seconds);
        history.advance(after(59), messages(3));
        assert_eq!(told(&history, messages(3)), [3], "it still runs");
        history.advance(after(60), messages(4));
        assert_eq!(told(&history, messages(4)), [4, 0]);
        history.advance(after(121), messages(9));
        assert_eq!(told(&history, messages(11)), [4, 5, 2]);
    }

    #[test]
    fn an_hour_is_remembered_and_no_more() {
        let start = Instant::now();
        let mut history = History::new(start);
        for minute in 1..=100 {
            history.advance(
                start + MINUTE * minute,
                messages(u64::from(minute * minute)),
            );
        }
        let told = told(&history, messages(10_000));
        assert_eq!(told.len(), 61);
        assert_eq!((told[0], told[59], told[60]), (2 * 41 - 1, 199, 0));
        // A machine that has slept for years has nothing to catch up on.
        history.advance(start + Duration::from_secs(1 << 30), messages(10_001));
        assert_eq!(history.minutes.len(), MINUTES);
        assert!(history.minutes.capacity() < 128);
        assert_eq!(history.minutes[0].messages, 1);
    }

    #[test]
    fn minutes_that_nobody_has_asked_for_keep_their_place() {
        let start = Instant::now();
        let mut history = History::new(start);
        history.advance(start + MINUTE * 3 + MINUTE / 2, messages(7));
        assert_eq!(told(&history, messages(7)), [7, 0, 0, 0]);
        history.advance(start + MINUTE * 4, messages(8));
        assert_eq!(told(&history, messages(8)), [7, 0, 0, 1, 0]);
    }

    #[test]
    fn an_answer_takes_what_they_took_on_average() {
        let start = Instant::now();
        let mut history = History::new(start);
        let totals = |answers, answers_took| Totals {
            sessions: 5,
            answers,
            answers_took,
            ..Totals::default()
        };
        history.advance(start + MINUTE, totals(2, 3_000));
        history.advance(start + MINUTE * 2, totals(2, 3_000));
        let minutes = history.all(totals(3, 13_000));
        let answers: Vec<_> = minutes.iter().map(|minute| minute.answer).collect();
        let millis = |number| Some(Duration::from_micros(number));
        assert_eq!(answers, [millis(1_500), None, millis(10_000)]);
        assert!(minutes.iter().all(|minute| minute.sessions == 5));
    }
}
