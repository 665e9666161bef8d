//! What this process may hand on: a container cannot be given what the agent does not have.

use std::collections::HashSet;

use oci_spec::runtime::Capability;

use super::capabilities;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostLimits {
    /// Capabilities in the agent's bounding set.
    pub capabilities: HashSet<Capability>,
    /// The lowest oom_score_adj that may be set.
    pub lowest_oom_score_adj: i64,
}

impl HostLimits {
    /// Warns once of what will be missing.
    pub fn of_this_process() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
        let limits = Self::from_texts(&status, own.trim());
        let mut missing: Vec<String> =
            capabilities::all().difference(&limits.capabilities).map(|one| capabilities::name(*one)).collect();
        if !missing.is_empty() {
            missing.sort();
            tracing::warn!(
                capabilities = missing.join(","),
                lowest_oom_score_adj = limits.lowest_oom_score_adj,
                "containers cannot be given what this process does not have"
            );
        }
        limits
    }

    fn from_texts(status: &str, own_oom_score_adj: &str) -> Self {
        let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
        let mask = line.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
        let capabilities = match mask {
            Some(mask) => capabilities::from_mask(mask),
            None => capabilities::all(),
        };
        let lowest_oom_score_adj = if capabilities.contains(&Capability::SysResource) {
            -1000
        } else {
            own_oom_score_adj.parse().unwrap_or(0)
        };
        HostLimits { capabilities, lowest_oom_score_adj }
    }

    pub fn oom_score_adj(&self, wanted: i64) -> i32 {
        wanted.clamp(self.lowest_oom_score_adj, 1000) as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_sys_resource_clamps() {
        let limits = HostLimits::from_texts("Name:\tx\nCapBnd:\t000001fffeffffff\n", "100");
        assert!(!limits.capabilities.contains(&Capability::SysResource));
        assert!(limits.capabilities.contains(&Capability::SysAdmin));
        assert_eq!((limits.oom_score_adj(-998), limits.oom_score_adj(2000)), (100, 1000));
        let all = HostLimits::from_texts("CapBnd:\t000001ffffffffff\n", "0");
        assert_eq!(all.oom_score_adj(-998), -998);
    }
}
