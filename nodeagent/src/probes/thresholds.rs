//! How many results in a row it takes to believe a probe.

use k8s_openapi::api::core::v1::Probe;

/// Counts results and says when the verdict changes.
#[derive(Clone, Debug)]
pub struct Thresholds {
    success: u32,
    failure: u32,
    last: Option<bool>,
    run: u32,
}

impl Thresholds {
    pub fn new(probe: &Probe) -> Thresholds {
        let at_least_one = |value: Option<i32>, default: u32| {
            value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        Thresholds {
            success: at_least_one(probe.success_threshold, 1),
            failure: at_least_one(probe.failure_threshold, 3),
            last: None,
            run: 0,
        }
    }

    /// Takes one result in; `Some` is the verdict once enough of the same came in a row.
    pub fn count(&mut self, success: bool) -> Option<bool> {
        if self.last == Some(success) {
            self.run = self.run.saturating_add(1);
        } else {
            self.last = Some(success);
            self.run = 1;
        }
        let needed = if success { self.success } else { self.failure };
        (self.run >= needed).then_some(success)
    }

    /// A container that is being replaced starts from nothing.
    pub fn reset(&mut self) {
        self.last = None;
        self.run = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_need_their_number_of_results_in_a_row() {
        let probe = Probe { success_threshold: Some(2), failure_threshold: Some(3), ..Probe::default() };
        let mut thresholds = Thresholds::new(&probe);
        let results = [true, true, false, false, true, false, false, false, false, true, true];
        let verdicts: Vec<Option<bool>> = results.iter().map(|result| thresholds.count(*result)).collect();
        let yes = Some(true);
        let no = Some(false);
        assert_eq!(verdicts, [None, yes, None, None, None, None, None, no, no, None, yes]);
        thresholds.reset();
        assert_eq!(thresholds.count(true), None);
    }

    #[test]
    fn unset_thresholds_are_one_and_three() {
        let mut thresholds = Thresholds::new(&Probe::default());
        assert_eq!(thresholds.count(true), Some(true));
        assert_eq!(
            [thresholds.count(false), thresholds.count(false), thresholds.count(false)],
            [None, None, Some(false)]
        );
    }
}
