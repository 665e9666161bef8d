//! A pod's resolver configuration and its names.

use k8s_openapi::api::core::v1::Pod;

use super::spec;
use crate::runtime::DnsConfig;

const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;
const MAX_SEARCH_CHARACTERS: usize = 2048;
const MAX_HOSTNAME: usize = 63;

/// The cluster's DNS as the agent was told it.
#[derive(Clone, Debug, Default)]
pub struct ClusterDns {
    pub servers: Vec<String>,
    /// `cluster.local`
    pub domain: String,
}

/// The resolver configuration of a pod. `host` is the node's own.
pub fn config(pod: &Pod, cluster: &ClusterDns, host: &DnsConfig) -> DnsConfig {
    let policy = spec::spec(pod).dns_policy.as_deref().unwrap_or("ClusterFirst");
    let on_host = spec::is_host_network(pod);
    let mut config = match policy {
        "None" => DnsConfig::default(),
        "ClusterFirst" if !on_host => cluster_first(pod, cluster, host),
        "ClusterFirstWithHostNet" => cluster_first(pod, cluster, host),
        _ => host.clone(),
    };
    if let Some(own) = &spec::spec(pod).dns_config {
        append(&mut config.servers, own.nameservers.as_deref().unwrap_or_default());
        append(&mut config.searches, own.searches.as_deref().unwrap_or_default());
        for option in own.options.iter().flatten() {
            let Some(name) = option.name.as_deref() else { continue };
            let text = match option.value.as_deref().filter(|value| !value.is_empty()) {
                Some(value) => format!("{name}:{value}"),
                None => name.to_owned(),
            };
            config.options.retain(|known| known.split(':').next() != Some(name));
            config.options.push(text);
        }
    }
    config.servers.truncate(MAX_SERVERS);
    config.searches.truncate(MAX_SEARCHES);
    while config.searches.iter().map(|search| search.len() + 1).sum::<usize>() > MAX_SEARCH_CHARACTERS {
        config.searches.pop();
    }
    config
}

/// Without a cluster DNS the node's resolver is all there is.
fn cluster_first(pod: &Pod, cluster: &ClusterDns, host: &DnsConfig) -> DnsConfig {
    if cluster.servers.is_empty() {
        return host.clone();
    }
    let domain = &cluster.domain;
    let mut searches = Vec::new();
    if !domain.is_empty() {
        searches.push(format!("{}.svc.{domain}", spec::namespace(pod)));
        searches.push(format!("svc.{domain}"));
        searches.push(domain.clone());
    }
    append(&mut searches, &host.searches);
    DnsConfig { servers: cluster.servers.clone(), searches, options: vec!["ndots:5".to_owned()] }
}

fn append(list: &mut Vec<String>, more: &[String]) {
    for entry in more {
        if !list.contains(entry) {
            list.push(entry.clone());
        }
    }
}

/// The lines of a resolv.conf that count.
pub fn parse_resolv_conf(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => config.servers.extend(words.next()),
            // The last line of each of these wins.
            Some("search" | "domain") => config.searches = words.filter(|word| word != ".").collect(),
            Some("options") => config.options = words.collect(),
            _ => {}
        }
    }
    config
}

/// The pod's host name, and its fully qualified name if it has a subdomain.
pub fn hostname(pod: &Pod, node: &str, domain: &str) -> (String, Option<String>) {
    let spec = spec::spec(pod);
    if let Some(name) = spec.hostname_override.as_deref().filter(|name| !name.is_empty()) {
        return (name.to_owned(), None);
    }
    if spec::is_host_network(pod) {
        return (node.to_owned(), None);
    }
    let name = spec.hostname.as_deref().filter(|name| !name.is_empty()).unwrap_or(spec::name(pod));
    let name: String = name.chars().take(MAX_HOSTNAME).collect();
    let name = name.trim_end_matches(['-', '.']).to_owned();
    let subdomain = spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty());
    let full = subdomain.map(|subdomain| format!("{name}.{subdomain}.{}.svc.{domain}", spec::namespace(pod)));
    match full {
        Some(full) if spec.set_hostname_as_fqdn.unwrap_or(false) => (full.clone(), Some(full)),
        full => (name, full),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "web-1", "namespace": "shop"}, "spec": spec}))
            .expect("a pod")
    }

    fn lines(config: &DnsConfig) -> String {
        format!("{} | {} | {}", config.servers.join(","), config.searches.join(","), config.options.join(","))
    }

    #[test]
    fn policies_decide_who_is_asked() {
        let cluster = ClusterDns { servers: vec!["10.96.0.10".to_owned()], domain: "cluster.local".to_owned() };
        let host = parse_resolv_conf("# local\nnameserver 192.0.2.53\nsearch corp.example\noptions edns0\n");
        let first = "10.96.0.10 | shop.svc.cluster.local,svc.cluster.local,cluster.local,corp.example | ndots:5";
        let node = "192.0.2.53 | corp.example | edns0";
        let table = [
            (json!({}), first),
            (json!({"dnsPolicy": "ClusterFirst"}), first),
            (json!({"dnsPolicy": "ClusterFirst", "hostNetwork": true}), node),
            (json!({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true}), first),
            (json!({"dnsPolicy": "Default"}), node),
            (
                json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["x"], "options": [{"name": "ndots", "value": "2"}]}}),
                "1.1.1.1 | x | ndots:2",
            ),
            (
                json!({"dnsConfig": {"options": [{"name": "ndots", "value": "1"}, {"name": "rotate"}]}}),
                "10.96.0.10 | shop.svc.cluster.local,svc.cluster.local,cluster.local,corp.example | ndots:1,rotate",
            ),
        ];
        for (spec, want) in table {
            assert_eq!(lines(&config(&pod(spec.clone()), &cluster, &host)), want, "{spec}");
        }
        assert_eq!(lines(&config(&pod(json!({})), &ClusterDns::default(), &host)), node);
    }

    #[test]
    fn names_follow_hostname_and_subdomain() {
        let names = |spec| hostname(&pod(spec), "node1", "cluster.local");
        assert_eq!(names(json!({})), ("web-1".to_owned(), None));
        assert_eq!(names(json!({"hostNetwork": true})), ("node1".to_owned(), None));
        let full = Some("a.b.shop.svc.cluster.local".to_owned());
        assert_eq!(names(json!({"hostname": "a", "subdomain": "b"})), ("a".to_owned(), full.clone()));
        let as_full = json!({"hostname": "a", "subdomain": "b", "setHostnameAsFQDN": true});
        assert_eq!(names(as_full), ("a.b.shop.svc.cluster.local".to_owned(), full));
        let long = format!("{}-{}", "a".repeat(62), "b".repeat(9));
        assert_eq!(names(json!({"hostname": long})).0, "a".repeat(62));
    }
}
