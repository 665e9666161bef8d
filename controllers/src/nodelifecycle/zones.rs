//! How fast nodes may be emptied: slowly, slower where a zone is in trouble, and not at all when everything seems dead,
//! since then it is more likely this process that lost its connection.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Node;

use super::health;

/// The pace of evictions, in nodes a second, and when it changes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub usual: f64,
    /// In a large zone of which more than `unhealthy_share` is not ready. A small one stops.
    pub in_trouble: f64,
    pub large_zone: usize,
    pub unhealthy_share: f64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Zone {
    Healthy,
    PartlyDisrupted,
    FullyDisrupted,
}

/// The zone of a node: region and zone labels; nodes without are one zone.
pub fn name(node: &Node) -> String {
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key)).cloned();
    let region = label("topology.kubernetes.io/region").unwrap_or_default();
    let zone = label("topology.kubernetes.io/zone").unwrap_or_default();
    format!("{region}:{zone}")
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    ready: usize,
    not_ready: usize,
}

impl Count {
    fn state(self, pace: Pace) -> Zone {
        let total = self.ready + self.not_ready;
        if self.ready == 0 && self.not_ready > 0 {
            Zone::FullyDisrupted
        } else if self.not_ready > 2 && self.not_ready as f64 / total as f64 >= pace.unhealthy_share {
            Zone::PartlyDisrupted
        } else {
            Zone::Healthy
        }
    }
}

/// The state of all zones.
#[derive(Debug, Default)]
pub struct Zones(BTreeMap<String, (Zone, usize)>);

impl Zones {
    pub fn survey<'a>(nodes: impl IntoIterator<Item = &'a Node>, pace: Pace) -> Self {
        let mut counts = BTreeMap::<String, Count>::new();
        for node in nodes {
            let count = counts.entry(name(node)).or_default();
            match health::ready(node) {
                Some("True") => count.ready += 1,
                _ => count.not_ready += 1,
            }
        }
        Self(
            counts
                .into_iter()
                .map(|(name, count)| (name, (count.state(pace), count.ready + count.not_ready)))
                .collect(),
        )
    }

    /// Whether no node of any zone is ready.
    pub fn all_disrupted(&self) -> bool {
        !self.0.is_empty() && self.0.values().all(|(zone, _)| *zone == Zone::FullyDisrupted)
    }

    /// Nodes a second that may be emptied in this zone.
    pub fn rate(&self, zone: &str, pace: Pace) -> f64 {
        match self.0.get(zone) {
            Some((Zone::PartlyDisrupted, size)) if *size > pace.large_zone => pace.in_trouble,
            Some((Zone::PartlyDisrupted, _)) => 0.0,
            _ => pace.usual,
        }
    }
}

/// When each zone last lost a node to eviction.
#[derive(Debug, Default)]
pub struct Pacer(BTreeMap<String, Instant>);

impl Pacer {
    /// Takes the zone's turn, or says how long to wait for it; without end if the zone has stopped.
    pub fn take(&mut self, zone: &str, rate: f64, now: Instant) -> Result<(), Option<Duration>> {
        if rate <= 0.0 {
            return Err(None);
        }
        let interval = Duration::from_secs_f64(1.0 / rate);
        if let Some(last) = self.0.get(zone)
            && now.duration_since(*last) < interval
        {
            return Err(Some(interval - now.duration_since(*last)));
        }
        self.0.insert(zone.to_owned(), now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{NodeCondition, NodeStatus};

    use super::*;

    const PACE: Pace = Pace { usual: 0.1, in_trouble: 0.01, large_zone: 5, unhealthy_share: 0.55 };

    fn nodes(zone: &str, ready: usize, dead: usize) -> Vec<Node> {
        let node = |status: &str| {
            let mut node = Node::default();
            let labels = node.metadata.labels.get_or_insert_default();
            labels.insert("topology.kubernetes.io/zone".into(), zone.into());
            let condition = NodeCondition { type_: "Ready".into(), status: status.into(), ..Default::default() };
            node.status = Some(NodeStatus { conditions: Some(vec![condition]), ..Default::default() });
            node
        };
        std::iter::repeat_n("True", ready).chain(std::iter::repeat_n("Unknown", dead)).map(node).collect()
    }

    #[test]
    fn rates_by_health() {
        // (ready, dead) -> rate, all disrupted
        let cases = [
            ((3, 0), 0.1, false),
            ((3, 1), 0.1, false),
            ((1, 2), 0.1, false),
            ((2, 3), 0.0, false),
            ((4, 6), 0.01, false),
            ((0, 3), 0.1, true),
        ];
        for ((ready, dead), rate, all) in cases {
            let zones = Zones::survey(&nodes("a", ready, dead), PACE);
            assert_eq!(zones.rate(":a", PACE), rate, "{ready} {dead}");
            assert_eq!(zones.all_disrupted(), all, "{ready} {dead}");
        }
    }

    #[test]
    fn one_dead_zone_is_not_everything() {
        let both = [nodes("a", 0, 3), nodes("b", 1, 0)].concat();
        let zones = Zones::survey(&both, PACE);
        assert!(!zones.all_disrupted());
        assert_eq!(zones.rate(":a", PACE), PACE.usual);
    }

    #[test]
    fn turns_come_at_the_rate() {
        let mut pacer = Pacer::default();
        let start = Instant::now();
        assert_eq!(pacer.take("a", 0.1, start), Ok(()));
        assert_eq!(pacer.take("b", 0.1, start), Ok(()));
        let soon = start + Duration::from_secs(4);
        assert_eq!(pacer.take("a", 0.1, soon), Err(Some(Duration::from_secs(6))));
        assert_eq!(pacer.take("a", 0.0, soon), Err(None));
        assert_eq!(pacer.take("a", 0.1, start + Duration::from_secs(10)), Ok(()));
    }
}
