//! Medians with their ranges, and latencies.

use std::{
    fmt::{Display, Formatter},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The same thing measured several times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// Of these; nothing if there are none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures = figures.into_iter().collect::<Vec<_>>();
        figures.sort_by(f64::total_cmp);
        let (&least, &most) = (figures.first()?, figures.last()?);
        let middle = figures.len() / 2;
        let median = if figures.len().is_multiple_of(2) {
            (figures[middle - 1] + figures[middle]) / 2.0
        } else {
            figures[middle]
        };
        Some(Self {
            median,
            least,
            most,
        })
    }
}

impl Display for Spread {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        let Self {
            median,
            least,
            most,
        } = self;
        write!(
            formatter,
            "{} [{}–{}]",
            figure(*median),
            figure(*least),
            figure(*most)
        )
    }
}

/// Three digits or more, with thousands set off.
pub fn figure(value: f64) -> String {
    if value < 9.95 {
        return format!("{value:.2}");
    }
    if value < 99.5 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Steps in each doubling: a figure read back is at most 1/32 too large.
const STEPS: u64 = 32;

/// Latencies, from a microsecond to an hour.
#[derive(Debug)]
pub struct Histogram {
    counts: Vec<AtomicU64>,
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = (0..STEPS * 32).map(|_| AtomicU64::new(0)).collect();
        Self { counts }
    }
}

impl Histogram {
    /// Adds one.
    pub fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket(micros).min(self.counts.len() - 1);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
    }

    /// Forgets all.
    pub fn clear(&self) {
        for count in &self.counts {
            count.store(0, Ordering::Relaxed);
        }
    }

    /// What this share of all does not exceed; nothing where there are none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let counts = self.counts.iter();
        let counts: Vec<u64> = counts.map(|count| count.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        let wanted = ((total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Some(Duration::from_micros(upper_end(bucket as u64)));
            }
        }
        None
    }
}

/// The first 32 are exact, then there are 32 in each doubling.
fn bucket(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let doubling = u64::from(value.ilog2() - STEPS.ilog2());
    ((doubling + 1) * STEPS + (value >> doubling) - STEPS) as usize
}

/// The largest value of a bucket.
fn upper_end(bucket: u64) -> u64 {
    if bucket < STEPS {
        return bucket;
    }
    let (doubling, step) = (bucket / STEPS - 1, bucket % STEPS);
    ((STEPS + step + 1) << doubling) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_and_even_numbers() {
        let spread = |figures: &[f64]| Spread::of(figures.iter().copied());
        assert_eq!(spread(&[]), None);
        let odd = spread(&[3.0, 1.0, 200.0]).expect("three");
        assert_eq!((odd.median, odd.least, odd.most), (3.0, 1.0, 200.0));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 9.0]).expect("four").median, 3.0);
        assert_eq!(odd.to_string(), "3.00 [1.00–200]");
    }

    #[test]
    fn figures_are_readable() {
        let written = [0.5, 9.99, 17.26, 99.96, 1234.4, 12_345_678.0].map(figure);
        assert_eq!(
            written,
            ["0.50", "10.0", "17.3", "100", "1,234", "12,345,678"]
        );
    }

    #[test]
    fn quantiles_are_at_most_a_step_too_large() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for (share, exact) in [
            (0.0001, 1),
            (0.5, 5_000),
            (0.99, 9_900),
            (0.999, 9_990),
            (1.0, 10_000),
        ] {
            let read = histogram.quantile(share).expect("some").as_micros();
            assert!(
                read >= exact && read <= exact + exact / 32,
                "{share}: {read}"
            );
        }
        histogram.clear();
        assert_eq!(histogram.quantile(0.5), None);
    }

    #[test]
    fn buckets_follow_each_other() {
        for value in 0..100_000 {
            let bucket = bucket(value) as u64;
            assert!(value <= upper_end(bucket));
            assert!(bucket == 0 || value > upper_end(bucket - 1));
        }
        Histogram::default().record(Duration::MAX);
    }
}
