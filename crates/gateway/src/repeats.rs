//! What strangers can make the daemon log is bounded: a flood of refused connections must not rotate away the lines that
//! somebody will look for.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How many lines one reason gets in a span: enough to see who and what. A flood that goes on gets one line a span, some
/// 70 kB an hour of the 50 MB that are kept.
const LINES_PER_SPAN: u64 = 10;
const SPAN: Duration = Duration::from_secs(10);

/// One for the process, as its log is.
static REPEATS: LazyLock<Arc<Repeats>> = LazyLock::new(Arc::default);

/// Whether a line for this reason (an SQLSTATE, say) may be written. Those that may not are counted in one line at the
/// end of the span.
pub(crate) fn may_log(reason: &'static str) -> bool {
    REPEATS.may_log(reason)
}

/// How often each reason has come in its span. Reasons are words of the program, so there are only so many.
#[derive(Debug, Default)]
struct Repeats(Mutex<HashMap<&'static str, Span>>);

#[derive(Debug)]
struct Span {
    began: Instant,
    count: u64,
    /// So many were written.
    written: u64,
    /// The span before this one was a flood.
    in_flood: bool,
}

impl Span {
    fn new(in_flood: bool) -> Self {
        Self { began: Instant::now(), count: 0, written: 0, in_flood }
    }
}

impl Repeats {
    fn may_log(self: &Arc<Self>, reason: &'static str) -> bool {
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let span = spans.entry(reason).or_insert_with(|| Span::new(false));
        if span.began.elapsed() >= SPAN && span.count <= LINES_PER_SPAN && !span.in_flood {
            *span = Span::new(false);
        }
        span.count += 1;
        let may = span.count <= LINES_PER_SPAN && !span.in_flood;
        span.written += u64::from(may);
        if span.count == LINES_PER_SPAN + 1 && !span.in_flood {
            tokio::spawn(self.clone().sum_up(reason, span.began + SPAN));
        }
        may
    }

    /// Runs as long as the flood does.
    async fn sum_up(self: Arc<Self>, reason: &'static str, mut end: Instant) {
        loop {
            sleep_until(end).await;
            let (more, over) = self.end_span(reason);
            tracing::info!(reason, "and {more} more like these in the last {} s", SPAN.as_secs());
            if over {
                return;
            }
            end += SPAN;
        }
    }

    /// How many were not written, and whether the flood is over.
    fn end_span(&self, reason: &'static str) -> (u64, bool) {
        let mut spans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(span) = spans.remove(reason) else { return (0, true) };
        let over = span.count <= LINES_PER_SPAN;
        if !over {
            spans.insert(reason, Span::new(true));
        }
        (span.count - span.written, over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_gets_ten_lines_in_ten_seconds() {
        let repeats = Arc::new(Repeats::default());
        let logged = |count: u32| (0..count).filter(|_| repeats.may_log("28P01")).count();
        assert_eq!(logged(5_000), 10);
        assert!(repeats.may_log("3D000"), "another reason has lines of its own");
        tokio::time::sleep(SPAN + Duration::from_millis(1)).await;
        assert_eq!(logged(5_000), 0, "while it goes on it is only counted");
        tokio::time::sleep(SPAN).await;
        assert_eq!(logged(1), 0, "nobody knows yet that it is over");
        tokio::time::sleep(SPAN).await;
        assert_eq!(logged(10), 10, "it was");
        tokio::time::sleep(SPAN).await;
        assert_eq!(logged(10), 10, "and who stays below the bound is never silenced");
        assert_eq!(repeats.0.lock().unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_written_is_counted_until_the_end_of_its_span() {
        let repeats = Arc::new(Repeats::default());
        assert_eq!((0..20).filter(|_| repeats.may_log("53300")).count(), 10);
        tokio::time::sleep(SPAN - Duration::from_millis(1)).await;
        assert!(!repeats.may_log("53300"));
        assert_eq!(repeats.end_span("53300"), (11, false));
        assert!(!repeats.may_log("53300"));
        assert_eq!(repeats.end_span("53300"), (1, true));
    }
}
